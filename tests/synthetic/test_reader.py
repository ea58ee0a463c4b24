from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from opensora_core.errors import InvalidInputError
from opensora_core.synthetic import EASY, FULL, SHAPES, SWING, Scene, World, read, render, score
from opensora_core.synthetic.reader import COMPASS, NOTHING

Clips = tuple[list[NDArray[np.uint8]], list[Scene]]


def clips(world: World, count: int, seed: int = 0, **options: object) -> Clips:
    rng = np.random.default_rng(seed)
    scenes = [world.sample(rng) for _ in range(count)]
    return [world.render(scene, rng, **options) for scene in scenes], scenes  # type: ignore[arg-type]


@pytest.mark.parametrize("side", [32, 64])
@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("world", [EASY, FULL, SWING], ids=["easy", "full", "swing"])
def test_every_real_clip_is_read_right(world: World, free: bool, side: int) -> None:
    world = dataclasses.replace(world, free_placement=float(free))
    adherence = score(*clips(world, 60, height=side, width=side))
    assert adherence.all == 1.0
    assert adherence.n == 60


@pytest.mark.parametrize(
    "options",
    [
        {"height": 40, "width": 64},
        {"height": 64, "width": 36},
        {"height": 32, "width": 32, "num_frames": 5, "fps": 2.0},
    ],
)
def test_other_aspect_ratios_and_five_frames_are_read_right(options: dict[str, object]) -> None:
    assert score(*clips(FULL, 60, 1, **options)).all == 1.0


def test_still_images_are_read_right_but_for_their_motion() -> None:
    videos, scenes = clips(FULL, 40, 2, num_frames=1)
    assert score(videos, scenes, still_images=True).all == 1.0
    assert score(videos, scenes).motion < 0.3


@pytest.mark.parametrize(
    ("world", "ceilings"),
    [
        (EASY, {"background": 0.2, "color": 0.2, "shape": 0.33, "motion": 0.22, "size": 0.72, "all": 0.01}),
        (FULL, {"background": 0.2, "color": 0.2, "shape": 0.25, "motion": 0.13, "size": 0.52, "all": 0.01}),
    ],
    ids=["easy", "full"],
)
def test_clips_of_other_prompts_score_no_better_than_chance(world: World, ceilings: dict[str, float]) -> None:
    videos, scenes = clips(world, 100, 3, height=32, width=32)
    floor = score(videos, scenes[1:] + scenes[:1]).to_dict()
    for attribute, ceiling in ceilings.items():
        assert floor[attribute] <= ceiling, attribute


@pytest.mark.parametrize("shape", SHAPES)
def test_the_evidence_agrees_with_what_was_drawn(shape: str) -> None:
    rng = np.random.default_rng(0)
    still = read(render(Scene(shape, "red", "white", "large", "still"), rng))
    assert 13.9 < still.radius < 15.6
    assert still.iou > 0.85
    assert still.clean < 1
    assert still.visible == 1
    assert (still.dx, still.dy) == pytest.approx((0, 0), abs=0.01)
    growing = read(render(Scene(shape, "red", "white", "medium", "grow"), rng))
    assert 2 < growing.growth < 3
    blinking = read(render(Scene(shape, "red", "white", "medium", "blink"), rng))
    assert blinking.visible == pytest.approx(9 / 17)


@pytest.mark.parametrize("motion", COMPASS)
def test_a_clip_played_backwards_moves_the_opposite_way(motion: str) -> None:
    video = render(Scene("star", "cyan", "red", "small", motion), np.random.default_rng(0))
    opposite = COMPASS[(COMPASS.index(motion) + 4) % 8]
    assert read(video).motion == motion
    assert read(video[::-1]).motion == opposite


def test_a_clip_of_nothing_has_only_a_background() -> None:
    reading = read(np.full((17, 32, 32, 3), (45, 85, 215), np.uint8))
    assert reading.background == "blue"
    assert {reading.color, reading.shape, reading.motion, reading.size} == {NOTHING}
    assert reading.iou == 0


def test_noise_is_seen_as_such() -> None:
    rng = np.random.default_rng(4)
    video = render(Scene("square", "black", "yellow", "large", "right"), rng)
    noisy = np.clip(video + rng.normal(0, 12, video.shape), 0, 255).astype(np.uint8)
    assert read(noisy).clean > 8
    assert read(noisy).background_error > 5


@settings(max_examples=40, deadline=None)
@given(
    npst.arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(8, 20), st.integers(8, 20), st.just(3))),
    st.integers(0, 2**32 - 1),
)
def test_any_frames_can_be_read(video: NDArray[np.uint8], seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, video.shape).astype(np.uint8)
    for frames in (video, noise, video ^ (noise & 63)):
        reading = read(frames)
        assert np.isfinite([reading.iou, reading.radius, reading.clean, reading.growth, reading.dx, reading.dy]).all()
        assert 0 <= reading.iou <= 1


@pytest.mark.parametrize(
    "video",
    [
        np.zeros((17, 64, 64, 3), np.float32),
        np.zeros((64, 64, 3), np.uint8),
        np.zeros((0, 64, 64, 3), np.uint8),
        np.zeros((17, 3, 64, 64), np.uint8),
        np.zeros((17, 4, 64, 3), np.uint8),
    ],
)
def test_what_is_no_clip_is_refused(video: NDArray[np.uint8]) -> None:
    with pytest.raises(InvalidInputError, match=r"must be uint8 \[T, H, W, 3\]"):
        read(video)


def test_each_attribute_is_counted_apart() -> None:
    asked = Scene("circle", "red", "blue", "large", "right")
    video = render(asked, np.random.default_rng(0))
    other = dataclasses.replace(asked, shape="ring", size="small")
    adherence = score([video, video], [asked, other])
    assert adherence.to_dict() == {
        **{"background": 1.0, "color": 1.0, "shape": 0.5, "motion": 1.0, "size": 0.5, "all": 0.5},
        **{"iou": pytest.approx(read(video).iou), "n": 2},
    }


def test_any_size_is_right_for_what_grows() -> None:
    growing = Scene("circle", "red", "blue", "medium", "grow")
    video = render(growing, np.random.default_rng(0))
    assert score([video] * 2, [growing, dataclasses.replace(growing, size="small")]).all == 1.0


def test_scores_need_one_scene_for_each_clip() -> None:
    videos, scenes = clips(EASY, 2)
    for some, others in ((videos, scenes[:1]), ([], [])):
        with pytest.raises(InvalidInputError, match="one scene for each clip"):
            score(some, others)
