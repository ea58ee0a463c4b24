"""A property: two ways to compute the same, and by how much they may differ.

That the two sides are equal needs no reference; only how far rounding may part them is measured on one, by the rule
`accuracy.allowance`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np

from ...accuracy import allowance, largest, largest_distance, measurable
from ...ops import Array, Ops
from ..running import HostArray, plain
from .inputs import Inputs

Level = Literal["ops", "blocks", "model", "train"]
Sides = Callable[[Ops, Inputs], Iterator[tuple[Array, Array]]]
AnySides = TypeVar("AnySides", bound=Sides)
Results = list[tuple[HostArray, HostArray]]

DTYPES = ("float64", "float32", "bfloat16", "float16")
SHAKES = 3  # times the inputs are moved to see how sensitive both sides are to them
PROPERTIES: dict[str, Property] = {}


@dataclass(frozen=True)
class Property:
    """A named law of the language.

    level: the smallest part of the house it takes. sides: yields pairs that must be equal, and may assert more.
    exact: bit for bit, as where elements only move. dtypes: in which it is asked.
    """

    name: str
    level: Level
    sides: Sides
    exact: bool = False
    dtypes: tuple[str, ...] = DTYPES

    def __call__(
        self, ops: Ops, rng: np.random.Generator, dtype: str = "float32", reference: Ops | None = None
    ) -> None:
        """Raise AssertionError unless the property holds on `ops` for one draw.

        reference: NumPy primitives with default compositions, by which rounding is judged.
        """
        seed = int(rng.integers(2**32))
        where = f"{self.name} does not hold on {ops.name!r} in {dtype}, np.random.default_rng({seed})"
        try:
            pairs = self._run(ops, seed, dtype)
        except AssertionError as error:
            raise AssertionError(f"{where}: {error}") from error
        limits = [0.0] * len(pairs) if self.exact else self._allowances(reference or plain(), seed, dtype, pairs)
        for number, ((left, right), limit) in enumerate(zip(pairs, limits, strict=True)):
            case = f"{where}, pair {number}"
            assert left.shape == right.shape, f"{case}: shapes {left.shape} and {right.shape}"
            assert left.dtype == right.dtype, f"{case}: dtypes {left.dtype} and {right.dtype}"
            apart = _distance(left, right)
            assert apart <= limit, f"{case}: {apart:.3g} apart, allowed {limit:.3g} (up to {largest(left):.3g})"

    def _run(self, ops: Ops, seed: int, dtype: str, **truth: Any) -> Results:
        with np.errstate(all="ignore"):
            pairs = list(self.sides(ops, Inputs(ops, seed, dtype, **truth)))
        return [(np.asarray(ops.to_numpy(left)), np.asarray(ops.to_numpy(right))) for left, right in pairs]

    def _allowances(self, reference: Ops, seed: int, dtype: str, pairs: Results) -> list[float]:
        """How far apart each pair may be: as far as both sides together may err by `accuracy.allowance`."""
        narrow, scale = measurable(dtype)
        rounded, aim = self._run(reference, seed, narrow), self._run(reference, seed, narrow, exact=True)
        truth = self._run(reference, seed, dtype, exact=True)
        shaken = [self._run(reference, seed, dtype, exact=True, shake=s) for s in range(SHAKES)]
        limits = []
        for i, sides in enumerate(pairs):
            limit = 0.0
            for j in range(2):
                error = scale * _distance(rounded[i][j], aim[i][j])
                moved = max(_distance(s[i][j], truth[i][j]) for s in shaken)
                limit += allowance(error, moved, largest(truth[i][j]), sides[0].dtype)
            limits.append(limit)
        return limits


def holds(level: Level, *, exact: bool = False, dtypes: tuple[str, ...] = DTYPES) -> Callable[[AnySides], AnySides]:
    """Enter a function (ops, inputs) that yields pairs into `PROPERTIES` under its own name."""

    def enter(sides: AnySides) -> AnySides:
        name = sides.__name__
        PROPERTIES[name] = Property(name, level, sides, exact, dtypes)
        return sides

    return enter


def _distance(a: HostArray, b: HostArray) -> float:
    """Largest difference; infinite where a number is not finite, on both sides too: they agree on nothing."""
    finite = np.isfinite(np.asarray(a, np.float64)) & np.isfinite(np.asarray(b, np.float64))
    return largest_distance(a, b) if finite.all() else np.inf
