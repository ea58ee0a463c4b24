"""Arrays without numbers: a shape, a dtype, how they would lie in memory, and how many bytes that is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Dtype = np.dtype[Any]


def dtype_of(dtype: Any) -> Dtype:
    """NumPy's object for a dtype's name, bfloat16 among them."""
    found: Dtype = np.dtype(ml_dtypes.bfloat16 if str(dtype) == "bfloat16" else dtype)
    return found


class Ledger:
    """Bytes that live at the moment, of those the ones that came from files or the host, and the most of each."""

    def __init__(self) -> None:
        self.live = self.peak = self.arrived = self.most_arrived = 0

    def add(self, size: int, arrived: bool) -> None:
        """Note new memory, or with a negative size memory that goes."""
        self.live += size
        self.peak = max(self.peak, self.live)
        if arrived:
            self.arrived += size
            self.most_arrived = max(self.most_arrived, self.arrived)

    def begin(self) -> None:
        """Count the most anew, from what lives now."""
        self.peak, self.arrived, self.most_arrived = self.live, 0, 0

    def passing(self, size: int) -> None:
        """Note memory that an op takes while it runs."""
        self.peak = max(self.peak, self.live + size)


class Storage:
    """Memory that one array or several views of it share; it goes with the last of them."""

    __slots__ = ("_arrived", "_ledger", "_size")

    def __init__(self, ledger: Ledger, size: int, arrived: bool = False) -> None:
        self._ledger, self._size, self._arrived = ledger, size, arrived
        ledger.add(size, arrived)

    def __del__(self) -> None:
        self._ledger.add(-self._size, self._arrived)


class Outline:
    """An array of a shape, dtype and strides over memory that is only counted.

    layout: a NumPy array of these, whose numbers must not be read: they are not there. So NumPy knows what is a view.
    """

    __slots__ = ("layout", "storage")

    def __init__(self, layout: NDArray[Any], storage: Storage) -> None:
        self.layout, self.storage = layout, storage

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return self.layout.shape

    @property
    def dtype(self) -> Dtype:
        """Of the numbers."""
        return self.layout.dtype

    @property
    def nbytes(self) -> int:
        """What a copy would take."""
        return self.layout.nbytes

    def view(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Outline:
        """Another look at the same memory. Raises ValueError where only a copy could look so."""
        return Outline(change(self.layout), self.storage)


def layout(shape: Sequence[int], dtype: Dtype, order: Sequence[int] | None = None) -> NDArray[Any]:
    """An array without memory, dense, its axes in memory from slow to fast as `order` says."""
    order = range(len(shape)) if order is None else order
    strides, step = [0] * len(shape), dtype.itemsize
    for axis in reversed(list(order)):
        strides[axis] = step
        step *= max(1, shape[axis])
    return np.lib.stride_tricks.as_strided(np.empty(1, dtype), tuple(shape), strides)


def order_of(shape: Sequence[int], operands: Sequence[Outline]) -> list[int] | None:
    """Axes from slow to fast of an elementwise result: those of the first operand of its shape, whole in memory."""
    for operand in operands:
        strides = operand.layout.strides
        if operand.shape == tuple(shape) and all(s or n == 1 for s, n in zip(strides, shape, strict=True)):
            return sorted(range(len(shape)), key=lambda axis: -strides[axis])
    return None


def size_of(shape: Sequence[int], dtype: Dtype) -> int:
    """Bytes of an array."""
    return math.prod(shape) * dtype.itemsize
