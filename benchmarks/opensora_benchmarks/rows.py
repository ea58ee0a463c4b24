"""What a row of results holds, whoever made it."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from opensora_core.errors import is_out_of_memory

from .gate import RefusedError
from .providers import Provider, UnsupportedError
from .roofline import Roofline
from .sampling import FULL, Rule, Taken, summary

Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """How cases are run: dtype, stopping rule, whether caches are flushed before each call, the seed of all inputs."""

    dtype: str = "float32"
    rule: Rule = FULL
    cold: bool = True
    seed: int = 0

    def has_time_for(self, seconds: float) -> bool:
        """Whether a call that takes so long at best can be timed within the budget."""
        return seconds <= self.rule.budget / 2


class Named(Protocol):
    """What a row tells of a case or a workload."""

    @property
    def id(self) -> str:
        """op/name."""

    @property
    def op(self) -> str:
        """Of the op table, or what the program is called."""

    @property
    def suite(self) -> str:
        """Which it belongs to."""

    @property
    def shape(self) -> dict[str, Any]:
        """Sizes that a report shows."""


def base_row(case: Named, provider: Provider, plan: Plan, status: str, reason: str | None = None) -> Row:
    """What every row holds, also one without a time."""
    return {
        "suite": case.suite, "case": case.id, "op": case.op, "shape": case.shape, "dtype": plan.dtype,
        "provider": provider.name, "device": provider.library.device_name or "cpu",
        "cache": "cold" if plan.cold else "warm", "flushed_bytes": provider.library.flush_bytes if plan.cold else 0,
        "clock": provider.library.clock, "status": status, "reason": reason,
    }  # fmt: skip


def timed_row(taken: Taken, rated: Row) -> Row:
    """What the samples say."""
    return {**summary(taken.samples), **rated, "ended": taken.ended, "samples_s": taken.samples}


def rates(flops: int, size: int, roofline: Roofline, seconds: float) -> Row:
    """Work and traffic a second, and the share of what the machine could."""
    return {
        "flops": flops, "bytes": size, "intensity": flops / size, "tflops": flops / seconds / 1e12,
        "gbs": size / seconds / 1e9, **share(flops, size, roofline, seconds),
    }  # fmt: skip


def share(flops: int, size: int, roofline: Roofline, seconds: float) -> Row:
    """The least time on this machine over the one that was taken, and what bounds it."""
    return {"roofline_share": roofline.seconds(flops, size) / seconds, "bound": roofline.bound(flops, size)}


def what_went_wrong(error: Exception) -> tuple[str, str]:
    """Status and reason of a provider that gets no time."""
    if isinstance(error, RefusedError):
        return "fail", str(error)
    if isinstance(error, UnsupportedError):
        return "skip", str(error)
    first = str(error).strip().partition("\n")[0]
    if is_out_of_memory(error):
        return "skip", f"out of memory ({first})"
    place = traceback.extract_tb(error.__traceback__)[-1]
    return (
        "error",
        f"{type(error).__name__}: {first[:300]} (in {Path(place.filename).name}:{place.lineno}, {place.name})",
    )
