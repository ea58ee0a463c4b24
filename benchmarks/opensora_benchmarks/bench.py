"""What `opensora bench` does: list, run, compare, report and roofline as functions."""

from __future__ import annotations

import dataclasses
import functools
import secrets
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from opensora_core.errors import InvalidInputError
from opensora_core.registry import DTYPES

from .case import Case
from .environment import describe_environment
from .providers import RIVALS, Provider, available, open_backend, open_provider, probes
from .results import Document, Journal
from .roofline import Roofline, measure_roofline, too_low
from .rows import Plan, Row, share
from .runner import run_case
from .sampling import FULL, QUICK
from .suites import select
from .workload import run_workload

ONE_NAME = {"backends": "backend", "providers": "provider"}  # of the options that take several
ARRAYS = ("numpy", "torch", "cupy", "jax")


@dataclasses.dataclass(frozen=True)
class Asked:
    """What to run, on what, and how; without backends and providers: all that there are on the device."""

    pattern: str
    backends: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    arrays: str = "numpy"
    dtype: str = "float32"
    device: str | None = None
    quick: bool = False
    budget: float | None = None
    error: float | None = None
    warm: bool = False
    seed: int | None = None

    def plan(self) -> Plan:
        """How cases are run. Raises InvalidInputError for an unknown dtype, a budget or an error that is none."""
        if self.dtype not in DTYPES:
            raise InvalidInputError(f"dtype {self.dtype!r} is not one of {', '.join(DTYPES)}")
        if self.budget is not None and not 0 < self.budget < float("inf"):
            raise InvalidInputError(f"budget={self.budget:g} must be a number of seconds above 0")
        if self.error is not None and not 0 < self.error < 1:
            raise InvalidInputError(f"error={self.error:g} must lie between 0 and 1, such as 0.01")
        said = {name: value for name in ("budget", "error") if (value := getattr(self, name)) is not None}
        rule = dataclasses.replace(QUICK if self.quick else FULL, **said)
        return Plan(self.dtype, rule, not self.warm, secrets.randbits(32) if self.seed is None else self.seed)

    def open_providers(self) -> list[Provider]:
        """Everything that was asked for, or that is there."""
        if self.arrays not in ARRAYS:
            raise InvalidInputError(f"arrays {self.arrays!r} is not one of {', '.join(ARRAYS)}")
        names = self.providers or (() if self.backends else tuple(available(self.device, self.quick)))
        found = [open_backend(name, self.device, self.dtype) for name in self.backends]
        return found + [open_provider(name, self.device, self.dtype, self.arrays) for name in names]

    def command(self, output: Path) -> str:
        """The command line that asks for this."""
        words = ["opensora", "bench", "run", self.pattern]
        for field in dataclasses.fields(self)[1:]:
            value, option = getattr(self, field.name), f"--{ONE_NAME.get(field.name, field.name)}"
            if value is True:
                words.append(option)
            elif value != field.default:
                words += [option, ",".join(value) if isinstance(value, tuple) else str(value)]
        return shlex.join([*words, "--output", str(output)])


Told = Callable[[int, int, str], None]


def run(asked: Asked, output: Path, tell: Told = lambda done, total, text: None) -> Document:
    """Run the cases and return the document, which is then in the file `output` with the suffix .json.

    tell: called before each case with how many are done, how many there are, and the case's id. Raises
    InvalidInputError for an unknown case, provider, dtype or device.
    """
    cases, plan, providers = select(asked.pattern, asked.quick), asked.plan(), asked.open_providers()
    libraries = [p.library for p in providers]
    environment = describe_environment(libraries, plan.seed)
    head = {"command": asked.command(output), "environment": environment, "plan": dataclasses.asdict(plan)}
    tell(0, len(cases), "the roofline of this machine")
    probe = functools.partial(measure_roofline, probes(providers), plan.dtype)
    roofline = probe()
    journal = Journal(output.with_suffix(".json"), {**head, "roofline": dataclasses.asdict(roofline)})
    for number, case in enumerate(cases):
        tell(number, len(cases), case.id)
        if isinstance(case, Case) and not plan.has_time_for(roofline.seconds(*case.costs(plan.dtype))):
            roofline = roofline.best_of(probe())  # before a case is left out for a probe at a busy moment
        run_it = run_case if isinstance(case, Case) else run_workload
        for row in run_it(case, providers, plan, roofline):
            journal.append(row)
    tell(len(cases), len(cases), "the roofline once more")
    _settle(journal.document, roofline.best_of(probe()))
    return journal.finish()


def _settle(document: Document, roofline: Roofline) -> None:
    """Every row's share of the roofline that all probes together found."""
    document["roofline"] = dataclasses.asdict(roofline)
    for row in document["results"]:
        if row["status"] == "ok":
            row |= share(row["flops"], row["bytes"], roofline, row["median_s"])


def roofline(device: str | None, dtypes: Sequence[str]) -> list[Roofline]:
    """The roofline of this machine in each dtype, by the backends that are there."""
    names = [name for name in available(device) if name in ("numpy", "torch", "cuda")]
    return [measure_roofline([open_backend(n, device, dtype).library for n in names], dtype) for dtype in dtypes]


def failures(document: Document) -> list[Row]:
    """Rows of providers that were refused, or raised; rivals may raise where they have nothing for a case."""
    rows = document["results"]
    return [r for r in rows if r["status"] == "fail" or (r["status"] == "error" and r["provider"] not in RIVALS)]


def warnings(document: Document) -> list[str]:
    """What to say of times that may not be trusted."""
    return [warning for warning in (busy(document), too_low(document)) if warning]


def busy(document: Document) -> str | None:
    """A warning if other programs kept the processors busy when the run began."""
    load, processors = document["environment"]["load"], document["environment"]["processors"]
    if load is None or load[0] <= 0.5 * processors:
        return None
    return f"the machine was busy (load {load[0]:g} on {processors} processors): these times tell little"


def default_output(now: Any) -> Path:
    """A name that says when."""
    return Path(f"bench-{now:%Y%m%d-%H%M%S}.json")
