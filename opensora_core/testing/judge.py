"""Runs a call on a backend, and says how far off its result is and may be.

The rule: the candidate may err at most twice as much as the plain implementation in the same dtype (primitives of the
reference backend, no fused override; sums in NumPy's orders and one after another) or, where that happens to be nearly
right, twice the rounding floor. The floor is one rounding of the result and, for an op that rounds inside, what such
roundings make of it (see `rounding`): what the op makes of inputs that move by one rounding, so that a sum that
cancels, or a norm of a nearly constant row, is excused as far as nobody could do better. Half precision computes in
float32 inside, and is judged by that.

Errors are the largest distance of any element to the truth: the op's own float64 formula (`OpCase.reference`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..accuracy import largest
from ..ops import Ops
from .allowance import (
    SHAKES,
    Statistic,
    distance,
    floors,
    in_range,
    moved_distances,
    plain_distances,
    rounded,
    smallest,
    typical,
    worst,
)
from .running import HostArray, arrays_in, execute
from .strategies import Call
from .table import OpCase


@dataclass(frozen=True)
class Accuracy:
    """How far off one result is, and may be; size: the largest magnitude in the truth, at least the smallest normal."""

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
    allowances: the largest error a candidate may make in each result; typical: the largest root mean square of its
    errors by the same rule, for whom one result is too large to be judged by its unluckiest element alone.
    """

    truth: list[HostArray]
    plain: list[HostArray]
    allowances: list[float]
    typical: list[float]

    def judge(self, results: Sequence[HostArray]) -> list[Accuracy]:
        """Say how far off results are; raises AssertionError if number, shapes or dtypes are not the right ones."""
        assert len(results) == len(self.plain), f"{len(results)} results, not {len(self.plain)}"
        found = []
        for got, true, same, limit in zip(results, self.truth, self.plain, self.allowances, strict=True):
            assert got.shape == same.shape, f"shape {got.shape}, not {same.shape}"
            assert got.dtype == same.dtype, f"dtype {got.dtype}, not {same.dtype}"
            found.append(Accuracy(distance(got, true, same), limit, max(largest(true), smallest(same.dtype))))
        return found


@np.errstate(all="ignore")  # what overflows is judged by its value
def standard(reference: Ops, case: OpCase, call: Call, dtype: str, shakes: int = SHAKES) -> Standard:
    """Find out what a call must give. reference: NumPy primitives with default compositions (`running.plain()`).

    shakes: how often the inputs are moved; more of them find a sensitivity that few miss by chance.
    """
    plain = execute(reference, case.name, call, dtype)
    exact = arrays_in([case.reference(*rounded(call, dtype).args)])
    truth = [in_range(np.asarray(true), same.dtype) for true, same in zip(exact, plain, strict=True)]
    errors = plain_distances(reference, case, call, dtype, truth, plain)
    moved = [] if case.exact else moved_distances(reference, case, call, dtype, shakes)

    def allowed(of: Statistic) -> list[float]:
        found = [max(map(of, distances)) for distances in errors]
        if case.exact:  # 0, but for a Python number among the arguments that the dtype cannot hold
            return found
        least = floors(case, call, dtype, truth, plain, moved, of)
        return [2 * max(error, floor) for error, floor in zip(found, least, strict=True)]

    return Standard(truth, plain, allowed(worst), allowed(typical))


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
