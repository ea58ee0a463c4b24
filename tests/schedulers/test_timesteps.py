"""Timestep tables: where they start, how they fall, and what is refused."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensora_core.errors import InvalidInputError
from opensora_core.random import generator
from opensora_core.schedulers.timesteps import (
    resolution_ratio,
    sampling_timesteps,
    shift_timesteps,
    training_timesteps,
)

ratios = st.floats(0.05, 20.0)


@given(num_steps=st.integers(1, 200), ratio=st.none() | ratios, discrete=st.booleans())
def test_times_start_at_pure_noise_and_fall_strictly(num_steps: int, ratio: float | None, discrete: bool) -> None:
    times = sampling_timesteps(num_steps, ratio=ratio, discrete=discrete)
    assert len(times) == num_steps
    assert times[0] == 1000.0  # exactly: a mask of 1 is compared with it
    assert all(a > b for a, b in pairwise(times))
    assert times[-1] > 0


@given(ratio=ratios, t=st.floats(0.0, 1000.0))
def test_the_shift_keeps_the_ends_and_is_undone_by_its_inverse(ratio: float, t: float) -> None:
    assert shift_timesteps(0.0, ratio) == 0.0
    assert shift_timesteps(1000.0, ratio) == 1000.0
    assert shift_timesteps(shift_timesteps(t, ratio), 1 / ratio) == pytest.approx(t, rel=1e-9, abs=1e-9)


def test_discrete_times_are_whole_before_the_shift() -> None:
    assert sampling_timesteps(3, discrete=True) == [1000.0, 667.0, 333.0]


@pytest.mark.parametrize(("num_frames", "latents"), [(1, 1), (17, 5), (33, 5), (34, 10), (51, 15)])
def test_longer_and_larger_videos_are_noisier(num_frames: int, latents: int) -> None:
    assert resolution_ratio(512, 512, num_frames) == pytest.approx(latents**0.5)
    assert resolution_ratio(256, 256, num_frames, scale=3.0) == pytest.approx(1.5 * latents**0.5)


def test_a_single_pixel_is_a_size() -> None:
    assert resolution_ratio(1, 512, 1) == pytest.approx(512**-0.5)
    assert resolution_ratio(512, 1, 1) == pytest.approx(512**-0.5)


@pytest.mark.parametrize("num_frames", [-5, 0, 2, 16])
def test_lengths_without_a_latent_chunk_are_refused(num_frames: int) -> None:
    with pytest.raises(InvalidInputError, match=f"{num_frames} frames; use 1 or at least 17"):
        resolution_ratio(240, 426, num_frames)


def test_other_values_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="num_inference_steps=0"):
        sampling_timesteps(0)
    for height, width in ((0, 426), (240, 0), (-240, 426), (240, -426), (-240, -426)):
        with pytest.raises(InvalidInputError, match=f"{height}x{width} of the video must be positive"):
            resolution_ratio(height, width, 17)
    for method in ("cosine", "zipf"):
        with pytest.raises(InvalidInputError, match=f"'{method}' is not discrete, uniform or logit-normal"):
            training_timesteps(generator(0, "t"), 1, method=method)


@pytest.mark.parametrize("method", ["discrete", "uniform", "logit-normal"])
def test_training_times_cover_the_path_and_follow_the_shift(method: str) -> None:
    plain = training_timesteps(generator(0, "t"), 4000, method=method)
    shifted = training_timesteps(generator(0, "t"), 4000, method=method, ratio=3.0)
    assert plain.dtype == np.float32
    assert plain.min() >= 0
    assert plain.max() <= 1000
    assert np.mean(plain) == pytest.approx(500, abs=20)
    np.testing.assert_allclose(shifted, shift_timesteps(plain.astype(np.float64), 3.0), rtol=1e-5, atol=1e-3)
    assert (plain == np.round(plain)).all() == (method == "discrete")


def test_training_times_are_those_of_their_seed() -> None:
    for method, draw in (
        ("discrete", lambda rng: rng.integers(0, 1000, 5)),
        ("uniform", lambda rng: 1000 * rng.random(5)),
        ("logit-normal", lambda rng: 1000 / (1 + np.exp(-rng.standard_normal(5)))),
    ):
        expected = draw(generator(3, "t"))
        np.testing.assert_allclose(training_timesteps(generator(3, "t"), 5, method=method), expected, rtol=1e-6)
