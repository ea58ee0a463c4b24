"""The conformance suite: whether the library runs right on a backend, and where it does not.

    report = conformance("my_pkg:MyOps", "ops")
    print(report.summary, *report.details(), sep="\\n")

From the command line `opensora conformance my_pkg:MyOps`; as tests, `test_conformance = conformance_tests(MyOps)`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ...errors import MissingDependencyError

if find_spec("hypothesis") is None:
    raise MissingDependencyError(
        "the conformance suite draws inputs with hypothesis, which is not installed: pip install 'opensora-core[test]'"
    )

from .checks import ASPECTS, LEVELS, Outcome
from .junit import junit_xml
from .report import Report
from .signatures import wrong_signature
from .suite import conformance, groups, recheck
from .target import WRAPPERS, Target, open_target

if TYPE_CHECKING:
    from .pytest_api import conformance_tests, must_run, require

__all__ = [
    "ASPECTS",
    "LEVELS",
    "WRAPPERS",
    "Outcome",
    "Report",
    "Target",
    "conformance",
    "conformance_tests",
    "groups",
    "junit_xml",
    "must_run",
    "open_target",
    "recheck",
    "require",
    "wrong_signature",
]


def __getattr__(name: str) -> Any:
    if name in __all__:  # what needs pytest is loaded when it is asked for
        return getattr(import_module(".pytest_api", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
