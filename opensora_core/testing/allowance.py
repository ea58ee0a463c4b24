"""What the rule of `judge` is made of: the plain implementation's errors and the rounding floor of a call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np

from .. import accuracy
from ..accuracy import eps
from ..ops import HALF, Ops
from .in_order import in_order
from .rounding import ROUNDING, Rounding
from .running import HostArray, arrays_in, execute, map_arrays
from .strategies import Call
from .table import OpCase

SHAKES = 3  # times the inputs are moved to see how sensitive the op is to them
Statistic = Callable[[HostArray], float]


def worst(distances: HostArray) -> float:
    """The largest of them."""
    return float(np.max(distances, initial=0.0))


def typical(distances: HostArray) -> float:
    """Their root mean square: unlike the largest, it is nearly the same for all draws of the same rounding."""
    return float(np.sqrt(np.mean(np.square(distances)))) if distances.size else 0.0


def plain_distances(
    reference: Ops, case: OpCase, call: Call, dtype: str, truth: Sequence[HostArray], plain: Sequence[HostArray]
) -> list[list[HostArray]]:
    """How far off the plain results are; of an op that adds up, also with other orders, which may be less lucky."""
    results = [plain]
    if case.name in ROUNDING:
        results.append(execute(in_order(type(reference))(), case.name, call, dtype))
        layout = "plain" if call.layout == "transposed" else "transposed"  # by which NumPy picks its loops
        results.append(execute(reference, case.name, replace(call, layout=layout), dtype))
    return [[excused_distances(r[i], truth[i], plain[i]) for r in results] for i in range(len(truth))]


def moved_distances(
    reference: Ops, case: OpCase, call: Call, dtype: str, shakes: int = SHAKES
) -> list[list[HostArray]]:
    """How far each float64 result goes when the inputs move by one rounding inside the op; nothing if none is there."""
    steps, inside = _roundings_inside(case, dtype)
    if not steps:
        return []
    still, *moved = (execute(reference, case.name, c, "float64") for c in _neighbours(call, dtype, inside, shakes))
    return [[excused_distances(there[i], here, here) for there in moved] for i, here in enumerate(still)]


def floors(
    case: OpCase,
    call: Call,
    dtype: str,
    truth: Sequence[HostArray],
    plain: Sequence[HostArray],
    moved: Sequence[Sequence[HostArray]],
    of: Statistic = worst,
) -> list[float]:
    """One rounding of each result, and what roundings inside the op make of it, by `moved_distances`."""
    steps, inside = _roundings_inside(case, dtype)
    by_input = ROUNDING.get(case.name, Rounding()).by_input
    argument = max((of(_sizes(x)) for x in arrays_in(list(call.args))), default=0.0)
    sizes = [argument if by_input else of(_sizes(true)) for true in truth]
    found = [_rounding(n, same.dtype) for n, same in zip(sizes, plain, strict=True)]
    for i, distances in enumerate(moved):
        found[i] += steps * max(_rounding(sizes[i], np.dtype(inside)), *map(of, distances))
    return found


def _roundings_inside(case: OpCase, dtype: str) -> tuple[int, str]:
    """How many roundings inside the op are excused, and to which dtype."""
    rule = ROUNDING.get(case.name, Rounding())
    return (rule.narrow, dtype) if dtype in HALF and rule.narrow else (rule.steps, _wide(dtype))


def _sizes(x: HostArray) -> HostArray:
    """Magnitudes; what is not finite has none."""
    sizes = np.abs(np.asarray(x, np.float64))
    return np.where(np.isfinite(sizes), sizes, 0.0)


def _wide(dtype: str) -> str:
    """What a dtype is computed in, by the language's policy for half precision."""
    return "float32" if dtype in HALF else dtype


def _rounding(size: float, dtype: np.dtype[Any]) -> float:
    """Bound of the error of rounding numbers up to the largest; whole numbers and booleans are not rounded.

    What is below the normal range may be flushed to zero, as many processors do. Not so in float16, where that range
    begins at 6e-5 and nobody does.
    """
    if dtype.kind in "biu":
        return 0.0
    info = ml_dtypes.finfo(dtype)
    lost = info.smallest_subnormal if dtype == np.float16 else info.smallest_normal
    return float(info.eps) / 2 * size + float(lost) / 2


def smallest(dtype: np.dtype[Any]) -> float:
    """The smallest normal number of a dtype, or 1."""
    return 1.0 if dtype.kind in "biu" else float(ml_dtypes.finfo(dtype).smallest_normal)


def in_range(true: HostArray, dtype: np.dtype[Any]) -> HostArray:
    """The truth, infinite where it is beyond what the dtype can hold."""
    if true.dtype != np.float64 or dtype.kind in "biu":
        return true
    with np.errstate(over="ignore"):
        return np.asarray(np.where(np.isinf(true.astype(dtype)), np.copysign(np.inf, true), true))


def distance(a: HostArray, true: HostArray, plain: HostArray) -> float:
    """Largest difference; infinite if only one of two elements is finite, unless the plain implementation fails too."""
    return worst(excused_distances(a, true, plain))


def excused_distances(a: HostArray, true: HostArray, plain: HostArray) -> HostArray:
    """Difference of every element, as `distance` counts it."""
    a, true, plain = (np.asarray(x, np.float64) for x in (a, true, plain))
    excused = np.isfinite(plain) != np.isfinite(true)
    return accuracy.distances(np.where(excused, true, a), true)


def rounded(call: Call, dtype: str) -> Call:
    """Round the floating elements to what dtype can hold."""
    return change_floats(call, lambda x: accuracy.rounded(x, dtype))


def shaken(call: Call, step: float, seed: int) -> Call:
    """Move every floating element by `step` of itself, up or down."""
    rng = np.random.default_rng(seed)
    return change_floats(call, lambda x: accuracy.shaken(x, step, rng))


def change_floats(call: Call, change: Callable[[HostArray], HostArray]) -> Call:
    """Change the arrays that stand for the dtype under test."""

    def only_floats(x: HostArray) -> HostArray:
        return change(x) if x.dtype == np.float64 else x

    return replace(call, args=tuple(map_arrays(only_floats, arg) for arg in call.args))


def _neighbours(call: Call, dtype: str, inside: str, shakes: int) -> Iterator[Call]:
    """The call as `dtype` holds it; then with every floating element moved by one rounding of `inside`, up or down."""
    call = rounded(call, dtype)
    yield call
    for seed in range(shakes):
        yield shaken(call, eps(inside) / 2, seed)
