"""array_api_strict as a backend of Open-Sora: the 34 primitives, in the words of the array API standard alone.

The library implements the standard and refuses whatever goes beyond. `erf`, `pad` and `index_add`, for which it has
no word, are written out here; half precision it does not have.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import array_api_strict as xp
import numpy as np

from opensora_core.errors import InvalidInputError
from opensora_core.interpose import Interposer
from opensora_core.ops import Array, Axis, DType, Ops

_ERF = np.vectorize(math.erf, otypes=[np.float64])


def _name(dtype: DType) -> str:
    return str(dtype).rpartition(".")[2]


def _dtype(dtype: DType) -> Any:
    try:
        return getattr(xp, _name(dtype))
    except AttributeError as error:
        raise InvalidInputError(f"the array API standard has no {dtype}; take float32 or float64") from error


class StandardPrimitives(Ops):
    """Arrays are array_api_strict.Array on its one device, in float64 and float32."""

    name = "array_api_strict"

    def __init__(self, device: str = "cpu", dtype: str = "float32") -> None:
        if device != "cpu":
            raise InvalidInputError(f"array_api_strict runs on device 'cpu', not {device!r}")
        _dtype(dtype)
        super().__init__(device, dtype)

    # ------------------------------------------------------------------ data

    def asarray(self, x: Any, dtype: DType | None = None) -> Array:
        if isinstance(x, type(xp.asarray(0))):
            return x if dtype is None else self.astype(x, dtype)
        host = np.asarray(x)
        wanted = _dtype(host.dtype.name if dtype is None else dtype)
        return xp.asarray(host.astype(_name(wanted), copy=False))  # the weights in a file may be half precision

    def to_numpy(self, x: Array) -> Any:
        return np.asarray(x)

    def astype(self, x: Array, dtype: DType) -> Array:
        return xp.astype(x, _dtype(dtype), copy=False)

    def full(self, shape: Sequence[int], value: float, dtype: DType = "float32") -> Array:
        return xp.full(tuple(shape), value, dtype=_dtype(dtype))

    def arange(self, stop: int, dtype: DType = "float32") -> Array:
        return xp.arange(stop, dtype=_dtype(dtype))

    # ------------------------------------------------------------------ elementwise

    def negative(self, x: Array) -> Array:
        return xp.negative(x)

    def exp(self, x: Array) -> Array:
        return xp.exp(x)

    def log(self, x: Array) -> Array:
        return xp.log(x)

    def sqrt(self, x: Array) -> Array:
        return xp.sqrt(x)

    def sin(self, x: Array) -> Array:
        return xp.sin(x)

    def cos(self, x: Array) -> Array:
        return xp.cos(x)

    def tanh(self, x: Array) -> Array:
        return xp.tanh(x)

    def erf(self, x: Array) -> Array:
        return xp.astype(xp.asarray(_ERF(np.asarray(x))), x.dtype)

    def add(self, a: Array, b: Array) -> Array:
        return xp.add(a, b)

    def subtract(self, a: Array, b: Array) -> Array:
        return xp.subtract(a, b)

    def multiply(self, a: Array, b: Array) -> Array:
        return xp.multiply(a, b)

    def divide(self, a: Array, b: Array) -> Array:
        return xp.divide(a, b)

    def pow(self, a: Array, b: Array) -> Array:
        return xp.pow(a, b)

    def maximum(self, a: Array, b: Array) -> Array:
        return xp.maximum(a, b)

    def equal(self, a: Array, b: Array) -> Array:
        return xp.equal(a, b)

    def less(self, a: Array, b: Array) -> Array:
        return xp.less(a, b)

    def where(self, condition: Array, a: Array, b: Array) -> Array:
        return xp.where(condition, a, b)

    # ------------------------------------------------------------------ contraction and reduction

    def matmul(self, a: Array, b: Array) -> Array:
        return xp.matmul(a, b)

    def sum(self, x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
        return xp.sum(x, axis=axis, dtype=x.dtype, keepdims=keepdims)

    def max(self, x: Array, axis: Axis = None, keepdims: bool = False) -> Array:
        return xp.max(x, axis=axis, keepdims=keepdims)

    # ------------------------------------------------------------------ shape

    def reshape(self, x: Array, shape: Sequence[int]) -> Array:
        return xp.reshape(x, tuple(shape))

    def permute_dims(self, x: Array, axes: Sequence[int]) -> Array:
        return xp.permute_dims(x, tuple(axes))

    def broadcast_to(self, x: Array, shape: Sequence[int]) -> Array:
        return xp.broadcast_to(x, tuple(shape))

    def concat(self, arrays: Sequence[Array], axis: int = 0) -> Array:
        return xp.concat(list(arrays), axis=axis)

    def slice(self, x: Array, start: Sequence[int], stop: Sequence[int], step: Sequence[int]) -> Array:
        return x[tuple(map(slice, start, stop, step))]

    def pad(self, x: Array, low: Sequence[int], high: Sequence[int], interior: Sequence[int]) -> Array:
        spread = [n + max(n - 1, 0) * gap for n, gap in zip(x.shape, interior, strict=True)]
        out = xp.zeros(tuple(a + n + b for a, n, b in zip(low, spread, high, strict=True)), dtype=x.dtype)
        out[tuple(slice(a, a + n, gap + 1) for a, n, gap in zip(low, spread, interior, strict=True))] = x
        return out

    def take(self, x: Array, indices: Array, axis: int = 0) -> Array:
        return xp.take(x, indices, axis=axis)

    def index_add(self, x: Array, indices: Array, values: Array, axis: int = 0) -> Array:
        out = xp.moveaxis(xp.asarray(x, copy=True), axis, 0)
        values = xp.moveaxis(values, axis, 0)
        for i in range(indices.shape[0]):
            at = (int(indices[i]), ...)
            out[at] = out[at] + values[i, ...]
        return xp.moveaxis(out, 0, axis)

    def stop_gradient(self, x: Array) -> Array:
        return x


class ArrayApiOps(Interposer):
    """The backend: StandardPrimitives with the operators of the language; the standard's refuse `x[0]` for a matrix."""

    def __init__(self, device: str = "cpu", dtype: str = "float32") -> None:
        super().__init__(StandardPrimitives(device, dtype))
        self.name = "array_api_strict"
