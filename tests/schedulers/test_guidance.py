"""Guidance over steps and frames, and rectified flow of v1.3 and v2.0."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from opensora_core import get_backend
from opensora_core.errors import InvalidInputError
from opensora_core.random import normal
from opensora_core.schedulers.conditioned_flow import Given, image_flow, resolution_ratio_v13, text_flow
from opensora_core.schedulers.flow_v2 import distilled_flow, image_text_flow, shift_v2, times_v2
from opensora_core.schedulers.guidance import frame_scales, oscillating, restore_deviation, three_way
from opensora_core.schedulers.timesteps import sampling_timesteps

Array = NDArray[Any]
SHAPE = (2, 3, 4, 2, 4)  # (B, C, T, H, W)
OPS = get_backend("numpy", device="cpu", dtype="float64")


def latents(stream: str) -> Array:
    return normal(0, stream, 0, SHAPE).astype(np.float64)


def test_guidance_oscillates_after_ten_steps() -> None:
    assert oscillating(7.0, 14) == [7.0] * 11 + [1.0, 7.0, 1.0]


def test_image_guidance_rises_along_frames_and_falls_along_steps() -> None:
    first, second, third = frame_scales([5.0, 1.0, 5.0], 3, 3)
    np.testing.assert_allclose(first, [1, 3, 5])
    assert second == [1.0, 1.0, 1.0]  # a step without guidance has it for no frame
    np.testing.assert_allclose(third, [1, 1, 1])
    np.testing.assert_allclose(frame_scales([3.0] * 2, 3, 2)[1], [1, 2])  # one more level than steps, as v2.0


def test_guidance_of_one_is_the_full_prediction_and_of_nothing_the_plain_one() -> None:
    text, image, plain = latents("text"), latents("image"), latents("plain")
    np.testing.assert_allclose(three_way(text, image, plain, 1.0, 1.0), text, atol=1e-14)
    np.testing.assert_array_equal(three_way(text, image, plain, 0.0, 0.0), plain)


def test_the_deviation_is_that_of_the_conditional_prediction_where_it_is_wholly_restored() -> None:
    guided, conditional = 9 * latents("guided"), latents("conditional")
    whole = restore_deviation(OPS, guided, conditional, share=1.0)
    np.testing.assert_allclose(whole.std(axis=(1, 2, 3, 4)), conditional.std(axis=(1, 2, 3, 4)))
    np.testing.assert_allclose(restore_deviation(OPS, guided, conditional), 0.7 * whole + 0.3 * guided)


def test_the_ratio_counts_latent_frames_of_videos_only() -> None:
    assert resolution_ratio_v13(512, 512, 17) == pytest.approx(2.0)
    assert resolution_ratio_v13(512, 512, 17, scale=3.0) == pytest.approx(6.0)
    assert resolution_ratio_v13(256, 256, 17, scale=3.0, scale_temporal=False) == pytest.approx(0.5)
    assert resolution_ratio_v13(512, 512, 1, scale=3.0) == pytest.approx(1.0)
    for num_frames in (2, 4):
        with pytest.raises(InvalidInputError, match=f"undefined for {num_frames} frames; use 1 or at least 5"):
            resolution_ratio_v13(512, 512, num_frames)
    with pytest.raises(InvalidInputError, match="must be positive"):
        resolution_ratio_v13(0, 512, 17)


def test_flows_arrive_at_the_data_and_hold_given_frames_to_their_path() -> None:
    data, z, times = latents("data"), latents("z"), sampling_timesteps(5, ratio=2.0)
    seen: list[Array] = []

    def predict(z: Array, t: float, x_mask: Array | None) -> Array:
        seen.append(z[:2])
        return (np.concatenate([data] * (len(z) // 2)) - z) / (t / 1000)

    [*_, step] = text_flow(OPS, predict, z, times, oscillating(4.0, 5))
    np.testing.assert_allclose(step.latents, data, atol=1e-13)
    mask = np.zeros(SHAPE)
    mask[:, :, 0] = 1.0
    given = Given(data, mask, lambda i: latents("noise"))
    seen.clear()
    for step in image_flow(OPS, predict, z, times, [4.0] * 5, frame_scales([3.0] * 5, 5, 4), given):
        u = step.timestep / 1000
        path = (1 - u) * data[:, :, 0] + u * latents("noise")[:, :, 0]
        np.testing.assert_allclose(seen[-1][:, :, 0], path)
        np.testing.assert_allclose(step.denoised, data, atol=1e-13)
    np.testing.assert_allclose(step.latents, data, atol=1e-13)


def test_times_of_v2_fall_from_noise_to_data_later_for_longer_videos() -> None:
    assert shift_v2(256, 1) == pytest.approx(1.0)
    assert shift_v2(4096, 4) == pytest.approx(6.0)
    assert times_v2(4) == [1.0, 0.75, 0.5, 0.25, 0.0]
    np.testing.assert_allclose(times_v2(2, 3.0), [1, 0.75, 0])
    with pytest.raises(InvalidInputError, match="num_steps=0"):
        times_v2(0)
    with pytest.raises(InvalidInputError, match="0 tokens per frame"):
        shift_v2(0, 1)


def test_flows_of_v2_arrive_at_the_data_with_every_guess_on_the_way() -> None:
    data, x, times = latents("data"), latents("z"), times_v2(5, 3.0)

    def predict(x: Array, t: float, x_mask: Array | None) -> Array:
        return (x - np.concatenate([data] * (len(x) // 2))) / t

    for steps in (
        distilled_flow(OPS, predict, x, times),
        image_text_flow(OPS, predict, x, times, [7.5] * 5, [3.0] * 5),
    ):
        numbers = []
        for step in steps:
            numbers.append((step.number, step.timestep))
            np.testing.assert_allclose(step.denoised, data, atol=1e-13)
        assert numbers == list(enumerate(times[:-1]))
        np.testing.assert_allclose(step.latents, data, atol=1e-13)


def test_distilled_sampling_converges_with_first_order() -> None:
    x, errors = latents("z"), []
    for n in (40, 80):
        *_, step = distilled_flow(OPS, lambda x, t, x_mask: -x, x, times_v2(n))
        errors.append(np.abs(step.latents - np.e * x).max())
    assert np.log2(errors[0] / errors[1]) == pytest.approx(1.0, abs=0.03)
