"""The attention kernel against the reference that takes token by token."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensora_core.testing.conformance import require
from opensora_core.testing.references import REFERENCES

require("numba")
from opensora_kernels.cpu.attention import attention_along  # noqa: E402

from .near import DTYPES, assert_near  # noqa: E402

HEAD_DIMS = st.one_of(st.integers(1, 40), st.sampled_from([64, 72, 80, 128, 130]))


def inputs(rng, dtype, B, T, S, H, D, norms, rope):
    qkv = rng.standard_normal((B, T, S, 3, H, D)).astype(dtype)
    weights = [rng.standard_normal(D).astype(dtype) if norms else None for _ in range(2)]
    angles = rng.uniform(0, 100, (T, D // 2))
    return qkv, *weights, *((np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)) if rope else (None, None))


def temporal(qkv, *more, threads=1):
    """Along T of packed tokens, in which q, k and v of a token follow each other."""
    B, T, S, _, H, D = qkv.shape
    flat, token = qkv.reshape(-1), H * D
    out = np.full((B, T, S, H, D), np.nan, qkv.dtype)
    attention_along(
        flat, flat[token:], flat[2 * token :], (T * S * 3 * token, 3 * token, S * 3 * token), (B, S, T, H, D), *more,
        out=out.reshape(-1), out_strides=(T * S * token, token, S * token), threads=threads,
    )  # fmt: skip
    return out


def truth(qkv, *more):
    return REFERENCES["attention_3d"](
        qkv.astype("f8"), "temporal", *(None if a is None else a.astype("f8") for a in more)
    )


@given(
    B=st.integers(1, 2), T=st.integers(1, 18), S=st.integers(1, 2), H=st.integers(1, 3), D=HEAD_DIMS,
    dtype=st.sampled_from(DTYPES), norms=st.booleans(), rope=st.booleans(), seed=st.integers(0, 2**16),
)  # fmt: skip
def test_along_time_with_norm_and_rope(B, T, S, H, D, dtype, norms, rope, seed):
    args = inputs(np.random.default_rng(seed), dtype, B, T, S, H, D, norms, rope and D % 2 == 0)
    assert_near(temporal(*args), truth(*args), 100, size=4.0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_more_heads_than_the_scratch_memory_holds(dtype):
    args = inputs(np.random.default_rng(1), dtype, 1, 21, 1, 8, 130, True, True)
    assert_near(temporal(*args), truth(*args), 100, size=4.0)


@given(
    T=st.integers(1, 9),
    S=st.integers(1, 3),
    H=st.integers(1, 2),
    D=st.sampled_from([2, 8, 18]),
    seed=st.integers(0, 99),
)
def test_separate_arrays_of_any_strides_along_any_axis(T, S, H, D, seed):
    """Along S, of q, k, v that lie apart, in rows longer than their heads."""
    rng = np.random.default_rng(seed)
    room = H * D + 3
    q, k, v = (rng.standard_normal((2, T, S, room)).astype("f4") for _ in range(3))
    out = np.full((2, T, S, H * D), np.nan, "f4")
    attention_along(
        q.reshape(-1), k.reshape(-1), v.reshape(-1), (T * S * room, S * room, room), (2, T, S, H, D),
        out=out.reshape(-1), out_strides=(T * S * H * D, S * H * D, H * D),
    )  # fmt: skip
    packed = np.stack([a[..., : H * D].reshape(2, T, S, H, D) for a in (q, k, v)], axis=3)
    assert_near(out.reshape(2, T, S, H, D), REFERENCES["attention_3d"](packed.astype("f8"), "spatial"), 100, size=4.0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_token_that_is_not_finite_spoils_its_own_sequence_only(dtype):
    args = inputs(np.random.default_rng(2), dtype, 1, 5, 3, 2, 8, True, True)
    args[0][0, 2, 1, 0, 1] = np.nan
    got = temporal(*args)
    assert np.isnan(got[0, 2, 1, 1]).all()
    got[0, 2, 1, 1] = 0
    assert np.isfinite(got).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1e4, 1e-30, 1e-40])
def test_huge_and_subnormal_numbers(dtype, scale):
    qkv, *_ = inputs(np.random.default_rng(3), dtype, 1, 4, 2, 2, 16, False, False)
    norms = [np.ones(16, dtype)] * 2
    args = ((qkv * qkv.dtype.type(scale)).astype(dtype), *norms)
    assert_near(temporal(*args) / qkv.dtype.type(max(scale, 1e-30)), truth(*args, None, None) / max(scale, 1e-30), 1e3)


def test_the_result_is_the_same_on_any_number_of_threads():
    args = inputs(np.random.default_rng(4), "float32", 2, 8, 40, 2, 72, True, True)
    one = temporal(*args)
    for threads in (2, 3, 7):
        assert temporal(*args, threads=threads).tobytes() == one.tobytes()
