"""Shape, dtype and memory of what every primitive gives: one function of the primitive's name for each."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...ops import HALF
from ..box import Box
from .outline import dtype_of

if TYPE_CHECKING:
    from .counter import MemoryCounter

WIDE = 4  # bytes of the float32 in which NumPy computes half precision


def asarray(c: MemoryCounter, x: Any, dtype: Any) -> Box:
    """From the host, with weights among it; an array of the counter's own is cast."""
    if isinstance(x, Box):
        return x if dtype is None else astype(c, x, dtype)
    host = np.asarray(x)
    return c.new(host.shape, host.dtype if dtype is None else dtype, arrived=True)


def astype(c: MemoryCounter, x: Box, dtype: Any) -> Box:
    """The array itself where nothing changes."""
    return x if x.dtype == dtype_of(dtype) else c.new(x.shape, dtype, [x])


def full(c: MemoryCounter, shape: Sequence[int], value: float, dtype: Any) -> Box:
    """New."""
    return c.new(shape, dtype)


def arange(c: MemoryCounter, stop: int, dtype: Any) -> Box:
    """New."""
    return c.new((stop,), dtype)


# ---------------------------------------------------------------------- elementwise


def _widened(c: MemoryCounter, x: Box) -> int:
    """Bytes of the float32 copy that NumPy makes of half precision."""
    return WIDE * x.value.layout.size if c.backend == "numpy" and c.dtype_name(x) in HALF else 0


def _unary(c: MemoryCounter, x: Box) -> Box:
    wide = _widened(c, x)
    c.ledger.passing(2 * wide)  # what goes in and what comes out
    return c.new(x.shape, x.dtype, [x], passing=wide)


def _binary(c: MemoryCounter, a: Any, b: Any) -> Box:
    return _broadcast(c, (a, b), next(x.dtype for x in (a, b) if isinstance(x, Box)))


def _comparison(c: MemoryCounter, a: Any, b: Any) -> Box:
    return _broadcast(c, (a, b), bool)


def _broadcast(c: MemoryCounter, operands: Sequence[Any], dtype: Any) -> Box:
    shape = np.broadcast_shapes(*(getattr(x, "shape", ()) for x in operands))
    return c.new(shape, dtype, operands)


negative = exp = log = sqrt = sin = cos = tanh = erf = _unary
add = subtract = multiply = divide = pow = maximum = _binary
equal = less = _comparison


def where(c: MemoryCounter, condition: Box, a: Any, b: Any) -> Box:
    """New, of the dtype of a or b."""
    return _broadcast(c, (condition, a, b), next(x.dtype for x in (a, b) if isinstance(x, Box)))


# ---------------------------------------------------------------------- contraction and reduction


def matmul(c: MemoryCounter, a: Box, b: Box) -> Box:
    """NumPy widens all three arrays of half precision."""
    shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])
    y = c.new(shape, a.dtype)
    c.ledger.passing(_widened(c, a) + _widened(c, b) + _widened(c, y) - y.value.nbytes)
    c.ledger.passing(_widened(c, y))
    return y


def sum(c: MemoryCounter, x: Box, axis: Any, keepdims: bool) -> Box:
    """NumPy widens half precision."""
    axes = {a % x.ndim for a in (range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis)}
    kept = [1 if i in axes else n for i, n in enumerate(x.shape) if keepdims or i not in axes]
    c.ledger.passing(_widened(c, x))
    return c.new(kept, x.dtype)


max = sum


# ---------------------------------------------------------------------- shape


def reshape(c: MemoryCounter, x: Box, shape: Sequence[int]) -> Box:
    """A view where strides allow it, else a copy."""

    def change(array: NDArray[Any]) -> NDArray[Any]:
        return np.reshape(array, tuple(shape), copy=False)

    try:
        return c.view(x, change)
    except ValueError:
        return c.view(c.dense(x), change)


def permute_dims(c: MemoryCounter, x: Box, axes: Sequence[int]) -> Box:
    """A view."""
    return c.view(x, lambda array: np.transpose(array, tuple(axes)))


def broadcast_to(c: MemoryCounter, x: Box, shape: Sequence[int]) -> Box:
    """A view."""
    return c.view(x, lambda array: np.broadcast_to(array, tuple(shape)))


def slice(c: MemoryCounter, x: Box, start: Sequence[int], stop: Sequence[int], step: Sequence[int]) -> Box:
    """A view."""
    part = tuple(map(builtins.slice, start, stop, step))
    return c.view(x, lambda array: array[part])


def stop_gradient(c: MemoryCounter, x: Box) -> Box:
    """The array itself."""
    return x


def concat(c: MemoryCounter, arrays: Sequence[Box], axis: int) -> Box:
    """New."""
    shape = list(arrays[0].shape)
    shape[axis] = int(np.sum([x.shape[axis] for x in arrays]))
    return c.new(shape, arrays[0].dtype)


def pad(c: MemoryCounter, x: Box, low: Sequence[int], high: Sequence[int], interior: Sequence[int]) -> Box:
    """New."""
    spread = [n + (n - 1) * gap if n else 0 for n, gap in zip(x.shape, interior, strict=True)]
    return c.new([a + n + b for a, n, b in zip(low, spread, high, strict=True)], x.dtype)


def take(c: MemoryCounter, x: Box, indices: Box, axis: int) -> Box:
    """New."""
    shape = list(x.shape)
    shape[axis] = indices.shape[0]
    return c.new(shape, x.dtype)


def index_add(c: MemoryCounter, x: Box, indices: Box, values: Box, axis: int) -> Box:
    """New."""
    return c.new(x.shape, x.dtype)
