"""Ancestral sampling of a Gaussian diffusion, with learned variance and given frames: Open-Sora v1.0 and v1.1."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError
from ..ops import Array, Ops
from .diffusion import DiffusionTables, diffuse, way_back
from .stepping import Noise, Predict, Step, check_mask, frames


def guided_noise(ops: Ops, predict: Predict, guidance_scale: float, channels: int) -> Predict:
    """Classifier-free guidance on the first `channels` of the output: n_null + g (n_text - n_null).

    predict sees the batch doubled, conditional rows first. The other channels, the variance among them, stay those with
    the prompt. v1.0 guides 3 of the 4 channels of the noise, and so does v1.1 as released (`cfg_channel`).
    """

    def guided(z: Array, timestep: float, x_mask: Array | None) -> Array:
        twice = None if x_mask is None else ops.concat([x_mask, x_mask], axis=0)
        both = predict(ops.concat([z, z], axis=0), timestep, twice)
        conditional, unconditional = both[: z.shape[0]], both[z.shape[0] :]
        plain = unconditional[:, :channels]
        towards = plain + guidance_scale * (conditional[:, :channels] - plain)
        return ops.concat([towards, conditional[:, channels:]], axis=1)

    return guided


def ancestral(
    ops: Ops,
    predict: Predict,
    z: Array,
    tables: DiffusionTables,
    noise: Noise,
    mask: NDArray[np.floating] | None = None,
    entering: Noise | None = None,
) -> Iterator[Step]:
    """Walk a diffusion back from noise z [B, C, T, H, W] to data; yields after every step.

    x_{t-1} = mean(x_t) + exp(log_variance / 2) noise(i), without noise in the last step (Ho et al. 2020, algorithm 2;
    variance as in `way_back`). predict gives [B, 2C, T, H, W] at the times of `tables.timestep_map`.

    mask [B, T] on the host: 1 generates a frame; m below 1 keeps it as given until step int(m · steps), where it is
    noised with entering(i); officially a frame of mask 0, too, is noised by ᾱ_0 and moved in the very last step.
    Raises InvalidInputError for a mask of another shape or outside 0 to 1, or when frames enter and there is no noise.
    Source: Open-Sora v1.1 `SpacedDiffusion.p_sample_loop`.
    """
    check_mask(mask, (z.shape[0], z.shape[2]))
    # In float32 as officially, so that a strength of 0.3 in ten steps is step 3.
    enters = None if mask is None else (mask.astype(np.float32) * np.float32(tables.num_steps)).astype(np.int64)
    for number, i in enumerate(range(tables.num_steps - 1, -1, -1)):
        step, kept, x_mask = np.array([i]), z, None
        if enters is not None:
            z = _enter(ops, tables, z, enters == i, step, number, entering)
            x_mask = ops.asarray(enters > i)
        timestep = float(tables.timestep_map[i])
        back = way_back(ops, tables, predict(z, timestep, x_mask), z, step)
        z = back.mean if i == 0 else back.mean + ops.exp(0.5 * back.log_variance) * noise(number)
        denoised = back.x0
        if enters is not None:
            given = frames(ops, enters < i)
            z, denoised = ops.where(given, kept, z), ops.where(given, kept, denoised)
        yield Step(number, timestep, z, denoised)


def _enter(
    ops: Ops,
    tables: DiffusionTables,
    z: Array,
    fresh: NDArray[np.bool_],
    step: NDArray[np.int64],
    number: int,
    entering: Noise | None,
) -> Array:
    """Noise the frames that are generated from this step on."""
    if not fresh.any():
        return z
    if entering is None:
        raise InvalidInputError(f"frames enter at step {step[0]} by the mask: give `entering`, the noise they get")
    return ops.where(frames(ops, fresh), diffuse(ops, tables, z, entering(number), step), z)
