"""FLOPs of every op but the two that take functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...ops import Axis
from .sizes import Formula, Shaped, broadcast, conv_places, numel, rows


def _none(*_: Any) -> int:
    return 0


def _each(x: Shaped) -> int:
    return numel(x)


def _reduce(x: Shaped, axis: Axis = None, keepdims: bool = False) -> int:
    return numel(x)


def _matmul(a: Shaped, b: Shaped) -> int:
    return 2 * math.prod(np.broadcast_shapes(a.shape[:-2], b.shape[:-2])) * a.shape[-2] * a.shape[-1] * b.shape[-1]


def _index_add(x: Shaped, indices: Shaped, values: Shaped, axis: int = 0) -> int:
    return numel(values)


def _linear(x: Shaped, weight: Shaped, bias: Shaped | None = None) -> int:
    out, width = weight.shape
    return rows(x) * out * (2 * width + (bias is not None))


def _gelu(x: Shaped, approximate: str = "tanh") -> int:
    return (9 if approximate == "tanh" else 5) * numel(x)


def _silu(x: Shaped) -> int:
    return 5 * numel(x)


def _softmax(x: Shaped, axis: int = -1) -> int:
    return 5 * numel(x)


def _layer_norm(x: Shaped, weight: Shaped | None = None, bias: Shaped | None = None, eps: float = 1e-6) -> int:
    return (5 + _given(weight, bias)) * numel(x) + 4 * rows(x)


def _rms_norm(x: Shaped, weight: Shaped, eps: float = 1e-6) -> int:
    return 4 * numel(x) + 3 * rows(x)


def _group_norm(
    x: Shaped, groups: int, weight: Shaped | None = None, bias: Shaped | None = None, eps: float = 1e-6
) -> int:
    return (5 + _given(weight, bias)) * numel(x) + 4 * x.shape[0] * groups


def _group_norm_silu(
    x: Shaped, groups: int, weight: Shaped | None = None, bias: Shaped | None = None, eps: float = 1e-6
) -> int:
    return _group_norm(x, groups, weight, bias) + _silu(x)


def _modulate(x: Shaped, shift: Shaped, scale: Shaped, eps: float = 1e-6) -> int:
    return 7 * numel(x) + 4 * rows(x) + numel(scale)


def _gated_residual(x: Shaped, branch: Shaped, gate: Shaped) -> int:
    return 2 * numel(x)


def _rotary(x: Shaped, cos: Shaped, sin: Shaped) -> int:
    return 3 * numel(x)


def _rms_norm_rotary(x: Shaped, weight: Shaped, cos: Shaped, sin: Shaped, eps: float = 1e-6) -> int:
    return _rms_norm(x, weight) + _rotary(x, cos, sin)


def _attention(q: Shaped, k: Shaped, v: Shaped, mask: Shaped | None = None, scale: float | None = None) -> int:
    pairs = math.prod(np.broadcast_shapes(q.shape[:-2], k.shape[:-2])) * q.shape[-2] * k.shape[-2]
    return numel(q) + pairs * (2 * q.shape[-1] + 5 + 2 * v.shape[-1])


def _attention_3d(
    qkv: Shaped,
    pattern: str,
    q_norm: Shaped | None = None,
    k_norm: Shaped | None = None,
    cos: Shaped | None = None,
    sin: Shaped | None = None,
) -> int:
    B, T, S, _, H, D = qkv.shape
    rows = B * T * S * H
    keys = {"spatial": S, "temporal": T, "full": T * S}[pattern]
    norms = _given(q_norm, k_norm) * rows * (4 * D + 3)
    turns = 2 * _given(cos) * rows * 3 * D
    return norms + turns + rows * D + rows * keys * (4 * D + 5)


def _conv(
    x: Shaped,
    weight: Shaped,
    bias: Shaped | None = None,
    stride: Sequence[int] | None = None,
    padding: Sequence[int] | None = None,
) -> int:
    places = conv_places(x, weight, stride, padding)
    return places * (2 * math.prod(weight.shape[1:]) + (bias is not None))


def _adamw_step(
    param: Shaped,
    grad: Shaped,
    mean: Shaped,
    square: Shaped,
    step: int,
    rate: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    factor: Shaped | None = None,
) -> int:
    return (14 + _given(factor)) * numel(param)


def _given(*arrays: Shaped | None) -> int:
    return sum(x is not None for x in arrays)


_FREE = (
    "asarray", "to_numpy", "astype", "full", "arange", "where", "reshape", "permute_dims", "broadcast_to", "concat",
    "slice", "pad", "take", "stop_gradient",
)  # fmt: skip
UNARY = ("negative", "exp", "log", "sqrt", "sin", "cos", "tanh", "erf")
BINARY = ("add", "subtract", "multiply", "divide", "pow", "maximum")
COMPARE = ("equal", "less")

FLOPS: dict[str, Formula] = {
    **dict.fromkeys(_FREE, _none),
    **dict.fromkeys(UNARY, _each),
    **dict.fromkeys((*BINARY, *COMPARE), broadcast),
    **dict.fromkeys(("sum", "max"), _reduce),
    "matmul": _matmul,
    "index_add": _index_add,
    "linear": _linear,
    "gelu": _gelu,
    "silu": _silu,
    "softmax": _softmax,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "group_norm": _group_norm,
    "group_norm_silu": _group_norm_silu,
    "modulate": _modulate,
    "gated_residual": _gated_residual,
    "rotary": _rotary,
    "rms_norm_rotary": _rms_norm_rotary,
    "attention": _attention,
    "attention_3d": _attention_3d,
    "conv": _conv,
    "adamw_step": _adamw_step,
}
