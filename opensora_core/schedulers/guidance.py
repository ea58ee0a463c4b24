"""Guidance as Open-Sora v1.3 and v2.0 vary it: over the steps, over the frames, and by text and image apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..derived import mean
from ..errors import InvalidInputError
from ..ops import Array, Ops

FORCED_STEPS = 10


def oscillating(scale: float, num_steps: int) -> list[float]:
    """Scale of each step: full for the first 10 and then every second one, 1 (no guidance) in between.

    Spares what strong guidance does to contrast late in the trajectory (Open-Sora v1.3, `use_oscillation_guidance`).
    """
    return [scale if i < FORCED_STEPS or i % 2 == 0 else 1.0 for i in range(num_steps)]


def frame_scales(scales: Sequence[float], levels: int, num_frames: int, least: float = 1.0) -> list[list[float]]:
    """Image guidance of each step and latent frame: it rises along time from `least` to an end that falls with steps.

    scales: of each step; a step whose scale is not above `least` has it for every frame. The upper end is
    linspace(largest scale, least, levels)[step]: v1.3 has as many levels as steps, v2.0 one more.
    """
    upper = np.linspace(max(scales), least, levels)
    return [
        np.linspace(least, upper[i], num_frames).tolist() if scale > least else [scale] * num_frames
        for i, scale in enumerate(scales)
    ]


def three_way(text: Array, image: Array, plain: Array, text_scale: float, image_scale: Array | float) -> Array:
    """v_plain + g_image (v_image - v_plain) + g_text (v_text - v_image) (Brooks et al. 2023, eq. 3).

    text: with prompt and image; image: without the prompt; plain: without either.
    """
    return plain + image_scale * (image - plain) + text_scale * (text - image)


def restore_deviation(ops: Ops, guided: Array, conditional: Array, share: float = 0.7) -> Array:
    """Bring the standard deviation of each guided sample nearer to that of the conditional prediction.

    v (share · std(conditional) / std(v) + 1 - share) (Lin et al. 2024, section 3.4; Open-Sora v1.3, `use_flaw_fix`).
    """
    return guided * (share * _deviation(ops, conditional) / _deviation(ops, guided) + (1.0 - share))


def _deviation(ops: Ops, x: Array) -> Array:
    """Unbiased standard deviation of each sample, to be broadcast over it."""
    axes = tuple(range(1, x.ndim))
    count = int(np.prod(x.shape[1:]))
    if count < 2:
        raise InvalidInputError(f"the deviation of samples of shape {tuple(x.shape[1:])} needs two numbers at least")
    away = x - mean(ops, x, axis=axes, keepdims=True)
    return ops.sqrt(ops.sum(away * away, axis=axes, keepdims=True) * (1.0 / (count - 1)))
