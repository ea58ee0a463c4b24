"""Runs a call on a backend, and says how far off its result is and may be.

The rule: the candidate may err at most twice as much as the plain implementation in the same dtype (primitives of the
reference backend, no fused override) or, where that happens to be nearly right, twice the rounding floor. The floor is
one rounding of the result, and for an op that rounds inside also what such roundings make of it (see `rounding`): what
the op makes of inputs that move by one rounding, so that a sum that cancels, or a norm of a nearly constant row, is
excused as far as nobody could do better. Half precision computes in float32 inside, and is judged by that.

Errors are the largest distance of any element to the truth: the op's own float64 formula (`OpCase.reference`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ml_dtypes
import numpy as np

from ..ops import HALF, Ops
from .rounding import ROUNDING, Rounding
from .running import HostArray, arrays_in, execute, lay_out, map_arrays, vanilla
from .strategies import Call
from .table import OpCase

__all__ = [
    "Accuracy",
    "Standard",
    "arrays_in",
    "check",
    "execute",
    "lay_out",
    "measure",
    "standard",
    "vanilla",
]

SHAKES = 3  # times the inputs are moved to see how sensitive the op is to them


@dataclass(frozen=True)
class Accuracy:
    """How far off one result is, and may be; size: the largest magnitude in the truth, or the smallest normal number."""

    error: float
    allowance: float
    size: float

    @property
    def ok(self) -> bool:
        """Whether the error is allowed."""
        return self.error <= self.allowance

    @property
    def ratio(self) -> float:
        """Error over allowance: 1 is the limit, and an exact op that errs is infinitely beyond it."""
        return self.error / self.allowance if self.error and self.allowance else np.inf if self.error else 0.0

    @property
    def relative(self) -> float:
        """Error over size."""
        return self.error / self.size if self.error else 0.0


@dataclass(frozen=True)
class Standard:
    """What one call must give in one dtype: made once, then held against any number of backends.

    truth: float64, whole numbers or booleans; plain: of the plain implementation, with the right shapes and dtypes;
    allowances: the largest error a candidate may make in each result.
    """

    truth: list[HostArray]
    plain: list[HostArray]
    allowances: list[float]

    def judge(self, results: Sequence[HostArray]) -> list[Accuracy]:
        """Say how far off results are; raises AssertionError if number, shapes or dtypes are not the right ones."""
        assert len(results) == len(self.plain), f"{len(results)} results, not {len(self.plain)}"
        found = []
        for got, true, same, limit in zip(results, self.truth, self.plain, self.allowances, strict=True):
            assert got.shape == same.shape, f"shape {got.shape}, not {same.shape}"
            assert got.dtype == same.dtype, f"dtype {got.dtype}, not {same.dtype}"
            found.append(Accuracy(_distance(got, true, same), limit, max(_size(true), _smallest(same.dtype))))
        return found


@np.errstate(all="ignore")  # what overflows is judged by its value
def standard(reference: Ops, case: OpCase, call: Call, dtype: str) -> Standard:
    """Find out what a call must give. reference: NumPy primitives with default compositions (`vanilla(NumpyOps)()`)."""
    plain = execute(reference, case.name, call, dtype)
    exact = arrays_in([case.reference(*_round(call, dtype).args)])
    truth = [_in_range(np.asarray(true), same.dtype) for true, same in zip(exact, plain, strict=True)]
    errors = [_distance(same, true, same) for true, same in zip(truth, plain, strict=True)]
    if case.exact:  # 0, but for a Python number among the arguments that the dtype cannot hold
        return Standard(truth, plain, errors)
    floors = _floors(reference, case, call, dtype, truth, plain)
    return Standard(truth, plain, [2 * max(error, floor) for error, floor in zip(errors, floors, strict=True)])


def measure(ops: Ops, reference: Ops, case: OpCase, call: Call, dtype: str) -> list[Accuracy]:
    """Run a call on a backend and say for each result how far off it is and may be.

    Raises AssertionError for another shape or dtype, and for a changed argument.
    """
    return standard(reference, case, call, dtype).judge(execute(ops, case.name, call, dtype))


def check(ops: Ops, reference: Ops, case: OpCase, call: Call, dtype: str) -> None:
    """Raise AssertionError unless the backend's results have the shape, dtype and accuracy that the rule asks for."""
    where = f"{case.name} of {ops.name!r} in {dtype}"
    wanted, results = standard(reference, case, call, dtype), execute(ops, case.name, call, dtype)
    try:
        found = wanted.judge(results)
    except AssertionError as error:
        raise AssertionError(f"{where}: {error}") from None
    for a in found:
        assert a.ok, f"{where}: error {a.error:.3g}, allowed {a.allowance:.3g} (result up to {a.size:.3g})"


