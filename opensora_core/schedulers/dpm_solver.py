"""DPM-Solver++ (Lu et al. 2022), second order, multistep: networks of Gaussian diffusion in few steps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError
from ..ops import Array, Ops
from .diffusion import linear_betas
from .stepping import Predict, Step
from .timesteps import NUM_TIMESTEPS

FEW_STEPS = 10  # below it the last step is of first order, which is steadier


class Level(NamedTuple):
    """How much of data and of noise there is at one time, x = α x0 + σ noise, and λ = log(α/σ)."""

    time: float  # 0 to 1, of continuous time
    alpha: float
    sigma: float
    log_snr: float  # half of it, as officially: λ


def levels(num_steps: int) -> list[Level]:
    """Levels from pure noise to data in num_steps + 1 even times from 1 to 1/1000.

    log α(t) runs straight between its values ½ Σ log(1 - β) at t = k/1000. Officially these values
    and k/1000 are kept in float32.
    """
    knots = np.linspace(0, 1, NUM_TIMESTEPS + 1)[1:].astype(np.float32).astype(np.float64)
    log_alphas = np.cumsum(0.5 * np.log(1 - linear_betas())).astype(np.float32).astype(np.float64)
    return [_level(float(t), knots, log_alphas) for t in np.linspace(1, 1 / NUM_TIMESTEPS, num_steps + 1)]


def _level(t: float, knots: NDArray[np.float64], log_alphas: NDArray[np.float64]) -> Level:
    log_alpha = float(np.interp(t, knots, log_alphas))
    log_sigma = 0.5 * math.log(-math.expm1(2 * log_alpha))
    return Level(t, math.exp(log_alpha), math.exp(log_sigma), log_alpha - log_sigma)


def dpm_solver(ops: Ops, predict: Predict, z: Array, num_steps: int) -> Iterator[Step]:
    """Walk a diffusion back from noise z [B, C, T, H, W] to data; yields after every step. Second order.

    With h = λ_t - λ_s and m the guesses of the data at s and the step before it (Lu et al. 2022, algorithm 2):
    x_t = σ_t/σ_s x_s - α_t (e^{-h} - 1) (m_s + (m_s - m_{s-1}) / 2r), r = (λ_s - λ_{s-1}) / h.
    The first step has no guess before it and is of first order, as is the last of fewer than 10.
    predict gives the noise in its first C channels, at times (t - 1/1000) · 1000, not whole ones.
    Raises InvalidInputError for fewer than 2 steps. Source: Open-Sora v1.0 `DPMS`.
    """
    if num_steps < 2:
        raise InvalidInputError(f"num_steps={num_steps} must be at least 2")
    path = levels(num_steps)
    before: Array | None = None
    for i, (s, t) in enumerate(pairwise(path)):
        timestep = (s.time - 1 / NUM_TIMESTEPS) * NUM_TIMESTEPS
        noise = predict(z, timestep, None)[:, : z.shape[1]]
        guess = (z - s.sigma * noise) / s.alpha
        h = t.log_snr - s.log_snr
        towards = guess
        if before is not None and not (i == num_steps - 1 and num_steps < FEW_STEPS):
            r = (s.log_snr - path[i - 1].log_snr) / h
            towards = guess + (0.5 / r) * (guess - before)
        z = (t.sigma / s.sigma) * z - (t.alpha * math.expm1(-h)) * towards
        before = guess
        yield Step(i, timestep, z, guess)
