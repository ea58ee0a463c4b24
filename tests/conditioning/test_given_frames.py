"""Condition types of v1.3 and v2.0, and what v2.0 is given of them."""

from __future__ import annotations

import numpy as np
import pytest

from opensora_core import get_backend
from opensora_core.conditioning.given_frames import TYPES_V2, TYPES_V13, condition, given_frames
from opensora_core.errors import InvalidInputError

OPS = get_backend("numpy", dtype="float64")
SHAPE = (1, 2, 12, 1, 1)


def reference(frames: int) -> np.ndarray:
    return np.broadcast_to(np.arange(1.0, frames + 1).reshape(1, -1, 1, 1), (2, frames, 1, 1)).copy()


@pytest.mark.parametrize(
    ("kind", "v2", "v13"),
    [
        ("t2v", (), ()),
        ("i2v_head", (0,), (0,)),
        ("i2v_tail", (11,), (11,)),
        ("i2v_loop", (0, 11), (0, 11)),
        ("v2v_head", tuple(range(9)), tuple(range(6))),
        ("v2v_tail", tuple(range(3, 12)), tuple(range(6, 12))),
    ],
)
def test_which_frames_are_given(kind: str, v2: tuple[int, ...], v13: tuple[int, ...]) -> None:
    assert given_frames(kind, 12) == v2
    assert given_frames(kind, 12, TYPES_V13) == v13
    assert given_frames(kind, 1) == given_frames(kind, 1, TYPES_V13) == ()


def test_a_tail_is_given_the_end_of_its_reference() -> None:
    found = condition(OPS, "v2v_tail", [[reference(20)]], SHAPE)
    assert found.latents[0, 0, :, 0, 0].tolist() == [0, 0, 0, *range(12, 21)]
    assert found.mask[0, 0, :, 0, 0].tolist() == [0, 0, 0, *[1] * 9]
    assert found.channels(OPS).shape == (1, 3, 12, 1, 1)
    kept = found.keep(OPS, np.full(SHAPE, -1.0))
    assert kept[0, 1, :, 0, 0].tolist() == [-1, -1, -1, *range(12, 21)]


def test_a_loop_is_given_the_first_frames_of_both_references() -> None:
    found = condition(OPS, "i2v_loop", [[reference(3), 7 * reference(1)]], SHAPE)
    assert found.latents[0, 0, :, 0, 0].tolist() == [1, *[0] * 10, 7]


@pytest.mark.parametrize(
    ("kind", "references", "words"),
    [
        ("i2v_middle", [[]], f"kind='i2v_middle' is not one of {', '.join(TYPES_V2)}"),
        ("i2v_loop", [[reference(1)]], "'i2v_loop' needs 2 references, got 1"),
        ("v2v_head", [[reference(4)]], "'v2v_head' gives 9 latent frames; the reference has 4"),
        ("t2v", [[], []], "references of 2 samples were given for 1"),
    ],
)
def test_what_does_not_fit_is_named(kind: str, references: list[list[np.ndarray]], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        condition(OPS, kind, references, SHAPE)
