"""What a call must give: an op by the rule of the judge, a program by `accuracy.allowance`."""

from __future__ import annotations

from ...accuracy import allowance, eps, largest, largest_distance, measurable
from ..allowance import rounded, shaken
from ..judge import standard
from ..running import HostArray, execute, plain
from ..strategies import Call
from ..table import OpCase
from .observe import PROGRAM, Expected

SHAKES = 3  # times the inputs are moved to see how sensitive a program is to them


def expect(case: OpCase, call: Call, dtype: str, shakes: int = SHAKES) -> list[Expected]:
    """What a backend must return for a call of an op; more shakes make sure that no sensitivity is missed."""
    wanted = standard(plain(), case, call, dtype, shakes)
    return [Expected(*parts) for parts in zip(wanted.truth, wanted.allowances, wanted.plain, strict=True)]


def expect_of_program(call: Call, dtype: str) -> list[Expected]:
    """What a backend must return for a function of (ops, *arrays), the first of the call's arguments.

    Truth is the plain implementation in float64, and the rule `accuracy.allowance`. What is zero by cancellation, as a
    gradient may be, is known no better than the largest of all results: its last place is the unit.
    """
    narrow, scale = measurable(dtype)
    truth, plainly = _run(rounded(call, dtype), "float64"), _run(call, dtype)
    errors = map(largest_distance, _run(call, narrow), _run(rounded(call, narrow), "float64"))
    moved = [_run(shaken(rounded(call, dtype), eps(dtype), seed), "float64") for seed in range(SHAKES)]
    size = max(map(largest, truth), default=0.0)
    limits = []
    for i, error in enumerate(errors):
        sensitivity = max(largest_distance(results[i], truth[i]) for results in moved)
        limits.append(allowance(scale * error, sensitivity, size, dtype))
    return [Expected(*parts) for parts in zip(truth, limits, plainly, strict=True)]


def _run(call: Call, dtype: str) -> list[HostArray]:
    return execute(plain(), PROGRAM, call, dtype)
