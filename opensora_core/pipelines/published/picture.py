"""The picture that a video of v2.0 begins with, made of its prompt by an image model (t2i2v)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...conditioning.prompts import split_schedule, text_of_loop
from ...conditioning.sizes import size_v2_like
from ...errors import InvalidInputError
from ...ops import Ops
from ...releases.release import PICTURE_FIRST
from ...releases.sampling_v2 import MMDiTSampler
from ...releases.task import Task, Text
from ...schedulers.stepping import Step
from .coding import decode
from .components import ReleaseFiles, on_backend, without_weights
from .references import Placement
from .request import PublishedRequest

RESOLUTION = "768px"  # of the picture, officially whatever the video's is
GUIDANCE = 4.0  # likewise
SAMPLER = MMDiTSampler("distilled")  # the image model takes the scale of guidance as an input


@dataclass(frozen=True)
class Picture:
    """What is to be painted: the text as it was said, without the scores that the video's denoiser reads."""

    prompt: str
    task: Task

    @classmethod
    def create(cls, files: ReleaseFiles, prompt: str, placement: Placement, request: PublishedRequest) -> Picture:
        """A picture with the proportions of the video.

        Raises InvalidInputError where other frames are given, and where the image model or its autoencoder is missing.
        """
        if len(placement.sources):
            raise InvalidInputError(
                f"cond_type={PICTURE_FIRST!r} makes the first frame itself; to give one, use cond_type='i2v_head'"
            )
        _ = files.image_denoiser
        task = picture_task(without_weights(files.image_autoencoder), request)
        return cls(text_of_loop(split_schedule(prompt), 0), task)

    def steps(self, ops: Ops, files: ReleaseFiles, text: Text, offload_type: str) -> Iterator[Step]:
        """The sampler's; the image model is in memory meanwhile."""
        with on_backend(files.image_denoiser, ops, offload_type=offload_type) as denoiser:
            yield from SAMPLER(ops, denoiser, self.task, text, None)

    def decoded(self, ops: Ops, files: ReleaseFiles, latents: NDArray[np.float32]) -> NDArray[np.float32]:
        """Latents [1, C, 1, h, w] -> the picture [1, 3, 1, H, W]; its autoencoder is in memory meanwhile."""
        with on_backend(files.image_autoencoder, ops, ops.wide_dtype) as vae:
            return decode(ops, vae, latents, 1)


def picture_task(vae: Any, request: PublishedRequest) -> Task:
    """What the sampler of the picture works on. vae: the image model's autoencoder, which tells the latents' shape."""
    height, width = size_v2_like(request.image_resolution or RESOLUTION, request.height, request.width)
    shape = vae.latent_shape(1, height, width)
    return Task(
        shape, 1, height, width, request.fps, request.num_inference_steps, GUIDANCE, request.seed, stream="picture"
    )
