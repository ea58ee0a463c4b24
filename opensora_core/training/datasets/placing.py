"""Which bucket each file goes to in an epoch: one of a stage's own buckets, or one of a bucket config."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...errors import InvalidInputError
from ...random import generator
from ..stages import Bucket, Stage
from .bucket_config import BucketConfig
from .cuts import rates
from .samples import Sample
from .skipped import Skipped

Place = Callable[[int], list[Bucket | None]]
"""Epoch -> the bucket of every file, None for one that is left out."""


def placing(stage: Stage, samples: Sequence[Sample], seed: int, skipped: Skipped) -> Place:
    """How a stage sorts files; files that no bucket has room for go to `skipped`.

    Raises InvalidInputError where one of the stage's own buckets gets no file.
    """
    if stage.bucket_config is not None:
        return _by_config(BucketConfig(stage.bucket_config), samples, stage.frame_interval or 1, seed)
    return _by_weight(stage, samples, seed, skipped)


def _by_config(config: BucketConfig, samples: Sequence[Sample], interval: int, seed: int) -> Place:
    def bucket(index: int, sample: Sample, epoch: int) -> Bucket | None:
        drawn = seed + epoch + index * config.num_buckets
        found = config.bucket_id(sample.num_frames, sample.height, sample.width, interval, drawn)
        return None if found is None else Bucket(*config.size(found), config.batch_size(found))

    return lambda epoch: [bucket(index, sample, epoch) for index, sample in enumerate(samples)]


def _by_weight(stage: Stage, samples: Sequence[Sample], seed: int, skipped: Skipped) -> Place:
    """Every file to one of the buckets it is long enough for, so that steps are shared as the weights say."""
    fits = np.array([[bool(rates(s, b, stage.frame_interval)) for b in stage.buckets] for s in samples])
    for number, bucket in enumerate(stage.buckets):
        if not fits[:, number].any():
            raise InvalidInputError(_empty(stage, bucket, samples))
    for number, sample in enumerate(samples):
        if not fits[number].any():
            length = "a picture" if sample.num_frames == 1 else f"{sample.num_frames} frames at {sample.fps:g} fps"
            skipped.add(sample.path, f"{length}: too short for every bucket of stage {stage.name!r}")
    shares = fits * np.array([b.weight * stage.from_files(b) for b in stage.buckets])
    edges = np.cumsum(shares, axis=1)

    def place(epoch: int) -> list[Bucket | None]:
        draws = generator(seed, f"place {stage.name}", epoch).random(len(samples)) * edges[:, -1]
        chosen = (edges <= draws[:, None]).sum(axis=1)
        return [stage.buckets[i] if i < len(stage.buckets) else None for i in chosen]

    return place


def _empty(stage: Stage, bucket: Bucket, samples: Sequence[Sample]) -> str:
    longest = max(samples, key=lambda s: s.num_frames / s.fps if s.num_frames > 1 else 0.0)
    wanted = f"every {stage.frame_interval}. frame" if stage.frame_interval else f"{max(bucket.fps):g} fps"
    return (
        f"stage {stage.name!r}: no file of {stage.data} is long enough for the bucket of {bucket.num_frames} frames at "
        f"{wanted}; the longest, {longest.path}, has {longest.num_frames} at {longest.fps:g} fps. Lower num_frames or "
        "frame_interval, raise fps, or take the bucket out"
    )
