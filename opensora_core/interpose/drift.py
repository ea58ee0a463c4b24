"""What remains of a long comparison: sums by op and by block and one number an op, never an array."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

from .difference import Difference
from .places import Place


@dataclass
class Row:
    """The differences of one op's calls, or of one block's."""

    name: str
    calls: int = 0
    beyond: int = 0  # calls beyond tolerance
    worst: float = 0.0  # largest relative L2 difference
    worst_index: int = 0
    worst_place: str = ""
    max_abs: float = 0.0
    last: float = 0.0  # relative L2 difference of the latest call

    def add(self, index: int, difference: Difference, place: Place, beyond: bool) -> None:
        """Count one call."""
        self.calls += 1
        self.beyond += beyond
        self.max_abs = max(self.max_abs, difference.max_abs)
        self.last = difference.rel_l2
        if difference.rel_l2 > self.worst:
            self.worst, self.worst_index, self.worst_place = difference.rel_l2, index, str(place)


@dataclass
class Drift:
    """Differences of all ops so far, in the order in which ops and blocks first came."""

    by_op: dict[str, Row] = field(default_factory=dict)
    by_block: dict[str, Row] = field(default_factory=dict)
    curve: array[float] = field(default_factory=lambda: array("d"))  # relative L2 difference by op index
    marks: list[int] = field(default_factory=list)  # op index at which each sampler step was finished

    @property
    def ops(self) -> int:
        """How many ops were compared."""
        return len(self.curve)

    @property
    def beyond(self) -> int:
        """How many of them were beyond tolerance."""
        return sum(row.beyond for row in self.by_op.values())

    def add(self, op: str, difference: Difference, place: Place, beyond: bool) -> None:
        """Count one op."""
        index = self.ops
        self.curve.append(difference.rel_l2)
        for rows, name in ((self.by_op, op), (self.by_block, place.block)):
            rows.setdefault(name, Row(name)).add(index, difference, place, beyond)
