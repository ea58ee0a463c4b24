"""A block of STDiT3 in plain NumPy, written by hand: what the NumPy backend is timed beside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .rivals_numpy import attention, attention_3d, gelu, linear, modulate


def block(
    w: Mapping[str, Any], x: Any, modulation: Any, keys: Any, values: Any, mask: Any, rope: tuple[Any, Any] | None
) -> Any:
    """x [B, T, S, C], modulation [B, 1, 6, C], keys and values [B, H, L, D] of the text; rope: of a temporal block."""
    B, T, S, C = x.shape
    H = keys.shape[1]
    table = (modulation + w["scale_shift_table"])[:, :, :, None]  # [B, 1, 6, 1, C]
    shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = (table[:, :, i] for i in range(6))
    h = _linear(w, "attn.qkv", modulate(x, shift, scale)).reshape(B, T, S, 3, H, C // H)
    norms = w["attn.q_norm.weight"], w["attn.k_norm.weight"]
    h = attention_3d(h, "spatial" if rope is None else "temporal", *norms, *(rope or ()))
    x = x + gate * _linear(w, "attn.proj", h.reshape(B, T, S, C))
    q = np.swapaxes(_linear(w, "cross_attn.q_linear", x).reshape(B, T * S, H, C // H), 1, 2)
    h = np.swapaxes(attention(q, keys, values, mask), 1, 2).reshape(B, T, S, C)
    x = x + _linear(w, "cross_attn.proj", h)
    h = gelu(_linear(w, "mlp.fc1", modulate(x, shift_mlp, scale_mlp)))
    return x + gate_mlp * _linear(w, "mlp.fc2", h)


def _linear(w: Mapping[str, Any], name: str, x: Any) -> Any:
    return linear(x.reshape(-1, x.shape[-1]), w[f"{name}.weight"], w[f"{name}.bias"]).reshape(*x.shape[:-1], -1)
