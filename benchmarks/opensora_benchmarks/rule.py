"""How far off a result may be to get a time.

The conformance suite bounds the largest error of a call by twice that of the plain implementation. The largest of some
thousand roundings is a matter of luck, though: with other inputs, or another order of the same sum, it is easily twice
as large, and a benchmark draws new inputs for every check. What does not depend on luck is the typical error, the root
mean square. So here

- the typical error may be what the rule allows: twice that of the plain implementation, or twice the rounding floor;
- one element may be off by twice what the rule allows, which chance does not reach and a fault in one place does;
- in half precision, where that is wide, errors must not add up to a factor: the factor by which the result is on the
  whole too large or too small is known to one unit in the last place, since roundings go both ways.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from opensora_core.accuracy import distances, eps, largest
from opensora_core.ops import HALF
from opensora_core.testing import allowance
from opensora_core.testing.allowance import typical, worst
from opensora_core.testing.conformance.expected import expect_of_program
from opensora_core.testing.judge import standard
from opensora_core.testing.running import plain
from opensora_core.testing.strategies import Call
from opensora_core.testing.table import TABLE

from .case import Case, HostArray

LUCK = 2.0  # by which the largest error of an honest run may exceed the rule
SHAKES = 16  # times inputs of attention are moved: one row of large logits may err more than all others together


@dataclass(frozen=True)
class Limits:
    """The truth in float64, the dtype of a result, and how far off it may be: one element, on the whole, as a factor.

    typical, factor: None where that is not asked.
    """

    truth: HostArray
    dtype: np.dtype[Any]
    largest: float
    typical: float | None
    factor: float | None

    @np.errstate(all="ignore")  # what overflows is judged by its value
    def judge(self, seen: HostArray) -> tuple[float, str]:
        """The worst of the errors over what is allowed, and the first that is too large in words."""
        apart = distances(seen, self.truth)
        found = [("its error is", worst(apart), self.largest)]
        if self.typical is not None:
            found.append(("its typical error is", typical(apart), self.typical))
        if self.factor is not None:
            found.append(
                ("its result is too large or too small by a factor of 1 +", _bias(seen, self.truth), self.factor)
            )
        ratios = [_ratio(error, limit) for _, error, limit in found]
        what, error, limit = found[next((i for i, ratio in enumerate(ratios) if not ratio <= 1), 0)]
        size = largest(self.truth)
        return max(ratios), f"{what} {error:.2g}, allowed is {limit:.2g} (results up to {size:.2g})"


def limits(case: Case, call: Call, dtype: str) -> Limits:
    """What a call of a case must give."""
    factor = eps(dtype) if dtype in HALF else None
    if case.program:
        (want,) = expect_of_program(call, dtype)
        return Limits(want.truth, want.dtype, want.limit, None, factor)
    op = TABLE[case.op]
    want = standard(plain(), op, call, dtype, SHAKES if case.logits else allowance.SHAKES)
    (truth,), (same,), (one,), (whole,) = want.truth, want.plain, want.allowances, want.typical
    return Limits(truth, same.dtype, LUCK * one, whole, factor)


def _ratio(error: float, limit: float) -> float:
    return error / limit if limit else np.inf if error else 0.0


def _bias(seen: HostArray, truth: HostArray) -> float:
    """By how much the results are too large or too small on the whole, as a share of themselves."""
    square = float(np.sum(truth * truth))
    return abs(float(np.sum((np.asarray(seen, np.float64) - truth) * truth))) / square if square else 0.0
