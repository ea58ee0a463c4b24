from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from opensora_core.errors import InvalidInputError
from opensora_core.synthetic import EASY, FULL, MOTIONS, PALETTE, Scene, render

STRAIGHT = {
    "right": (1, 0),
    "left": (-1, 0),
    "up": (0, -1),
    "down": (0, 1),
    "upright": (1, -1),
    "upleft": (-1, -1),
    "downright": (1, 1),
    "downleft": (-1, 1),
}


def scene(motion: str = "right", shape: str = "square", size: str = "medium") -> Scene:
    return Scene(shape, "red", "white", size, motion)


def draw(what: Scene, seed: int = 0, **options: object) -> NDArray[np.uint8]:
    return render(what, np.random.default_rng(seed), **options)  # type: ignore[arg-type]


def covered(frames: NDArray[np.uint8]) -> NDArray[np.float64]:
    """How much of each pixel is not background, [T, H, W], the corner being background."""
    difference = np.abs(frames.astype(np.float64) - frames[:, :1, :1]).max(-1)
    return difference / max(difference.max(), 1)


def centers(frames: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Centre (x, y) of the object in each frame, [T, 2]."""
    cover = covered(frames)
    area = cover.sum((1, 2))
    x = (cover.sum(1) @ (np.arange(cover.shape[2]) + 0.5)) / area
    y = (cover.sum(2) @ (np.arange(cover.shape[1]) + 0.5)) / area
    return np.stack([x, y], 1)


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("motion", STRAIGHT)
def test_a_straight_motion_goes_its_way_at_constant_speed(motion: str, free: bool) -> None:
    steps = np.diff(centers(draw(scene(motion), free=free)), axis=0)
    assert np.array_equal(np.sign(np.round(steps.mean(0), 2)), STRAIGHT[motion])
    assert np.ptp(steps, axis=0).max() < 0.05


def test_orbiting_returns_after_two_seconds_clockwise() -> None:
    way = centers(draw(scene("orbit")))
    assert np.abs(way[0] - way[-1]).max() < 0.05
    arms = way[:-1] - way[:-1].mean(0)
    turns = arms[:-1, 0] * arms[1:, 1] - arms[:-1, 1] * arms[1:, 0]
    assert np.all(turns > 0)  # clockwise where y runs down


def test_bouncing_is_lowest_at_half_time() -> None:
    y = centers(draw(scene("bounce")))[:, 1]
    assert y.argmax() == 8
    assert abs(y[0] - y[-1]) < 0.05
    assert y[8] - y[0] > 18


def test_growing_and_shrinking_change_the_area_steadily() -> None:
    assert np.all(np.diff(covered(draw(scene("grow"))).sum((1, 2))) > 0)
    assert np.all(np.diff(covered(draw(scene("shrink"))).sum((1, 2))) < 0)


def test_spinning_changes_pixels_but_not_the_place() -> None:
    frames = draw(scene("spin", "cross"))
    assert np.ptp(centers(frames), axis=0).max() < 0.2
    assert np.abs(frames[2].astype(int) - frames[0]).max() > 100


def test_blinking_is_seen_then_away_then_seen() -> None:
    area = covered(draw(scene("blink"))).sum((1, 2))
    assert ((area > 0) == np.array([1] * 5 + [0] * 8 + [1] * 4)).all()


def test_a_still_object_is_one_picture() -> None:
    frames = draw(scene("still"))
    assert (frames == frames[0]).all()


@pytest.mark.parametrize("motion", MOTIONS)
def test_after_two_seconds_periodic_motions_repeat_and_the_others_hold(motion: str) -> None:
    shape = "square" if motion == "spin" else "circle"  # half a turn maps a square onto itself
    frames = draw(scene(motion, shape), num_frames=33)
    late = frames[16:]
    if motion in ("bounce", "orbit", "spin", "blink"):
        assert np.abs(late.astype(int) - frames[:17]).max() <= 1
    else:
        assert (late == late[0]).all()


@pytest.mark.parametrize("free", [False, True])
def test_a_clip_can_be_drawn_in_pieces_and_at_other_rates(free: bool) -> None:
    for motion in MOTIONS:
        what = scene(motion)
        whole = draw(what, seed=5, num_frames=25, free=free)
        assert np.array_equal(whole[10:], draw(what, seed=5, num_frames=15, start=10 / 8, free=free))
        assert np.array_equal(whole[::4], draw(what, seed=5, num_frames=7, fps=2.0, free=free))


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (32, 32), (24, 40), (64, 36), (17, 90), (128, 128)])
def test_every_scene_fits_frames_of_any_size_and_aspect_ratio(height: int, width: int, free: bool) -> None:
    rng = np.random.default_rng(height * width)
    unit = min(height, width) / 64
    for _ in range(12):
        what = FULL.sample(rng)
        frames = render(what, rng, num_frames=5, height=height, width=width, fps=2.0, free=free)
        assert frames.shape == (5, height, width, 3)
        assert frames.dtype == np.uint8
        area = covered(frames).sum((1, 2)).max() / unit**2
        assert 60 < area < 1000


def test_colors_are_those_of_the_palette_within_a_slight_shade() -> None:
    for seed in range(20):
        frames = draw(scene("still"), seed)
        middle = frames[0, 28:36, 28:36].reshape(-1, 3)
        assert np.abs(middle - np.array(PALETTE["red"])).max() <= 5
        assert np.abs(frames[0, 0, 0].astype(int) - PALETTE["white"]).max() <= 5


def test_sizes_are_told_apart_and_the_same_seed_gives_the_same_frames() -> None:
    areas = [covered(draw(scene("still", size=size))).sum() for size in ("small", "medium", "large")]
    assert areas[0] * 1.5 < areas[1]
    assert areas[1] * 1.5 < areas[2]
    assert np.array_equal(draw(scene(), 7, free=True), draw(scene(), 7, free=True))
    assert not np.array_equal(draw(scene(), 7, free=True), draw(scene(), 8, free=True))


def test_a_world_places_freely_as_often_as_it_says() -> None:
    def spread(free_placement: float) -> float:
        world = dataclasses.replace(EASY, free_placement=free_placement)
        rng = np.random.default_rng(0)
        clips = [world.render(scene("still"), rng, num_frames=1) for _ in range(60)]
        places = np.concatenate([centers(clip) for clip in clips])
        return float((np.abs(places - 32).max(1) > 4.5).mean())

    assert spread(0.0) == 0
    assert 0.2 < spread(0.5) < 0.6
    assert spread(1.0) > 0.7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_frames": 0}, "num_frames=0"),
        ({"height": 0}, "height=0"),
        ({"width": -3}, "width=-3"),
        ({"fps": 0.0}, r"fps=0\.0"),
        ({"fps": float("nan")}, "fps=nan"),
        ({"start": -1.0}, r"start=-1\.0"),
    ],
)
def test_impossible_sizes_rates_and_moments_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        draw(scene(), **options)
