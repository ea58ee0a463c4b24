"""The adjoint of take: rows added at places that repeat, always in the same order."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

C_TYPES = {"float32": "float", "float64": "double", "int32": "int", "int64": "long long"}
BLOCK = 128
MOST_BLOCKS = 65535  # along the second axis of a grid


def index_add(xp: Any, get_kernel: Callable[[str, str], Any], out: Any, indices: Any, values: Any) -> None:
    """Add values [K, ...] to the rows of out [N, ...] that indices [K] name; out is dense and is written to.

    xp: CuPy, or what stands in for it. get_kernel: (source, name expression) -> kernel. Indices lie in 0..N-1.
    Raises ValueError for a dtype other than float32, float64, int32 and int64.
    """
    if out.dtype.name not in C_TYPES:
        raise ValueError(f"dtype {out.dtype.name} is not one of {', '.join(C_TYPES)}")
    count, columns = indices.shape[0], math.prod(out.shape[1:])
    if count == 0 or columns == 0:
        return
    keys = xp.sort(indices.astype(np.int64) * count + xp.arange(count))
    grid = (-(-columns // BLOCK), min(count, MOST_BLOCKS))
    args = (keys, xp.ascontiguousarray(values), out, np.int64(count), np.int64(columns))
    get_kernel("index_add.cu", f"index_add<{C_TYPES[out.dtype.name]}>")(grid, (BLOCK,), args)
