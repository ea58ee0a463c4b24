"""The result of a verification: one row per compared tensor, as data and as text."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["pass", "fail", "not compared", "unknown kind", "error"]
"""not compared: recorded, but an intermediate that is not computed here, or nothing that half precision could show.
error: the set could not be read or run."""

_HEADER = ("set", "case", "tensor", "max abs", "rel L2", "recorded", "allowed", "verdict")
_LONG = 400  # of a note in the table; the JSON has all of it


@dataclass(frozen=True)
class Check:
    """One tensor of one case compared with its recorded value, or one set that could not be compared at all."""

    set: str
    kind: str
    version: str
    case: str  # empty when the verdict is about the whole set
    tensor: str  # "out/<name>" or "mid/<name>"
    verdict: Verdict
    max_abs: float | None = None  # largest absolute error; None where nothing finite could be compared
    rel_l2: float | None = None  # Euclidean norm of the error over that of the expected values
    tolerance: float | None = None  # recorded with the set: max_abs between the official float32 and float64 runs
    allowance: float | None = None  # what max_abs may be; see Report.rule
    note: str = ""  # why, in one or more lines

    @property
    def ok(self) -> bool:
        """Whether this row lets the verification pass."""
        return self.verdict in ("pass", "not compared")


@dataclass(frozen=True)
class Report:
    """All rows of one verification of one backend."""

    folder: str
    backend: str
    device: str
    dtype: str
    rule: str  # how `allowance` comes about
    checks: tuple[Check, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether something was compared and every row passed."""
        return any(c.verdict == "pass" for c in self.checks) and all(c.ok for c in self.checks)

    @property
    def failures(self) -> tuple[Check, ...]:
        """The rows that did not pass."""
        return tuple(c for c in self.checks if not c.ok)

    @property
    def counts(self) -> dict[str, int]:
        """How many rows have each verdict that occurs."""
        return dict(Counter(c.verdict for c in self.checks))

    @property
    def summary(self) -> str:
        """One line: the outcome, counts, and on what it ran."""
        counts = ", ".join(f"{n} {verdict}" for verdict, n in self.counts.items())
        sets = len({c.set for c in self.checks})
        where = f"{self.backend} {self.dtype} on {self.device}"
        return f"{'PASS' if self.ok else 'FAIL'}: {sets} golden sets, {counts}; {where}, {self.seconds:.1f} s"

    def to_dict(self) -> dict[str, Any]:
        """As JSON values: every property and row."""
        rows = [{**asdict(check), "ok": check.ok} for check in self.checks]
        return {**asdict(self), "ok": self.ok, "counts": self.counts, "checks": rows}

    def table(self, *, failures_only: bool = False) -> str:
        """Aligned text: the rows, the rule, and the summary line."""
        checks = self.failures if failures_only else self.checks
        rows = [_HEADER, *(_row(check) for check in checks)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADER))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([*(lines if checks else []), f"allowed: {self.rule}", self.summary])


def finite(x: float) -> float | None:
    """A number as it may stand in JSON: None for NaN and Inf."""
    return float(x) if math.isfinite(x) else None


def _row(check: Check) -> tuple[str, ...]:
    numbers = (check.max_abs, check.rel_l2, check.tolerance, check.allowance)
    cells = ("-" if x is None else f"{x:.2e}" for x in numbers)
    note = " ".join(line.strip() for line in check.note.splitlines())
    note = note if len(note) <= _LONG else note[: _LONG - 1] + "…"
    verdict = f"{check.verdict}: {note}" if note else check.verdict
    return (check.set, check.case or "-", check.tensor or "-", *cells, verdict)
