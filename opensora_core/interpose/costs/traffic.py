"""Bytes that every op but the two that take functions moves at least."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ...ops import Axis, DType
from .arithmetic import BINARY, COMPARE, UNARY
from .sizes import Formula, Shaped, broadcast, conv_places, itemsize, nbytes, numel, rows


def _nothing(*_: Any) -> int:
    return 0


def _like_first(x: Shaped, *others: Any) -> int:
    return nbytes(x) + nbytes(others) + nbytes(x)


def _transfer(x: Any, dtype: DType | None = None) -> int:
    x = x if hasattr(x, "dtype") else np.asarray(x)
    return numel(x) * itemsize(x.dtype if dtype is None else dtype)


def _cast(x: Shaped, dtype: DType) -> int:
    return 0 if _same(x.dtype, dtype) else numel(x) * (itemsize(x.dtype) + itemsize(dtype))


def _same(a: DType, b: DType) -> bool:
    names = (d.__name__ if isinstance(d, type) else str(d).rpartition(".")[2] for d in (a, b))
    return len(set(names)) == 1


def _full(shape: Sequence[int], value: float, dtype: DType = "float32") -> int:
    return math.prod(shape) * itemsize(dtype)


def _arange(stop: int, dtype: DType = "float32") -> int:
    return stop * itemsize(dtype)


def _combined(*operands: Any) -> int:
    wide = next(itemsize(x.dtype) for x in operands if hasattr(x, "dtype"))
    return nbytes(operands) + broadcast(*operands) * wide


def _compared(a: Any, b: Any) -> int:
    return nbytes((a, b)) + broadcast(a, b)


def _chosen(condition: Shaped, a: Any, b: Any) -> int:
    wide = next(itemsize(x.dtype) for x in (a, b) if hasattr(x, "dtype"))
    return nbytes((condition, a, b)) + broadcast(condition, a, b) * wide


def _multiplied(a: Shaped, b: Shaped) -> int:
    return nbytes((a, b)) + _product_size(a, b) * itemsize(a.dtype)


def _product_size(a: Shaped, b: Shaped) -> int:
    return math.prod(np.broadcast_shapes(a.shape[:-2], b.shape[:-2])) * a.shape[-2] * b.shape[-1]


def _reduced(x: Shaped, axis: Axis = None, keepdims: bool = False) -> int:
    ndim = len(x.shape)
    axes = range(ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    gone = {a % ndim for a in axes}
    return nbytes(x) + math.prod(n for a, n in enumerate(x.shape) if a not in gone) * itemsize(x.dtype)


def _joined(arrays: Iterable[Shaped], axis: int = 0) -> int:
    return 2 * nbytes(list(arrays))


def _padded(x: Shaped, low: Sequence[int], high: Sequence[int], interior: Sequence[int]) -> int:
    sizes = zip(x.shape, low, high, interior, strict=True)
    out = math.prod(n + max(n - 1, 0) * gap + before + after for n, before, after, gap in sizes)
    return nbytes(x) + out * itemsize(x.dtype)


def _taken(x: Shaped, indices: Shaped, axis: int = 0) -> int:
    kept = math.prod(n for a, n in enumerate(x.shape) if a != axis % len(x.shape))
    return nbytes(indices) + 2 * numel(indices) * kept * itemsize(x.dtype)


def _projected(x: Shaped, weight: Shaped, bias: Shaped | None = None) -> int:
    return nbytes((x, weight, bias)) + rows(x) * weight.shape[0] * itemsize(x.dtype)


def _attended(q: Shaped, k: Shaped, v: Shaped, mask: Shaped | None = None, scale: float | None = None) -> int:
    batch = np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    return nbytes((q, k, v, mask)) + math.prod(batch) * q.shape[-2] * v.shape[-1] * itemsize(v.dtype)


def _attended_3d(qkv: Shaped, pattern: str, *tables: Shaped | None) -> int:
    return nbytes((qkv, *tables)) + nbytes(qkv) // 3


def _convolved(
    x: Shaped,
    weight: Shaped,
    bias: Shaped | None = None,
    stride: Sequence[int] | None = None,
    padding: Sequence[int] | None = None,
) -> int:
    return nbytes((x, weight, bias)) + conv_places(x, weight, stride, padding) * itemsize(x.dtype)


def _updated(param: Shaped, grad: Shaped, mean: Shaped, square: Shaped, *others: Any) -> int:
    return 2 * nbytes((param, mean, square)) + nbytes(grad) + nbytes(others)


_VIEWS = ("reshape", "permute_dims", "broadcast_to", "slice", "stop_gradient")
_SHAPED = (
    *UNARY, "index_add", "gelu", "silu", "softmax", "layer_norm", "rms_norm", "group_norm", "modulate",
    "group_norm_silu", "gated_residual", "rotary", "rms_norm_rotary",
)  # fmt: skip

BYTES: dict[str, Formula] = {
    **dict.fromkeys(_VIEWS, _nothing),
    **dict.fromkeys(_SHAPED, _like_first),
    **dict.fromkeys(BINARY, _combined),
    **dict.fromkeys(COMPARE, _compared),
    **dict.fromkeys(("sum", "max"), _reduced),
    **dict.fromkeys(("asarray", "to_numpy"), _transfer),
    "astype": _cast,
    "full": _full,
    "arange": _arange,
    "where": _chosen,
    "matmul": _multiplied,
    "concat": _joined,
    "pad": _padded,
    "take": _taken,
    "linear": _projected,
    "attention": _attended,
    "attention_3d": _attended_3d,
    "conv": _convolved,
    "adamw_step": _updated,
}
