"""Attention to few keys, and queries and keys made ready for it, against the references."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensora_core.testing.conformance import require
from opensora_core.testing.references import REFERENCES

require("numba")
from opensora_kernels.cpu import few_keys  # noqa: E402
from opensora_kernels.cpu.queries_keys import norm_and_turn  # noqa: E402

from .near import DTYPES, arrays, assert_near, lengths  # noqa: E402


def wide(*given):
    return [None if a is None else a.astype("f8") if a.dtype.kind == "f" else a for a in given]


@given(
    make=arrays(), M=lengths(high=64).filter(lambda n: n <= 64), L=st.integers(4, 33), D=st.integers(1, 33),
    mask=st.sampled_from([None, (2, 1, 1), (1, 1, 1), (2, 3, 1), (1,)]), scale=st.sampled_from([0.1, 3.0, -1.0]),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_it_is_attention(make, M, L, D, mask, scale, seed):
    q, k, v = make(2, 3, L, D), make(2, 3, M, D), make(2, 3, M, 5)
    seen = None if mask is None else np.random.default_rng(seed).random((*mask, M)) > 0.4
    assert few_keys.serves(q, k, v, seen)
    got = few_keys.attention(q, k, v, seen, scale)
    assert_near(got, REFERENCES["attention"](*wide(q, k, v, seen), scale), 100, size=4.0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_key_gives_zeros_and_forbidden_keys_may_hold_anything(dtype):
    q, k, v = (np.random.default_rng(0).standard_normal((2, 1, 5, 4)).astype(dtype) for _ in range(3))
    k[1, 0, 3] = np.nan
    mask = np.array([[False] * 5, [True, True, True, False, True]])[:, None, None]
    got = few_keys.attention(q, k, v, mask, 0.5)
    assert not got[0].any()
    assert np.isfinite(got[1]).all()
    k[1, 0, 2] = np.nan
    assert np.isnan(few_keys.attention(q, k, v, mask, 0.5)[1]).all()


@pytest.mark.parametrize(
    ("q", "k", "mask"),
    [
        ((2, 3, 8, 4), (2, 3, 65, 4), None),
        ((2, 3, 3, 4), (2, 3, 9, 4), None),
        ((8, 4), (9, 4), None),
        ((2, 3, 8, 4), (1, 3, 9, 4), None),
        ((2, 3, 8, 4), (2, 3, 0, 4), None),
        ((2, 3, 8, 4), (2, 3, 9, 4), (2, 1, 8, 9)),
        ((2, 3, 8, 4), (2, 3, 9, 4), (9,)),
        ((1, 3, 8, 4), (1, 3, 9, 4), (2, 1, 1, 9)),
    ],
)
def test_other_shapes_are_not_served(q, k, mask):
    assert not few_keys.serves(np.empty(q), np.empty(k), np.empty(k), None if mask is None else np.ones(mask, bool))


@given(
    make=arrays(), T=st.integers(1, 4), S=st.integers(1, 4), H=st.integers(1, 3), half=st.integers(1, 20),
    turned=st.booleans(), every=st.booleans(),
)  # fmt: skip
def test_queries_and_keys_are_normalised_and_turned(make, T, S, H, half, turned, every):
    qkv, weights = make(2 * T * S, 3, H, 2 * half), (make(2 * half), make(2 * half))
    length = T if every else S
    tables = (make(length, half), make(length, half)) if turned else ()
    got = norm_and_turn(qkv, *weights, *tables, every=S if every else 1)
    numbers = np.arange(2 * T * S) // (S if every else 1) % length
    for part, weight in enumerate(weights):
        truth = REFERENCES["rms_norm"](*wide(qkv[:, part], weight), 1e-6)
        if turned:
            truth = REFERENCES["rotary"](truth, *(table.astype("f8")[numbers, None] for table in tables))
        assert_near(got[part], truth, 12)
