"""DDIM (Song et al. 2021): the same networks and tables as ancestral sampling, with less noise on the way or none."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..errors import InvalidInputError
from ..ops import Array, Ops
from .diffusion import DiffusionTables, way_back
from .stepping import Noise, Predict, Step


def ddim(
    ops: Ops, predict: Predict, z: Array, tables: DiffusionTables, eta: float = 0.0, noise: Noise | None = None
) -> Iterator[Step]:
    """Walk a diffusion back from noise z [B, C, T, H, W] to data; yields after every step. First order for eta = 0.

    x_{t-1} = sqrt(ᾱ_{t-1}) x̂0 + sqrt(1 - ᾱ_{t-1} - σ²) ε̂ + σ noise(i) (Song et al. 2021, eq. 12), with eta from 0,
    deterministic, to 1, as noisy as ancestral sampling, in σ (eq. 16). No noise in the last step.
    Raises InvalidInputError for eta outside 0 to 1, or above 0 without noise.
    """
    if not 0 <= eta <= 1:
        raise InvalidInputError(f"eta={eta} must lie between 0 (no noise on the way) and 1 (as ancestral sampling)")
    if eta > 0 and noise is None:
        raise InvalidInputError(f"eta={eta} adds noise in every step: give `noise`")
    for number, i in enumerate(range(tables.num_steps - 1, -1, -1)):
        timestep = float(tables.timestep_map[i])
        back = way_back(ops, tables, predict(z, timestep, None), z, np.array([i]))
        level, previous = float(tables.alphas_cumprod[i]), float(tables.alphas_cumprod_prev[i])
        sigma = eta * ((1 - previous) / (1 - level) * (1 - level / previous)) ** 0.5
        z = previous**0.5 * back.x0 + (1 - previous - sigma**2) ** 0.5 * back.noise
        if noise is not None and sigma > 0 and i > 0:
            z = z + sigma * noise(number)
        yield Step(number, timestep, z, back.x0)
