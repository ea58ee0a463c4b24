"""Matrix products reach cuBLAS with the right pointers and strides, copied only when they must be."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opensora_backends import cuda_gemm
from opensora_core.errors import InvalidInputError
from tests.backends.cuda.fake import FakeCudaOps

LAYOUTS = ("rows", "columns", "sliced rows", "sliced columns", "reversed", "stack reversed", "heads")
TOLERANCE = {"float64": 1e-12, "float32": 1e-5, "float16": 2e-3, "bfloat16": 2e-2}


def laid(x, layout):
    """The same values, lying in device memory in another way."""
    if layout == "columns":
        return np.swapaxes(np.ascontiguousarray(np.swapaxes(x, -1, -2)), -1, -2)
    if layout == "sliced rows":
        return np.concatenate([x, x], axis=-1)[..., : x.shape[-1]]
    if layout == "sliced columns":
        return np.repeat(x, 2, axis=-1)[..., ::2]
    if layout == "reversed":
        return x[..., ::-1].copy()[..., ::-1]
    if layout == "stack reversed":
        return x[::-1].copy()[::-1]
    if layout == "heads":  # [..., L, H, D] seen as [..., H, L, D]
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 0, -2)), -2, 0) if x.ndim > 2 else x
    return x.copy()


def place(ops, x, layout):
    device = ops.asarray(np.ascontiguousarray(x))
    host = laid(device.view(np.ndarray), layout)
    return host.view(type(device))


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*[st.integers(1, 4)] * 3),
    st.sampled_from(
        [((), ()), ((2,), ()), ((), (3,)), ((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((1, 1), ())]
    ),
    st.sampled_from(LAYOUTS),
    st.sampled_from(LAYOUTS),
    st.sampled_from(list(TOLERANCE)),
)
def test_any_layout_gives_the_product(sizes, batches, left, right, dtype):
    ops, rng = FakeCudaOps(), np.random.default_rng(0)
    m, k, n = sizes
    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    a = rng.standard_normal((*batches[0], m, k)).astype(kind)
    b = rng.standard_normal((*batches[1], k, n)).astype(kind)
    got = ops.to_numpy(ops.matmul(place(ops, a, left), place(ops, b, right)))
    want = np.matmul(a.astype(np.float64), b.astype(np.float64))
    assert (got.dtype, got.shape) == (kind, want.shape)
    np.testing.assert_allclose(got.astype(np.float64), want, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize(
    ("a", "b", "sizes"),
    [
        ((2, 5, 4), (4, 3), (3, 10, 4, 1)),  # m, n, k, matrices as cuBLAS counts them: one product of all rows
        ((2, 5, 4), (1, 4, 3), (3, 10, 4, 1)),
        ((2, 5, 4), (2, 4, 3), (3, 5, 4, 2)),
    ],
)
def test_what_shares_a_weight_is_one_product(ops, a, b, sizes):
    ops.matmul(ops.full(a, 1.0), ops.full(b, 1.0))
    assert ops._lib.cublas.calls[-1] == sizes


def test_a_linear_layer_reads_its_weight_as_it_lies(ops, monkeypatch):
    monkeypatch.setattr(
        type(ops.xp), "ascontiguousarray", lambda *_: pytest.fail("an operand was copied"), raising=False
    )
    x, w = np.ones((2, 3, 4), np.float32), np.arange(20, dtype=np.float32).reshape(5, 4)
    np.testing.assert_array_equal(ops.to_numpy(ops.linear(ops.asarray(x), ops.asarray(w))), x @ w.T)


def test_no_columns_to_sum_over_give_zeros(ops):
    assert not ops.to_numpy(ops.matmul(ops.full((2, 0), 1.0), ops.full((0, 3), 1.0))).any()


def test_integers_are_exact(ops):
    big = np.array([[2**53 + 1]], np.int64)
    assert ops.to_numpy(ops.matmul(ops.asarray(big), ops.asarray([[1]])))[0, 0] == 2**53 + 1


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        (((2, 3), "float32"), ((3, 2), "float16"), "matmul of float32 and float16: both must have one dtype"),
        (((2, 3), "float32"), ((2, 3), "float32"), r"shapes \(2, 3\) and \(2, 3\): expected \[..., M, K\]"),
        (((3,), "float32"), ((3, 2), "float32"), r"shapes \(3,\) and \(3, 2\)"),
    ],
)
def test_what_does_not_fit_is_named(ops, a, b, says):
    with pytest.raises(InvalidInputError, match=says):
        ops.matmul(ops.full(a[0], 1.0, a[1]), ops.full(b[0], 1.0, b[1]))


def test_reduced_precision_is_switched_off_for_the_call_only(ops):
    ops._lib.cublas.mode = 3  # a caller's own
    ops.matmul(ops.full((2, 2), 1.0), ops.full((2, 2), 1.0))  # the stand-in's cuBLAS checks the mode
    assert ops._lib.cublas.mode == 3
    ops._lib.cublas.mode = 0


def test_every_floating_dtype_has_a_cuda_type(ops):
    assert all(hasattr(ops.xp.cuda.runtime, name) for name in cuda_gemm.CUDA_TYPES.values())
