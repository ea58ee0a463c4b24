"""Prompts with references, schedules and scores, and sizes by name, beyond what the golden tables hold."""

from __future__ import annotations

import pytest

from opensora_core.conditioning.prompts import (
    add_score_words,
    add_scores,
    merge_schedule,
    split_prompt,
    split_schedule,
)
from opensora_core.conditioning.sizes import PIXELS_V2, size_v2, size_v12, sizes_v2
from opensora_core.errors import InvalidInputError


@pytest.mark.parametrize(
    ("prompt", "words"),
    [("a {b", "is no JSON object"), ('a {"mask": "0"}', "may hold reference_path"), ('a {"mask_strategy": 0}', "text")],
)
def test_an_object_that_cannot_be_read_is_named(prompt: str, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        split_prompt(prompt)


@pytest.mark.parametrize("text", ["|1|late", "|0|a|2|b|1|c"])
def test_schedules_begin_at_0_and_rise(text: str) -> None:
    with pytest.raises(InvalidInputError, match="must begin at 0 and rise"):
        split_schedule(text)


@pytest.mark.parametrize("text", ["|0|a|2|b", "a | b", ""])
def test_a_schedule_that_is_merged_is_as_before(text: str) -> None:
    assert merge_schedule(split_schedule(text)) == text


@pytest.mark.parametrize(
    ("aesthetic", "word"), [(3.9, "terrible"), (4, "very poor"), (6.4, "very good"), (6.5, "excellent")]
)
def test_a_word_holds_below_its_right_bound(aesthetic: float, word: str) -> None:
    assert add_score_words("A cat.", aesthetic) == f"A cat. The aesthetic score is {word}."


def test_scores_of_motion_in_words_and_none_at_all() -> None:
    assert add_score_words("A cat.", None, 20) == "A cat. The motion strength is extremely high."
    assert add_scores("A cat.") == add_score_words("A cat.") == "A cat."


def test_sizes_by_name() -> None:
    assert size_v12("240p", "9:16") == (240, 426)
    assert size_v12("512", "1:2") == (352, 704)  # its table has no such ratio in its names, but 0.5
    assert size_v2("256px", "16:9") == (192, 336)
    for name, pixels in PIXELS_V2.items():
        assert all(abs(h * w - pixels) < 0.08 * pixels for h, w in sizes_v2(name, training=True).values())
    for call in (lambda: size_v12("241p", "9:16"), lambda: size_v12("240p", "9:15"), lambda: size_v2("256px", "9:15")):
        with pytest.raises(InvalidInputError, match="is not one of"):
            call()
