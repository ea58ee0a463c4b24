"""Runs one call of an op on a backend: arguments in the dtype and memory layout asked for, results on the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import ml_dtypes  # noqa: F401 - teaches NumPy the name "bfloat16"
import numpy as np
from numpy.typing import NDArray

from ..ops import FUSED, PRIMITIVES, Ops
from ..registry import get_backend
from .strategies import Call

HostArray = NDArray[Any]


def vanilla(backend: type[Ops]) -> type[Ops]:
    """The same backend with its primitives only: every fused op is the default composition."""
    return type(f"Vanilla{backend.__name__}", (backend,), {name: getattr(Ops, name) for name in FUSED})


@cache
def plain() -> Ops:
    """The plain implementation, by which rounding is judged: NumPy's primitives, every fused op by its composition."""
    return vanilla(type(get_backend("numpy", device="cpu", dtype="float32")))()


@np.errstate(all="ignore")  # what overflows is judged by its value
def execute(ops: Ops, name: str, call: Call, dtype: str) -> list[HostArray]:
    """Run one op on arrays of `dtype` and return its results on the host; arguments must come out unchanged.

    For a name that is no op, the first argument is a function, to be called with ops and the other arguments.
    """
    host = [cast(arg, dtype) for arg in call.args]
    placed = [_place(ops, arg, call.layout) for arg in host]
    if name == "asarray":
        result = ops.asarray(lay_out(host[0], call.layout))
    elif name == "compile":
        result = ops.compile(lambda *arrays: placed[0](ops, *arrays))(*placed[1:])
    elif name in (*PRIMITIVES, *FUSED):
        result = getattr(ops, name)(*placed)
    else:  # a block, which the call brings along
        result = placed[0](ops, *placed[1:])
    for before, after in zip(arrays_in(host), arrays_in(placed), strict=True):
        after = after if isinstance(after, np.ndarray) else ops.to_numpy(after)
        if before.tobytes() != np.ascontiguousarray(after).tobytes():
            raise AssertionError(f"{name} of {ops.name!r} changed an argument of shape {before.shape}")
    return [x if isinstance(x, np.ndarray) else np.asarray(ops.to_numpy(x)) for x in arrays_in([result])]


def cast(arg: Any, dtype: str) -> Any:
    """Bring what stands for the dtype under test to it: float64 arrays, and float32 ones to float64."""

    def to_dtype(x: HostArray) -> HostArray:
        if x.dtype == np.float64 or (x.dtype == np.float32 and dtype == "float64"):
            return x.astype(np.dtype(dtype))
        return x

    return map_arrays(to_dtype, arg)


def _place(ops: Ops, arg: Any, layout: str) -> Any:
    def place(x: HostArray) -> Any:
        y = ops.asarray(lay_out(x, layout))
        if isinstance(y, np.ndarray):
            y.flags.writeable = False
        return y

    return map_arrays(place, arg)


def lay_out(x: HostArray, layout: str) -> HostArray:
    """Copy the array into the named memory layout."""
    if layout == "read-only":
        x = x.copy()
        x.flags.writeable = False
        return x
    if x.ndim == 0 or layout == "plain":
        return x.copy()
    if layout == "transposed":
        return np.asfortranarray(x.copy())
    if layout == "strided":
        return np.repeat(x, 2, axis=-1)[..., ::2]
    flip = (slice(None, None, -1),) * x.ndim
    return x[flip].copy()[flip]


def map_arrays(function: Callable[[HostArray], Any], arg: Any) -> Any:
    """Apply a function to an array, or to those in a list or mapping."""
    if isinstance(arg, np.ndarray | np.generic):
        return function(np.asarray(arg))
    if isinstance(arg, list):
        return [map_arrays(function, x) for x in arg]
    if isinstance(arg, Mapping):
        return {key: map_arrays(function, x) for key, x in arg.items()}
    return arg


def arrays_in(arg: Any) -> list[Any]:
    """Every array in lists, tuples and mappings, in order."""
    if isinstance(arg, list | tuple):
        return [x for item in arg for x in arrays_in(item)]
    if isinstance(arg, Mapping):
        return [x for item in arg.values() for x in arrays_in(item)]
    return [arg] if hasattr(arg, "dtype") else []
