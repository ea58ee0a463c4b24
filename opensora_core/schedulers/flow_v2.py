"""Rectified flow as Open-Sora v2.0 samples it: time falls from 1, noise, to 0, data; the velocity points to noise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from ..errors import InvalidInputError
from ..ops import Array, Ops
from .guidance import three_way
from .stepping import Predict, Step


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
