"""Separates the object of a clip from its plain background: the reader's eyes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

MIN_PIXELS = 12
"""Fewer pixels than this have no shape to speak of."""

MIN_CONTRAST = 15.0
"""Distance from the background in RGB levels below which a pixel belongs to it."""


@dataclass(frozen=True)
class Cutout:
    """The colour [3] of the object, and how much of each pixel it covers."""

    color: Floats
    opacity: Floats  # [T, H, W], 0 to 1
    clean: float  # RMS of what is neither of the two colours nor between them, in levels; 0 is perfect


def border_color(frames: Floats) -> tuple[Floats, float]:
    """Median colour [3] of the border of frames [T, H, W, 3], and the mean deviation from it, in levels."""
    sides = (frames[:, 0], frames[:, -1], frames[:, :, 0], frames[:, :, -1])
    border = np.concatenate(sides, axis=1).reshape(-1, 3)
    median: Floats = np.median(border, axis=0)
    return median, float(np.abs(border - median).mean())


def cut_out(frames: Floats, background: Floats) -> Cutout | None:
    """The object of frames [T, H, W, 3], in levels, or None where nothing stands out from the background [3].

    The object is what differs most. It may be away up to two thirds of the time, as a blinking one is.
    """
    offset = frames - background
    distance = np.sqrt(np.square(offset).sum(-1))  # [T, H, W]
    contrast = np.percentile(distance.max((1, 2)), 70)
    pixels = (distance > max(40.0, 0.5 * contrast)).sum((1, 2))
    if not pixels.any() or np.median(pixels[pixels > 0]) < MIN_PIXELS:
        return None
    color: Floats = np.median(frames[distance > 0.8 * contrast], axis=0)
    axis = color - background
    if np.sqrt(axis @ axis) < MIN_CONTRAST:
        return None  # many colours, and none of them prevails: noise
    opacity: Floats = np.clip(offset @ axis / (axis @ axis), 0, 1) * (distance > MIN_CONTRAST)
    rest = offset - opacity[..., None] * axis
    return Cutout(color, opacity, clean=float(np.sqrt(np.square(rest).mean())))
