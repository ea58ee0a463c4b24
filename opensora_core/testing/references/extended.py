"""How a reference computes: in the widest floats NumPy has, from float64 and back to float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]
Reference = Callable[..., Any]


def extended(formula: Reference) -> Reference:
    """Give a formula its floating arrays in extended precision (80 bits on x86, else float64); return float64.

    The truth is then right to the last bit of float64, also where a sum cancels. What overflows is infinite, silently.
    Complex numbers stay complex, which is how derivatives are taken (see `programs.value_and_grad`).
    """

    @wraps(formula)
    def run(*args: Any, **kwargs: Any) -> Any:
        with np.errstate(over="ignore", under="ignore", divide="ignore"):
            result = formula(*map(_widen, args), **{name: _widen(arg) for name, arg in kwargs.items()})
            return _narrow(np.asarray(result))

    return run


def _widen(arg: Any) -> Any:
    if isinstance(arg, list):
        return [_widen(x) for x in arg]
    if not isinstance(arg, np.ndarray | np.generic):
        return arg
    x = np.asarray(arg)
    if x.dtype.kind == "c":
        return x.astype(np.clongdouble)
    return x if x.dtype.kind in "biu" else x.astype(np.longdouble)


def _narrow(x: Numbers) -> Numbers:
    if x.dtype.kind == "c":
        return x.astype(np.complex128)
    return x if x.dtype.kind in "biu" else x.astype(np.float64)


FORMATS = {  # bits of the significand, exponent of the smallest subnormal, largest finite value
    "float64": (53, -1074, float(np.finfo(np.float64).max)),
    "float32": (24, -149, (2 - 2.0**-23) * 2.0**127),
    "bfloat16": (8, -133, (2 - 2.0**-7) * 2.0**127),
    "float16": (11, -24, 65504.0),
}


def round_to(x: Numbers, dtype: str) -> Numbers:
    """Round to what a dtype can hold, to nearest with ties to even; whole numbers are cut off towards zero."""
    if dtype == "bool":
        return np.asarray(x != 0)
    if dtype not in FORMATS:
        return np.trunc(x).astype(dtype)
    bits, lowest, largest = FORMATS[dtype]
    wide = np.asarray(x, np.longdouble)
    exponent = np.maximum(np.frexp(wide)[1] - bits, lowest)  # of the last bit kept
    rounded = np.ldexp(np.rint(np.ldexp(wide, -exponent)), exponent)
    return np.asarray(np.where(np.abs(rounded) > largest, np.copysign(np.inf, wide), rounded))


def floats_in(params: Mapping[str, Numbers]) -> dict[str, Numbers]:
    """Copy a mapping's arrays to float64."""
    return {name: np.asarray(x, np.float64) for name, x in params.items()}
