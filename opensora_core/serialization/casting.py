"""Weights in the precision of a file, cast one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import one_of
from ..registry import DTYPES, get_backend
from .dtypes import is_float

Array = NDArray[Any]


class Cast(Mapping[str, Array]):
    """A mapping of arrays whose floating ones are given in another dtype, each cast when it is asked for."""

    def __init__(self, arrays: Mapping[str, Array], dtype: str) -> None:
        self._arrays, self._dtype = arrays, one_of("dtype", dtype, DTYPES)
        self._host = get_backend("numpy", device="cpu", dtype="float32")  # whatever the environment says

    def __getitem__(self, name: str) -> Array:
        array = self._arrays[name]
        return np.asarray(self._host.astype(array, self._dtype)) if is_float(array.dtype) else array

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)
