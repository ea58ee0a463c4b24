"""The single steps of a generation: text, frames and latents to and fro, and one prediction."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import number, whole
from ..media.video import Video
from .config import NUMBERS
from .frames import to_frames, to_latents
from .generation import encode_prompt, predict_once
from .inputs import Embeds, check_frames, check_latents, check_prompt, read_embeds
from .pretrained import Pretrained


class Predictor(Pretrained):
    """A model whose parts can be used one by one."""

    def predict(
        self,
        latents: Any,
        *,
        timestep: float,
        prompt: str = "",
        fps: float | None = None,
        prompt_embeds: Any = None,
        prompt_mask: Any = None,
    ) -> NDArray[Any]:
        """One denoising prediction: the velocity at latents [B, C, T, h, w] and a timestep from 0 to 1000.

        The latents are the sampler's, float32 or better, whatever dtype the model computes in. prompt_embeds (text
        features [1, L, C]) with prompt_mask [1, L] take the place of the prompt.
        """
        ops, timestep = self.ops, number("timestep", timestep, 0, 1000)
        z = ops.asarray(latents, ops.wide_dtype)
        check_latents(z.shape, self.config)
        if prompt_embeds is None:
            check_prompt("prompt", prompt)
            features, mask = encode_prompt(ops, self._parts, [prompt] * z.shape[0])
        else:
            embeds = read_embeds(ops, self.config, Embeds(prompt_embeds, prompt_mask))
            features, mask = (ops.concat([x] * z.shape[0], axis=0) for x in embeds)
        fps = None if fps is None else number("fps", fps, *NUMBERS["fps"])
        return np.asarray(ops.to_numpy(predict_once(ops, self._parts, z, timestep, features, mask, fps)))

    def encode(self, frames: Any) -> NDArray[np.float32]:
        """uint8 frames [T, H, W, 3] or [B, T, H, W, 3], or a Video -> latents [B, C, T', h, w]."""
        pixels = np.asarray(frames.frames if isinstance(frames, Video) else frames)
        pixels = pixels[None] if pixels.ndim == 4 else pixels
        check_frames(pixels)
        return to_latents(self.ops, self._parts, pixels)

    def decode(
        self, latents: Any, num_frames: int | None = None, height: int | None = None, width: int | None = None
    ) -> NDArray[np.uint8]:
        """Latents [B, C, T', h, w] -> uint8 frames [B, T, H, W, 3]: all that they hold, or as many as were encoded."""
        z = self.ops.asarray(latents)
        check_latents(z.shape, self.config)
        rows, columns = self.config.codec.block[1:]
        frames = self._parts.codec.frames_of(z.shape[2]) if num_frames is None else num_frames
        held = {"height": z.shape[3] * rows, "width": z.shape[4] * columns}
        size = []
        for (name, full), asked, block in zip(held.items(), (height, width), (rows, columns), strict=True):
            size.append(full if asked is None else whole(name, asked, full - block + 1, full))
        return to_frames(self.ops, self._parts, z, whole("num_frames", frames, 1), *size)

    def encode_prompt(self, prompt: str) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Text features [1, L, C] and their mask [1, L], as `prompt_embeds` and `prompt_mask` take them."""
        check_prompt("prompt", prompt)
        features, mask = encode_prompt(self.ops, self._parts, [prompt])
        return self.ops.to_numpy(features), self.ops.to_numpy(mask)
