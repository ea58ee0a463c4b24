"""Gaussian diffusion (Ho et al. 2020) over a few of its 1000 steps: the tables of Open-Sora v1.0 and v1.1.

Noise is added as x_t = sqrt(ᾱ_t) x0 + sqrt(1 - ᾱ_t) noise; a network predicts the noise, and a second half of channels
where the variance of the way back lies between its two bounds (Nichol & Dhariwal 2021, "IDDPM", section 3.1).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError
from ..ops import Array, Ops
from .timesteps import NUM_TIMESTEPS

Table = NDArray[Any]
Steps = NDArray[np.int64]


def linear_betas(num_steps: int = NUM_TIMESTEPS) -> NDArray[np.float64]:
    """Variance added by each step: from 0.0001 to 0.02 over 1000 steps (Ho et al. 2020, section 4)."""
    scale = NUM_TIMESTEPS / num_steps
    return np.linspace(scale * 0.0001, scale * 0.02, num_steps)


def spaced_steps(spacing: str, num_steps: int = NUM_TIMESTEPS) -> list[int]:
    """Which of the training steps a sampler uses, ascending: `space_timesteps` of IDDPM.

    spacing: "" for all; "100" spreads 100 evenly from first to last; "25,15,10" cuts the range into as many equal
    sections and spreads that many in each; "ddim20" takes every 50th, which must come out at exactly 20.
    Raises InvalidInputError for anything else, and for more steps than there are.
    """
    if spacing.startswith("ddim"):
        return _strided_steps(spacing, num_steps)
    if not re.fullmatch(r"(\d+(,\d+)*)?", spacing):
        raise InvalidInputError(f"spacing {spacing!r} is not a list of counts like '100' or '25,15,10', nor 'ddim20'")
    counts = [int(n) for n in spacing.split(",")] if spacing else [num_steps]
    steps, start = [], 0
    for section, count in enumerate(counts):
        size = num_steps // len(counts) + (section < num_steps % len(counts))
        if not 1 <= count <= size:
            raise InvalidInputError(f"spacing {spacing!r} wants {count} steps of {size}; expected 1 to {size}")
        stride = (size - 1) / (count - 1) if count > 1 else 1.0
        place = 0.0
        for _ in range(count):
            steps.append(start + round(place))
            place += stride  # summed, not multiplied: official rounding
        start += size
    return sorted(set(steps))


def _strided_steps(spacing: str, num_steps: int) -> list[int]:
    count = int(spacing[4:]) if spacing[4:].isdecimal() else 0
    for stride in range(1, num_steps):
        if len(range(0, num_steps, stride)) == count:
            return list(range(0, num_steps, stride))
    raise InvalidInputError(f"spacing {spacing!r}: no whole stride through {num_steps} steps gives {count or 'that'}")


@dataclass(frozen=True)
class DiffusionTables:
    """Everything of a spaced diffusion that depends on the step alone; arrays [N] on the host, step 0 nearest to data.

    timestep_map: the training step that the model is told. Posterior: the Gaussian q(x_{t-1} | x_t, x0).
    """

    timestep_map: Steps
    betas: Table
    alphas_cumprod: Table
    alphas_cumprod_prev: Table
    sqrt_alphas_cumprod: Table
    sqrt_one_minus_alphas_cumprod: Table
    sqrt_recip_alphas_cumprod: Table
    sqrt_recipm1_alphas_cumprod: Table
    posterior_variance: Table
    posterior_log_variance_clipped: Table
    posterior_mean_coef1: Table
    posterior_mean_coef2: Table

    @property
    def num_steps(self) -> int:
        """How many steps the sampler takes."""
        return len(self.betas)

    @classmethod
    def spaced(cls, spacing: str = "", dtype: Literal["float32", "float64"] = "float64") -> DiffusionTables:
        """Tables of `spaced_steps(spacing)`: float64 as Open-Sora v1.0 keeps them, float32 as v1.1 does.

        Raises InvalidInputError for a spacing that cannot be, or that leaves a single step.
        """
        kept = spaced_steps(spacing)
        if len(kept) < 2:
            raise InvalidInputError(f"spacing {spacing!r} leaves a single step; expected 2 to {NUM_TIMESTEPS}")
        levels = np.cumprod(1.0 - linear_betas())[kept]
        betas = (1.0 - levels / np.append(1.0, levels[:-1])).astype(dtype)
        alphas = 1 - betas
        cumprod = np.cumprod(alphas, dtype=np.float64).astype(dtype)  # summed up in double also for float32, as Torch
        previous = np.append(betas.dtype.type(1), cumprod[:-1])
        variance = betas * (1 - previous) / (1 - cumprod)
        return cls(
            timestep_map=np.array(kept, np.int64),
            betas=betas,
            alphas_cumprod=cumprod,
            alphas_cumprod_prev=previous,
            sqrt_alphas_cumprod=np.sqrt(cumprod),
            sqrt_one_minus_alphas_cumprod=np.sqrt(1 - cumprod),
            sqrt_recip_alphas_cumprod=np.sqrt(1 / cumprod),
            sqrt_recipm1_alphas_cumprod=np.sqrt(1 / cumprod - 1),
            posterior_variance=variance,
            posterior_log_variance_clipped=np.log(np.append(variance[1], variance[1:])),  # it is 0 at step 0
            posterior_mean_coef1=betas * np.sqrt(previous) / (1 - cumprod),
            posterior_mean_coef2=(1 - previous) * np.sqrt(alphas) / (1 - cumprod),
        )


def at(ops: Ops, table: Table, steps: Steps, like: Array) -> Array:
    """Entries of a table for each sample [B] (or for all, [1]), to be broadcast over `like` and in its dtype."""
    return ops.reshape(ops.asarray(table[steps], like.dtype), (-1,) + (1,) * (like.ndim - 1))


def diffuse(ops: Ops, tables: DiffusionTables, x0: Array, noise: Array, steps: Steps) -> Array:
    """x_t = sqrt(ᾱ_t) x0 + sqrt(1 - ᾱ_t) noise at steps [B] or [1] (Ho et al. 2020, eq. 4)."""
    signal = at(ops, tables.sqrt_alphas_cumprod, steps, x0)
    return signal * x0 + at(ops, tables.sqrt_one_minus_alphas_cumprod, steps, x0) * noise


class Back(NamedTuple):
    """The way back from x_t as the network sees it: the Gaussian p(x_{t-1} | x_t), and the data behind it."""

    mean: Array
    log_variance: Array
    x0: Array
    noise: Array


def way_back(ops: Ops, tables: DiffusionTables, output: Array, x: Array, steps: Steps) -> Back:
    """Mean and variance of the step before, from the network's output [B, 2C, T, H, W] at x [B, C, T, H, W].

    The first C channels are the noise; the others, v in -1 to 1, interpolate between the logarithms of the least
    and the largest variance (Nichol & Dhariwal 2021, eq. 15). The guess of the data is not clipped.
    """
    noise, v = output[:, : x.shape[1]], output[:, x.shape[1] :]
    recip = at(ops, tables.sqrt_recip_alphas_cumprod, steps, x)
    x0 = recip * x - at(ops, tables.sqrt_recipm1_alphas_cumprod, steps, x) * noise
    share = (v + 1.0) * 0.5
    least = at(ops, tables.posterior_log_variance_clipped, steps, x)
    log_variance = share * at(ops, np.log(tables.betas), steps, x) + (1.0 - share) * least
    return Back(posterior_mean(ops, tables, x0, x, steps), log_variance, x0, noise)


def posterior_mean(ops: Ops, tables: DiffusionTables, x0: Array, x: Array, steps: Steps) -> Array:
    """Mean of q(x_{t-1} | x_t, x0) (Ho et al. 2020, eq. 7)."""
    of_data = at(ops, tables.posterior_mean_coef1, steps, x)
    return of_data * x0 + at(ops, tables.posterior_mean_coef2, steps, x) * x
