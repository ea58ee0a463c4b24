"""NumPy: the reference interpreter. float64, float32, and half precision with float32 arithmetic inside.

NumPy has no fast half-precision loops and would accumulate sums in half precision, so contractions and reductions of
float16 and bfloat16 (ml_dtypes) run in float32 and are cast back.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from opensora_core.errors import InvalidInputError
from opensora_core.ops import Array, Axis, DType

from .numpy_fused import NumpyFused, is_half


def _np_dtype(dtype: DType) -> np.dtype[Any]:
    return np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)


@functools.cache
def _name(dtype: np.dtype[Any]) -> str:
    return str(dtype)  # which takes NumPy 2 µs


def _alike(a: Array, b: Array) -> tuple[Array, Array]:
    """Give a Python number beside a half-precision array its dtype: ml_dtypes would promote to float32."""
    if isinstance(b, (int, float)):
        return (a, np.asarray(b, a.dtype)) if isinstance(a, np.ndarray) and is_half(a) else (a, b)
    if isinstance(a, (int, float)):
        return (np.asarray(a, b.dtype), b) if is_half(b) else (a, b)
    return a, b


def _unary(function: Callable[[Array], Array], x: Array) -> Array:
    """Apply an elementwise function; through float32 for bfloat16, whose own loops are 2 to 18 times slower."""
    return function(x.astype(np.float32)).astype(x.dtype) if x.dtype == ml_dtypes.bfloat16 else function(x)


class NumpyOps(NumpyFused):
    """Arrays are np.ndarray on the host."""

    name = "numpy"

    def __init__(self, device: str = "cpu", dtype: str = "float32") -> None:
        if device != "cpu":
            raise InvalidInputError(f"the {self.name} backend runs on device 'cpu', not {device!r}")
        super().__init__(device, dtype)

    def dtype_name(self, x: Array) -> str:
        return _name(x.dtype)

    # ------------------------------------------------------------------ data

    def asarray(self, x: Any, dtype: DType | None = None) -> Array:
        return np.asarray(x, None if dtype is None else _np_dtype(dtype))

    def to_numpy(self, x: Array) -> Any:
        return np.asarray(x)

    def astype(self, x: Array, dtype: DType) -> Array:
        return np.asarray(x).astype(_np_dtype(dtype), copy=False)

    def full(self, shape: Sequence[int], value: float, dtype: DType = "float32") -> Array:
        return np.full(tuple(shape), value, _np_dtype(dtype))

    def arange(self, stop: int, dtype: DType = "float32") -> Array:
        return np.arange(stop).astype(_np_dtype(dtype))

    # ------------------------------------------------------------------ elementwise

    def negative(self, x: Array) -> Array:
        return np.negative(x)

    def exp(self, x: Array) -> Array:
        return _unary(np.exp, x)

    def log(self, x: Array) -> Array:
        return _unary(np.log, x)

    def sqrt(self, x: Array) -> Array:
        return _unary(np.sqrt, x)

    def sin(self, x: Array) -> Array:
        return _unary(np.sin, x)

    def cos(self, x: Array) -> Array:
        return _unary(np.cos, x)

    def tanh(self, x: Array) -> Array:
        return _unary(np.tanh, x)

    def erf(self, x: Array) -> Array:
        wide = np.asarray(x, np.float64)
        return np.asarray(_ERF(wide), np.float64).reshape(wide.shape).astype(x.dtype)

    def add(self, a: Array, b: Array) -> Array:
        return np.add(*_alike(a, b))

    def subtract(self, a: Array, b: Array) -> Array:
        return np.subtract(*_alike(a, b))

    def multiply(self, a: Array, b: Array) -> Array:
        return np.multiply(*_alike(a, b))

    def divide(self, a: Array, b: Array) -> Array:
        return np.divide(*_alike(a, b))

    def pow(self, a: Array, b: Array) -> Array:
        return np.power(*_alike(a, b))

    def maximum(self, a: Array, b: Array) -> Array:
        return np.maximum(*_alike(a, b))

    def equal(self, a: Array, b: Array) -> Array:
        return np.equal(a, b)

    def less(self, a: Array, b: Array) -> Array:
        return np.less(a, b)

    def where(self, condition: Array, a: Array, b: Array) -> Array:
        dtype = next(v.dtype for v in (a, b) if isinstance(v, np.ndarray | np.generic))
        return np.where(condition, np.asarray(a, dtype), np.asarray(b, dtype))

    # ------------------------------------------------------------------ contraction and reduction

    def matmul(self, a: Array, b: Array) -> Array:
        if is_half(a):
            return np.matmul(a.astype(np.float32), b.astype(np.float32)).astype(a.dtype)
        return np.matmul(a, b)

    def sum(self, x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
        if is_half(x):
            return np.sum(x.astype(np.float32), axis=axis, keepdims=keepdims).astype(x.dtype)
        return np.sum(x, axis=axis, keepdims=keepdims, dtype=x.dtype)

    def max(self, x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
        if is_half(x):
            return np.max(x.astype(np.float32), axis=axis, keepdims=keepdims).astype(x.dtype)  # 4 to 15 times faster
        return np.max(x, axis=axis, keepdims=keepdims)

    # ------------------------------------------------------------------ shape

    def reshape(self, x: Array, shape: Sequence[int]) -> Array:
        return np.reshape(x, tuple(shape))

    def permute_dims(self, x: Array, axes: Sequence[int]) -> Array:
        return np.transpose(x, tuple(axes))

    def broadcast_to(self, x: Array, shape: Sequence[int]) -> Array:
        return np.broadcast_to(x, tuple(shape))

    def concat(self, arrays: Sequence[Array], axis: int = 0) -> Array:
        return np.concatenate(list(arrays), axis=axis)

    def slice(self, x: Array, start: Sequence[int], stop: Sequence[int], step: Sequence[int]) -> Array:
        return x[tuple(map(slice, start, stop, step))]

    def pad(self, x: Array, low: Sequence[int], high: Sequence[int], interior: Sequence[int]) -> Array:
        spread = [n + max(n - 1, 0) * gap for n, gap in zip(x.shape, interior, strict=True)]
        out = np.zeros([a + n + b for a, n, b in zip(low, spread, high, strict=True)], x.dtype)
        out[tuple(slice(a, a + n, gap + 1) for a, n, gap in zip(low, spread, interior, strict=True))] = x
        return out

    def take(self, x: Array, indices: Array, axis: int = 0) -> Array:
        return np.take(x, indices, axis=axis)

    def index_add(self, x: Array, indices: Array, values: Array, axis: int = 0) -> Array:
        out = np.moveaxis(np.array(x, np.float32 if is_half(x) else x.dtype), axis, 0)
        np.add.at(out, indices, np.moveaxis(values, axis, 0))
        return np.moveaxis(out, 0, axis).astype(x.dtype, copy=False)

    def stop_gradient(self, x: Array) -> Array:
        return x


_ERF = np.vectorize(math.erf, otypes=[np.float64])
