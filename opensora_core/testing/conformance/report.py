"""The result of the suite, as data and as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from .checks import LEVELS, Outcome, Settings
from .target import Target

WIDTH = 110  # of what a row says about its first failure


@dataclass(frozen=True)
class Report:
    """Every outcome of one backend. level: the last one that was asked for."""

    target: Target
    level: str
    settings: Settings
    outcomes: tuple[Outcome, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether something was checked, nothing failed, and no xfail is out of date."""
        return any(o.status == "pass" for o in self.outcomes) and all(o.ok for o in self.outcomes)

    @property
    def failures(self) -> tuple[Outcome, ...]:
        """The outcomes for which the suite does not pass."""
        return tuple(o for o in self.outcomes if not o.ok)

    @property
    def counts(self) -> dict[str, int]:
        """How many outcomes have each status that occurs."""
        return dict(Counter(o.status for o in self.outcomes))

    @property
    def summary(self) -> str:
        """One line: the verdict, counts, and on what."""
        counts = ", ".join(f"{n} {status}" for status, n in self.counts.items())
        ops, dtypes = self.target.ops, ", ".join(self.settings.dtypes)
        return (
            f"{'PASS' if self.ok else 'FAIL'}: {self.target.name} on {ops.device}, level {self.level}: {counts}; "
            f"{dtypes}, {self.settings.examples} examples an op, {self.seconds:.1f} s"
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "ok": self.ok,
            "target": self.target.name,
            "backend": self.target.ops.name,
            "device": self.target.ops.device,
            "level": self.level,
            "examples": self.settings.examples,
            "dtypes": list(self.settings.dtypes),
            "counts": self.counts,
            "seconds": self.seconds,
            "checks": [asdict(outcome) for outcome in self.outcomes],
        }

    def rows(self, *, failures_only: bool = False) -> Iterator[tuple[str, str, str, str]]:
        """A heading, then subject, verdict, number of checks, and the first thing amiss, for each subject."""
        yield "subject", "result", "checks", ""
        for name, outcomes in self.subjects().items():
            bad = [o for o in outcomes if not o.ok] or [o for o in outcomes if o.status != "pass"]
            verdict = "fail" if any(not o.ok for o in outcomes) else bad[0].status if bad else "pass"
            if verdict != "pass" or not failures_only:
                text = f"{bad[0].id.removeprefix(name + '/')}: {bad[0].message}" if bad else ""
                more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
                number = f"{len(outcomes) - len(bad)} of {len(outcomes)}" if bad else str(len(outcomes))
                yield name, verdict, number, (text if len(text) <= WIDTH else text[: WIDTH - 1] + "…") + more

    def subjects(self) -> dict[str, list[Outcome]]:
        """Outcomes by level/subject, in the order they were run."""
        found: dict[str, list[Outcome]] = {}
        for outcome in self.outcomes:
            found.setdefault("/".join(outcome.id.split("/")[:2]), []).append(outcome)
        return found

    def details(self) -> Iterator[str]:
        """Every failure, with the lines that show the first one of each subject again."""
        for outcomes in self.subjects().values():
            shown = False
            for outcome in outcomes:
                if not outcome.ok:
                    yield f"{outcome.id}: {outcome.message}"
                    if outcome.repro and not shown:
                        yield "\n".join("    " + line if line else "" for line in outcome.repro.splitlines())
                        shown = True

    def by_level(self) -> dict[str, list[Outcome]]:
        """Outcomes of every level that was run."""
        found = {level: [o for o in self.outcomes if o.id.startswith(f"{level}/")] for level in LEVELS}
        return {level: outcomes for level, outcomes in found.items() if outcomes}
