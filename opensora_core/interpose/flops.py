"""Counts the arithmetic and the memory traffic of any computation, op by op."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..ops import Ops
from .costs import BYTES, FLOPS
from .interposer import WHOLE, Args, Interposer


@dataclass(frozen=True)
class Cost:
    """Calls, FLOPs, and bytes moved at least (see `costs` for what counts)."""

    calls: int = 0
    flops: int = 0
    bytes: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.calls + other.calls, self.flops + other.flops, self.bytes + other.bytes)

    @property
    def intensity(self) -> float:
        """FLOPs per byte; below a machine's own ratio, memory is what the op waits for."""
        return self.flops / self.bytes if self.bytes else 0.0


class FlopCounter(Interposer):
    """Does what `inner` does, and counts.

    units: fused ops that are counted whole, by default all; the others are counted as the primitives they are made of.
    The FLOPs are the same either way; the bytes are fewer where an op is whole.

        counter = FlopCounter(ops)
        model(counter, x, t, y)
        counter.total.flops, counter.counts["attention_3d"].bytes
    """

    def __init__(self, inner: Ops, units: Iterable[str] = WHOLE) -> None:
        super().__init__(inner, units)
        self.counts: dict[str, Cost] = {}

    def process(self, op: str, args: Args) -> Any:
        """Add the op's cost, then do it."""
        self.counts[op] = self.counts.get(op, Cost()) + Cost(1, FLOPS[op](*args), BYTES[op](*args))
        return super().process(op, args)

    @property
    def total(self) -> Cost:
        """The costs of all ops together."""
        return sum(self.counts.values(), Cost())

    def reset(self) -> None:
        """Forget what was counted."""
        self.counts.clear()

    def report(self) -> str:
        """Return a table: one op a line, the one with the most FLOPs first, and the total."""
        lines = [f"{'op':<16}{'calls':>8}{'GFLOP':>12}{'MB':>12}{'FLOP/byte':>12}"]
        ranked = sorted(self.counts.items(), key=lambda item: (-item[1].flops, -item[1].bytes))
        for name, cost in (*ranked, ("total", self.total)):
            numbers = f"{cost.flops / 1e9:>12.4f}{cost.bytes / 1e6:>12.3f}{cost.intensity:>12.2f}"
            lines.append(f"{name:<16}{cost.calls:>8}{numbers}")
        return "\n".join(lines)
