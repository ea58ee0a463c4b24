"""Attention and rotation: rows one by one, rotations as products of complex numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from .extended import Numbers, extended


@extended
def rotary(x: Numbers, cos: Numbers, sin: Numbers) -> Any:
    """Channels 2k and 2k+1 as a complex number, times e^(i angle)."""
    return _turn(x, cos, sin)


@extended
def rms_norm_rotary(x: Numbers, weight: Numbers, cos: Numbers, sin: Numbers, eps: float = 1e-6) -> Any:
    """A row over its root mean square, times the weight, as complex numbers turned."""
    return _turn(x * weight / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + eps), cos, sin)


@extended
def attention(q: Numbers, k: Numbers, v: Numbers, mask: Numbers | None = None, scale: float | None = None) -> Any:
    """Each query by itself: the values of the keys it may see, weighted by e^(q·k scale); zeros if it sees none."""
    batch = np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    q, k, v = (np.broadcast_to(x, (*batch, *x.shape[-2:])) for x in (q, k, v))
    seen = np.broadcast_to(True if mask is None else mask, (*batch, q.shape[-2], k.shape[-2]))
    out = np.zeros((*batch, q.shape[-2], v.shape[-1]), np.longdouble)
    scale = 1 / np.sqrt(np.longdouble(q.shape[-1])) if scale is None else scale
    for row in np.ndindex(*out.shape[:-1]):
        keys, values = k[row[:-1]][seen[row]], v[row[:-1]][seen[row]]
        if len(keys):
            out[row] = _weighted(np.sum(keys * q[row], axis=-1) * scale, values)
    return out


@extended
def attention_3d(
    qkv: Numbers,
    pattern: str,
    q_norm: Numbers | None = None,
    k_norm: Numbers | None = None,
    cos: Numbers | None = None,
    sin: Numbers | None = None,
) -> Any:
    """Each token by itself: it sees the tokens of its frame, of its place, or all, and turns by where it is there."""
    B, T, S, _, H, D = qkv.shape
    out = np.empty((B, T, S, H, D), np.longdouble)
    for b, t, s, h in np.ndindex(B, T, S, H):
        frames = slice(t, t + 1) if pattern == "spatial" else slice(None)
        places = slice(s, s + 1) if pattern == "temporal" else slice(None)
        q = _prepare(qkv[b, t, s, 0, h][None], q_norm)
        k = _prepare(qkv[b, frames, places, 1, h].reshape(-1, D), k_norm)
        if cos is not None and sin is not None:
            at = {"spatial": s, "temporal": t, "full": t * S + s}[pattern]
            q, k = _turn(q, cos[at], sin[at]), _turn(k, cos, sin)
        logits = np.sum(k * q, axis=-1) / np.sqrt(np.longdouble(D))
        out[b, t, s, h] = _weighted(logits, qkv[b, frames, places, 2, h].reshape(-1, D))
    return out


def _prepare(x: Numbers, norm: Numbers | None) -> Numbers:
    """QK-norm over the channels of a head."""
    return x if norm is None else x * norm / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + 1e-6)


def _turn(x: Numbers, cos: Numbers, sin: Numbers) -> Numbers:
    z = (x[..., 0::2] + 1j * x[..., 1::2]) * (cos + 1j * sin)
    return np.stack([z.real, z.imag], axis=-1).reshape(x.shape)


def _weighted(logits: Numbers, values: Numbers) -> Any:
    """Mean of the values under the weights e^logit; the largest weight is 1, so that none overflows."""
    weights = np.exp(logits - np.max(logits))
    return np.sum(weights[:, None] * values, axis=0) / np.sum(weights)
