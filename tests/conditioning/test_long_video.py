"""Long videos: every clip begins with the end of the one before, which is left out once."""

from __future__ import annotations

import numpy as np
import pytest

from opensora_core import get_backend
from opensora_core.conditioning.long_video import frames_of_chunks, loop_video
from opensora_core.conditioning.mask_strategy import parse_mask_strategy
from opensora_core.errors import InvalidInputError
from opensora_core.schedulers.rectified_flow import euler

OPS = get_backend("numpy", dtype="float64")
B, T = 2, 10  # latent frames of a clip, 34 frames
FIRST = np.repeat([0, 1, 2, 3, 4], [4, 4, 4, 4, 1])  # latent frame of each of 17 frames
INDEX = np.concatenate([FIRST, FIRST + 5])


def decode(latents: np.ndarray) -> np.ndarray:
    return latents[:, :, INDEX]


def encode(video: np.ndarray) -> np.ndarray:
    return video[:, :, np.unique(INDEX, return_index=True)[1]]


def noise(loop: int) -> np.ndarray:
    return np.random.default_rng(loop).standard_normal((B, 1, T, 1, 1))


def run(loops: int, edit: float = 0.0, length: int = 5) -> tuple[np.ndarray, list[np.ndarray]]:
    masks: list[np.ndarray] = []

    def sample(loop: int, z: np.ndarray, mask: np.ndarray) -> np.ndarray:
        masks.append(mask)
        pull = lambda x, t, x_mask: (10.0 * loop + 1) - x  # noqa: E731 - towards a level of its own
        steps = euler(OPS, pull, z, [1000.0, 500.0], mask, lambda i: noise(50 + i))
        return list(steps)[-1].latents

    references = [[np.full((1, 3, 1, 1), 7.0)], []]
    strategies = [parse_mask_strategy("0"), []]
    video = loop_video(
        OPS, loops, noise, sample, encode, decode, references, strategies,
        condition_frame_length=length, condition_frame_edit=edit,
    )  # fmt: skip
    return video, masks


def test_clips_join_without_a_seam() -> None:
    video, masks = run(3)
    assert video.shape == (B, 1, 34 + 2 * 17, 1, 1)
    np.testing.assert_array_equal(video[:, :, :34], run(1)[0])
    assert video[0, 0, 0, 0, 0] == 7.0  # the reference of the first loop
    assert masks[0].tolist() == [[0] + [1] * 9, [1] * 10]
    assert all(mask.tolist() == [[0] * 5 + [1] * 5] * B for mask in masks[1:])
    levels = [video[:, :, start : start + 17].mean() for start in (17, 34, 51)]
    assert levels[0] < levels[1] < levels[2]


def test_the_frames_that_go_on_may_change() -> None:
    _, masks = run(2, edit=0.25)
    assert masks[1][0].tolist() == [0.25] * 5 + [1] * 5


def test_longer_conditions_leave_out_more() -> None:
    assert run(2, length=10)[0].shape[2] == 34


@pytest.mark.parametrize("length", [0, 4, 7])
def test_the_condition_is_whole_chunks(length: int) -> None:
    with pytest.raises(InvalidInputError, match=f"condition_frame_length={length} must be a multiple of the 5"):
        frames_of_chunks(length)
