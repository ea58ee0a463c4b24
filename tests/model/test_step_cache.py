"""Steps between computed ones follow a straight line; what does not belong together is computed anew."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensora_core.dit.step_cache import StepCache
from opensora_core.errors import InvalidInputError
from opensora_core.registry import get_backend

OPS = get_backend("numpy")


class Blocks:
    """Blocks that add a + b·n in step n, and remember when they were asked."""

    def __init__(self, cache: StepCache, a: float = 2.0, b: float = 0.5) -> None:
        self.cache, self.a, self.b = cache, a, b
        self.n, self.computed = 0, []

    def step(self, x: np.ndarray, mask: Any = None) -> np.ndarray:
        def compute(x: np.ndarray) -> np.ndarray:
            self.computed.append(self.n)
            return x + self.a + self.b * self.n

        out = self.cache.run(OPS, x, mask, compute)
        self.n += 1
        return out


def tokens(n: int, rows: int = 1) -> np.ndarray:
    return np.full((rows, 1, 2, 3), float(n))


@given(every=st.integers(1, 9), steps=st.integers(1, 25))
def test_the_first_steps_the_last_and_every_so_many_are_computed(every, steps):
    blocks = Blocks(StepCache(every, steps))
    for n in range(2 * steps):  # two samplers, one after the other
        blocks.step(tokens(n))
    first = -(-steps // 10)
    once = sorted({*range(first), *range(0, steps, every), steps - 1})
    assert blocks.computed == [*once, *(steps + n for n in once)]
    assert blocks.cache.reused == 2 * (steps - len(once))


def test_what_changes_evenly_is_met_exactly_once_two_steps_are_known():
    blocks = Blocks(StepCache(3, 10))
    outs = [blocks.step(tokens(n))[0, 0, 0, 0] - n for n in range(10)]
    assert outs == [2.0, 2.0, 2.0, *(2.0 + 0.5 * n for n in range(3, 10))]


def test_nothing_is_kept_from_one_sampler_to_the_next():
    blocks = Blocks(StepCache(4, 5))
    for _ in range(5):
        blocks.step(tokens(0))
    blocks.a = 100.0
    blocks.step(tokens(0))
    assert blocks.step(tokens(0)).max() == 100.0 + 0.5 * 5  # of step 5 alone, without a slope


def test_another_batch_and_other_given_frames_are_computed():
    one, two = np.array([True, True]), np.array([True, False])
    blocks = Blocks(StepCache(9, 9))
    for rows, mask in ((2, None), (2, None), (1, None), (1, None), (1, one), (1, one), (1, two), (1, two)):
        blocks.step(tokens(0, rows), mask)
    assert blocks.computed == [0, 2, 4, 6]


def test_a_cache_of_no_steps_is_refused():
    with pytest.raises(InvalidInputError, match="step_cache=0 must be a whole number of at least 1"):
        StepCache(0, 30)
