"""Runs one call of an op on a backend: arguments in the dtype and memory layout asked for, results on the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    """Run one op on arrays of `dtype` and return its results on the host; arguments must come out unchanged."""
    host = [cast(arg, dtype) for arg in call.args]
    placed = [place(ops, name, arg, call.layout) for arg in host]
    result = invoke(ops, name, placed)
    for before, after in zip(arrays_in(host), arrays_in(placed), strict=True):
        if before.tobytes() != np.ascontiguousarray(on_host(ops, after)).tobytes():
            raise AssertionError(f"{name} of {ops.name!r} changed an argument of shape {before.shape}")
    return [on_host(ops, x) for x in arrays_in([result])]


def invoke(ops: Ops, name: str, args: Sequence[Any]) -> Any:
    """Call an op by name; "compile" also calls what it returns.

    For a name that is no op, the first argument is a function, which is called with ops and the other arguments.
    """
    if name == "compile":
        function = args[0]
        return ops.compile(lambda *arrays: function(ops, *arrays))(*args[1:])
    if name in (*PRIMITIVES, *FUSED):
        return getattr(ops, name)(*args)
    return args[0](ops, *args[1:])


def cast(arg: Any, dtype: str) -> Any:
    """Bring what stands for the dtype under test to it: float64 arrays, and float32 ones to float64."""

    def to_dtype(x: HostArray) -> HostArray:
        if x.dtype == np.float64 or (x.dtype == np.float32 and dtype == "float64"):
            return x.astype(np.dtype(dtype))
        return x

    return map_arrays(to_dtype, arg)


def place(ops: Ops, name: str, arg: Any, layout: str) -> Any:
    """Put an argument of the op `name` on the backend, read-only where it is NumPy's; "asarray" takes host arrays."""

    def put(x: HostArray) -> Any:
        laid = lay_out(x, layout)
        y = laid if name == "asarray" else ops.asarray(laid)
        if isinstance(y, np.ndarray):
            y.flags.writeable = False
        return y

    return map_arrays(put, arg)


def on_host(ops: Ops, x: Any) -> HostArray:
    """The array, or the backend's, as NumPy's."""
    return x if isinstance(x, np.ndarray) else np.asarray(ops.to_numpy(x))


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
