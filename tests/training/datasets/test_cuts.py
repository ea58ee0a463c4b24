"""Which frames of a file a clip has, and the rate that the model is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from opensora_core.errors import FileFormatError
from opensora_core.media import Video
from opensora_core.training.datasets.cuts import cut, rates
from opensora_core.training.datasets.samples import Sample
from opensora_core.training.stages import Bucket

FRAMES = np.repeat(np.arange(40, dtype=np.uint8) * 5, 8 * 8 * 3).reshape(40, 8, 8, 3)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """40 frames at 24.5 a second, each of a grey that tells its number."""
    path = Video(FRAMES, 24.5).save(tmp_path_factory.mktemp("cuts") / "clip.webp")
    return Sample("clip.webp", path, "it grows light", 40, 8, 8, 24.5)


def numbers(clip) -> list[int]:
    frames = clip.read()
    assert frames.shape == (clip.bucket.num_frames, clip.bucket.height, clip.bucket.width, 3)
    return (frames[:, 0, 0, 0] // 5).tolist()


@pytest.mark.parametrize(("interval", "told"), [(1, 24), (3, 8), (4, 6)])
def test_with_an_interval_frames_come_from_a_window_at_the_files_own_rate(sample, interval, told):
    starts = set()
    for moment in range(12):
        clip = cut(sample, Bucket(9, 8, 8, 1), interval, 0, moment)
        window = np.linspace(clip.start, clip.start + 9 * interval - 1, 9, dtype=int)  # as the official code
        assert (numbers(clip), clip.fps) == (window.tolist(), told)
        starts.add(clip.start)
    assert len(starts) > 2
    assert max(starts) < max(2, 40 - 9 * interval)


def test_without_one_a_file_is_read_at_a_rate_of_the_bucket(sample):
    bucket = Bucket(8, 12, 6, 1, fps=(8.0, 12.25, 2.0))
    assert rates(sample, bucket, None) == (8.0, 12.25)
    seen = set()
    for moment in range(12):
        clip = cut(sample, bucket, None, 0, moment)
        assert np.abs(np.diff(numbers(clip)) - 24.5 / clip.fps).max() <= 1
        seen.add(clip.fps)
    assert seen == {8.0, 12.25}


def test_a_picture_is_any_frame_of_a_video_and_counts_as_120_frames_a_second(sample):
    clips = [cut(sample, Bucket(1, 8, 8, 1), None, 0, moment) for moment in range(8)]
    assert len({tuple(numbers(clip)) for clip in clips}) > 4
    assert {clip.fps for clip in clips} == {120.0}
    picture = Sample("a.png", Path("a.png"), "a", 1, 8, 8)
    assert rates(picture, Bucket(1, 8, 8, 1), None) == (None,)
    assert rates(picture, Bucket(5, 8, 8, 1), None) == rates(picture, Bucket(5, 8, 8, 1), 1) == ()


def test_slow_files_keep_their_rate_and_files_that_end_too_soon_are_broken(sample):
    slow = Sample("clip.webp", sample.path, "slow", 40, 8, 8, 0.5)
    assert cut(slow, Bucket(3, 8, 8, 1), 1, 0, 0).fps == 0.5
    promised = Sample("clip.webp", sample.path, "long", 45, 8, 8, 24.5)
    with pytest.raises(
        FileFormatError, match=r"clip\.webp ends after 40 frames, before what its header or its manifest"
    ):
        cut(promised, Bucket(42, 8, 8, 1), 1, 0, 0).read()
