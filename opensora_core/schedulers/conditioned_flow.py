"""Rectified flow of Open-Sora v1.3, from text alone or from text and given frames."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError
from ..ops import Array, Ops
from .frame_mean import frame_mean
from .guidance import restore_deviation, three_way
from .rectified_flow import add_noise
from .stepping import Noise, Predict, Step
from .timesteps import NUM_TIMESTEPS

LATENT_FRAMES = 4  # frames to a latent frame of the autoencoder of v1.3, but for the first
DROPS = (0.85, 0.05, 0.05, 0.05)  # of training samples: keep all, frames alone, text alone, nothing


def resolution_ratio_v13(
    height: float, width: float, num_frames: int, *, scale: float = 1.0, scale_temporal: bool = True
) -> float:
    """Ratio r of `shift_timesteps` in v1.3: sqrt(area / 512²) sqrt(F) scale with F = (num_frames - 1) // 4.

    An image, and any video without `scale_temporal`, has F = 1 and no scale. Raises InvalidInputError for sizes below 1
    and for 2 to 4 frames, which give F = 0 and so no timesteps.
    """
    if min(height, width, num_frames) <= 0:
        raise InvalidInputError(f"the size {height}x{width} and length {num_frames} of the video must be positive")
    area = math.sqrt(height * width / 512**2)
    if num_frames == 1 or not scale_temporal:
        return area
    latents = (num_frames - 1) // LATENT_FRAMES
    if latents < 1:
        raise InvalidInputError(
            f"the timestep transform of v1.3 is undefined for {num_frames} frames; use 1 or at least 5, or switch off "
            "scale_temporal"
        )
    return area * math.sqrt(latents) * scale


class Given(NamedTuple):
    """Frames to keep near what they were (SDEdit): latents like z, where they are given, and noise for every step."""

    latents: Array
    mask: Array  # like the latents, 1 where given
    noise: Noise


def drop_condition(rng: np.random.Generator) -> tuple[bool, bool]:
    """Whether a training sample keeps its text, and its given frames: mostly both, now and then one, or neither."""
    kept = rng.choice(4, p=DROPS)
    return kept in (0, 2), kept in (0, 1)


def conditioned_loss(
    ops: Ops, velocity: Array, x0: Array, noise: Array, given: NDArray[np.bool_], given_weight: float = 1.0
) -> Array:
    """Mean squared error to the target x0 - noise, per sample [B], in which given frames count less, or more.

    given [B, T]: frames that the model was given. given_weight: of them; the others are weighted so that all weights
    of a sample sum to T. Raises InvalidInputError where that cannot be.
    """
    T, count = given.shape[1], given.sum(axis=1, keepdims=True)
    most = T / max(int(count.max()), 1)
    if not 0 <= given_weight <= most:
        raise InvalidInputError(f"given_weight={given_weight} must lie in 0 to {most:g}, T over the given frames")
    rest = (T - count * given_weight) / np.maximum(T - count, 1)
    weights = np.where(count == T, 1.0, np.where(given, given_weight, rest)).reshape(-1, 1, T, 1, 1)
    error = velocity - (x0 - noise)
    return frame_mean(ops, error * error * ops.asarray(weights, error.dtype), None)


def text_flow(
    ops: Ops, predict: Predict, z: Array, timesteps: Sequence[float], scales: Sequence[float], *, restore: bool = False
) -> Iterator[Step]:
    """Euler's method from noise z [B, C, T, H, W] with a text guidance of its own for each step; first order.

    predict sees the batch doubled, conditional rows first. scales: see `oscillating`. restore: see `restore_deviation`.
    Source: Open-Sora v1.3 `RFLOW.sample`, path without a condition.
    """
    B, C = z.shape[:2]
    for i, (t, dt) in enumerate(_durations(timesteps)):
        both = predict(ops.concat([z, z], axis=0), t, None)[:, :C]
        v = both[B:] + scales[i] * (both[:B] - both[B:])
        v = restore_deviation(ops, v, both[:B]) if restore else v
        yield Step(i, t, z := z + v * dt, z + v * (t / NUM_TIMESTEPS - dt))


def image_flow(
    ops: Ops,
    predict: Predict,
    z: Array,
    timesteps: Sequence[float],
    text_scales: Sequence[float],
    image_scales: Sequence[Sequence[float]],
    given: Given | None = None,
) -> Iterator[Step]:
    """Euler's method with text and image guidance apart, both of their own for each step; first order.

    predict sees the batch three times: prompt and image, image, neither. image_scales: of each step and latent
    frame, see `frame_scales`. given: before each step these frames are set to their own latents, noised to its time.
    Source: Open-Sora v1.3 `RFLOW.sample`, path with a condition.
    """
    B, C = z.shape[:2]
    for i, (t, dt) in enumerate(_durations(timesteps)):
        if given is not None:
            noised = add_noise(ops, given.latents, given.noise(i), ops.full((B,), t, z.dtype))
            z = ops.where(ops.equal(given.mask, 1.0), noised, z)
        all_three = predict(ops.concat([z, z, z], axis=0), t, None)[:, :C]
        scale = ops.asarray(np.array(image_scales[i]).reshape(1, 1, -1, 1, 1), z.dtype)
        v = three_way(all_three[:B], all_three[B : 2 * B], all_three[2 * B :], text_scales[i], scale)
        yield Step(i, t, z := z + v * dt, z + v * (t / NUM_TIMESTEPS - dt))


def _durations(timesteps: Sequence[float]) -> list[tuple[float, float]]:
    """Each timestep with the share of the path until the next, or until data."""
    ends = [*timesteps[1:], 0.0]
    return [(t, (t - end) / NUM_TIMESTEPS) for t, end in zip(timesteps, ends, strict=True)]
