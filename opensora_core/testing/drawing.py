"""Calls drawn from a seed by the strategy of an op: the same in every run, with one version of Hypothesis."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

from .strategies import Call


def draw(calls: SearchStrategy[Call], number: int, count: int) -> list[Call]:
    """Draw so many calls from the seed `number`, the simplest one first; some may be kin of each other."""
    found: list[Call] = []

    @seed(number)
    @settings(quiet(count), phases=[Phase.generate])
    @given(call=calls)
    def collect(call: Call) -> None:
        found.append(call)

    collect()
    return found


def quiet(examples: int) -> settings:
    """Settings that say nothing, remember nothing and stop for nothing."""
    return settings(
        max_examples=examples, derandomize=False, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
