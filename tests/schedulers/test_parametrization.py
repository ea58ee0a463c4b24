"""What a network puts out, as the velocity it stands for."""

from __future__ import annotations

import numpy as np

from opensora_core import get_backend
from opensora_core.schedulers.parametrization import to_velocity

OPS = get_backend("numpy", device="cpu", dtype="float64")
RNG = np.random.default_rng(0)
Z, OUTPUT = RNG.standard_normal((3, 2, 5, 3, 4)), RNG.standard_normal((3, 7, 5, 3, 4))
TIMES = np.array([1000.0, 400.0, 1.0])


def test_a_velocity_is_the_first_channels_of_the_output() -> None:
    np.testing.assert_array_equal(to_velocity(OPS, OUTPUT, Z, TIMES, "velocity"), OUTPUT[:, :2])


def test_a_sample_is_reached_by_its_velocity_in_the_time_that_is_left() -> None:
    for options, smallest in (({}, 0.05), ({"smallest_time": 1e-6}, 1e-6), ({"smallest_time": 0.5}, 0.5)):
        left = np.maximum(TIMES / 1000, smallest)[:, None, None, None, None]
        got = to_velocity(OPS, OUTPUT, Z, TIMES, "sample", **options)
        np.testing.assert_allclose(got, (OUTPUT[:, :2] - Z) / left, rtol=1e-12)
