"""The adjoint of take: rows added at places that repeat, always in the same order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .launching import MOST_ACROSS, GetKernel, ceil_div, fitted, launch

C_TYPES = {"float32": "float", "float64": "double", "int32": "int", "int64": "long long"}
BLOCK = 128


def index_add(xp: Any, get_kernel: GetKernel, out: Any, indices: Any, values: Any) -> None:
    """Add values [K, ...] to the rows of out [N, ...] that indices [K] name; out is dense and is written to.

    xp: CuPy, or what stands in for it. get_kernel: see `launching.GetKernel`. Indices count from the end
    if negative; values for rows that are not there are dropped, as only the device knows of them.
    Raises ValueError for a dtype other than float32, float64, int32 and int64, and for shapes that do not fit.
    """
    if out.dtype.name not in C_TYPES:
        raise ValueError(f"dtype {out.dtype.name} is not one of {', '.join(C_TYPES)}")
    if indices.ndim != 1:
        raise ValueError(f"indices have shape {indices.shape}: expected one axis")
    (rows, *others), count = out.shape, indices.shape[0]
    values = fitted(xp, "values", values, (count, *others), out.dtype)
    columns = math.prod(others)
    if out.size == 0 or count == 0:
        return
    places = indices.astype(np.int64)
    places = xp.where(places < 0, places + rows, places)
    places = xp.where(
        (places < 0) | (places > rows), rows, places
    )  # none of ours, and so sorted to the end, where the kernel stops
    keys = xp.sort(places * count + xp.arange(count))
    grid = (ceil_div(columns, BLOCK), min(count, MOST_ACROSS))
    args = (keys, values, out, *map(np.int64, (count, rows, columns)))
    launch(get_kernel("index_add.cu", f"index_add<{C_TYPES[out.dtype.name]}>"), grid, (BLOCK,), args)
