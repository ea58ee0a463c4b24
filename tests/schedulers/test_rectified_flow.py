"""Rectified flow: the path, guidance, and Euler's method with and without given frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from opensora_core import get_backend
from opensora_core.errors import InvalidInputError
from opensora_core.random import normal
from opensora_core.schedulers.rectified_flow import Step, add_noise, euler, flow_loss, guided
from opensora_core.schedulers.timesteps import resolution_ratio, sampling_timesteps

Array = NDArray[Any]
SHAPE = (2, 3, 5, 2, 4)  # (B, C, T, H, W)
OPS = get_backend("numpy", device="cpu", dtype="float64")


def latents(stream: str, shape: tuple[int, ...] = SHAPE) -> Array:
    x = normal(0, stream, 0, shape).astype(np.float64)
    x.flags.writeable = False
    return x


def toward(data: Array) -> Any:
    """The exact velocity field of a flow whose data is one point: v = (x0 - z) / u."""
    return lambda z, t, x_mask: (data - z) / (t / 1000)


def last(steps: Any) -> Step:
    return list(steps)[-1]


# ---------------------------------------------------------------------- the path and its velocity


@given(t=st.lists(st.floats(0, 1000), min_size=2, max_size=2))
def test_following_the_velocity_from_any_time_arrives_at_the_data(t: list[float]) -> None:
    x0, noise, times = latents("x0"), latents("noise"), np.array(t)
    z = add_noise(OPS, x0, noise, times)
    np.testing.assert_allclose(z + (x0 - noise) * (times / 1000).reshape(-1, 1, 1, 1, 1), x0, atol=1e-12)


def test_time_0_is_data_and_time_1000_is_noise() -> None:
    z = add_noise(OPS, latents("x0"), latents("noise"), np.array([0.0, 1000.0]))
    np.testing.assert_array_equal(z[0], latents("x0")[0])
    np.testing.assert_array_equal(z[1], latents("noise")[1])


def test_the_loss_is_the_mean_square_over_the_frames_that_count() -> None:
    x0, noise, velocity = latents("x0"), latents("noise"), latents("v")
    square = (velocity - (x0 - noise)) ** 2
    np.testing.assert_allclose(flow_loss(OPS, velocity, x0, noise), square.mean(axis=(1, 2, 3, 4)))
    mask = np.array([[1, 1, 0, 0, 1], [0, 0, 0, 0, 1]], bool)
    expected = [square[b][:, mask[b]].mean() for b in range(2)]
    np.testing.assert_allclose(flow_loss(OPS, velocity, x0, noise, mask), expected)
    np.testing.assert_allclose(flow_loss(OPS, x0 - noise, x0, noise, mask), 0)


def test_a_sample_of_given_frames_only_loses_nothing() -> None:
    loss = flow_loss(OPS, latents("v"), latents("x0"), latents("noise"), np.zeros((2, 5), bool))
    np.testing.assert_array_equal(loss, 0)


# ---------------------------------------------------------------------- guidance


def test_guidance_1_is_the_conditional_and_0_the_unconditional_prediction() -> None:
    both = latents("both", (4, 6, 5, 2, 4))
    for scale, rows in ((1.0, both[:2]), (0.0, both[2:])):
        velocity = guided(OPS, lambda z, t, x_mask: both, scale, channels=3)
        np.testing.assert_allclose(velocity(latents("z"), 500.0, None), rows[:, :3], atol=1e-15)


def test_guidance_doubles_the_batch_conditional_rows_first_and_extrapolates() -> None:
    seen: dict[str, Any] = {}

    def predict(z: Array, t: float, x_mask: Array | None) -> Array:
        seen.update(z=z, t=t, x_mask=x_mask)
        return np.concatenate([np.full(SHAPE, 3.0), np.full(SHAPE, 1.0)])

    z, x_mask = latents("z"), np.array([[1, 0, 1, 1, 1], [0, 1, 1, 1, 1]], bool)
    out = guided(OPS, predict, 7.0, channels=3)(z, 421.5, x_mask)
    np.testing.assert_array_equal(seen["z"], np.concatenate([z, z]))
    np.testing.assert_array_equal(seen["x_mask"], np.concatenate([x_mask, x_mask]))
    assert seen["t"] == 421.5
    np.testing.assert_array_equal(out, 1 + 7.0 * (3 - 1))


# ---------------------------------------------------------------------- Euler's method


def test_one_step_follows_a_straight_path_to_its_end() -> None:
    step = last(euler(OPS, toward(latents("x0")), latents("z"), [1000.0]))
    np.testing.assert_allclose(step.latents, latents("x0"), atol=1e-14)


def test_a_guess_of_the_data_is_exact_on_straight_paths_at_every_step() -> None:
    for step in euler(OPS, toward(latents("x0")), latents("z"), sampling_timesteps(7, ratio=2.5)):
        np.testing.assert_allclose(step.denoised, latents("x0"), atol=1e-13)


def test_euler_converges_with_first_order() -> None:
    # dz/ds = z with s = 1 - t/1000 from 0 to 1 ends at e z: halving the step must halve the error.
    z, errors = latents("z"), []
    for n in (40, 80, 160):
        end = last(euler(OPS, lambda z, t, x_mask: z, z, sampling_timesteps(n))).latents
        errors.append(np.abs(end - np.e * z).max())
    orders = np.log2([errors[0] / errors[1], errors[1] / errors[2]])
    np.testing.assert_allclose(orders, 1.0, atol=0.03)


def test_steps_report_their_number_and_time() -> None:
    times = sampling_timesteps(4, ratio=2.0)
    steps = list(euler(OPS, toward(latents("x0")), latents("z"), times))
    assert [(s.number, s.timestep) for s in steps] == list(enumerate(times))


# ---------------------------------------------------------------------- given frames and edit strength


@pytest.mark.parametrize("num_frames", [17, 51, 187, 408])
def test_a_mask_of_ones_changes_nothing(num_frames: int) -> None:
    times = sampling_timesteps(6, ratio=resolution_ratio(240, 426, num_frames))
    seen: list[Array] = []

    def velocity(z: Array, t: float, x_mask: Array | None) -> Array:
        seen.extend([] if x_mask is None else [x_mask])
        return np.sin(z) * t / 1000

    plain = last(euler(OPS, velocity, latents("z"), times))
    masked = last(euler(OPS, velocity, latents("z"), times, np.ones((2, 5))))
    np.testing.assert_array_equal(masked.latents, plain.latents)
    np.testing.assert_allclose(masked.denoised, plain.denoised, rtol=1e-12, atol=1e-12)
    assert np.all(seen)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_given_frames_come_back_bit_for_bit_at_every_step(dtype: str) -> None:
    mask = np.array([[0, 0, 1, 1, 1], [1, 1, 1, 0, 1]], dtype)
    z = latents("z").astype(dtype)
    keep = np.moveaxis(z, 2, 1)[mask == 0]
    for step in euler(OPS, lambda z, t, x_mask: np.cos(z) * 1e3, z, sampling_timesteps(5), mask):
        assert step.latents.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(np.moveaxis(step.latents, 2, 1)[mask == 0], keep)
        np.testing.assert_array_equal(np.moveaxis(step.denoised, 2, 1)[mask == 0], keep)
        assert not np.isin(np.moveaxis(step.latents, 2, 1)[mask == 1], np.moveaxis(z, 2, 1)[mask == 1]).any()


def test_an_edited_frame_enters_with_its_noise_at_the_step_its_strength_names() -> None:
    mask = np.ones((2, 5))
    mask[0, 1], mask[1, 4] = 0.5, 0.3
    z, noise, drawn = latents("z"), latents("noise"), []
    given_to_model: list[tuple[float, Array, Array]] = []

    def velocity(z: Array, t: float, x_mask: Array | None) -> Array:
        assert x_mask is not None
        given_to_model.append((t, z, x_mask))
        return np.zeros_like(z)

    def draw(step: int) -> Array:
        drawn.append(step)
        return noise

    times = sampling_timesteps(10)  # 1000, 900, ..., 100
    list(euler(OPS, velocity, z, times, mask, draw))
    assert drawn == [5, 7]  # at 500 <= 0.5 · 1000 and 300 <= 0.3 · 1000
    for t, _, x_mask in given_to_model:
        np.testing.assert_array_equal(x_mask, mask * 1000 >= round(t))
    before, entered = given_to_model[4][1], given_to_model[5][1]
    np.testing.assert_array_equal(before, z)
    assert times[7] > 300  # by rounding; yet a strength of 0.3 means step 7
    np.testing.assert_allclose(entered[0, :, 1], 0.5 * z[0, :, 1] + 0.5 * noise[0, :, 1])
    np.testing.assert_array_equal(entered[0, :, 2:], z[0, :, 2:])  # nobody else was touched
    np.testing.assert_allclose(given_to_model[9][1][1, :, 4], 0.7 * z[1, :, 4] + 0.3 * noise[1, :, 4])


def test_where_sampling_begins_late_a_frame_enters_at_the_first_step_that_is_within_its_strength() -> None:
    mask, z, noise = np.full((2, 5), 0.5), latents("z"), latents("noise")
    [step] = euler(OPS, lambda z, t, x_mask: np.zeros_like(z), z, [400.0], mask, lambda i: noise)
    np.testing.assert_allclose(step.latents, 0.6 * z + 0.4 * noise)


def test_masks_that_make_no_sense_are_refused() -> None:
    times, z = sampling_timesteps(2), latents("z")
    for shape in ((1, 5), (3, 5), (2, 4), (2, 6)):
        with pytest.raises(InvalidInputError, match=rf"shape \({shape[0]}, {shape[1]}\); expected .* \(2, 5\)"):
            list(euler(OPS, toward(z), z, times, np.ones(shape)))
    for bad in (-0.1, 1.5, np.nan):
        with pytest.raises(InvalidInputError, match="between 0"):
            list(euler(OPS, toward(z), z, times, np.full((2, 5), bad)))
    with pytest.raises(InvalidInputError, match="timestep 500 by the mask's edit strength: give `noise`"):
        list(euler(OPS, toward(z), z, times, np.full((2, 5), 0.5)))
