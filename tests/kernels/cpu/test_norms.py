"""Norms, their modulated form and rotation against their formulas."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensora_core.testing.conformance import require
from opensora_core.testing.references import REFERENCES

require("numba")
from opensora_kernels.cpu import norms, residual, rotary  # noqa: E402

from .near import DTYPES, arrays, assert_near, lengths  # noqa: E402

EPS = 1e-6


def wide(*values):
    return [None if a is None else a.astype("f8") for a in values]


@given(make=arrays(), rows=st.integers(1, 5), D=lengths(2), with_weight=st.booleans(), with_bias=st.booleans())
def test_layer_norm(make, rows, D, with_weight, with_bias):
    x, weight, bias = make(2, rows, D), make(D) if with_weight else None, make(D) if with_bias else None
    got = norms.layer_norm(x, weight, bias, EPS)
    error = 20 if D > 3 else 2e4  # of few numbers, two may be nearly alike
    assert_near(got, REFERENCES["layer_norm"](*wide(x, weight, bias), EPS), error)


@given(make=arrays(), rows=st.integers(1, 5), D=lengths())
def test_rms_norm(make, rows, D):
    x, weight = make(rows, 2, D), make(D)
    assert_near(norms.rms_norm(x, weight, EPS), REFERENCES["rms_norm"](*wide(x, weight), EPS), 4)


@given(
    make=arrays(), B=st.integers(1, 2), groups=st.integers(1, 3), run=st.integers(1, 3),
    size=st.sampled_from([(5,), (2, 9), (3, 4, 5)]), with_weight=st.booleans(), with_bias=st.booleans(),
)  # fmt: skip
def test_group_norm(make, B, groups, run, size, with_weight, with_bias):
    C = groups * run
    x, weight, bias = make(B, C, *size), make(C) if with_weight else None, make(C) if with_bias else None
    got = norms.group_norm(x, groups, weight, bias, EPS)
    assert_near(got, REFERENCES["group_norm"](x.astype("f8"), groups, *wide(weight, bias), EPS), 40)
    got = norms.group_norm(x, groups, weight, bias, EPS, silu=True)
    assert_near(got, REFERENCES["group_norm_silu"](x.astype("f8"), groups, *wide(weight, bias), EPS), 40)


@given(
    make=arrays(), D=lengths(4),
    shapes=st.sampled_from([((), ()), ((1,), (5,)), ((3, 5), (3, 1)), ((2, 3, 1), (2, 1, 1)), ((2, 3, 5), (1, 3, 1))]),
)  # fmt: skip
def test_modulate_with_vectors_of_any_leading_axes(make, D, shapes):
    x, shift, scale = make(2, 3, 5, D), *(make(*shape, D) for shape in shapes)
    got = norms.modulate(x, shift, scale, EPS)
    assert_near(got, REFERENCES["modulate"](*wide(x, shift, scale), EPS), 40)
    gated = residual.gated_residual(x, x[::-1], shift)
    assert_near(gated, REFERENCES["gated_residual"](*wide(x, x[::-1], shift)), 4)


@given(
    make=arrays(),
    half=lengths(1, 20),
    L=st.integers(1, 5),
    shapes=st.sampled_from([("L", "L"), ("HL", "L"), ("1", "L")]),
)
def test_rotary(make, half, L, shapes):
    leading = {"L": (L,), "HL": (3, L), "1": (1,)}
    x, (cos, sin) = make(2, 3, L, 2 * half), (make(*leading[shape], half) for shape in shapes)
    assert_near(rotary.rotary(x, cos, sin), REFERENCES["rotary"](*wide(x, cos, sin)), 4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_long_rows_far_from_zero_stay_exact(dtype):
    """A hundred thousand numbers around 100, as in a group of a large picture: plain sums in float32 lose digits."""
    x = (100 + np.random.default_rng(0).standard_normal((1, 1, 300, 301))).astype(dtype)
    got = norms.group_norm(x, 1, None, None, EPS)
    assert_near(got, REFERENCES["group_norm"](x.astype("f8"), 1, None, None, EPS), 40)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_constant_becomes_zero_and_what_is_not_finite_stays_in_its_row(dtype):
    x = np.full((4, 72), 19032.0, dtype)
    x[1, 3], x[2, 5] = np.nan, np.inf
    with np.errstate(invalid="ignore"):
        got = norms.layer_norm(x, None, None, EPS)
    assert not got[[0, 3]].any()
    assert np.isnan(got[1:3]).any(axis=1).all()
    tiny = np.full((1, 8), np.finfo(dtype).smallest_subnormal)
    assert norms.rms_norm(tiny, np.ones(8, dtype), EPS).max() <= 2e3 * float(tiny[0, 0])
