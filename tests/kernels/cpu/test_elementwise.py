"""GELU, SiLU and erf against their formulas, at every size of number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensora_core.testing.conformance import require
from opensora_core.testing.references import REFERENCES

require("numba")
from opensora_kernels.cpu import activations, softmax  # noqa: E402

from .near import DTYPES, arrays, assert_near, lengths  # noqa: E402

OPS = {
    "gelu": lambda x, threads=1: activations.gelu(x, "tanh", threads),
    "exact gelu": lambda x, threads=1: activations.gelu(x, "none", threads),
    "silu": activations.silu,
    "erf": activations.erf,
}
TRUTH = {**REFERENCES, "exact gelu": lambda x: REFERENCES["gelu"](x, "none")}


@pytest.mark.parametrize("name", OPS)
@given(
    make=arrays(), shape=st.lists(st.integers(0, 5), max_size=2), last=lengths(0), scale=st.sampled_from([1e-3, 1, 30])
)
def test_elements_are_near_the_formula(name, make, shape, last, scale):
    x = make(*shape, last, scale=scale)
    got = OPS[name](x)
    assert got.dtype == x.dtype
    assert_near(got, TRUTH[name](x.astype("f8")), 2, size=scale)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPS)
def test_the_ends_of_the_number_line(name, dtype):
    info = np.finfo(dtype)
    tiny, huge = float(info.smallest_subnormal), float(info.max)
    x = np.array([0.0, tiny, -tiny, 1e-30, huge / 4, np.inf, np.nan, -huge / 4], dtype)
    with np.errstate(all="ignore"):
        got = OPS[name](x)
    assert not got[:3].any() or abs(got[1]) <= 2 * tiny
    assert got[3] <= 2e-30
    one = np.asarray(1, dtype)
    assert (got[4], got[5]) == ((one, one) if name == "erf" else (x[4], x[5]))
    assert np.isnan(got[6])
    assert got[7] == (-one if name == "erf" else 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_exponential_is_right_to_one_unit_in_the_last_place(dtype):
    """Relative to the result, over the whole range where it is a normal number."""
    lowest = {"float32": -87.0, "float64": -708.0}[dtype]
    x = np.concatenate([np.linspace(lowest, 0, 200_001), -np.geomspace(1e-12, 1, 1000)]).astype(dtype)
    got = np.empty_like(x)
    softmax.exponentials(x, x.dtype.type(0), got)
    true = np.exp(x.astype(np.longdouble))
    assert np.max(np.abs(got - true) / true) <= 1.05 * np.finfo(dtype).eps
    assert got[200_000] == 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_exponential_ends_in_zero(dtype):
    x = np.array([-np.inf, -1e30, -750.0, np.nan, -0.0, -1e-320], dtype)
    got = np.empty_like(x)
    softmax.exponentials(x, x.dtype.type(0), got)
    np.testing.assert_array_equal(got, np.array([0, 0, 0, np.nan, 1, 1], dtype))