def _floors(
    reference: Ops, case: OpCase, call: Call, dtype: str, truth: Sequence[HostArray], plain: Sequence[HostArray]
) -> list[float]:
    """One rounding of each result, and what roundings inside the op make of it."""
    rule = ROUNDING.get(case.name, Rounding())
    steps, inside = (rule.narrow, dtype) if dtype in HALF and rule.narrow else (rule.steps, _wide(dtype))
    argument = max(map(_size, arrays_in(list(call.args))), default=0.0)
    sizes = [argument if rule.by_input else _size(true) for true in truth]
    floors = [_rounding(size, same.dtype) for size, same in zip(sizes, plain, strict=True)]
    if not steps:
        return floors
    still, *moved = (execute(reference, case.name, c, "float64") for c in _neighbours(call, dtype, inside))
    for i, here in enumerate(still):
        sensitivity = max(_distance(there[i], here, here) for there in moved)
        floors[i] += steps * max(_rounding(sizes[i], np.dtype(inside)), sensitivity)
    return floors


def _wide(dtype: str) -> str:
    """What a dtype is computed in, by the language's policy for half precision."""
    return "float32" if dtype in HALF else dtype


def _rounding(size: float, dtype: np.dtype[Any]) -> float:
    """Bound of the error of rounding numbers up to a size; whole numbers and booleans are not rounded.

    What is below the normal range may be flushed to zero, as many processors do. Not so in float16, where that range
    begins at 6e-5 and nobody does.
    """
    if dtype.kind in "biu":
        return 0.0
    info = ml_dtypes.finfo(dtype)
    lost = info.smallest_subnormal if dtype == np.float16 else info.smallest_normal
    return float(info.eps) / 2 * size + float(lost) / 2


def _smallest(dtype: np.dtype[Any]) -> float:
    """The smallest normal number of a dtype, or 1."""
    return 1.0 if dtype.kind in "biu" else float(ml_dtypes.finfo(dtype).smallest_normal)


def _in_range(true: HostArray, dtype: np.dtype[Any]) -> HostArray:
    """The truth, infinite where it is beyond what the dtype can hold."""
    if true.dtype != np.float64 or dtype.kind in "biu":
        return true
    with np.errstate(over="ignore"):
        return np.asarray(np.where(np.isinf(true.astype(dtype)), np.copysign(np.inf, true), true))


def _distance(a: HostArray, true: HostArray, plain: HostArray) -> float:
    """Largest difference; infinite if only one of two elements is finite, unless the plain implementation fails too."""
    a, true, plain = (np.asarray(x, np.float64) for x in (a, true, plain))
    excused = np.isfinite(plain) != np.isfinite(true)
    same = (a == true) | (np.isnan(a) & np.isnan(true)) | excused
    difference = np.abs(np.where(same, 0.0, a) - np.where(same, 0.0, true))
    return float(np.max(np.where(np.isnan(difference), np.inf, difference), initial=0.0))


def _size(x: HostArray) -> float:
    """Largest finite magnitude."""
    x = np.abs(np.asarray(x, np.float64))
    return float(np.max(np.where(np.isfinite(x), x, 0.0), initial=0.0))


def _round(call: Call, dtype: str) -> Call:
    """Round the floating elements to what dtype can hold."""

    def round_to(x: HostArray) -> HostArray:
        return x.astype(np.dtype(dtype)).astype(np.float64) if x.dtype == np.float64 else x

    return replace(call, args=tuple(map_arrays(round_to, arg) for arg in call.args))


def _neighbours(call: Call, dtype: str, inside: str) -> Iterator[Call]:
    """The call as `dtype` holds it; then with every floating element moved by one rounding of `inside`, up or down."""
    call = _round(call, dtype)
    yield call
    unit = float(ml_dtypes.finfo(inside).eps) / 2
    for seed in range(SHAKES):
        rng = np.random.default_rng(seed)

        def shake(x: HostArray, rng: np.random.Generator = rng) -> HostArray:
            return x * (1 + unit * rng.choice([-1.0, 1.0], x.shape)) if x.dtype == np.float64 else x

        yield replace(call, args=tuple(map_arrays(shake, arg) for arg in call.args))
