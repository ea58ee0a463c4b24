"""Sinusoidal embeddings of timesteps, places, times, and rotary tables. Tables are made on the host in float64."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..ops import Array, Ops

Table = NDArray[np.float64]


def scalar_features(ops: Ops, value: Array, size: int, max_period: float = 10000.0) -> Array:
    """[cos(v f), sin(v f)] of scalars v [B] with f_k = max_period^(-2k/size), cosine first (GLIDE, DiT): [B, size]."""
    value = ops.widen(value)
    # Timesteps reach 1000, so the last bit of a frequency shows: exponents are rounded where the official code does.
    exponents = -math.log(max_period) * np.arange(size // 2).astype(ops.dtype_name(value)) / (size // 2)
    angles = ops.reshape(value, (-1, 1)) * ops.asarray(np.exp(exponents, dtype=np.float64), value.dtype)  # (B, size/2)
    return ops.concat([ops.cos(angles), ops.sin(angles)], axis=-1)


def sincos_2d(channels: int, height: int, width: int, scale: float) -> Table:
    """Position embedding of a patch grid [H·W, C] (Open-Sora v1.2): column coordinate first, sine before cosine.

    scale: sqrt(pixel area) / input_sq_size; coordinates are divided by it and normalised to a square of equal area.
    """
    base = round(math.sqrt(height * width))
    columns = np.arange(width) / scale * base / width
    rows = np.arange(height) / scale * base / height
    frequencies = 10000.0 ** (-2.0 * np.arange(channels // 4) / (channels // 2))
    x = np.broadcast_to((columns[:, None] * frequencies)[None], (height, width, channels // 4))
    y = np.broadcast_to((rows[:, None] * frequencies)[:, None], (height, width, channels // 4))
    return np.concatenate([np.sin(x), np.cos(x), np.sin(y), np.cos(y)], axis=-1).reshape(height * width, channels)


def time_features(ops: Ops, times: Array, channels: int, max_period: float = 100.0) -> Array:
    """[sin(t f), cos(t f)] of times [B, T] with f_k = max_period^(-2k/channels): [B, T, channels]."""
    times = ops.widen(times)
    frequencies = max_period ** (-2.0 * np.arange(channels // 2) / channels)
    angles = ops.reshape(times, (*times.shape, 1)) * ops.asarray(frequencies, times.dtype)
    return ops.concat([ops.sin(angles), ops.cos(angles)], axis=-1)


def rope_frequencies(head_dim: int) -> Table:
    """10000^(-2k/d) for each channel pair k: the `rope.freqs` stored in official checkpoints."""
    return 10000.0 ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)


def rope_tables(ops: Ops, frequencies: Array, length: int) -> tuple[Array, Array]:
    """Cosine and sine [L, D/2] of position times frequency, in float32 or better."""
    frequencies = ops.widen(frequencies)
    positions = ops.reshape(ops.arange(length, frequencies.dtype), (length, 1))
    angles = positions * frequencies
    return ops.cos(angles), ops.sin(angles)
