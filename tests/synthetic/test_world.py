from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest

from opensora_core.errors import InvalidInputError
from opensora_core.synthetic import (
    BACKGROUNDS,
    COLORS,
    EASY,
    FULL,
    MOTIONS,
    SHAPES,
    SIZES,
    SWING,
    Scene,
    World,
    held_out,
)


def test_the_full_lists_have_the_order_that_the_held_out_rule_counts_in() -> None:
    assert SHAPES == ("circle", "square", "triangle", "star", "cross", "ring")
    assert COLORS == ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "white", "black")
    assert [len(words) for words in (BACKGROUNDS, SIZES, MOTIONS)] == [8, 3, 15]
    assert MOTIONS[4:] == (
        *("upright", "upleft", "downright", "downleft"),
        *("bounce", "orbit", "grow", "shrink", "spin", "blink", "still"),
    )


def test_a_tenth_of_the_triples_is_held_out_whatever_background_and_size() -> None:
    triples = {(s.shape, s.color, s.motion): held_out(s) for s in FULL.scenes()}
    assert len(triples) == 6 * 10 * 15 - 2 * 10  # no circle or ring spins
    assert sum(triples.values()) == 87
    assert all(triples[s.shape, s.color, s.motion] == held_out(s) for s in FULL.scenes())


def test_the_held_out_rule_counts_in_the_full_lists_for_a_subset_too() -> None:
    cross = Scene("cross", "red", "black", "large", "left")
    index = (4 * 10 + 0) * 15 + 1
    assert held_out(cross) == ((index * 2654435761 % 2**32) % 1000 < 100)
    assert set(EASY.scenes("heldout")) < set(FULL.scenes("heldout"))
    assert set(EASY.scenes("train")) < set(FULL.scenes("train"))


def test_of_the_new_motion_every_other_shape_in_a_colour_is_held_out() -> None:
    train, heldout = ({(scene.shape, scene.color) for scene in SWING.scenes(split)} for split in ("train", "heldout"))
    assert (len(train), len(heldout)) == (21, 19)
    assert not train & heldout


@pytest.mark.parametrize("world", [EASY, FULL, SWING], ids=["easy", "full", "swing"])
def test_the_splits_share_no_scene_and_leave_none_out(world: World) -> None:
    train, heldout = world.scenes("train"), world.scenes("heldout")
    assert Counter(train) + Counter(heldout) == Counter(world.scenes("any"))
    assert not set(train) & set(heldout)
    for attribute, words in (("shape", world.shapes), ("color", world.colors), ("motion", world.motions)):
        assert {getattr(scene, attribute) for scene in train} == set(words)


def test_sampling_is_a_function_of_the_generator_and_the_split() -> None:
    first, again = (
        [FULL.sample(rng, "heldout") for _ in range(50)] for rng in (np.random.default_rng(3), np.random.default_rng(3))
    )
    assert first == again
    assert all(map(held_out, first))
    assert not any(held_out(FULL.sample(np.random.default_rng(seed), "train")) for seed in range(50))


def test_every_motion_is_drawn_about_equally_often() -> None:
    counts = Counter(scene.motion for scene in EASY.scenes())
    assert len(set(counts.values())) == 1


def test_what_grows_or_shrinks_is_medium() -> None:
    assert {scene.size for scene in FULL.scenes() if scene.motion in ("grow", "shrink")} == {"medium"}


def test_a_world_without_scenes_says_so_when_sampled() -> None:
    spinning_circles = dataclasses.replace(FULL, shapes=("circle",), motions=("spin",))
    with pytest.raises(InvalidInputError, match="no scene in split 'any'"):
        spinning_circles.sample(np.random.default_rng(0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shapes": ()}, "must name one or more of circle"),
        ({"colors": ("red", "mauve")}, "mauve"),
        ({"free_placement": 1.5}, "free_placement=1.5"),
    ],
)
def test_a_world_of_unknown_words_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        dataclasses.replace(FULL, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("blob", "red", "blue", "small", "left"), "shape='blob' is not one of circle"),
        (("circle", "blue", "blue", "small", "left"), "cannot be seen"),
        (("ring", "red", "blue", "small", "spin"), "looks the same while it spins"),
    ],
)
def test_a_scene_that_nobody_could_see_is_refused(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Scene(*words)


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="split='test' is not one of train, heldout, any"):
        EASY.scenes("test")  # type: ignore[arg-type]
