"""Runs a call on a backend, and says how far off its result may be.

The rule: the candidate may err at most twice as much as the plain implementation in the same dtype (primitives of the
reference backend, no fused override) and a rounding floor. The floor is what the op itself makes of inputs that move
by one rounding step (so a sum that cancels, or a norm of a nearly constant row, is excused as far as nobody could do
better), plus one rounding of the result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from ..ops import FUSED, Ops
from .strategies import Call
from .table import OpCase

HostArray = NDArray[Any]
SHAKES = 3  # times the inputs are moved to see how sensitive the op is to them


def vanilla(backend: type[Ops]) -> type[Ops]:
    """The same backend with its primitives only: every fused op is the default composition."""
    return type(f"Vanilla{backend.__name__}", (backend,), {name: getattr(Ops, name) for name in FUSED})


def execute(ops: Ops, name: str, call: Call, dtype: str) -> list[HostArray]:
    """Run one op on arrays of `dtype` and return its results on the host; arguments must come out unchanged."""
    host = [_cast(arg, dtype) for arg in call.args]
    placed = [_place(ops, arg, call.layout) for arg in host]
    if name == "asarray":
        result = ops.asarray(lay_out(host[0], call.layout))
    elif name == "compile":
        result = ops.compile(lambda *arrays: placed[0](ops, *arrays))(*placed[1:])
    else:
        result = getattr(ops, name)(*placed)
    for before, after in zip(arrays_in(host), arrays_in(placed), strict=True):
        after = after if isinstance(after, np.ndarray) else ops.to_numpy(after)
        if before.tobytes() != np.ascontiguousarray(after).tobytes():
            raise AssertionError(f"{name} of {ops.name!r} changed an argument of shape {before.shape}")
    return [x if isinstance(x, np.ndarray) else np.asarray(ops.to_numpy(x)) for x in arrays_in([result])]


def check(ops: Ops, reference: Ops, case: OpCase, call: Call, dtype: str) -> None:
    """Raise AssertionError unless the backend's results have the shape, dtype and accuracy of the reference's.

    reference: NumPy primitives with default compositions; float64 on it is the truth.
    """
    truth, plain = _truth(reference, case.name, call, dtype), execute(reference, case.name, call, dtype)
    allowed = allowances(reference, case, call, dtype)
    where = f"{case.name} of {ops.name!r} in {dtype}"
    for got, true, same, limit in zip(execute(ops, case.name, call, dtype), truth, plain, allowed, strict=True):
        assert got.shape == same.shape, f"{where}: shape {got.shape}, not {same.shape}"
        assert got.dtype == same.dtype, f"{where}: dtype {got.dtype}, not {same.dtype}"
        error = _distance(got, true)
        assert error <= limit, f"{where}: error {error:.3g}, allowed {limit:.3g} (result up to {_size(true):.3g})"


def allowances(reference: Ops, case: OpCase, call: Call, dtype: str) -> list[float]:
    """The largest error a candidate may make in each result.

    float64 has no better truth to measure the plain implementation by: its error is that of float32, scaled.
    """
    name, narrow = case.name, "float32" if dtype == "float64" else dtype
    truth = _truth(reference, name, call, dtype)
    if case.exact:
        return [0.0] * len(truth)
    plain, narrow_truth = execute(reference, name, call, narrow), _truth(reference, name, call, narrow)
    shaken = [execute(reference, name, _shake(call, dtype, seed), "float64") for seed in range(SHAKES)]
    info, limits = ml_dtypes.finfo(dtype), []
    for true, a, b, *moved in zip(truth, plain, narrow_truth, *shaken, strict=True):
        error = _distance(a, b) * float(info.eps) / float(ml_dtypes.finfo(narrow).eps)
        size = max(map(_size, arrays_in(list(call.args)))) if case.bounded_by_input else _size(true)
        floor = float(info.eps) * size + float(info.smallest_subnormal) + max(_distance(x, true) for x in moved)
        limits.append(2 * (error + case.steps * floor))
    return limits


def _truth(reference: Ops, name: str, call: Call, dtype: str) -> list[HostArray]:
    """Results in float64 from arguments rounded to dtype."""
    return execute(reference, name, _round(call, dtype), "float64")


def _distance(a: HostArray, b: HostArray) -> float:
    """Largest difference; infinite if only one of two elements is finite."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    difference = np.abs(np.where(same, 0.0, a) - np.where(same, 0.0, b))
    return float(np.max(np.where(np.isnan(difference), np.inf, difference), initial=0.0))


def _size(x: HostArray) -> float:
    return float(np.max(np.abs(np.asarray(x, np.float64)), initial=0.0))


def _round(call: Call, dtype: str) -> Call:
    """Round the floating elements to what dtype can hold."""

    def round_to(x: HostArray) -> HostArray:
        return x.astype(np.dtype(dtype)).astype(np.float64) if x.dtype == np.float64 else x

    return replace(call, args=tuple(_map(round_to, arg) for arg in call.args))


def _shake(call: Call, dtype: str, seed: int) -> Call:
    """Move every floating element by one rounding step of dtype, up or down."""
    rng, eps = np.random.default_rng(seed), float(ml_dtypes.finfo(dtype).eps)

    def shake(x: HostArray) -> HostArray:
        return x * (1 + eps * rng.choice([-1.0, 1.0], x.shape)) if x.dtype == np.float64 else x

    call = _round(call, dtype)
    return replace(call, args=tuple(_map(shake, arg) for arg in call.args))


def _cast(arg: Any, dtype: str) -> Any:
    def cast(x: HostArray) -> HostArray:
        if x.dtype == np.float64 or (x.dtype == np.float32 and dtype == "float64"):
            return x.astype(np.dtype(dtype))
        return x

    return _map(cast, arg)


def _place(ops: Ops, arg: Any, layout: str) -> Any:
    def place(x: HostArray) -> Any:
        y = ops.asarray(lay_out(x, layout))
        if isinstance(y, np.ndarray):
            y.flags.writeable = False
        return y

    return _map(place, arg)


def lay_out(x: HostArray, layout: str) -> HostArray:
    """Copy the array into the named memory layout."""
    if x.ndim == 0 or layout == "plain":
        return x.copy()
    if layout == "transposed":
        return np.asfortranarray(x.copy())
    if layout == "strided":
        return np.repeat(x, 2, axis=-1)[..., ::2]
    flip = (slice(None, None, -1),) * x.ndim
    return x[flip].copy()[flip]


def _map(function: Callable[[HostArray], Any], arg: Any) -> Any:
    """Apply a function to an array, or to those in a list or mapping."""
    if isinstance(arg, np.ndarray | np.generic):
        return function(np.asarray(arg))
    if isinstance(arg, list):
        return [_map(function, x) for x in arg]
    if isinstance(arg, Mapping):
        return {key: _map(function, x) for key, x in arg.items()}
    return arg


def arrays_in(arg: Any) -> list[Any]:
    """Every array in lists, tuples and mappings, in order."""
    if isinstance(arg, list | tuple):
        return [x for item in arg for x in arrays_in(item)]
    if isinstance(arg, Mapping):
        return [x for item in arg.values() for x in arrays_in(item)]
    return [arg] if hasattr(arg, "dtype") else []
