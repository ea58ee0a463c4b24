"""Stages of a recipe: what is trained on for how long, and the buckets its clips form batches in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np

from ..checks import number, one_of, switch, whole
from ..errors import InvalidInputError
from ..synthetic.world import EASY, FULL, SWING, World
from .datasets.bucket_config import BucketConfig
from .masks import check_ratios

Schedule = Literal["constant", "linear", "cosine"]
WORLDS = {"easy": EASY, "full": FULL, "swing": SWING}


@dataclass(frozen=True)
class Bucket:
    """Clips of one length and size that form a batch: frames, pixels, samples, share of the steps, frame rates.

    Of any length and size: what the autoencoder's blocks lack is filled by repeating the last frame and the edges.
    """

    num_frames: int
    height: int
    width: int
    batch_size: int
    weight: float = 1.0
    fps: tuple[float, ...] = (8.0,)

    def __post_init__(self) -> None:
        for name in ("num_frames", "height", "width", "batch_size"):
            whole(name, getattr(self, name), 1)
        number("weight", self.weight, 0, above=True)
        if not isinstance(self.fps, tuple) or not self.fps:
            raise InvalidInputError(f"fps={self.fps!r} must be a list of one or more frame rates")
        for rate in self.fps:
            number("fps", rate, 0.01, 1000)


@dataclass(frozen=True)
class Stage:
    """One stage: how long, on which clips, at which rate.

    The rate rises for `warmup_steps` while it falls, along a line or half a cosine, to its share `final_rate` at the
    end; schedule "constant" is a line to 1.

    Clips come from the synthetic `world`, a `full_share` of them from the full one, lest any of its words stay new to
    the model; or from `data`: a folder of videos and pictures, or a CSV or Parquet manifest of them. Files are sorted
    into `buckets`, or as Open-Sora does it by a `bucket_config` (see `BucketConfig`). With `buckets` a `world_share` of
    each batch's clips comes from the world all the same, lest the model forget it.
    frame_interval: every how many frames of a file one is taken, at its own rate; None with `buckets`: files are read
    at the bucket's fps. moments: at how many places of a file, drawn by the seed, clips begin, one after the other from
    epoch to epoch. drop_last: leave out files that do not fill a batch, instead of repeating some.
    """

    name: str
    steps: int
    buckets: tuple[Bucket, ...] = ()
    learning_rate: float = 1e-3
    schedule: Schedule = "linear"
    warmup_steps: int = 100
    final_rate: float = 1.0
    world: str = "easy"
    full_share: float = 0.0
    free_placement: float = 0.0
    caption_dropout: float = 0.1
    mask_ratios: Mapping[str, float] = field(default_factory=dict)
    data: str | None = None
    world_share: float = 0.0
    bucket_config: Mapping[str, Mapping[Any, Any]] | None = None
    frame_interval: int | None = None
    moments: int = 1
    drop_last: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise InvalidInputError(f"name={self.name!r} must be text")
        whole("steps", self.steps, 1)
        number("learning_rate", self.learning_rate, 0, above=True)
        whole("warmup_steps", self.warmup_steps, 0)
        number("final_rate", self.final_rate, 0)
        one_of("schedule", self.schedule, get_args(Schedule))
        if self.schedule == "constant" and self.final_rate != 1:
            raise InvalidInputError(f'final_rate={self.final_rate} and schedule "constant" exclude each other')
        one_of("world", self.world, list(WORLDS))
        number("full_share", self.full_share, 0, 1)
        number("free_placement", self.free_placement, 0, 1)
        number("caption_dropout", self.caption_dropout, 0, 1)
        check_ratios(self.mask_ratios)
        whole("moments", self.moments, 1)
        number("world_share", self.world_share, 0, 1)
        self._check_data()

    def _check_data(self) -> None:
        if not self.buckets and self.bucket_config is None:
            raise InvalidInputError("a stage needs one or more [[stages.buckets]]")
        if self.buckets and self.bucket_config is not None:
            raise InvalidInputError("a stage has either [[stages.buckets]] or a bucket_config, not both")
        if self.frame_interval is not None:
            whole("frame_interval", self.frame_interval, 1)
        switch("drop_last", self.drop_last)
        if self.data is not None and (not isinstance(self.data, str) or not self.data):
            raise InvalidInputError(f"data={self.data!r} must be the path of a folder or of a .csv or .parquet file")
        given = {"bucket_config": None, "frame_interval": None, "moments": 1, "drop_last": False, "world_share": 0}
        if self.data is None and (idle := [name for name, unset in given.items() if getattr(self, name) != unset]):
            raise InvalidInputError(f'{", ".join(idle)} need files, and this stage names none: add data = "folder"')
        if self.bucket_config is not None:
            BucketConfig(self.bucket_config)
        if self.world_share:
            self._check_mixture()

    def _check_mixture(self) -> None:
        if self.bucket_config is not None:
            raise InvalidInputError(
                "world_share needs [[stages.buckets]], whose batches it fills up; without it leave 0"
            )
        for bucket in self.buckets:
            size = bucket.batch_size
            if not 0 < self.rendered(bucket) < size:
                raise InvalidInputError(
                    f"world_share={self.world_share:g} makes {self.rendered(bucket)} of the {size} clips of a batch, "
                    "and both kinds need one at least: raise batch_size, or change the share"
                )

    def rendered(self, bucket: Bucket) -> int:
        """How many clips of a batch come from the world in a stage that learns from files."""
        return round(self.world_share * bucket.batch_size)

    def from_files(self, bucket: Bucket) -> int:
        """How many clips of a batch come from files in a stage that learns from them."""
        return bucket.batch_size - self.rendered(bucket)

    def scenes(self, rng: np.random.Generator) -> World:
        """Return the world that the next clip is drawn from."""
        full = self.full_share > 0 and rng.random() < self.full_share
        return replace(FULL if full else WORLDS[self.world], free_placement=self.free_placement)

    def rate(self, step: int) -> float:
        """Learning rate of step `step` (0-based within the stage): linear warm-up, times the schedule."""
        warm = min(1.0, (step + 1) / (self.warmup_steps + 1))
        if self.schedule == "cosine":
            height = (1 + math.cos(math.pi * step / self.steps)) / 2
            return self.learning_rate * warm * (self.final_rate + (1 - self.final_rate) * height)
        return self.learning_rate * warm * (1 - (1 - self.final_rate) * step / self.steps)
