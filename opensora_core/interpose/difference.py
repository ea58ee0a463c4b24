"""How far two results of one op are apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..accuracy import HostArray, distances


class Difference(NamedTuple):
    """Largest absolute difference, and the Euclidean one relative to the reference; infinite where one is not finite.

    note: what is wrong besides numbers (shape, dtype, an exception), or nothing.
    """

    max_abs: float
    rel_l2: float
    note: str = ""


SAME = Difference(0.0, 0.0)


def failure(note: str) -> Difference:
    """A result that cannot be compared."""
    return Difference(float("inf"), float("inf"), note)


def difference(reference: HostArray, candidate: HostArray, operands: Sequence[HostArray] = ()) -> Difference:
    """Compare arrays of one shape, in float64.

    operands: what a sum was made of. Its error is measured by the largest of them and the result: the difference of
    nearly equal numbers says much about its operands and little about the op.
    """
    if reference.shape != candidate.shape:
        return failure(f"shape {list(candidate.shape)}, not {list(reference.shape)}")
    a, b = reference.astype(np.float64), candidate.astype(np.float64)
    if np.array_equal(a, b, equal_nan=True):
        return SAME
    apart = distances(a, b)
    if not np.isfinite(apart).all():
        return failure("a number is not finite on one side only, or infinite with another sign")
    size = max(_norm(x) for x in (a, *(operand.astype(np.float64) for operand in operands)))
    error = float(np.linalg.norm(apart.ravel()))
    return Difference(float(apart.max()), error / size if size else float("inf"))


def _norm(x: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(np.where(np.isfinite(x), x, 0.0).ravel()))
