"""Sizes that formulas are made of; of arrays only `.shape` and `.dtype` are looked at."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import ml_dtypes  # noqa: F401 - teaches NumPy the name "bfloat16"
import numpy as np

from ...ops import DType

Formula = Callable[..., int]


class Shaped(Protocol):
    """What a formula sees of an array, be it of a library or a box."""

    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102

    @property
    def dtype(self) -> Any: ...  # noqa: D102


def numel(x: Any) -> int:
    """Count the elements of an array; 1 for a number."""
    return math.prod(getattr(x, "shape", ()))


def itemsize(dtype: DType) -> int:
    """Bytes of an element, for a dtype's name or any library's dtype object."""
    return np.dtype(dtype if isinstance(dtype, type) else str(dtype).rpartition(".")[2]).itemsize


def nbytes(x: Any) -> int:
    """Bytes of an array, or of all in a sequence; 0 for a number or None."""
    if isinstance(x, list | tuple):
        return sum(map(nbytes, x))
    return numel(x) * itemsize(x.dtype) if hasattr(x, "dtype") else 0


def broadcast(*xs: Any) -> int:
    """Count the elements of a result whose operands broadcast."""
    return math.prod(np.broadcast_shapes(*(tuple(getattr(x, "shape", ())) for x in xs)))


def rows(x: Shaped) -> int:
    """Count the rows along the last axis."""
    return math.prod(x.shape[:-1])


def conv_places(x: Shaped, weight: Shaped, stride: Sequence[int] | None, padding: Sequence[int] | None) -> int:
    """Count the elements of a convolution's result."""
    n = len(x.shape) - 2
    sizes = zip(x.shape[2:], weight.shape[2:], stride or (1,) * n, padding or (0,) * n, strict=True)
    return int(x.shape[0] * weight.shape[0] * math.prod((size + 2 * p - k) // s + 1 for size, k, s, p in sizes))
