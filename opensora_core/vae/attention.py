"""Self-attention in the middle of the official autoencoders: one head over all cells of an image or a video."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..nn.init import RandomInit
from ..nn.layers import Linear
from ..ops import Array, Ops
from .layers import GroupNorm


@dataclass(frozen=True)
class MidAttention:
    """x + to_out(attention(to_q, to_k, to_v of norm(x))) as in diffusers; a cell sees its own and earlier frames."""

    group_norm: GroupNorm
    to_q: Linear
    to_k: Linear
    to_v: Linear
    to_out: tuple[Linear]

    @classmethod
    def create(cls, init: RandomInit, channels: int, groups: int) -> MidAttention:
        """One head as wide as the channels."""
        q, k, v, out = (Linear.create(init, channels, channels) for _ in range(4))
        return cls(GroupNorm.create(init, channels, groups), q, k, v, (out,))

    def __call__(self, ops: Ops, x: Array) -> Array:
        """x [B, C, H, W] or [B, C, T, H, W] of the same shape back."""
        tokens = to_tokens(ops, self.group_norm(ops, x))  # (B, N, C)
        q, k, v = (linear(ops, tokens) for linear in (self.to_q, self.to_k, self.to_v))
        y = self.to_out[0](ops, causal_attention(ops, q, k, v, math.prod(x.shape[-2:])))
        return x + ops.reshape(ops.permute_dims(y, (0, 2, 1)), x.shape)


def to_tokens(ops: Ops, x: Array) -> Array:
    """[B, C, *size] -> [B, N, C], the last axis of size fastest."""
    B, C = x.shape[:2]
    return ops.permute_dims(ops.reshape(x, (B, C, math.prod(x.shape[2:]))), (0, 2, 1))


def causal_attention(ops: Ops, q: Array, k: Array, v: Array, frame: int, *, by_token: bool = False) -> Array:
    """q, k, v [B, N, C] of frames of `frame` tokens: each sees all tokens of its own frame and of those before it.

    by_token: within its own frame only itself and the tokens before it. Frames are taken one after another, so that
    no more than `frame` rows of N logits exist at a time.
    """
    rows = []
    for start in range(0, q.shape[1], frame):
        stop = start + frame
        seen = ops.asarray(np.tri(frame, stop, start, dtype=np.bool_)) if by_token else None
        rows.append(ops.attention(q[:, start:stop], k[:, :stop], v[:, :stop], seen))
    return ops.concat(rows, axis=1)
