"""Which frames of a file make a clip: how many there are at a bucket's rate, where they begin, and reading them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...dit.embedders import IMAGE_FPS
from ...errors import FileFormatError
from ...media import read_video
from ...random import generator
from ..stages import Bucket
from .samples import Sample


@dataclass(frozen=True)
class Cut:
    """A clip of a bucket's size: `count` frames from `start`, at the rate `resampled` or (None) as they are stored.

    fps: what the model is told, 120 for a single frame.
    """

    path: Path
    bucket: Bucket
    start: int
    count: int
    resampled: float | None
    fps: float

    def read(self) -> NDArray[np.uint8]:
        """Frames [T, H, W, 3], resized to cover the bucket and cropped; errors as in `read_video`."""
        size = (self.bucket.height, self.bucket.width)
        video = read_video(self.path, start=self.start, num_frames=self.count, fps=self.resampled, size=size)
        if video.num_frames < self.bucket.num_frames:
            raise FileFormatError(
                f"{self.path} ends after {self.start + video.num_frames} frames, before what its header or its "
                "manifest promises; correct the manifest, or re-encode the file"
            )
        return video.frames[np.linspace(0, video.num_frames - 1, self.bucket.num_frames, dtype=int)]


def rates(sample: Sample, bucket: Bucket, interval: int | None) -> tuple[float | None, ...]:
    """At which of the bucket's rates the file is long enough for it (None: its own, by frame interval)."""
    if bucket.num_frames == 1:
        return (None,)
    if interval is not None:
        return (None,) if sample.num_frames >= bucket.num_frames * interval else ()
    if sample.num_frames == 1:
        return ()
    return tuple(rate for rate in bucket.fps if frames_at(sample, rate) >= bucket.num_frames)


def frames_at(sample: Sample, rate: float) -> int:
    """How many frames a video has at another rate."""
    return int(sample.num_frames / sample.fps * rate + 1e-6)


def cut(sample: Sample, bucket: Bucket, interval: int | None, seed: int, moment: int) -> Cut:
    """The clip number `moment` of a file for a bucket that it fits: rate and beginning are drawn by the seed.

    With a frame interval the beginning is Open-Sora's: T * interval frames from anywhere in the file, T of them evenly.
    """
    T = bucket.num_frames
    rng = generator(seed, f"cut {sample.name} {T}x{bucket.height}x{bucket.width}", moment)
    choices = rates(sample, bucket, interval)
    rate = choices[rng.integers(len(choices))]
    if rate is not None:
        start = int(rng.integers(frames_at(sample, rate) - T + 1))
        return Cut(sample.path, bucket, start, T, rate, rate)
    step = interval or 1
    count = 1 if T == 1 else T * step
    start = int(rng.integers(max(1, sample.num_frames - count)))
    return Cut(sample.path, bucket, start, count, None, IMAGE_FPS if T == 1 else _told(sample.fps / step))


def _told(fps: float) -> float:
    """The rate as Open-Sora tells it to the model, in whole frames a second; below one as it is."""
    return float(np.floor(fps)) if fps >= 1 else fps
