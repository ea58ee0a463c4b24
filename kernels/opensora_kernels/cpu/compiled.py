"""How kernels are compiled: once for a dtype, at their first call, without the interpreter lock, kept on disk.

Numba keeps machine code in NUMBA_CACHE_DIR if it is set, else beside the source, else (a read-only install) in the
user's own cache folder; where none of them can be written, every process compiles anew.

Numba compiles once for every combination of argument types, and a read-only array is another type than a writable one.
`frozen` makes all inputs alike, so that there is one compilation a dtype, and a kernel that wrote into its input would
not compile.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numba
import numpy as np

SUMS = frozenset({"reassoc", "contract", "nsz"})
"""Sums may be taken in another order (many at a time); NaN and infinities keep their meaning."""
STRICT = frozenset({"contract"})
"""The order stands: for code that takes care of its rounding. a * b + c may be rounded once."""

Array = np.ndarray[Any, Any]


def compiled(rounding: frozenset[str]) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function when it is first called; `rounding` says what the compiler may do to arithmetic."""

    def decorate(function: Callable[..., Any]) -> Any:
        # error_model: a division by zero gives an infinity, as in NumPy, and needs no branch
        options: dict[str, Any] = {"nogil": True, "fastmath": set(rounding), "error_model": "numpy"}
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError:  # no folder to keep machine code in
            return numba.njit(**options)(function)

    return decorate


def frozen(x: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return x as a read-only array of this shape and dtype in row-major order; copied only where it is not one."""
    view = np.ascontiguousarray(x, dtype).reshape(shape).view()
    view.flags.writeable = False
    return view


def row_numbers(a: Any, x: Any) -> Array:
    """Of every row of x, the number of the row of `a` that meets it, if all axes but the last broadcast."""
    return _row_numbers(a.shape[:-1], x.shape[:-1])


@lru_cache(maxsize=16)
def _row_numbers(leading: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    numbers = np.broadcast_to(np.arange(math.prod(leading)).reshape(leading), shape)
    return frozen(numbers, (-1,), np.dtype(np.int64))
