"""A generation as it runs: clip after clip, and in each of them one model after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...conditioning.given_frames import Condition
from ...dit.step_cache import StepCache
from ...errors import InvalidInputError
from ...media.images import fit
from ...ops import Array, Ops
from ...releases.task import Task, Text
from ...schedulers.stepping import Step
from ...vae.pixels import from_frames, to_frames
from ..finite import FiniteCheck
from ..frames import Frames
from ..streaming import Progress
from .clips import Clip
from .coding import decode
from .components import ReleaseFiles, on_backend, without_weights
from .conditions import Latents, VideoArray
from .job import Job
from .kept import PICTURE, KeptLatents
from .picture import Picture


@dataclass
class Running:
    """One generation on a backend. kept: the latents so far. done: steps so far.

    step_cache: None computes all steps.
    """

    ops: Ops
    files: ReleaseFiles
    offload_type: str
    job: Job
    texts: Sequence[Text]
    check: FiniteCheck
    kept: KeptLatents
    step_cache: StepCache | None = None
    done: int = 0

    def items(self) -> Iterator[Progress | Frames]:
        """Progress of every step, and the new frames of a clip after its last one."""
        if self.job.picture is not None:
            yield from self._paint(self.job.picture)
        yield from self._clips()

    def _paint(self, picture: Picture) -> Iterator[Progress]:
        """Progress of the picture, which is what the clips are then given."""
        latents = None
        for progress in self._told(picture.steps(self.ops, self.files, self.texts[-1], self.offload_type)):
            latents = progress.latents
            yield progress
        pixels = to_frames(picture.decoded(self.ops, self.files, self._finished(PICTURE, latents)))[0]
        request = self.job.request
        self.job.conditions.references = [fit(pixels, request.height, request.width)]

    def _clips(self) -> Iterator[Progress | Frames]:
        """Progress of every clip and then its new frames."""
        request, before = self.job.request, from_frames(self.job.shown[None])
        sizes = without_weights(self.files.autoencoder)
        for clip in self.job.clips:
            shape = sizes.latent_shape(clip.num_frames, request.height, request.width)
            given, latents = self._given(clip, shape, before), None
            for progress in self._told(self._steps(request.task(shape, clip), given)):
                latents = progress.latents
                yield progress
            if isinstance(given, Condition) and self.files.release.puts_back:
                latents = given.keep(self.ops, latents)
            before = self._decoded(clip, self._finished(f"clip{clip.index}", latents))
            yield to_frames(before)[0][clip.given :]

    def _given(self, clip: Clip, shape: Latents, before: VideoArray) -> Any:
        """What the sampler is given; the autoencoder is in memory if there is something to encode."""
        if not self.job.conditions.needed(clip):
            return None
        with on_backend(self.files.autoencoder, self.ops, self.ops.wide_dtype) as vae:
            return self.job.conditions.of_clip(self.ops, vae, clip, shape, before)

    def _steps(self, task: Task, given: Any) -> Iterator[Step]:
        """Those of one clip; the denoiser is in memory meanwhile."""
        with on_backend(self.files.denoiser, self.ops, offload_type=self.offload_type) as denoiser:
            if self.step_cache is not None:
                denoiser = replace(denoiser, step_cache=self.step_cache)
            yield from self.job.request.sample(self.ops, denoiser, task, self.texts[task.loop], given)

    def _told(self, steps: Iterator[Step]) -> Iterator[Progress]:
        for step in steps:
            self.done += 1
            self.check(partial(self.ops.to_numpy, step.latents), partial(_blame, self.done, step))
            yield Progress(self.done, self.job.total, step.timestep, step.latents, step.denoised, _no_preview)

    def _finished(self, name: str, latents: Array) -> NDArray[np.float32]:
        """Finished latents on the host, saved before they are decoded."""
        finished = np.asarray(self.ops.to_numpy(latents), np.float32)
        self.kept.add(name, finished)
        return finished

    def _decoded(self, clip: Clip, latents: NDArray[np.float32]) -> VideoArray:
        with on_backend(self.files.autoencoder, self.ops, self.ops.wide_dtype) as vae:
            return decode(self.ops, vae, latents, clip.num_frames)


def _blame(number: int, step: Step) -> str:
    return (
        f"the latents of step {number} (timestep {step.timestep:.1f}) hold NaN or Inf: "
        "try dtype bfloat16 or float32, or a lower guidance_scale"
    )


def _no_preview() -> Frames:
    raise InvalidInputError("previews are not made of published releases: their autoencoder is not in memory meanwhile")
