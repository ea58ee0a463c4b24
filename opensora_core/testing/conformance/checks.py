"""What the suite says about a backend: checks with names, grouped by what is called, and their outcomes.

A check is named level/subject/dtype/aspect, such as "ops/softmax/float16/values"; the two that have no dtype are
"ops/softmax/signature" and "ops/host_noise/bits".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from ..table import DTYPES
from .target import Target

Level = Literal["ops", "blocks", "model", "train"]
LEVELS: dict[Level, str] = {
    "ops": "every op of the language, its signature, and the bits of host noise",
    "blocks": "attention, transformer blocks, embedders, codec and text encoder",
    "model": "a whole small STDiT3 and a short sampling run",
    "train": "gradients of the training loss and a few optimizer steps",
}
"""Each level is run only when those before it have no failure."""

ASPECTS = {
    "runs": "returns instead of raising, as many arrays as asked for",
    "dtype": "the results' dtype is the one the language asks for",
    "values": "shape and numbers are right, within what rounding excuses",
    "nan": "no NaN where the truth has none",
    "inputs": "the arguments come out unchanged",
    "alias": "results share no memory with arguments or other results, unless the op may return a view",
    "repeat": "the same call gives the same bits again",
    "device": "results are arrays of the backend, on its device",
}
"""What is asked of every call, in every dtype."""

Status = Literal["pass", "fail", "blocked", "xfail", "xpass"]
"""blocked: not judged, since another check of the same run, or one on the list, failed. xfail: failed as the list says.
xpass: the list is out of date."""


@dataclass(frozen=True)
class Failure:
    """Why a check did not pass. repro: Python lines that show it again. needs: the check without which it cannot be."""

    message: str
    repro: str = ""
    needs: str = ""


@dataclass(frozen=True)
class Outcome:
    """The result of one check."""

    id: str
    status: Status
    message: str = ""
    repro: str = ""

    @property
    def ok(self) -> bool:
        """Whether this lets the suite pass."""
        return self.status in ("pass", "xfail", "blocked")  # blocked: what blocked it is counted where it failed


@dataclass(frozen=True)
class Settings:
    """How thoroughly to look. examples: draws for every op. dtypes: those under test."""

    examples: int = 30
    dtypes: tuple[str, ...] = DTYPES


def needing(check: str) -> Failure:
    """Why a check could not be judged: another one failed."""
    return Failure(f"needs {check}", needs=check)


class Group(Protocol):
    """The checks of one subject, which are run together."""

    @property
    def name(self) -> str:
        """level/subject."""

    def checks(self, dtypes: Iterable[str]) -> list[str]:
        """Names of the checks, known before anything is run."""

    def run(self, target: Target, settings: Settings) -> dict[str, Failure]:
        """Run them; returns those that did not pass."""


def checks_in(name: str, dtypes: Iterable[str]) -> list[str]:
    """Names of the checks of a subject that is called in several dtypes."""
    return [f"{name}/{dtype}/{aspect}" for dtype in dtypes for aspect in ASPECTS]
