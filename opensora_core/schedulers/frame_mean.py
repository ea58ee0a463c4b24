"""The mean that every training loss takes of its elements: per sample, given frames left out."""

from __future__ import annotations

from ..ops import Array, Ops


def frame_mean(ops: Ops, x: Array, mask: Array | None) -> Array:
    """Mean [B] of x [B, C, T, H, W] over everything, or over the frames where mask [B, T] is True."""
    per_frame = ops.sum(x, axis=(1, 3, 4)) * (1.0 / (x.shape[1] * x.shape[3] * x.shape[4]))  # (B, T)
    if mask is None:
        return ops.sum(per_frame, axis=1) * (1.0 / x.shape[2])
    weights = ops.astype(mask, per_frame.dtype)
    return ops.sum(per_frame * weights, axis=1) / ops.maximum(ops.sum(weights, axis=1), 1.0)
