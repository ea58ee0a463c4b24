"""What a published release is asked for, and what its sampler works on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..conditioning.mask_strategy import MaskGroup, apply_mask_strategy
from ..ops import Array, Ops
from ..random import normal_batch
from ..schedulers.stepping import Noise


class Text(NamedTuple):
    """A prompt as the denoiser reads it, on the host.

    features [1, L, C], mask [1, L] of the tokens that count. negative: features and mask that replace the null caption.
    pooled [1, V] and negative_pooled: of v2.0, the one vector of the whole prompt.
    """

    features: NDArray[Any]
    mask: NDArray[np.bool_]
    negative: tuple[NDArray[Any], NDArray[np.bool_]] | None = None
    pooled: NDArray[Any] | None = None
    negative_pooled: NDArray[Any] | None = None


class References(NamedTuple):
    """What v1.1 and v1.2 are given: latents [C, T', h, w] on the backend, and where their frames go (see `MaskGroup`).

    align: snaps their places to multiples of so many latent frames; None does not.
    """

    latents: Sequence[Array]
    groups: Sequence[MaskGroup]
    align: int | None

    def place(self, ops: Ops, z: Array, loop: int) -> tuple[Array, NDArray[np.float64]]:
        """Noise z [1, C, T, h, w] with the frames of one loop in their places, and the mask [1, T] that keeps them."""
        return apply_mask_strategy(ops, z, [self.latents], [self.groups], loop, self.align)


class Placed(Protocol):
    """Frames that a mask keeps."""

    def place(self, ops: Ops, z: Array, loop: int) -> tuple[Array, NDArray[np.floating]]:
        """Noise z [B, C, T, h, w] with given frames in their places, and the mask [B, T], see `euler`."""
        ...


@dataclass(frozen=True)
class Task:
    """One clip: its latent shape (C, T, h, w), its size in pixels and frames, and how it is sampled.

    stream: the name of its noise, by default that of its loop.
    """

    shape: tuple[int, int, int, int]
    num_frames: int
    height: int
    width: int
    fps: float
    num_inference_steps: int
    guidance_scale: float
    seed: int
    image_guidance_scale: float = 3.0
    loop: int = 0
    stream: str | None = None

    def start(self, ops: Ops) -> Array:
        """The noise that sampling begins with, [1, C, T, h, w]."""
        return ops.asarray(normal_batch(self.seed, self.stream or f"loop{self.loop}", 1, self.shape), ops.wide_dtype)

    def noise(self, ops: Ops, what: str) -> Noise:
        """Fresh noise of every step; `what` tells one use from another."""

        def draw(step: int) -> Array:
            drawn = normal_batch(self.seed, f"loop{self.loop}/{what}{step}", 1, self.shape)
            return ops.asarray(drawn, ops.wide_dtype)

        return draw
