"""A Video is a checked, read-only clip with time as its first axis."""

from __future__ import annotations

import copy
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest

from opensora_core.errors import InvalidInputError
from opensora_core.media import Video
from tests.media.clips import moving_square, numbered, numbers, waves


def test_importing_media_loads_neither_av_nor_pillow() -> None:
    code = "import opensora_core.media, sys; assert not {'av', 'PIL'} & set(sys.modules), sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_video_knows_its_size_and_length() -> None:
    video = waves(T=6, H=10, W=14, fps=24)
    assert (len(video), video.num_frames, video.height, video.width) == (6, 6, 10, 14)
    assert video.shape == (6, 10, 14, 3) == video.frames.shape
    assert video.duration == pytest.approx(0.25)
    assert repr(video) == "Video(6 frames, 14x10, 24 fps, 0.25 s)"


def test_frames_are_read_only_and_nobody_elses() -> None:
    frames = np.zeros((2, 4, 4, 3), np.uint8)
    video = Video(frames, 8)
    frames[:] = 9
    assert video.frames.max() == 0
    with pytest.raises(ValueError, match="read-only"):
        video.frames[0] = 1


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((2, 4, 4, 3), np.float32), "uint8.*255"),
        (np.zeros((4, 4, 3), np.uint8), r"frames\[None\]"),
        (np.zeros((2, 3, 4, 4), np.uint8), r"expected \[T, H, W, 3\]"),
        (np.zeros((0, 4, 4, 3), np.uint8), "none zero"),
        ([[1, 2]], "list"),
    ],
)
def test_frames_of_another_form_are_refused(frames: np.ndarray, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Video(frames, 8)


@pytest.mark.parametrize("fps", [0, -1, math.nan, math.inf, 1001, "fast", None])
def test_an_impossible_rate_is_refused(fps: float) -> None:
    with pytest.raises(InvalidInputError, match="fps"):
        Video(np.zeros((1, 2, 2, 3), np.uint8), fps)


def test_metadata_is_a_plain_copy() -> None:
    settings = {"steps": np.int64(30), "scale": np.float32(0.5), "sizes": (1, 2), "nested": {"a": None}}
    video = Video(np.zeros((1, 2, 2, 3), np.uint8), 8, settings)
    settings["nested"]["a"] = 3
    assert video.metadata == {"steps": 30, "scale": 0.5, "sizes": [1, 2], "nested": {"a": None}}


@pytest.mark.parametrize(
    "metadata", [{"a": object()}, {"a": np.zeros(3)}, {1: "a"}, {"a": math.nan}, {"a": "x" * 100_000}, [1]]
)
def test_metadata_that_no_file_could_hold_is_refused(metadata: dict) -> None:
    with pytest.raises(InvalidInputError, match="metadata"):
        Video(np.zeros((1, 2, 2, 3), np.uint8), 8, metadata)


def test_indexing_and_slicing_go_along_time() -> None:
    video = numbered(8, fps=8)
    assert numbers(video[2]) == [2]
    assert numbers(video[-1]) == [7]
    assert numbers(video[2:5]) == [2, 3, 4]
    assert numbers(video[::-1]) == [7, 6, 5, 4, 3, 2, 1, 0]
    assert video[::-1].fps == 8
    assert (numbers(video[::2]), video[::2].fps, video[::2].duration) == ([0, 2, 4, 6], 4, 1)
    assert [numbers(frame) for frame in video[:2]] == [[0], [1]]
    assert np.shares_memory(video[2:5].frames, video.frames)
    with pytest.raises(IndexError, match="8 frames"):
        video[8]
    with pytest.raises(InvalidInputError, match=r"video\[9:\] is empty"):
        video[9:]


def test_videos_are_joined_in_time() -> None:
    video = moving_square(T=5)
    assert video[:2] + video[2:] == video
    assert numbers(Video.concatenate([numbered(2, 8), numbered(3, 8), numbered(1, 8)])) == [0, 1, 0, 1, 2, 0]
    joined = video + Video(video.frames, video.fps, {"seed": 1})
    assert joined.metadata == {"parts": [{"prompt": "a réd square", "seed": 0}, {"seed": 1}]}


@pytest.mark.parametrize("other", [numbered(2, fps=9), numbered(2, fps=8, H=9)])
def test_videos_of_another_size_or_rate_are_not_joined(other: Video) -> None:
    with pytest.raises(InvalidInputError, match="resample"):
        numbered(2, fps=8) + other
    with pytest.raises(InvalidInputError, match="at least one"):
        Video.concatenate([])


def test_resampling_takes_the_nearest_frame() -> None:
    video = numbered(12, fps=24)
    assert numbers(video.resample(12)) == [0, 2, 4, 6, 8, 10]
    assert numbers(video.resample(48)[:6]) == [0, 1, 1, 2, 2, 3]  # half-way goes to the later one
    assert numbers(video.resample(24)) == list(range(12))
    assert numbers(video.resample(0.5)) == [0]
    assert video.resample(10).duration == pytest.approx(video.duration, abs=0.05)


def test_psnr_is_the_textbook_one() -> None:
    video = waves()
    shifted = Video(video.frames + np.uint8(2), video.fps)
    assert video.psnr(video) == math.inf
    assert video.psnr(shifted) == pytest.approx(10 * math.log10(255**2 / 4))
    with pytest.raises(InvalidInputError, match="one shape"):
        video.psnr(video[:2])


def test_fit_changes_the_size_only() -> None:
    video = waves(T=3, H=20, W=40).fit(10, 12)
    assert (video.shape, video.fps) == ((3, 10, 12, 3), 24)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda video: pickle.loads(pickle.dumps(video))])
def test_copies_are_equal_and_read_only(duplicate) -> None:
    video = moving_square()
    twin = duplicate(video)
    assert twin == video
    assert not twin.frames.flags.writeable
    assert twin != video[:3]
    assert video != "video"
