"""Calls an op or a program on a backend, twice, and notes everything that is wrong with it."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...accuracy import largest_distance
from ...ops import PRIMITIVES, Ops
from ..running import HostArray, arrays_in, cast, invoke, on_host, place
from ..strategies import Call

PROGRAM = "program"  # the name under which a function of (ops, *arrays) is called
VIEWS = ("asarray", "to_numpy", "astype", "reshape", "permute_dims", "broadcast_to", "slice", "stop_gradient")
"""Ops that may return their argument or a view of it, as their docstrings say."""


@dataclass(frozen=True)
class Expected:
    """What one result must be: the truth in float64, how far off it may be, and what the plain implementation gives.

    Elements of which the plain implementation gets no finite number, or one where there is none, are not judged.
    """

    truth: HostArray
    limit: float
    plain: HostArray

    @property
    def dtype(self) -> np.dtype[Any]:
        """The right dtype."""
        return self.plain.dtype


@dataclass(frozen=True)
class Observation:
    """What was seen of one call. wrong: by aspect, what is amiss. lacks: the primitive without which it did not run."""

    wrong: dict[str, str]
    lacks: str | None = None


def observe(ops: Ops, name: str, call: Call, dtype: str, expected: Sequence[Expected]) -> Observation:
    """Call the op `name` (or the PROGRAM) on arrays of dtype and compare with what is expected; never raises."""
    host = [cast(arg, dtype) for arg in call.args]
    try:
        placed = [place(ops, name, arg, call.layout) for arg in host]
        wrong = _look(ops, name, host, placed, expected)
    except (Exception, SystemExit) as error:  # a backend under test may fail in any way
        lacks = _missing_primitive(ops, error)
        if lacks is not None and lacks != name:
            return Observation({}, lacks)
        if "read-only" in str(error):
            return Observation({"inputs": f"{name} writes into an argument: {error}"})
        return Observation({"runs": _describe(error)})
    return Observation(wrong)


def _look(ops: Ops, name: str, host: list[Any], placed: list[Any], expected: Sequence[Expected]) -> dict[str, str]:
    results = arrays_in([invoke(ops, name, placed)])
    if len(results) != len(expected):
        return {"runs": f"{name} returned {len(results)} arrays, not {len(expected)}"}
    first = [np.array(on_host(ops, x)) for x in results]  # copies: a second call may write over the first's results
    anew = arrays_in([invoke(ops, name, placed)])
    again = [on_host(ops, x) for x in anew]
    wrong: dict[str, str] = {}
    for got, want in zip(first, expected, strict=True):
        wrong |= compare(got, want)
    if [x.tobytes() for x in first] != [np.ascontiguousarray(x).tobytes() for x in again]:
        wrong["repeat"] = "the same call again gave other bits"
    elif any(a.tobytes() != on_host(ops, b).tobytes() for a, b in zip(first, results, strict=True)):
        wrong["repeat"] = "a second call wrote over the result of the first"
    arguments = arrays_in(placed)
    for before, after in zip(arrays_in(host), arguments, strict=True):
        if before.tobytes() != np.ascontiguousarray(on_host(ops, after)).tobytes():
            wrong["inputs"] = f"an argument of shape {before.shape} was changed"
    if name not in VIEWS and any(_share(ops, x, y) for x in results for y in arguments):
        wrong["alias"] = "a result shares memory with an argument"
    elif name not in VIEWS and any(_share(ops, x, y) for x, y in zip(results, anew, strict=True)):
        wrong["alias"] = "the results of two calls share memory"
    if name != "to_numpy" and (stray := _stray(ops, results)):
        wrong["device"] = stray
    return wrong


def compare(got: HostArray, want: Expected) -> dict[str, str]:
    """By aspect (dtype, values, nan), what is wrong with a result."""
    wrong = {} if got.dtype == want.dtype else {"dtype": f"dtype {got.dtype}, not {want.dtype}"}
    if got.shape != want.truth.shape:
        return {**wrong, "values": f"shape {got.shape}, not {want.truth.shape}"}
    values, truth, plain = (np.asarray(x, np.float64) for x in (got, want.truth, want.plain))
    truth = np.where(np.isfinite(plain) == np.isfinite(truth), truth, values)
    stray = np.isnan(values) & ~np.isnan(truth)
    if stray.any():
        wrong["nan"] = f"{int(stray.sum())} of {stray.size} numbers are NaN, first at {_place_of(stray)}"
        values = np.where(stray, truth, values)
    error = largest_distance(values, truth)
    if not error <= want.limit:
        with np.errstate(all="ignore"):
            off = np.where(values == truth, 0.0, np.abs(values - truth))
        at = tuple(int(i) for i in np.unravel_index(int(np.argmax(np.nan_to_num(off, nan=np.inf))), off.shape))
        wrong["values"] = (
            f"error {error:.3g}, allowed {want.limit:.3g}: {values[at]:.6g} instead of {truth[at]:.6g} at {list(at)}"
        )
    return wrong


def _share(ops: Ops, a: Any, b: Any) -> bool:
    """Whether two arrays overlap in host memory; a device whose arrays are copied to the host cannot be told."""
    return np.may_share_memory(on_host(ops, a), on_host(ops, b))


def _stray(ops: Ops, results: list[Any]) -> str | None:
    """Say what is wrong with a result that is no array of the backend, or lives elsewhere."""
    own = ops.asarray(np.zeros(1, np.float32))
    for x in results:
        if not isinstance(x, (type(own), np.generic) if isinstance(own, np.ndarray) else type(own)):
            return f"a result is a {type(x).__name__}; arrays of {ops.name!r} are {type(own).__name__}"
        if (found := _device(x)) != (home := _device(own)):
            return f"a result is on {found}, not on {home}"
    return None


def _device(x: Any) -> str:
    return str(getattr(x, "device", "the host"))


def _place_of(where: NDArray[np.bool_]) -> list[int]:
    return [int(i) for i in np.argwhere(where)[0]]


def _missing_primitive(ops: Ops, error: BaseException) -> str | None:
    """Name of the primitive whose absence raised the error; its signature fails then."""
    name = traceback.extract_tb(error.__traceback__)[-1].name
    absent = isinstance(error, NotImplementedError) and name in PRIMITIVES
    return name if absent and getattr(type(ops), name) is getattr(Ops, name) else None


def _describe(error: BaseException) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    first = str(error).strip().partition("\n")[0][:300]
    return f"{type(error).__name__}: {first} (in {Path(frame.filename).name}:{frame.lineno}, {frame.name})"
