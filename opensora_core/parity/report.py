"""What a comparison in lockstep found, as data and as text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from ..interpose.difference import Difference
from ..interpose.drift import Drift, Row
from ..interpose.finding import Finding
from ..interpose.lockstep import Mode

_RATIO = "errs more than twice as much as plain NumPy in {dtype} and a rounding floor"
_RULES = {
    "own": f"an op is beyond tolerance where the drift is over {{limit:.3g}} and, fed the reference's arguments, "
    f"the op {_RATIO}; the final latents may drift by {{limit:.3g}}",
    "reference": f"an op is beyond tolerance if it {_RATIO}",
}


class Side(NamedTuple):
    """One of the two backends."""

    name: str
    device: str

    def __str__(self) -> str:
        return f"{self.name} on {self.device}"


@dataclass(frozen=True)
class Report:
    """The outcome of one comparison; see `opensora_core.parity.parity`.

    limit: of the relative L2 drift in mode "own". latents: differences after each step of the sampler.
    """

    reference: Side
    candidate: Side
    dtype: str
    mode: Mode
    limit: float
    settings: dict[str, Any]
    latents: tuple[Difference, ...]
    drift: Drift
    first: Finding | None
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether no op is beyond tolerance and, in mode "own", the final latents are within the limit."""
        return self.first is None and (self.mode == "reference" or not self.drifted)

    @property
    def drifted(self) -> bool:
        """Whether the final latents are over the limit."""
        return any(not latents.rel_l2 <= self.limit for latents in self.latents[-1:])

    @property
    def rule(self) -> str:
        """When an op is beyond tolerance."""
        return _RULES[self.mode].format(limit=self.limit, dtype=self.dtype)

    @property
    def summary(self) -> str:
        """One line: the outcome, and on what it ran."""
        latents = f"final latents {self.latents[-1].rel_l2:.2e} apart (relative L2), " if self._drifts else ""
        ran = f"{self.drift.ops} ops, {len(self.latents)} steps, {self.candidate} beside {self.reference}"
        return f"{'PASS' if self.ok else 'FAIL'}: {latents}{ran}, {self.dtype}, {self.seconds:.1f} s"

    @property
    def _drifts(self) -> bool:
        return self.mode == "own" and bool(self.latents)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; an infinite number is the text "inf"."""
        rows = {"by_block": self.drift.by_block, "by_op": self.drift.by_op}
        document = {
            "ok": self.ok,
            "reference": self.reference._asdict(),
            "candidate": self.candidate._asdict(),
            "dtype": self.dtype,
            "mode": self.mode,
            "limit": self.limit,
            "rule": self.rule,
            "settings": self.settings,
            "ops": self.drift.ops,
            "beyond": self.drift.beyond,
            "latents": [latents._asdict() for latents in self.latents],
            "first": None if self.first is None else _finding_dict(self.first),
            **{name: [asdict(row) for row in table.values()] for name, table in rows.items()},
            "seconds": round(self.seconds, 3),
        }
        return {name: _json(value) for name, value in document.items()}

    def tables(self) -> list[list[tuple[str, ...]]]:
        """Drift by block and by op, each with its heading, in the order in which they first ran."""
        named = {"block": self.drift.by_block, "op": self.drift.by_op}
        counted = self.mode == "reference"  # in mode "own" no op is judged once the first is found
        return [
            [_heading(name, counted), *(_row(row, counted) for row in rows.values())] for name, rows in named.items()
        ]

    def verdict(self) -> list[str]:
        """The rule, the first op beyond tolerance if there is one, and the summary."""
        lines = [f"tolerance: {self.rule}"]
        if self.first is not None:
            lines += self._blame(self.first)
        elif not self.ok:
            lines.append(
                "no op errs by itself where the drift is over the limit: what went wrong before is smaller; "
                "--mode reference judges every op by itself"
            )
        return [*lines, self.summary]

    def _blame(self, finding: Finding, depth: int = 0) -> Iterator[str]:
        indent = "  " * depth
        title = "inside it, the first that errs" if depth else "first op beyond tolerance"
        counted = f"#{finding.index} {finding.op}" if depth == 0 else finding.op
        when = f", step {finding.step + 1}" if depth == 0 else ""
        yield f"{indent}{title}: {counted}{when}, in {finding.place}"
        yield f"{indent}  ({', '.join(finding.arguments)}) -> {finding.result}"
        if finding.difference.note:
            yield f"{indent}  {self.candidate.name}: {finding.difference.note}"
        else:
            yield f"{indent}  max abs {finding.difference.max_abs:.2e}, rel L2 {finding.difference.rel_l2:.2e}"
        if finding.errors is not None:
            e, sides = finding.errors, (self.reference.name, self.candidate.name)
            yield (
                f"{indent}  by itself, against float64: {sides[1]} {e.candidate:.2e}, {sides[0]} {e.reference:.2e}, "
                f"allowed {e.allowed:.2e}: the {e.guilty} is to blame"
            )
        if finding.inside is not None:
            yield from self._blame(finding.inside, depth + 1)
        elif finding.zoomed:
            yield f"{indent}  {self._unopened(finding)}"

    def _unopened(self, finding: Finding) -> str:
        sides = [side.name for side, own in zip((self.reference, self.candidate), finding.own, strict=True) if own]
        right = f"all that the default composition of {finding.op} is made of is within tolerance"
        return f"{right}: look at the own {finding.op} of {' and '.join(sides)}" if sides else right


def _finding_dict(finding: Finding) -> dict[str, Any]:
    return {
        "index": finding.index,
        "op": finding.op,
        "step": finding.step,
        "module": finding.place.module,
        "function": finding.place.function,
        "line": finding.place.line,
        "arguments": list(finding.arguments),
        "result": finding.result,
        **finding.difference._asdict(),
        "errors": None if finding.errors is None else {**finding.errors._asdict(), "guilty": finding.errors.guilty},
        "own_implementation": finding.own._asdict(),
        "zoomed": finding.zoomed,
        "inside": None if finding.inside is None else _finding_dict(finding.inside),
    }


def _heading(name: str, counted: bool) -> tuple[str, ...]:
    return (name, "ops", *(["beyond"] if counted else []), "worst rel L2", "last rel L2", "max abs", "worst at")


def _row(row: Row, counted: bool) -> tuple[str, ...]:
    counts = [str(row.calls), *([str(row.beyond)] if counted else [])]
    numbers = (f"{x:.2e}" for x in (row.worst, row.last, row.max_abs))
    return (row.name, *counts, *numbers, f"#{row.worst_index} {row.worst_place}" if row.worst > 0 else "-")


def _json(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {name: _json(item) for name, item in value.items()}
    return list(map(_json, value)) if isinstance(value, Iterable) and not isinstance(value, str) else value
