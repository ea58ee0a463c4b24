"""The suite through pytest, and frameworks that must be there."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence

import pytest

from ...errors import MissingDependencyError
from ...ops import Ops
from ..table import DTYPES
from .checks import Outcome
from .suite import Suite, Xfails, check_settings, choose
from .target import Target, open_target

MUST_RUN = "OPENSORA_MUST_RUN"


def conformance_tests(
    target: str | type[Ops] | Ops,
    *,
    level: str = "train",
    xfail: Xfails = None,
    examples: int = 30,
    dtypes: Sequence[str] = DTYPES,
    only: str = "",
    device: str | None = None,
) -> Callable[[str], None]:
    """Return a test, parametrized by subject, for a module of tests to hold; arguments as for `conformance`.

        from opensora_core.testing.conformance import conformance_tests
        from my_pkg import MyOps

        test_conformance = conformance_tests(MyOps, xfail="conformance.xfail")

    A subject of a higher level is skipped, visibly, where a lower level fails, and one of which a check is blocked; so
    is everything where the framework is missing, except where it must run (see `require`).
    """
    chosen = choose(level, only)
    settings = check_settings(examples, dtypes)
    suites: list[Suite] = []  # made by the first test that runs

    @pytest.mark.parametrize("subject", [group.name for group in chosen])
    def test_conformance(subject: str) -> None:
        if not suites:
            suites.append(Suite(_open(target, device), settings, xfail))
        group = next(group for group in chosen if group.name == subject)
        _judge(suites[0].run(group, chosen))

    return test_conformance


def must_run() -> tuple[str, ...]:
    """Frameworks that have to be here: OPENSORA_MUST_RUN, their names with commas or spaces between."""
    return tuple(os.environ.get(MUST_RUN, "").replace(",", " ").split())


def require(framework: str) -> None:
    """Skip the test (or the module of tests) without a framework; fail where OPENSORA_MUST_RUN lists the framework."""
    if importlib.util.find_spec(framework) is None:
        _missing(framework, f"{framework} is not installed")


def _open(target: str | type[Ops] | Ops, device: str | None) -> Target:
    try:
        return open_target(target, device)
    except MissingDependencyError as error:
        _missing(next((name for name in (error.name, str(target)) if name in must_run()), str(target)), str(error))
        raise


def _missing(framework: str, reason: str) -> None:
    if framework in must_run():
        pytest.fail(f"{reason}, and {MUST_RUN} says that {framework} must run here", pytrace=False)
    pytest.skip(reason, allow_module_level=True)


def _judge(outcomes: list[Outcome]) -> None:
    bad = [o for o in outcomes if not o.ok]
    if bad:
        pytest.fail("\n\n".join(f"{o.id}: {o.message}\n\n{o.repro}".rstrip() for o in bad), pytrace=False)
    if reasons := [f"{o.id}: {o.message}" for o in outcomes if o.status == "xfail"]:
        pytest.xfail("; ".join(reasons))
    if blocked := [f"{o.id}: {o.message}" for o in outcomes if o.status == "blocked"]:
        pytest.skip(f"{len(blocked)} of {len(outcomes)} checks could not be judged, first {blocked[0]}")
