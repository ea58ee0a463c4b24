"""Between the pixels of files, uint8 with the colour last, and the video arrays of autoencoders."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def from_frames(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Frames uint8 [B, T, H, W, 3] -> video [B, 3, T, H, W] in [-1, 1]."""
    return np.moveaxis(frames, -1, 1).astype(np.float32) / np.float32(127.5) - np.float32(1)


def to_frames(video: NDArray[Any]) -> NDArray[np.uint8]:
    """Video [B, 3, T, H, W] -> frames uint8 [B, T, H, W, 3], rounded and clipped; NaN is black, on every machine."""
    levels = np.nan_to_num(np.clip(np.rint((video + 1.0) * 127.5), 0, 255))
    return np.ascontiguousarray(np.moveaxis(levels.astype(np.uint8), 1, -1))
