"""What training samples of v1.3 and v2.0 are given: types by their weights, frames by their types."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from opensora_core.conditioning.drawn_types import WEIGHTS_V2, WEIGHTS_V13, draw_captions_v2, draw_condition
from opensora_core.conditioning.given_frames import TYPES_V2, TYPES_V13
from opensora_core.errors import InvalidInputError
from opensora_core.random import generator


@pytest.mark.parametrize(("weights", "types"), [(WEIGHTS_V13, TYPES_V13), (WEIGHTS_V2, TYPES_V2)])
def test_types_are_drawn_by_their_weights(weights: dict[str, int], types: dict) -> None:
    rng, n = generator(0, "types"), 4000
    counts = Counter(draw_condition(rng, 8, weights, types).kind for _ in range(n))
    total = sum(weights.values())
    for kind, weight in weights.items():
        p = weight / total
        assert abs(counts[kind] - n * p) < 4 * np.sqrt(n * p * (1 - p)), kind


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("none", []), ("t2v", []), ("i2v_head", [0]), ("i2v_tail", [6]), ("i2v_loop", [0, 6]), ("v2v_head", [0, 1, 2]),
        ("v2v_head_noisy", [0, 1, 2]), ("v2v_tail", [4, 5, 6]),
    ],
)  # fmt: skip
def test_a_type_gives_the_frames_that_it_gives_in_generation(kind: str, given: list[int]) -> None:
    drawn = draw_condition(generator(0, kind), 7, {kind: 1})
    assert (np.flatnonzero(drawn.given).tolist(), drawn.noisy) == (given, kind == "v2v_head_noisy")


def test_something_is_always_left_to_generate() -> None:
    rng = generator(1, "given")
    for frames in (1, 2, 3):
        for _ in range(200):
            given = draw_condition(rng, frames).given
            assert given.shape == (frames,)
            assert not given.all()
            assert frames > 1 or not given.any()
    others = [draw_condition(rng, 6, {"other": 1}).given for _ in range(400)]
    np.testing.assert_allclose(np.mean(others, axis=0), 0.5, atol=0.12)


def test_one_caption_in_ten_of_v2_0_is_dropped_whole() -> None:
    rng = generator(0, "captions")
    kept = np.array([draw_captions_v2(rng) for _ in range(8000)])
    np.testing.assert_allclose(kept.mean(axis=0), 1 - 0.31622777, atol=0.025)
    assert abs((~kept).all(axis=1).mean() - 0.1) < 0.015


def test_unknown_types_and_idle_weights_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"unknown weights fields \['i2v_middle'\]"):
        draw_condition(generator(0, "x"), 4, {"i2v_middle": 1})
    with pytest.raises(InvalidInputError, match="must not all be 0"):
        draw_condition(generator(0, "x"), 4, {"none": 0})
