"""What lockstep has to say about an op that is beyond tolerance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..ops import FUSED, Ops
from .difference import Difference
from .lockstep_rule import Errors
from .places import Place


class Own(NamedTuple):
    """Whether a side overrides the fused op."""

    reference: bool
    candidate: bool


@dataclass(frozen=True)
class Finding:
    """An op beyond tolerance: which, where, on what, and by how much.

    step: finished steps of the sampler. errors: of this op by itself, fed the same arguments on both sides, against
    float64; None where the candidate gave nothing to compare. inside: what was found when the fused op was opened;
    zoomed says that it was.
    """

    index: int
    op: str
    step: int
    place: Place
    arguments: tuple[str, ...]
    result: str
    difference: Difference
    errors: Errors | None
    own: Own
    zoomed: bool = False
    inside: Finding | None = None

    @property
    def innermost(self) -> Finding:
        """The finding that no opening takes further."""
        return self if self.inside is None else self.inside.innermost


def overrides(ops: Ops, op: str) -> bool:
    """Whether a backend has its own implementation of a fused op."""
    return op in FUSED and getattr(type(ops), op) is not getattr(Ops, op)
