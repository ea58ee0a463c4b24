"""Timesteps of rectified flow as lists of numbers: 1000 is pure noise, 0 is data."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import number
from ..errors import InvalidInputError

NUM_TIMESTEPS = 1000
METHODS = ("discrete", "uniform", "logit-normal")  # of drawing times to train at
CHUNK_FRAMES, CHUNK_LATENTS = 17, 5  # a clip of 17 frames is 5 latent frames in Open-Sora v1.2


def resolution_ratio(height: float, width: float, num_frames: int, scale: float = 1.0) -> float:
    """How much noisier than a 512x512 image a video of this size must be: r of `shift_timesteps`.

    Open-Sora v1.2 counts F = floor(num_frames / 17) · 5 latent frames (1 for an image), so 2 to 16 frames give F = 0
    and every timestep collapses; such lengths are refused.
    """
    latents = 1 if num_frames == 1 else num_frames // CHUNK_FRAMES * CHUNK_LATENTS
    if min(height, width) <= 0:
        raise InvalidInputError(f"the size {height}x{width} of the video must be positive")
    if latents < 1:
        raise InvalidInputError(
            f"the timestep transform is undefined for {num_frames} frames; use 1 or at least {CHUNK_FRAMES} frames, "
            "or switch it off"
        )
    return math.sqrt(height * width / 512**2) * math.sqrt(latents) * scale


def shift_timesteps(t: Any, ratio: float) -> Any:
    """t' = 1000 · r u / (1 + (r - 1) u) with u = t / 1000 (Open-Sora v1.2, after Stable Diffusion 3 section 5.3.2)."""
    u = t / NUM_TIMESTEPS
    noise = ratio * u
    return NUM_TIMESTEPS * (noise / ((1 - u) + noise))  # so written, 1000 stays 1000 and is never passed by rounding


def sampling_timesteps(num_steps: int, *, ratio: float | None = None, discrete: bool = False) -> list[float]:
    """Times at which the sampler asks the model: (1 - i/n) · 1000, rounded if `discrete`, then shifted by `ratio`."""
    if num_steps < 1:
        raise InvalidInputError(f"num_inference_steps={num_steps} must be at least 1")
    times = [(1 - i / num_steps) * NUM_TIMESTEPS for i in range(num_steps)]
    if discrete:
        times = [float(round(t)) for t in times]
    return times if ratio is None else [shift_timesteps(t, ratio) for t in times]


def training_timesteps(
    rng: np.random.Generator,
    batch: int,
    *,
    method: str = "logit-normal",
    ratio: float | None = None,
    uniform_over_threshold: float | None = None,
) -> NDArray[np.float32]:
    """Random times [B] of a batch: "discrete" integers, "uniform", or "logit-normal" (sigmoid of N(0, 1)).

    ratio: of `shift_timesteps`. uniform_over_threshold: a share u of the path; times beyond it are drawn again, evenly
    between it and noise (v1.3, videos).
    """
    if method == "discrete":
        t = rng.integers(0, NUM_TIMESTEPS, batch).astype(np.float64)
    elif method == "uniform":
        t = rng.random(batch) * NUM_TIMESTEPS
    elif method == "logit-normal":
        t = NUM_TIMESTEPS / (1 + np.exp(-rng.standard_normal(batch)))
    else:
        raise InvalidInputError(f"timestep sampling {method!r} is not discrete, uniform or logit-normal")
    t = t if ratio is None else shift_timesteps(t, ratio)
    if uniform_over_threshold is not None:
        least = number("uniform_over_threshold", uniform_over_threshold, 0, 1) * NUM_TIMESTEPS
        t = np.where(t > least, rng.uniform(least, NUM_TIMESTEPS, batch), t)
    return np.asarray(t, np.float32)
