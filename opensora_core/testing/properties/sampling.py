"""What the path, guidance and the samplers must do whatever the model is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...ops import Array, Ops
from ...random import normal_batch
from ...schedulers.parametrization import to_velocity
from ...schedulers.rectified_flow import Velocity, add_noise, euler, guided
from ...schedulers.timesteps import NUM_TIMESTEPS, sampling_timesteps
from .inputs import Inputs
from .judged import holds

Pairs = Iterator[tuple[Array, Array]]
ORDERS = {euler: 1}  # sampler -> its order of convergence


@holds("ops")
def the_velocity_undoes_the_noise(ops: Ops, inputs: Inputs) -> Pairs:
    """From any time, x_t + (t/1000) v = x0 and x_t - (1 - t/1000) v = noise, with v told or implied by the sample."""
    shape = (2, 3, inputs.size(1, 2), 2, 2)
    x0, noise = inputs.latents(*shape), inputs.latents(*shape)
    t = inputs.place(inputs.rng.uniform(50, 1000, 2), inputs.wide)
    u = ops.reshape(t * (1.0 / NUM_TIMESTEPS), (2, 1, 1, 1, 1))
    z, v = add_noise(ops, x0, noise, t), x0 - noise
    yield z + u * v, x0
    yield z - (1.0 - u) * v, noise
    surplus = ops.concat([x0, noise], axis=1)  # a model may put out more channels than there are latents
    yield to_velocity(ops, surplus, z, t, "sample"), v
    yield to_velocity(ops, ops.concat([v, noise], axis=1), z, t, "velocity"), v


@holds("ops")
def guidance_of_1_is_the_conditional_prediction(ops: Ops, inputs: Inputs) -> Pairs:
    """At 1 the text alone speaks, at 0 its absence; where both agree, the scale does not matter."""
    z, shape = inputs.latents(2, 3, 1, 2, 2), (2, 5, 1, 2, 2)
    told, untold = inputs.latents(*shape), inputs.latents(*shape)

    def at(scale: float, first: Array, second: Array) -> Array:
        both = ops.concat([first, second], axis=0)
        return guided(ops, lambda z, t, mask: both, scale, 3)(z, 500.0, None)

    yield at(1.0, told, untold), told[:, :3]
    yield at(0.0, told, untold), untold[:, :3]
    yield at(7.5, told, told), told[:, :3]


@holds("ops")
def halving_the_step_divides_the_error_by_two_to_the_order(ops: Ops, inputs: Inputs) -> Pairs:
    """On dz/ds = 2(1 - s) z, which ends at e·z, a sampler of order p errs 2^-p as much with twice the steps."""
    z = inputs.latents(1, 2, 1, 2, 2)

    def velocity(z: Array, timestep: float, mask: Array | None) -> Array:
        return z * (2.0 * timestep / NUM_TIMESTEPS)

    for sampler, order in ORDERS.items():
        errors = []
        for steps in (32, 64, 128):
            end = _end(sampler(ops, velocity, z, sampling_timesteps(steps)))
            miss = np.asarray(ops.to_numpy(end), np.float64) - np.e * np.asarray(ops.to_numpy(z), np.float64)
            errors.append(np.abs(miss).max())
        seen = np.log2(errors[:-1]) - np.log2(errors[1:])
        assert np.allclose(seen, order, atol=0.1), f"{sampler.__name__} converges with order {seen}, not {order}"
    yield z, z


@holds("ops")
def a_straight_path_takes_one_step(ops: Ops, inputs: Inputs) -> Pairs:
    """Towards one point of data, any steps arrive there, and every guess on the way is that point."""
    shape = (2, 2, 3, 2, 2)
    z, x0 = inputs.latents(*shape), inputs.latents(*shape)

    def velocity(z: Array, timestep: float, mask: Array | None) -> Array:
        return (x0 - z) * (NUM_TIMESTEPS / timestep)

    for steps in (1, inputs.size(2, 5)):
        for step in euler(ops, velocity, z, sampling_timesteps(steps, ratio=inputs.size(1, 4))):
            yield step.denoised, x0
        yield step.latents, x0


@holds("ops")
def a_mask_of_ones_is_no_mask_and_kept_frames_stay(ops: Ops, inputs: Inputs) -> Pairs:
    """Generating every frame of a mask is generating without one; frames of 0 do not change the others."""
    z, times = inputs.latents(2, 2, 4, 2, 2), sampling_timesteps(4)
    ones = np.ones((2, 4))
    yield _end(euler(ops, _bend(ops), z, times)), _end(euler(ops, _bend(ops), z, times, ones))
    ones[:, 0] = 0
    kept = _end(euler(ops, _bend(ops), z, times, ones))
    yield kept[:, :, :1], z[:, :, :1]
    yield kept[:, :, 1:], _end(euler(ops, _bend(ops), z[:, :, 1:], times))


@holds("ops")
def a_sample_does_not_depend_on_its_batch(ops: Ops, inputs: Inputs) -> Pairs:
    """Number i of a seed is the same noise and the same result, in a batch of any size, order or beginning."""
    seed, shape, batch, times = inputs.size(0, 999), (2, 1, 3, 2), inputs.size(2, 4), sampling_timesteps(3)
    noise = normal_batch(seed, "window0", batch, shape)
    whole = _end(euler(ops, _bend(ops), inputs.place(noise, inputs.wide), times))
    alone = [normal_batch(seed, "window0", 1, shape, first=i) for i in range(batch)]
    assert all(np.array_equal(noise[i : i + 1], alone[i]) for i in range(batch)), f"seed {seed}: the noise differs"
    order: list[int] = inputs.rng.permutation(batch).tolist()
    ends: dict[int, Any] = {i: _end(euler(ops, _bend(ops), inputs.place(alone[i], inputs.wide), times)) for i in order}
    yield whole, ops.concat([ends[i] for i in range(batch)], axis=0)


def _bend(ops: Ops) -> Velocity:
    """Return a model that is neither constant nor linear."""
    return lambda z, timestep, mask: ops.sin(z) * (timestep / NUM_TIMESTEPS)


def _end(steps: Any) -> Array:
    return list(steps)[-1].latents
