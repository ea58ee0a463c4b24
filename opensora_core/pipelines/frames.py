"""Pixels to latents and back around the denoiser, at sizes the autoencoder's blocks need not divide."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ..ops import Array, Ops
from ..vae import pixels
from .components import Components
from .config import OpenSoraConfig

Frames = NDArray[np.uint8]  # [T, H, W, 3]
NEARBY = 2  # pixels that an autoencoder blurs an outline by


def padded_size(config: OpenSoraConfig, height: int, width: int) -> tuple[int, int]:
    """Height and width rounded up to whole blocks of the autoencoder."""
    _, rows, columns = config.codec.block
    return -(-height // rows) * rows, -(-width // columns) * columns


def to_latents(ops: Ops, parts: Components, frames: Frames) -> NDArray[np.float32]:
    """uint8 [B, T, H, W, 3] -> latents [B, C, T', h, w] on the host; edges are repeated to whole blocks."""
    top, bottom, left, right = _margins(parts.config, frames.shape[2], frames.shape[3])
    frames = np.pad(frames, ((0, 0), (0, 0), (top, bottom), (left, right), (0, 0)), mode="edge")
    video = ops.asarray(pixels.from_frames(frames), ops.dtype_name(parts.codec.mean))  # (B, 3, T, H, W)
    return np.asarray(ops.to_numpy(parts.codec.encode(ops, video)), np.float32)


def to_frames(ops: Ops, parts: Components, latents: Array, num_frames: int, height: int, width: int) -> Frames:
    """Latents [B, C, T', h, w] -> uint8 [B, T, H, W, 3], cropped to the size asked for."""
    video = ops.to_numpy(parts.codec.decode(ops, ops.astype(latents, parts.codec.mean.dtype), num_frames))
    top, _, left, _ = _margins(parts.config, height, width)
    return pixels.to_frames(video[:, :, :, top : top + height, left : left + width])


def keep_still(drawn: Frames, shown: Frames, levels: tuple[float, float] | None) -> Frames:
    """Return the new frames of a window, in which what does not move looks as in the last frame before them.

    drawn [T, H, W, 3]: the window as the model draws it; shown [G, H, W, 3]: the given frames it begins with, as they
    are shown. Where a new frame differs from the last given one, both as drawn, by less than the lower level (of 255),
    its pixel is the one shown; from the upper level on it is left as drawn, and in between mixed: a model copies
    colours less exactly than an eye compares them. Beside something that moves, the pixel must also look as the one
    shown, lest a sharp outline stay behind. Without levels, or without given frames, all is left as drawn.
    """
    given = len(shown)
    new: Frames = drawn[given:]
    if levels is None or not given:
        return new
    low, high = levels
    moved = _difference(new, drawn[given - 1])
    moved = np.maximum(moved, np.minimum(_largest_nearby(moved), _difference(new, shown[-1])))
    redrawn = np.clip((moved - low) / max(high - low, 1e-6), 0, 1)[..., None]
    mixed: Frames = np.rint(redrawn * new + (1 - redrawn) * shown[-1]).astype(np.uint8)
    return mixed


def _difference(frames: Frames, frame: Frames) -> NDArray[np.float32]:
    """Largest difference of a channel: [T, H, W]."""
    largest: NDArray[np.float32] = np.abs(frames.astype(np.float32) - frame).max(axis=-1)
    return largest


def _largest_nearby(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Maximum of [T, H, W] over the square of NEARBY pixels to each side."""
    values = np.pad(values, ((0, 0), (NEARBY, NEARBY), (NEARBY, NEARBY)), mode="edge")
    for axis in (1, 2):
        values = sliding_window_view(values, 2 * NEARBY + 1, axis=axis).max(axis=-1)
    return values


def _margins(config: OpenSoraConfig, height: int, width: int) -> tuple[int, int, int, int]:
    rows, columns = (
        full - part for full, part in zip(padded_size(config, height, width), (height, width), strict=True)
    )
    return rows // 2, rows - rows // 2, columns // 2, columns - columns // 2
