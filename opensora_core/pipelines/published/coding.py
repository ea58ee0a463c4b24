"""Frames of a video to the latents of a clip, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...ops import Array, Ops
from ...random import normal
from ...releases.task import Frames
from ...vae import pixels


def encode(ops: Ops, vae: Any, given: NDArray[np.uint8], shape: tuple[int, int, int, int], seed: int) -> Frames:
    """Given frames uint8 [G, H, W, 3] as the first latents of a clip of shape (C, T, h, w): a posterior's sample."""
    drawn = 0

    def draw(size: Any) -> Array:
        nonlocal drawn
        drawn += 1
        return ops.asarray(normal(seed, f"encode{drawn}", 0, size), ops.wide_dtype)

    video = ops.asarray(pixels.from_frames(given[None]), ops.wide_dtype)
    known = np.asarray(ops.to_numpy(vae.encode(ops, video, draw)), np.float32)
    latents = np.zeros((1, *shape), np.float32)
    latents[:, :, : known.shape[2]] = known
    return Frames(latents, np.arange(shape[1]) < known.shape[2])


def decode(ops: Ops, vae: Any, latents: NDArray[np.float32], num_frames: int) -> NDArray[np.uint8]:
    """Latents [1, C, T, h, w] -> uint8 [num_frames, H, W, 3]."""
    video = vae.decode(ops, ops.asarray(latents, ops.wide_dtype), num_frames)
    frames: NDArray[np.uint8] = pixels.to_frames(ops.to_numpy(video))[0]
    return frames
