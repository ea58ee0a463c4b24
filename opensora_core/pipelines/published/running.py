"""A generation as it runs: clip after clip, and in each of them one model after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...conditioning.given_frames import Condition
from ...errors import InvalidInputError
from ...ops import Array, Ops
from ...releases.task import Task, Text
from ...serialization.writer import write_safetensors
from ...vae.pixels import from_frames, to_frames
from ..frames import Frames
from ..streaming import Progress
from .clips import Clip
from .coding import decode
from .components import ReleaseFiles, on_backend, without_weights
from .conditions import Latents, VideoArray
from .job import Job


@dataclass
class Running:
    """One generation on a backend. saved: the latents of the clips so far."""

    ops: Ops
    files: ReleaseFiles
    offload_type: str
    job: Job
    texts: Sequence[Text]
    saved: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def clips(self, latents_file: str | Path | None) -> Iterator[Progress | Frames]:
        """Progress of every clip and then its new frames; all latents are in latents_file before they are decoded."""
        request, before = self.job.request, from_frames(self.job.shown[None])
        sizes = without_weights(self.files.autoencoder)
        for clip in self.job.clips:
            shape = sizes.latent_shape(clip.num_frames, request.height, request.width)
            given, latents = self._given(clip, shape, before), None
            for progress in self._steps(request.task(shape, clip), given):
                latents = progress.latents
                yield progress
            before = self._decoded(clip, self._kept(clip, given, latents, latents_file))
            yield to_frames(before)[0][clip.given :]

    def _given(self, clip: Clip, shape: Latents, before: VideoArray) -> Any:
        """What the sampler is given; the autoencoder is in memory if there is something to encode."""
        if not self.job.conditions.needed(clip):
            return None
        with on_backend(self.files.autoencoder, self.ops, self.ops.wide_dtype) as vae:
            return self.job.conditions.of_clip(self.ops, vae, clip, shape, before)

    def _steps(self, task: Task, given: Any) -> Iterator[Progress]:
        """Progress of one clip; the denoiser is in memory meanwhile."""
        n = task.num_inference_steps
        with on_backend(self.files.denoiser, self.ops, offload_type=self.offload_type) as denoiser:
            for step in self.files.release.sample(self.ops, denoiser, task, self.texts[task.loop], given):
                done, total = task.loop * n + step.number + 1, len(self.job.clips) * n
                yield Progress(done, total, step.timestep, step.latents, step.denoised, _no_preview)

    def _kept(self, clip: Clip, given: Any, latents: Array, file: str | Path | None) -> NDArray[np.float32]:
        """The finished latents on the host, saved before they are decoded."""
        if isinstance(given, Condition) and self.files.release.puts_back:
            latents = given.keep(self.ops, latents)
        kept = self.saved[f"clip{clip.index}"] = np.asarray(self.ops.to_numpy(latents), np.float32)
        if file is not None:
            write_safetensors(file, self.saved)
        return kept

    def _decoded(self, clip: Clip, latents: NDArray[np.float32]) -> VideoArray:
        with on_backend(self.files.autoencoder, self.ops, self.ops.wide_dtype) as vae:
            return decode(self.ops, vae, latents, clip.num_frames)


def _no_preview() -> Frames:
    raise InvalidInputError("previews are not made of published releases: their autoencoder is not in memory meanwhile")
