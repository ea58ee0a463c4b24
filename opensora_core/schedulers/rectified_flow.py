"""Rectified flow (Liu et al. 2022) as Open-Sora v1.2 uses it: straight paths from data at t=0 to noise at t=1000.

The velocity points from noise to data, v = x0 - noise, so sampling adds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError
from ..ops import Array, Ops
from .frame_mean import frame_mean
from .stepping import Noise, Step, check_mask, frames
from .timesteps import NUM_TIMESTEPS

Velocity = Callable[[Array, float, Array | None], Array]
"""velocity(z [B, C, T, H, W], timestep, x_mask [B, T] or None) -> [B, C, T, H, W]"""


def add_noise(ops: Ops, x0: Array, noise: Array, t: Array) -> Array:
    """x_t = (1 - t/1000) x0 + (t/1000) noise; t [B], x0 and noise [B, C, T, H, W]."""
    u = ops.reshape(t * (1.0 / NUM_TIMESTEPS), (-1,) + (1,) * (x0.ndim - 1))
    return (1.0 - u) * x0 + u * noise


def flow_loss(ops: Ops, velocity: Array, x0: Array, noise: Array, mask: Array | None = None) -> Array:
    """Mean squared error to the target x0 - noise, per sample [B].

    mask [B, T]: only frames with True count (the others were given to the model as they are).
    """
    error = velocity - (x0 - noise)
    return frame_mean(ops, error * error, mask)


def guided(ops: Ops, predict: Velocity, guidance_scale: float, channels: int) -> Velocity:
    """Classifier-free guidance (Ho & Salimans 2022): v_null + g (v_text - v_null).

    predict sees the batch doubled, conditional rows first; its first `channels` output channels are the velocity.
    """

    def velocity(z: Array, timestep: float, x_mask: Array | None) -> Array:
        twice = None if x_mask is None else ops.concat([x_mask, x_mask], axis=0)
        both = predict(ops.concat([z, z], axis=0), timestep, twice)[:, :channels]
        conditional, unconditional = both[: z.shape[0]], both[z.shape[0] :]
        return unconditional + guidance_scale * (conditional - unconditional)

    return velocity


def euler(
    ops: Ops,
    velocity: Velocity,
    z: Array,
    timesteps: Sequence[float],
    mask: NDArray[np.floating] | None = None,
    noise: Noise | None = None,
) -> Iterator[Step]:
    """Integrate the flow from noise to data by Euler's method, first order; yields after every step.

    z [B, C, T, H, W]: noise, with given frames already put in place where mask is below 1.
    mask [B, T] on the host: 1 generates a frame, 0 keeps it, 0 < m < 1 keeps it until the time falls to 1000·m and then
    generates it from there (edit strength). noise(i): standard normal like z, for frames that enter at step i.
    Raises InvalidInputError for a mask of another shape or outside 0 to 1, or when frames enter and there is no noise.
    Source: Open-Sora v1.2 `RFLOW.sample`.
    """
    check_mask(mask, (z.shape[0], z.shape[2]))
    noised = None if mask is None else mask == 1
    for i, t in enumerate(timesteps):
        dt = (t - (timesteps[i + 1] if i + 1 < len(timesteps) else 0.0)) / NUM_TIMESTEPS
        if mask is None or noised is None:
            v = velocity(z, t, None)
            yield Step(i, t, z := z + v * dt, z + v * (t / NUM_TIMESTEPS - dt))
            continue
        # In float32 as officially, so that a strength of 0.3 means 300 and not a bit less than 300.00000000000006.
        active = mask.astype(np.float32) * np.float32(NUM_TIMESTEPS) >= np.float32(t)
        entering = active & ~noised
        kept = z
        if entering.any():
            if noise is None:
                raise InvalidInputError(f"frames enter at timestep {t:g} by the mask's edit strength: give `noise`")
            u = t / NUM_TIMESTEPS
            z = ops.where(frames(ops, entering), (1.0 - u) * kept + u * noise(i), kept)
        noised = active
        v = velocity(z, t, ops.asarray(active))
        on = frames(ops, active)
        denoised = ops.where(on, z + v * (t / NUM_TIMESTEPS), kept)
        z = ops.where(on, z + v * dt, kept)
        yield Step(i, t, z, denoised)
