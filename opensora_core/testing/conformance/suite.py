"""Runs the levels one after the other, and turns failures into outcomes."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from ...errors import InvalidInputError
from ...ops import Ops
from ..table import DTYPES, TABLE
from .blocks import block_programs
from .checks import LEVELS, Failure, Group, Level, Outcome, Settings
from .host_noise import HostNoise
from .op_group import OpGroup
from .report import Report
from .target import Target, open_target
from .whole_model import model_programs, train_programs
from .xfail import check_xfails, read_xfails, require_known

Progress = Callable[[int, int, str], None]
Xfails = str | Path | Mapping[str, str] | None


@cache
def groups() -> dict[Level, tuple[Group, ...]]:
    """All there is to check, by level."""
    return {
        "ops": (*map(OpGroup, TABLE.values()), HostNoise()),
        "blocks": tuple(block_programs()),
        "model": tuple(model_programs()),
        "train": tuple(train_programs()),
    }


def all_checks() -> list[str]:
    """Names of all checks, in every dtype."""
    return [check for level in groups().values() for group in level for check in group.checks(DTYPES)]


def conformance(
    target: str | type[Ops] | Ops,
    level: str = "train",
    *,
    xfail: Xfails = None,
    examples: int = 30,
    dtypes: Sequence[str] = DTYPES,
    only: str = "",
    device: str | None = None,
    progress: Progress = lambda done, total, text: None,
) -> Report:
    """Find out whether the library runs right on a backend, and where it does not.

    target: a name, "module:Class", a class or an instance, see `open_target`. level: the last one to run, see LEVELS.
    xfail: file or mapping of checks that are known to fail, with reasons. examples: calls drawn for every op, the same
    on every backend. dtypes: those to test. only: part of the names of what to test, such as "ops/softmax".
    Raises InvalidInputError for a target, level, dtype or xfail that does not exist; what the backend does wrong is in
    the report, whatever it is.
    """
    suite = Suite(open_target(target, device), check_settings(examples, dtypes), xfail)
    start = time.perf_counter()
    chosen = choose(level, only)
    outcomes: list[Outcome] = []
    for done, group in enumerate(chosen):
        progress(done, len(chosen), group.name)
        outcomes += suite.run(group, chosen)
    progress(len(chosen), len(chosen), "")
    return Report(suite.target, level, suite.settings, tuple(outcomes), time.perf_counter() - start)


class Suite:
    """The groups run so far on one backend."""

    def __init__(self, target: Target, settings: Settings, xfail: Xfails = None) -> None:
        self.target, self.settings = target, settings
        known = all_checks()
        given = {} if xfail is None else xfail
        self.xfails = check_xfails(given, known) if isinstance(given, Mapping) else read_xfails(given, known)
        self._done: dict[str, list[Outcome]] = {}

    def run(self, group: Group, among: Sequence[Group]) -> list[Outcome]:
        """Outcomes of a group: blocked if one of a lower level fails, of those in `among`."""
        if group.name not in self._done:
            failed = [o.id for lower in self._below(group, among) for o in self.run(lower, among) if o.status == "fail"]
            self._done[group.name] = list(self._blocked(group, failed) if failed else self._run(group, among))
        return self._done[group.name]

    def _below(self, group: Group, among: Sequence[Group]) -> list[Group]:
        order = list(LEVELS)
        level = order.index(_level_of(group))
        return [g for g in among if order.index(_level_of(g)) < level]

    def _blocked(self, group: Group, failed: list[str]) -> Iterator[Outcome]:
        more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
        for check in group.checks(self.settings.dtypes):
            yield Outcome(check, "blocked", f"blocked by {failed[0]}{more}")

    def _run(self, group: Group, among: Sequence[Group]) -> Iterator[Outcome]:
        counted = {check for other in among for check in other.checks(self.settings.dtypes)} | set(self.xfails)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # overflow at the edges of a dtype is part of what is tested
            failures = group.run(self.target, self.settings)
        for check in group.checks(self.settings.dtypes):
            yield self._outcome(check, failures.get(check), counted)

    def _outcome(self, check: str, failure: Failure | None, counted: Collection[str]) -> Outcome:
        """counted: checks whose failure shows elsewhere, in this run or on the list; what needs them is blocked."""
        reason = self.xfails.get(check)
        if failure is None and reason is None:
            return Outcome(check, "pass")
        if failure is None:
            return Outcome(check, "xpass", f"listed as failing ({reason}), but passes: take it off the list")
        if failure.needs in counted:
            return Outcome(check, "blocked", failure.message)
        message = f"{failure.message}, which fails and is no part of this run" if failure.needs else failure.message
        if reason is not None:
            return Outcome(check, "xfail", f"{reason} ({message})", failure.repro)
        return Outcome(check, "fail", message, failure.repro)


def recheck(target: str | type[Ops] | Ops, check: str, examples: int = 30) -> None:
    """Run one check again; raises AssertionError, saying why, unless it passes, InvalidInputError if there is none."""
    require_known(check, all_checks())
    name = "/".join(check.split("/")[:2])
    found = [group for level in groups().values() for group in level if group.name == name]
    dtypes = [dtype for dtype in DTYPES if f"/{dtype}/" in check] or DTYPES
    suite = Suite(open_target(target), check_settings(examples, dtypes))
    [outcome] = [o for o in suite.run(found[0], found) if o.id == check]
    assert outcome.status == "pass", f"{check}: {outcome.message}"


def choose(level: str, only: str = "") -> list[Group]:
    """The groups up to a level that have `only` in their names; raises InvalidInputError if there is none."""
    if level not in LEVELS:
        raise InvalidInputError(f"level={level!r} is not one of {', '.join(LEVELS)}")
    names = list(groups())
    up_to = names[: [str(name) for name in names].index(level) + 1]
    chosen = [group for name in up_to for group in groups()[name] if only in group.name]
    if not chosen:
        raise InvalidInputError(f"only={only!r} is part of no name; names are such as 'ops/softmax', 'blocks/codec'")
    return chosen


def check_settings(examples: int, dtypes: Sequence[str]) -> Settings:
    """Settings of legal values."""
    from ...checks import one_of, whole

    chosen = tuple(one_of("dtype", dtype, DTYPES) for dtype in dtypes)
    if not chosen:
        raise InvalidInputError(f"dtypes is empty; expected some of {', '.join(DTYPES)}")
    return Settings(whole("examples", examples, 1, 100_000), chosen)


def _level_of(group: Group) -> Level:
    return next(level for level in LEVELS if group.name.startswith(f"{level}/"))
