"""Clips of files as a step of training wants them: drawn, read or taken from the cache, encoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInputError
from ...serialization.array_cache import ArrayCache, Contents, key_of
from ..recipe import Recipe
from ..stages import Bucket, Stage
from .cuts import Cut, cut
from .placing import placing
from .sampler import BucketSampler, Draw
from .samples import UNREADABLE, Sample, read_samples
from .skipped import Skipped


@dataclass(frozen=True)
class Encoders:
    """The frozen parts of a model, on the host, and what tells them from others in the cache.

    latents: frames uint8 [1, T, H, W, 3] -> [1, C, T', h, w]. text: caption -> features [L, D].
    """

    latents: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    text: Callable[[str], NDArray[np.float32]]
    latents_key: str
    text_key: str


@dataclass(frozen=True)
class Clips:
    """The clips of one batch: latents [B, C, T', h, w], text [B, L, D], captions, rates; names of those from files."""

    bucket: Bucket
    latents: NDArray[np.float32]
    text: NDArray[np.float32]
    captions: list[str]
    fps: list[float]
    names: tuple[str, ...]


class TrainingFiles:
    """The files of every stage of a recipe that learns from files; what cannot be used is in `skipped`.

    Raises InvalidInputError for data without a usable file and for buckets that stay empty.
    """

    def __init__(self, recipe: Recipe, encoders: Encoders, cache: ArrayCache | None = None) -> None:
        self.recipe, self.cache, self.skipped = recipe, cache, Skipped()
        self._encoders, self._contents = encoders, Contents()
        self._broken: set[Cut] = set()
        samples: dict[str, list[Sample]] = {}
        self._stages: dict[int, tuple[list[Sample], BucketSampler]] = {}
        for stage in recipe.stages:
            if stage.data is None:
                continue
            if stage.data not in samples:
                samples[stage.data] = read_samples(stage.data, self.skipped)
            self._stages[id(stage)] = (samples[stage.data], self._sampler(stage, samples[stage.data]))

    def _sampler(self, stage: Stage, samples: list[Sample]) -> BucketSampler:
        place = placing(stage, samples, self.recipe.seed, self.skipped)
        sampler = BucketSampler(place, self.recipe.seed, stage.drop_last, stage.from_files)
        sampler.draw(0)  # complains of a stage without a batch now, not when its turn comes
        return sampler

    @property
    def captions(self) -> set[str]:
        """What all stages' files are described by."""
        return {sample.text for samples, _ in self._stages.values() for sample in samples}

    def clips(self, step: int) -> Clips:
        """The clips of a global step that come from files: the same whoever asks, and when.

        A file that cannot be read is skipped, and the next one of its bucket stands in for it.
        """
        stage, local = self.recipe.locate(step)
        samples, sampler = self._stages[id(stage)]
        draw = sampler.draw(local)
        taken = self._take(stage, samples, draw)
        captions = [sample.text for sample, _, _ in taken]
        return Clips(
            draw.bucket,
            np.stack([latents for _, _, latents in taken]),
            np.stack([self._text(caption) for caption in captions]),
            captions,
            [clip.fps for _, clip, _ in taken],
            tuple(str(sample.path) for sample, _, _ in taken),
        )

    def and_rendered(self, clips: Clips, latents: NDArray[np.float32], captions: list[str], fps: list[float]) -> Clips:
        """A batch with rendered clips after those of files."""
        text = np.stack([self._encoders.text(caption) for caption in captions])
        return replace(
            clips,
            latents=np.concatenate([clips.latents, latents]),
            text=np.concatenate([clips.text, text]),
            captions=[*clips.captions, *captions],
            fps=[*clips.fps, *fps],
        )

    def _take(self, stage: Stage, samples: list[Sample], draw: Draw) -> list[tuple[Sample, Cut, NDArray[np.float32]]]:
        taken: list[tuple[Sample, Cut, NDArray[np.float32]]] = []
        failures = 0  # in a row
        for place in count():
            if len(taken) == stage.from_files(draw.bucket):
                break
            sample = samples[draw.file(place)]
            clip = cut(sample, draw.bucket, stage.frame_interval, self.recipe.seed, draw.epoch % stage.moments)
            latents = self._latents(clip)
            failures = failures + 1 if latents is None else 0
            if latents is not None:
                taken.append((sample, clip, latents))
            elif failures == len(draw.order):
                raise InvalidInputError(
                    f"stage {stage.name!r}: none of the {failures} files for {draw.bucket} can be read. "
                    f"{self.skipped.summary()}"
                )
        return taken

    def _latents(self, clip: Cut) -> NDArray[np.float32] | None:
        """Latents of a clip, None where its file cannot be read."""
        if clip in self._broken:
            return None
        try:
            key = self._key(clip)
            known = self._known(key)
            frames = clip.read() if known is None else None
        except UNREADABLE as error:
            self._broken.add(clip)
            self.skipped.add(clip.path, str(error))
            return None
        return known if frames is None else self._keep(key, self._encoders.latents(frames[None])[0])

    def _key(self, clip: Cut) -> str:
        if self.cache is None:
            return ""
        b, content = clip.bucket, self._contents.hash(clip.path)
        place = (b.num_frames, b.height, b.width, clip.start, clip.count, clip.resampled)
        return key_of("latents", self._encoders.latents_key, content, *place)

    def _text(self, caption: str) -> NDArray[np.float32]:
        key = key_of("text", self._encoders.text_key, caption)
        known = self._known(key)
        return self._keep(key, self._encoders.text(caption)) if known is None else known

    def _known(self, key: str) -> NDArray[Any] | None:
        return None if self.cache is None else self.cache.get(key)

    def _keep(self, key: str, array: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.cache is not None:
            self.cache.put(key, array)
        return array
