"""Ops as one writes them by hand in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np


def attention(q: Any, k: Any, v: Any, mask: Any = None, scale: float | None = None) -> Any:
    """Softmax of all logits at once."""
    logits = q @ np.swapaxes(k, -1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if mask is not None:
        logits = np.where(mask, logits, -1e30)
    return _like(q, softmax(logits) @ v)


def attention_3d(qkv: Any, pattern: str, q_norm: Any, k_norm: Any, cos: Any = None, sin: Any = None) -> Any:
    """Norm, rope and attention, with the axes permuted around them."""
    order = (3, 0, 2, 4, 1, 5) if pattern == "temporal" else (3, 0, 1, 4, 2, 5)
    q, k, v = np.transpose(qkv, order)
    q, k = (_turned(_rms_norm(x, w), cos, sin) for x, w in ((q, q_norm), (k, k_norm)))
    out = attention(q, k, v)
    return np.ascontiguousarray(np.transpose(out, (0, 3, 1, 2, 4) if pattern == "temporal" else (0, 1, 3, 2, 4)))


def softmax(x: Any) -> Any:
    """Along the last axis."""
    e = np.exp(x - x.max(-1, keepdims=True))
    return _like(x, e / e.sum(-1, keepdims=True))


def linear(x: Any, weight: Any, bias: Any) -> Any:
    """A product and a sum."""
    return _like(x, x @ weight.T + bias)


def layer_norm(x: Any) -> Any:
    """Mean and variance by NumPy."""
    return _like(x, (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6))


def modulate(x: Any, shift: Any, scale: Any) -> Any:
    """Norm, then the rest."""
    return _like(x, layer_norm(x) * (1 + scale) + shift)


def gated_residual(x: Any, branch: Any, gate: Any) -> Any:
    """One line."""
    return x + gate * branch


def gelu(x: Any) -> Any:
    """The tanh form."""
    return _like(x, 0.5 * x * (1 + np.tanh(0.7978845608028654 * (x + 0.044715 * x * x * x))))


def rms_norm_rotary(x: Any, weight: Any, cos: Any, sin: Any) -> Any:
    """Norm, then rope."""
    return _turned(_rms_norm(x, weight), cos, sin)


def group_norm_silu(x: Any, groups: int, weight: Any, bias: Any) -> Any:
    """Norm, then SiLU."""
    rows = x.reshape(x.shape[0], groups, -1)
    per_channel = (-1, *(1,) * (x.ndim - 2))
    y = layer_norm(rows).reshape(x.shape) * weight.reshape(per_channel) + bias.reshape(per_channel)
    return _like(x, y / (1 + np.exp(-y)))


def _rms_norm(x: Any, weight: Any) -> Any:
    return _like(x, x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * weight)


def _turned(x: Any, cos: Any, sin: Any) -> Any:
    if cos is None:
        return x
    out = np.empty_like(x)
    even, odd = x[..., 0::2], x[..., 1::2]
    out[..., 0::2] = even * cos - odd * sin
    out[..., 1::2] = odd * cos + even * sin
    return out


def _like(x: Any, y: Any) -> Any:
    return y.astype(x.dtype, copy=False)


EAGER = {
    f.__name__: f
    for f in (
        attention, attention_3d, softmax, linear, layer_norm, modulate, gated_residual, gelu, rms_norm_rotary,
        group_norm_silu,
    )
}  # fmt: skip
