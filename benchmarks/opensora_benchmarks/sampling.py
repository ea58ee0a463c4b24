"""Takes samples of several providers turn by turn, so that a busy moment of the machine hits all alike."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np


@dataclass(frozen=True)
class Rule:
    """When there are enough samples of a provider.

    error: the relative standard error of the mean that is aimed at. budget: seconds after which it ends anyway, with
    everything that taking samples needs. least, most: numbers of samples. warmup: calls that do not count.
    """

    error: float = 0.02
    budget: float = 3.0
    least: int = 10
    most: int = 1000
    warmup: int = 2

    def ended(self, samples: Sequence[float], spent: float) -> str | None:
        """Why no more samples are needed ("converged", "budget" or "most"), or None."""
        if len(samples) >= self.least and relative_standard_error(samples) <= self.error:
            return "converged"
        if len(samples) >= 2 and spent >= self.budget:
            return "budget"
        return "most" if len(samples) >= self.most else None


FULL = Rule()
QUICK = Rule(budget=0.5, least=5, warmup=1)


@dataclass
class Taken:
    """Samples of one provider in seconds, why they ended, and what taking them took."""

    samples: list[float] = field(default_factory=list)
    ended: str | None = None
    spent: float = 0.0


def relative_standard_error(samples: Sequence[float]) -> float:
    """Standard error of the mean over the mean; infinite for fewer than two samples."""
    if len(samples) < 2:
        return float("inf")
    return statistics.stdev(samples) / math.sqrt(len(samples)) / statistics.fmean(samples)


def take_turns(
    samplers: Mapping[str, Callable[[], float]], rule: Rule, clock: Callable[[], float] = perf_counter
) -> dict[str, Taken | Exception]:
    """Samples by name. A sampler returns the seconds of one call; one that raises is out, and its exception is told."""
    taken: dict[str, Taken | Exception] = {}
    running = dict(samplers)
    while running:
        for name, sampler in list(running.items()):
            state = taken.setdefault(name, Taken())
            assert isinstance(state, Taken)
            try:
                _sample(state, sampler, rule, clock)
            except Exception as error:
                taken[name] = error
                del running[name]
                continue
            if state.ended:
                del running[name]
    return taken


def _sample(state: Taken, sampler: Callable[[], float], rule: Rule, clock: Callable[[], float]) -> None:
    start = clock()
    if not state.samples:
        for _ in range(rule.warmup):
            sampler()
    state.samples.append(sampler())
    state.spent += clock() - start
    state.ended = rule.ended(state.samples, state.spent)


def summary(samples: Sequence[float]) -> dict[str, float]:
    """Median, 20th and 80th percentile and least of the samples, in seconds, their number and standard error."""
    p20, median, p80 = (float(x) for x in np.percentile(samples, [20, 50, 80]))
    error = relative_standard_error(samples)
    return {"median_s": median, "p20_s": p20, "p80_s": p80, "min_s": min(samples), "n": len(samples), "rse": error}
