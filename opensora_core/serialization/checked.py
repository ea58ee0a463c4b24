"""Weights that are looked at before they are used: finite, and not too large for what they are cast to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import NonFiniteError
from .names import show
from .on_demand import OnDemand

CHUNK = 2**20  # numbers that are looked at together
FLOAT16 = 65504.0  # its largest number


class Checked(OnDemand[NDArray[Any]]):
    """A mapping of weights, each of which is looked at when it is first asked for.

    dtype: what they will be cast to. NonFiniteError, naming the weight, for NaN, infinity and what float16 cannot hold.
    """

    def __init__(self, weights: Mapping[str, NDArray[Any]], dtype: str | None) -> None:
        super().__init__(weights)
        self._dtype = dtype
        self._seen: set[str] = set()

    def __getitem__(self, name: str) -> NDArray[Any]:
        array: NDArray[Any] = self._source[name]
        if name not in self._seen:
            self._check(name, largest(array))
            self._seen.add(name)
        return array

    def _check(self, name: str, most: float) -> None:
        if not math.isfinite(most):
            raise NonFiniteError(f"the weight {show(name)} holds {most}: was it damaged, or its training divergent?")
        if self._dtype == "float16" and most > FLOAT16:
            raise NonFiniteError(
                f"the weight {show(name)} holds {most:g}, which float16 with at most {FLOAT16:g} cannot: use bfloat16"
            )


def largest(array: NDArray[Any]) -> float:
    """The largest magnitude of floating numbers; where some are not finite, infinity or NaN.

    The bits of a magnitude, read as whole numbers, are in the order of the numbers, those that are not finite the last.
    """
    if not array.size:
        return 0.0
    if not any(array.strides):  # one number, said of all places
        array = array[(slice(1),) * array.ndim]
    kind = np.dtype(f"u{array.dtype.itemsize}")
    bits, magnitude = array.reshape(-1).view(kind), kind.type(2 ** (8 * kind.itemsize - 1) - 1)
    most = max(int((bits[i : i + CHUNK] & magnitude).max()) for i in range(0, bits.size, CHUNK))
    return float(np.array([most], kind).view(array.dtype)[0])
