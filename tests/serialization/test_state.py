"""Weights that do not fit a model are refused with the names that matter."""

from __future__ import annotations

import time

import pytest

from opensora_core.errors import WeightsError
from opensora_core.serialization.state import StateDifference, check_state

MODEL = {"blocks.0.attn.qkv.weight": (24, 8), "blocks.0.attn.qkv.bias": (24,), "final.weight": (4, 8)}


def test_the_right_weights_pass_whatever_the_sequence_type() -> None:
    found = {name: list(shape) for name, shape in reversed(MODEL.items())}
    assert check_state(MODEL, found) == StateDifference((), (), ())


def test_every_kind_of_difference_is_listed_with_near_names() -> None:
    found = {"blocks.0.attn.qvk.weight": (24, 8), "blocks.0.attn.qkv.bias": (12,), "final.weight": (4, 8), "pos": ()}
    with pytest.raises(WeightsError) as caught:
        check_state(MODEL, found)
    assert str(caught.value).splitlines() == [
        "the weights do not fit the model (4 found, 3 expected)",
        "  1 missing:",
        "    'blocks.0.attn.qkv.weight' [24, 8]; did you mean 'blocks.0.attn.qvk.weight'?",
        "  2 unexpected:",
        "    'blocks.0.attn.qvk.weight' [24, 8]; did you mean 'blocks.0.attn.qkv.weight'?",
        "    'pos' []",
        "  1 of another shape:",
        "    'blocks.0.attn.qkv.bias' is [12], expected [24]",
    ]


def test_without_strict_names_are_returned_and_shapes_still_count() -> None:
    difference = check_state(MODEL, {"final.weight": (4, 8), "extra": (1,)}, strict=False)
    assert difference.missing == ("blocks.0.attn.qkv.bias", "blocks.0.attn.qkv.weight")
    assert difference.unexpected == ("extra",)
    with pytest.raises(WeightsError, match=r"'final.weight' is \[8, 4\], expected \[4, 8\]"):
        check_state(MODEL, {"final.weight": (8, 4)}, strict=False)


def test_many_differences_are_counted_and_a_few_shown_quickly() -> None:
    expected = {f"blocks.{i}.attn.proj.weight": (i,) for i in range(5000)}
    found = {f"module.blocks.{i}.attn.proj.weight": (i,) for i in range(5000)}
    began = time.process_time()
    with pytest.raises(WeightsError) as caught:
        check_state(expected, found)
    assert time.process_time() - began < 2
    message = str(caught.value)
    assert "5000 missing" in message
    assert message.count("and 4992 more") == 2
    assert "did you mean 'module.blocks." in message
    assert len(message.splitlines()) == 21
