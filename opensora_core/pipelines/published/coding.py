"""Videos to latents and back, as host arrays on one side and on the backend on the other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...ops import Array, Ops
from ...random import normal


def encode(ops: Ops, vae: Any, video: NDArray[np.float32], seed: int, what: str) -> Array:
    """Video [1, 3, T, H, W] in [-1, 1] -> latents [1, C, T', h, w], sampled with noise by the name `what`."""
    drawn = 0

    def draw(size: Any) -> Array:
        nonlocal drawn
        drawn += 1
        return ops.asarray(normal(seed, f"{what}/encode{drawn}", 0, size), ops.wide_dtype)

    return vae.encode(ops, ops.asarray(video, ops.wide_dtype), draw)


def decode(ops: Ops, vae: Any, latents: NDArray[np.float32], num_frames: int) -> NDArray[np.float32]:
    """Latents [1, C, T', h, w] -> video [1, 3, num_frames, H, W]."""
    return np.asarray(ops.to_numpy(vae.decode(ops, ops.asarray(latents, ops.wide_dtype), num_frames)), np.float32)
