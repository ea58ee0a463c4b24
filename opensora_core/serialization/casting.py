"""Weights in the precision of a file, cast one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import one_of
from ..registry import DTYPES, get_backend
from .dtypes import is_float
from .on_demand import OnDemand

Array = NDArray[Any]


class Cast(OnDemand[Array]):
    """A mapping of arrays whose floating ones are given in another dtype, each cast when it is asked for."""

    def __init__(self, arrays: Mapping[str, Array], dtype: str) -> None:
        super().__init__(arrays)
        self._dtype = one_of("dtype", dtype, DTYPES)
        self._host = get_backend("numpy", device="cpu", dtype="float32")  # whatever the environment says

    def __getitem__(self, name: str) -> Array:
        array = self._source[name]
        return np.asarray(self._host.astype(array, self._dtype)) if is_float(array.dtype) else array
