"""What every comparison of results is made of: how far apart they are, how large, and what rounding excuses.

There are two rules, and both allow twice what rounding does to the plain implementation (NumPy's primitives, default
compositions) in the same dtype:

- An op on drawn calls is held to `testing.judge`: its truth is a formula of its own, so the rule is as tight as the
  measurements behind docs/tolerances.md, and counts the roundings of each op (`testing.rounding`).
- All else is held to `allowance`: an op on the arguments of a real run (`interpose.lockstep_rule`), a program of many
  ops (`testing.conformance.expected`), the two sides of a law (`testing.properties.judged`). Its truth is the plain
  implementation in float64, and nobody has counted its roundings. What each adds to the rule is said there.

`opensora verify` needs neither: the official code's error was recorded with its numbers. In half precision, where that
says nothing, it takes twice the error of plain NumPy and one rounding, and moves no inputs (`verify.rules`).
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

HostArray = NDArray[Any]

EXACT = frozenset({
    "asarray", "to_numpy", "full", "arange", "negative", "maximum", "equal", "less", "where", "max", "reshape",
    "permute_dims", "broadcast_to", "concat", "slice", "pad", "take", "stop_gradient",
})  # fmt: skip
"""Ops that only move numbers, choose among them, or give truth values: no rounding is excused."""


def allowance(error: float, moved: float, size: float, dtype: Any) -> float:
    """How far off a result may be: 2 x (error + moved + one unit in the last place of the largest element).

    error: of the plain implementation in `dtype`, against itself in float64. moved: how far the float64 result goes
    when the inputs move by one unit. size: the largest element of the float64 result.
    """
    return 2 * (error + moved + eps(dtype) * size + float(ml_dtypes.finfo(dtype).smallest_subnormal))


def measurable(dtype: str) -> tuple[str, float]:
    """The dtype in which the plain implementation's error is measured, and what it counts for in `dtype`.

    Nothing wider than float64 is at hand to measure float64 by: it errs as float32 does, scaled.
    """
    return ("float32", eps("float64") / eps("float32")) if dtype == "float64" else (dtype, 1.0)


# ---------------------------------------------------------------------- two arrays, and one


@np.errstate(invalid="ignore", over="ignore")  # casting a signalling NaN is invalid too
def distances(a: HostArray, b: HostArray) -> NDArray[np.float64]:
    """Distance of every element, infinite where just one of the two is a finite number."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    apart = np.where(same, 0.0, np.abs(a - b))
    return np.where(np.isnan(apart), np.inf, apart)


def largest_distance(a: HostArray, b: HostArray) -> float:
    """Largest of the distances of two arrays of one shape, in float64."""
    return float(np.max(distances(a, b), initial=0.0))


def relative_l2(a: HostArray, truth: HostArray) -> float:
    """Euclidean distance to the truth, over the truth's Euclidean norm; in float64."""
    a, truth = np.asarray(a, np.float64), np.asarray(truth, np.float64)
    return float(np.linalg.norm((a - truth).ravel()) / np.linalg.norm(truth.ravel()))


def largest(x: HostArray) -> float:
    """Largest size of a finite element."""
    sizes = np.abs(np.asarray(x, np.float64))
    return float(np.max(sizes, where=np.isfinite(sizes), initial=0.0))


# ---------------------------------------------------------------------- rounding


def eps(dtype: Any) -> float:
    """Distance from 1 to the next number of a floating dtype."""
    return float(ml_dtypes.finfo(dtype).eps)


def rounded(x: HostArray, dtype: str) -> HostArray:
    """Round to what a dtype can hold; the result is float64."""
    return x.astype(np.dtype(dtype)).astype(np.float64)


def shaken(x: HostArray, step: float, rng: np.random.Generator) -> HostArray:
    """Move every number by `step` of itself, up or down."""
    return x * (1 + step * rng.choice([-1.0, 1.0], x.shape))
