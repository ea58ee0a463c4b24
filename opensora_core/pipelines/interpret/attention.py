"""Attention maps: which text or which tokens each token of the video looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...capture import Call, capture
from ...errors import InvalidInputError
from ...module import named_modules
from ...nn.attention import CrossAttention, SelfAttention
from ...ops import NEVER, PATTERNS, Array, Ops
from ..components import Components
from ..generation import predict_once

Kind = type[CrossAttention] | type[SelfAttention]


def attention_names(parts: Components, kind: Kind) -> list[str]:
    """Dotted names in the denoiser of all attention layers of a kind."""
    return [name for name, module in named_modules(parts.denoiser) if isinstance(module, kind)]


def attention_maps(
    ops: Ops, parts: Components, z: Array, timestep: float, text: tuple[Array, Array], names: Sequence[str]
) -> dict[str, NDArray[Any]]:
    """Attention weights of the named layers in one prediction; see `OpenSora.attention_maps` for their shapes."""
    layers = {n: m for n, m in named_modules(parts.denoiser) if isinstance(m, CrossAttention | SelfAttention)}
    if wrong := [name for name in names if name not in layers]:
        raise InvalidInputError(f"{', '.join(wrong)}: no attention layer; there are {', '.join(layers)}")
    denoiser, calls = capture(parts.denoiser, names)
    predict_once(ops, replace(parts, denoiser=denoiser, compiled=None), z, timestep, *text)
    maps = {}
    for name in names:
        layer, (call,) = layers[name], calls[name]
        weights = _cross if isinstance(layer, CrossAttention) else _self
        maps[name] = np.asarray(ops.to_numpy(ops.widen(weights(ops, layer, call, _grid(parts, z)))))
    return maps


def _grid(parts: Components, z: Array) -> tuple[int, int, int]:
    """Patches along time, height and width."""
    t, h, w = (-(-n // p) for n, p in zip(z.shape[2:], parts.config.patch_size, strict=True))
    return t, h, w


def _cross(ops: Ops, layer: Any, call: Call, grid: tuple[int, int, int]) -> Array:
    """Weights [B, H, T, h, w, L] of text tokens."""
    x, text, mask = call.args
    B, T, S, C = x.shape
    q = ops.reshape(layer.q_linear(ops, x), (B, T * S, layer.num_heads, C // layer.num_heads))
    weights = _weights(ops, ops.permute_dims(q, (0, 2, 1, 3)), text.keys, mask)  # (B, H, T·S, L)
    return ops.reshape(weights, (B, layer.num_heads, *grid, -1))


def _self(ops: Ops, layer: Any, call: Call, grid: tuple[int, int, int]) -> Array:
    """Weights [B, T, H, S, S] within a frame, or [B, S, H, T, T] along time."""
    x, pattern, *rest = call.args
    rope = rest[0] if rest else None
    B, T, S, C = x.shape
    qkv = ops.reshape(layer.qkv(ops, x), (B, T, S, 3, layer.num_heads, C // layer.num_heads))
    packed = ops.permute_dims(qkv, PATTERNS[pattern][0])
    q, k = packed[0], packed[1]
    if layer.q_norm is not None:
        q, k = layer.q_norm(ops, q), layer.k_norm(ops, k)
    if rope is not None:
        q, k = ops.rotary(q, rope.cos, rope.sin), ops.rotary(k, rope.cos, rope.sin)
    return _weights(ops, q, k, None)


def _weights(ops: Ops, q: Array, k: Array, mask: Array | None) -> Array:
    """softmax(q kᵀ / sqrt(D)) of q [..., L, D] and k [..., M, D]."""
    swap = (*range(k.ndim - 2), k.ndim - 1, k.ndim - 2)
    logits = ops.matmul(ops.widen(q) * q.shape[-1] ** -0.5, ops.permute_dims(ops.widen(k), swap))
    return ops.softmax(logits if mask is None else ops.where(mask, logits, NEVER))
