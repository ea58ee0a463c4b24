"""A workload: something whole, such as a stage of a generation or a file written, that is checked and then timed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from opensora_core.accuracy import relative_l2
from opensora_core.ops import Ops

from .gate import RefusedError
from .providers import RIVALS, Provider, UnsupportedError
from .roofline import Roofline
from .rows import Plan, Row, base_row, rates, timed_row, what_went_wrong
from .sampling import Taken, take_turns


class Job(Protocol):
    """A workload as one provider does it."""

    flops: int
    bytes: int

    def prepare(self, rng: np.random.Generator) -> None:
        """Draw inputs that no call has seen."""

    def call(self) -> Any:
        """Do the work."""

    def check(self, result: Any) -> float:
        """The error over what is allowed for the inputs as they are. Raises RefusedError for a wrong result."""


@dataclass(frozen=True)
class Workload:
    """What is timed, by whoever `open` knows; it raises UnsupportedError for the others.

    op, name, suite, quick, shape: as of a `Case`. A job's flops and bytes are known once it was checked.
    """

    op: str
    name: str
    suite: str
    open: Callable[[Provider, str], Job]
    quick: bool = False
    shape: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """op/name."""
        return f"{self.op}/{self.name}"


def within(found: Any, wanted: Any, allowed: float) -> float:
    """Relative distance of arrays over the one that is allowed. Raises RefusedError above 1, and for other shapes."""
    found, wanted = (np.asarray(x, np.float64) for x in (found, wanted))
    if found.shape != wanted.shape:
        raise RefusedError(f"it returned the shape {list(found.shape)}, not {list(wanted.shape)}")
    distance = relative_l2(found, wanted)
    if not distance <= allowed:
        raise RefusedError(f"its result is {distance:.2g} of its size away from NumPy's, allowed is {allowed:.2g}")
    return distance / allowed


def our_backend(provider: Provider) -> Ops:
    """The backend of a provider. Raises UnsupportedError for one that is none."""
    if provider.backend is None:
        what = "a rival" if provider.name in RIVALS else "a function"
        raise UnsupportedError(f"it is {what}, and this is a whole workload")
    return provider.backend


def run_workload(work: Workload, providers: Sequence[Provider], plan: Plan, roofline: Roofline) -> Iterator[Row]:
    """One row for each provider, as `run_case` gives them."""
    opened: dict[str, _Opened] = {}
    for provider in providers:
        try:
            opened[provider.name] = _Opened(work.open(provider, plan.dtype), provider, plan)
        except Exception as error:
            yield base_row(work, provider, plan, *what_went_wrong(error))
    taken = take_turns({name: x.sample for name, x in opened.items()}, plan.rule)
    for name, subject in opened.items():
        yield _row(work, subject, plan, roofline, taken[name])


class _Opened:
    """A job that has passed two checks with different inputs."""

    def __init__(self, job: Job, provider: Provider, plan: Plan) -> None:
        self.job, self.provider, self._cold = job, provider, plan.cold
        self._rng = np.random.default_rng(plan.seed)
        job.prepare(self._rng)
        self.first_call_s, result = provider.library.timed(job.call)
        self.error = job.check(result)
        job.prepare(self._rng)
        self._result = job.call()
        self.check_last()

    def sample(self) -> float:
        self._result = None
        self.job.prepare(self._rng)
        if self._cold:
            self.provider.library.flush()
        seconds, self._result = self.provider.library.timed(self.job.call)
        return seconds

    def check_last(self) -> None:
        self.error = max(self.error, self.job.check(self._result))


def _row(work: Workload, subject: _Opened, plan: Plan, roofline: Roofline, taken: Taken | Exception) -> Row:
    try:
        if isinstance(taken, Exception):
            raise taken
        subject.check_last()
        memory = subject.provider.library.peak_memory(subject.job.call)
    except Exception as error:
        return base_row(work, subject.provider, plan, *what_went_wrong(error))
    job, seconds = subject.job, float(np.median(taken.samples))
    return {
        **base_row(work, subject.provider, plan, "ok"),
        **timed_row(taken, rates(job.flops, job.bytes, roofline, seconds)),
        "first_call_s": subject.first_call_s,
        "peak_memory": memory,
        "error_of_allowed": subject.error,
        "inputs": f"drawn from seed {plan.seed}",
    }
