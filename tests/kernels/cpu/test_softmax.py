"""Softmax with and without a mask."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensora_core.testing.conformance import require
from opensora_core.testing.references import REFERENCES

require("numba")
from opensora_kernels.cpu import softmax  # noqa: E402

from .near import DTYPES, arrays, assert_near, lengths  # noqa: E402


@given(make=arrays(), rows=st.integers(1, 4), M=lengths(), scale=st.sampled_from([1e-3, 1.0, 10.0, 1e4]))
def test_rows_sum_to_one_and_are_near_the_formula(make, rows, M, scale):
    x = make(rows, M, scale=scale)
    got = softmax.softmax(x)
    assert_near(got, REFERENCES["softmax"](x.astype("f8")), 4)
    assert_near(got.sum(-1, dtype="f8").astype(x.dtype), np.ones(rows), 8)


@given(
    make=arrays(), M=lengths(), shape=st.sampled_from(["3,2,M", "1,1,M", "M", "3,2,1", "2,M"]), seed=st.integers(0, 99)
)
def test_a_mask_that_broadcasts_leaves_out_what_it_forbids(make, M, shape, seed):
    x = make(3, 2, M)
    mask = np.random.default_rng(seed).random([M if n == "M" else int(n) for n in shape.split(",")]) > 0.4
    got = softmax.masked_softmax(x, mask)
    seen = np.broadcast_to(mask, x.shape)
    assert not got[~seen].any()
    for row in np.ndindex(3, 2):
        if seen[row].any():
            assert_near(got[row][seen[row]], REFERENCES["softmax"](x[row][seen[row]].astype("f8")), 4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_infinities_and_nan(dtype):
    x = np.array([[-np.inf, 0, -np.inf], [1, np.nan, 2], [np.inf, 0, 0], [-np.inf] * 3, [3e4, 3e4, -3e4]], dtype)
    got = softmax.softmax(np.tile(x, (1, 1)))
    np.testing.assert_array_equal(got[0], [0, 1, 0])
    assert np.isnan(got[1:4]).all()
    np.testing.assert_array_equal(got[4], [0.5, 0.5, 0])
    wide = np.full((2, 40), np.nan, dtype)
    wide[:, 7] = 1
    mask = np.zeros((2, 40), bool)
    mask[0, 7] = True
    got = softmax.masked_softmax(wide, mask)
    assert (got[0, 7], got.sum()) == (1, 1)
