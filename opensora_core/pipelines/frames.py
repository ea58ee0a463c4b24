"""Pixels to latents and back around the denoiser, at sizes the autoencoder's blocks need not divide."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..ops import Array, Ops
from ..vae import pixels
from .components import Components
from .config import OpenSoraConfig

Frames = NDArray[np.uint8]


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


def _margins(config: OpenSoraConfig, height: int, width: int) -> tuple[int, int, int, int]:
    rows, columns = (
        full - part for full, part in zip(padded_size(config, height, width), (height, width), strict=True)
    )
    return rows // 2, rows - rows // 2, columns // 2, columns - columns // 2
