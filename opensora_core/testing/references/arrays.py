"""Making, joining, cutting, contracting and reducing arrays: entry by entry where that is readable."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .extended import Numbers, extended, round_to


@extended
def asarray(x: Any, dtype: str | None = None) -> Numbers:
    """Copy x, rounded to dtype."""
    return np.array(x) if dtype is None else round_to(np.array(x), dtype)


@extended
def to_numpy(x: Numbers) -> Numbers:
    """Copy x."""
    return np.array(x)


@extended
def astype(x: Numbers, dtype: str) -> Numbers:
    """Round to dtype."""
    return round_to(x, dtype)


@extended
def full(shape: Sequence[int], value: float, dtype: str = "float32") -> Numbers:
    """The same value everywhere."""
    return np.reshape(round_to(np.array([value] * math.prod(shape), np.float64), dtype), tuple(shape))


@extended
def arange(stop: int, dtype: str = "float32") -> Numbers:
    """Return 0, 1, ..., stop - 1."""
    return round_to(np.array(list(range(stop)), np.float64), dtype)


# ---------------------------------------------------------------------- contraction and reduction


@extended
def matmul(a: Numbers, b: Numbers) -> Any:
    """Σₖ a[..., i, k] b[..., k, j]."""
    return np.einsum("...ik,...kj->...ij", a, b)


@extended
def sum(x: Numbers, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Any:
    """Elements added one after another along the axes."""
    kept, rows, shape = _rows(x, axis, keepdims)
    running = np.cumsum(np.concatenate([np.zeros((*kept, 1), x.dtype), rows], axis=-1), axis=-1)
    return running[..., -1].reshape(shape)


@extended
def max(x: Numbers, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Any:
    """The last of the sorted elements along the axes."""
    _, rows, shape = _rows(x, axis, keepdims)
    return np.sort(rows, axis=-1)[..., -1].reshape(shape)


def _rows(x: Numbers, axis: int | tuple[int, ...] | None, keepdims: bool) -> tuple[list[int], Numbers, list[int]]:
    """The lengths kept, x with the reduced axes flattened into the last one, and the shape of the result."""
    axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    reduced = sorted(a % x.ndim for a in axes)
    rest = [a for a in range(x.ndim) if a not in reduced]
    kept = [x.shape[a] for a in rest]
    rows = x.transpose(*rest, *reduced).reshape(*kept, math.prod(x.shape[a] for a in reduced))
    return kept, rows, [1 if a in reduced else n for a, n in enumerate(x.shape)] if keepdims else kept


# ---------------------------------------------------------------------- shape


@extended
def reshape(x: Numbers, shape: Sequence[int]) -> Numbers:
    """The elements of x in row-major order, laid into the shape."""
    known = math.prod(n for n in shape if n != -1)
    out = np.empty([x.size // known if n == -1 else n for n in shape], x.dtype)
    out.ravel()[:] = x.ravel()  # a new array is contiguous, so that ravel is a view
    return out


@extended
def permute_dims(x: Numbers, axes: Sequence[int]) -> Any:
    """Axis i of the result is axis axes[i] of x."""
    return np.einsum(x, list(range(x.ndim)), [a % x.ndim for a in axes])


@extended
def broadcast_to(x: Numbers, shape: Sequence[int]) -> Numbers:
    """An array of the shape, filled with x."""
    out = np.empty(tuple(shape), x.dtype)
    out[...] = x
    return out


@extended
def concat(arrays: Sequence[Numbers], axis: int = 0) -> Numbers:
    """Arrays written one after another into one that has room for all."""
    rows = [np.moveaxis(x, axis, 0) for x in arrays]
    out = np.array([row for part in rows for row in part], arrays[0].dtype)
    return np.moveaxis(out.reshape(-1 if out.size else len(out), *rows[0].shape[1:]), 0, axis)


@extended
def slice(x: Numbers, start: Sequence[int], stop: Sequence[int], step: Sequence[int]) -> Numbers:
    """Entries start, start + step, ... of each axis, taken one axis at a time."""
    for axis, places in enumerate(map(range, start, stop, step)):
        x = x.take(np.array(places, np.int64), axis)
    return x


@extended
def pad(x: Numbers, low: Sequence[int], high: Sequence[int], interior: Sequence[int]) -> Numbers:
    """Zeros, with entry i of an axis at place low + i · (interior + 1)."""
    places = [a + np.arange(n) * (gap + 1) for n, a, gap in zip(x.shape, low, interior, strict=True)]
    spread = (n + (n - 1) * gap if n else 0 for n, gap in zip(x.shape, interior, strict=True))
    out = np.zeros([a + n + b for a, n, b in zip(low, spread, high, strict=True)], x.dtype)
    out[np.ix_(*places)] = x
    return out


@extended
def take(x: Numbers, indices: Numbers, axis: int = 0) -> Numbers:
    """One entry of the axis after another."""
    rows = np.moveaxis(x, axis, 0)
    out = np.empty((len(indices), *rows.shape[1:]), x.dtype)
    for place, index in enumerate(indices):
        out[place] = rows[index]
    return np.moveaxis(out, 0, axis)


@extended
def index_add(x: Numbers, indices: Numbers, values: Numbers, axis: int = 0) -> Numbers:
    """Copy x, to which one entry after another is added."""
    out = x.copy()
    rows, news = np.moveaxis(out, axis, 0), np.moveaxis(values, axis, 0)
    for index, new in zip(indices, news, strict=True):
        rows[index] += new
    return out


@extended
def stop_gradient(x: Numbers) -> Numbers:
    """Copy x."""
    return np.array(x)
