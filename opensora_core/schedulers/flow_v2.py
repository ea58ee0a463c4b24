"""Rectified flow of Open-Sora v2.0: time falls from 1, noise, to 0, data; the velocity points to noise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..derived import mean
from ..errors import InvalidInputError
from ..ops import Array, Ops
from .guidance import three_way
from .stepping import Predict, Step

LEAST_NOISE = 1e-5  # σ of training: what of the noise is left in data


def shift_v2(tokens_per_frame: int, num_frames: int) -> float:
    """Shift α of `times_v2`: the line through (256, 1) and (4096, 3) of tokens per latent frame, times sqrt(frames)."""
    if min(tokens_per_frame, num_frames) < 1:
        raise InvalidInputError(
            f"{tokens_per_frame} tokens per frame and {num_frames} latent frames must be at least 1"
        )
    slope = (3.0 - 1.0) / (4096 - 256)
    return (1.0 + slope * (tokens_per_frame - 256)) * math.sqrt(num_frames)


def times_v2(num_steps: int, shift: float | None = None) -> list[float]:
    """num_steps + 1 times from 1 to 0: even, or shifted to α t / (1 + (α - 1) t) (Esser et al. 2024, section 5.3.2)."""
    if num_steps < 1:
        raise InvalidInputError(f"num_steps={num_steps} must be at least 1")
    times = [1 - i / num_steps for i in range(num_steps + 1)]
    return times if shift is None else [shift * t / (1 + (shift - 1) * t) for t in times]


def training_times_v2(rng: np.random.Generator, batch: int, shift: float = 1.0) -> NDArray[np.float32]:
    """Random times [B] of a batch, the sigmoid of N(0, 1), shifted as in `times_v2`."""
    t = 1.0 / (1.0 + np.exp(-rng.standard_normal(batch)))
    return np.asarray(shift * t / (1 + (shift - 1) * t), np.float32)


def add_noise_v2(ops: Ops, x0: Array, noise: Array, t: Array) -> Array:
    """x_t = (1 - t) x0 + (1 - (1 - σ)(1 - t)) noise with σ = 1e-5: data keeps a trace of noise; t [B] in 0 to 1.

    x0 and noise: latents [B, C, T, H, W], packed or not.
    """
    u = ops.reshape(t, (-1,) + (1,) * (x0.ndim - 1))
    return (1.0 - u) * x0 + (1.0 - (1.0 - LEAST_NOISE) * (1.0 - u)) * noise


def flow_loss_v2(ops: Ops, velocity: Array, x0: Array, noise: Array) -> Array:
    """Mean squared error to the target (1 - σ) noise - x0, per sample [B]; shapes as for `add_noise_v2`."""
    error = velocity - ((1.0 - LEAST_NOISE) * noise - x0)
    return mean(ops, error * error, axis=tuple(range(1, x0.ndim)))


def distilled_flow(ops: Ops, predict: Predict, x: Array, times: Sequence[float]) -> Iterator[Step]:
    """Euler's method from noise x over `times`, the last of which is 0; first order.

    For networks that learned guidance, and take its scale as an input, there is nothing else to do.
    Source: Open-Sora v2.0 `DistilledDenoiser`.
    """
    for i, (t, end) in enumerate(pairwise(times)):
        v = predict(x, t, None)
        denoised = x - t * v
        yield Step(i, t, x := x + (end - t) * v, denoised)


def image_text_flow(
    ops: Ops,
    predict: Predict,
    x: Array,
    times: Sequence[float],
    text_scales: Sequence[float],
    image_scales: Sequence[Array | float],
) -> Iterator[Step]:
    """Euler's method with guidance by text and image apart, each of its own for every step; first order.

    predict sees x three times: with prompt and image, with the negative prompt and image, with that prompt alone.
    image_scales: a number, or an array to be broadcast over x, for every step.
    Source: Open-Sora v2.0 `I2VDenoiser`, which makes videos from text alone as well.
    """
    B = x.shape[0]
    for i, (t, end) in enumerate(pairwise(times)):
        rows = predict(ops.concat([x, x, x], axis=0), t, None)
        v = three_way(rows[:B], rows[B : 2 * B], rows[2 * B :], text_scales[i], image_scales[i])
        denoised = x - t * v
        yield Step(i, t, x := x + (end - t) * v, denoised)
