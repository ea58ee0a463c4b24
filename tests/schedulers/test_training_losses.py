"""Training losses of v1.3 and v2.0: what the perfect network gets, how frames count, and the times drawn."""

from __future__ import annotations

import numpy as np
import pytest

from opensora_core import get_backend
from opensora_core.errors import InvalidInputError
from opensora_core.random import generator
from opensora_core.schedulers.conditioned_flow import DROPS, conditioned_loss, drop_condition
from opensora_core.schedulers.flow_v2 import add_noise_v2, flow_loss_v2, training_times_v2
from opensora_core.schedulers.rectified_flow import flow_loss
from opensora_core.schedulers.timesteps import training_timesteps

OPS = get_backend("numpy", dtype="float64")
RNG = np.random.default_rng(0)
X0, NOISE, WRONG = RNG.standard_normal((3, 2, 3, 4, 2, 2))  # [B, C, T, H, W] each


def test_v2_target_is_the_slope_of_its_path() -> None:
    t, h = np.array([0.2, 0.7]), 1e-4
    slope = (add_noise_v2(OPS, X0, NOISE, t + h) - add_noise_v2(OPS, X0, NOISE, t - h)) / (2 * h)
    np.testing.assert_allclose(flow_loss_v2(OPS, slope, X0, NOISE), 0, atol=1e-20)
    ends = [add_noise_v2(OPS, X0, NOISE, np.full(2, t)) for t in (0.0, 1.0)]
    np.testing.assert_allclose(ends, [X0 + 1e-5 * NOISE, NOISE], rtol=0, atol=1e-15)
    expected = ((WRONG - ((1 - 1e-5) * NOISE - X0)) ** 2).mean(axis=(1, 2, 3, 4))
    np.testing.assert_allclose(flow_loss_v2(OPS, WRONG, X0, NOISE), expected)


def test_given_frames_count_as_told_and_weights_keep_their_sum() -> None:
    given = np.array([[True, False, False, False], [False, False, True, True]])
    per_frame = ((WRONG - (X0 - NOISE)) ** 2).mean(axis=(1, 3, 4))
    expected = [per_frame[0] @ [0.4, 1.2, 1.2, 1.2] / 4, per_frame[1] @ [1.6, 1.6, 0.4, 0.4] / 4]
    np.testing.assert_allclose(conditioned_loss(OPS, WRONG, X0, NOISE, given, 0.4), expected)
    plain = flow_loss(OPS, WRONG, X0, NOISE)
    np.testing.assert_allclose(conditioned_loss(OPS, WRONG, X0, NOISE, given), plain)
    everything = np.ones_like(given)
    np.testing.assert_allclose(conditioned_loss(OPS, WRONG, X0, NOISE, everything, 0.0), plain)
    with pytest.raises(InvalidInputError, match=r"given_weight=3\.0 must lie in 0 to 2"):
        conditioned_loss(OPS, WRONG, X0, NOISE, given, 3.0)


def test_conditions_are_dropped_as_often_as_officially() -> None:
    rng = generator(0, "drops")
    drawn = [drop_condition(rng) for _ in range(4000)]
    shares = [drawn.count(kept) / 4000 for kept in ((True, True), (False, True), (True, False), (False, False))]
    np.testing.assert_allclose(shares, DROPS, atol=0.015)


def test_times_are_shifted_towards_noise() -> None:
    plain, shifted = (training_times_v2(generator(0, "t"), 500, shift) for shift in (1.0, 3.0))
    np.testing.assert_allclose(shifted, 3 * plain / (1 + 2 * plain), rtol=1e-6)
    assert 0 < plain.min() < 0.1 < 0.9 < plain.max() < 1


def test_times_over_the_threshold_are_drawn_evenly() -> None:
    plain, even = (
        training_timesteps(generator(0, "t"), 4000, ratio=3.0, uniform_over_threshold=u) for u in (None, 0.5)
    )
    below = plain <= 500
    np.testing.assert_array_equal(even[below], plain[below])
    assert even[~below].min() >= 500
    assert even[~below].mean() == pytest.approx(750, abs=10)
    with pytest.raises(InvalidInputError, match="uniform_over_threshold"):
        training_timesteps(generator(0, "t"), 1, uniform_over_threshold=1.5)
