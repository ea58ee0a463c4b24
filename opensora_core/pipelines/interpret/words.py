"""Which words of a prompt moved which frames."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInputError
from ...media.video import Frames
from ...ops import Array, Ops
from ...random import normal_batch
from ...schedulers.rectified_flow import add_noise
from ..components import Components
from ..generation import encode_prompt, predict_once
from .picture import heat_picture

if TYPE_CHECKING:
    from PIL import Image

WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class TokenAttribution:
    """The influence of every word of a prompt on every place of a video.

    words: of the prompt, W in order. influence: [W, T', h, w] on the latent grid, at least 0: how far the model's
    prediction moves when the word is left out (root mean square over channels, mean over the timesteps asked at), in
    standard deviations of the noise. per_frame: its mean over each latent frame, [W, T'].
    """

    words: tuple[str, ...]
    influence: NDArray[np.float32]

    @property
    def per_frame(self) -> NDArray[np.float32]:
        """Mean influence of each word on each latent frame, [W, T']."""
        mean: NDArray[np.float32] = self.influence.mean(axis=(2, 3))
        return mean

    def picture(self, frames: Frames) -> Image.Image:
        """A Pillow image of the video's frames [T, H, W, 3], and below them of where each word has influence."""
        return heat_picture(self.words, self.influence, frames)


def token_attribution(
    ops: Ops, parts: Components, latents: NDArray[np.float32], prompt: str, timesteps: Sequence[float], seed: int
) -> TokenAttribution:
    """Leave out one word after the other; latents [1, C, T', h, w] of the video."""
    words = WORD.findall(prompt)
    shorter = [" ".join(words[:i] + words[i + 1 :]) for i in range(len(words))]
    if len(words) < 2:
        raise InvalidInputError(f"the prompt {prompt!r:.60} needs at least two words, so that one can be left out")
    features, mask = encode_prompt(ops, parts, [prompt, *shorter])
    noise = ops.asarray(normal_batch(seed, "attribution", 1, latents.shape[1:]), ops.wide_dtype)
    clean = ops.asarray(latents, ops.wide_dtype)
    influence = sum(_moved(ops, parts, clean, noise, t, features, mask) for t in timesteps) / len(timesteps)
    return TokenAttribution(tuple(words), np.asarray(influence, np.float32))


def _moved(
    ops: Ops, parts: Components, clean: Array, noise: Array, timestep: float, features: Array, mask: Array
) -> NDArray[np.float64]:
    """Distance [W, T', h, w] of each prediction but the first from the first."""
    z = add_noise(ops, clean, noise, ops.full((1,), timestep, clean.dtype))
    z = ops.broadcast_to(z, (features.shape[0], *z.shape[1:]))
    velocity = np.asarray(ops.to_numpy(predict_once(ops, parts, z, timestep, features, mask)), np.float64)
    distance: NDArray[np.float64] = np.sqrt(np.square(velocity[1:] - velocity[:1]).mean(axis=1))
    return distance
