"""Attention block by block against the reference, and where the backend takes it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensora_core.testing.conformance import require
from opensora_core.testing.references import REFERENCES

require("numba")
from opensora_backends.numba_ops import NumbaOps  # noqa: E402
from opensora_backends.numpy_attention import softmax_in_place  # noqa: E402
from opensora_backends.numpy_ops import NumpyOps  # noqa: E402
from opensora_kernels.cpu import blockwise, row_blocks  # noqa: E402

from .near import DTYPES, arrays, assert_near  # noqa: E402

MASKS = {
    "none": None,
    "keys": (2, 1, 1, "M"),
    "rows": ("L", "M"),
    "all": (2, 3, "L", "M"),
    "flat": ("M",),
    "row": ("L", 1),
}


@pytest.mark.parametrize("shape", MASKS.values(), ids=MASKS)
@given(
    make=arrays(),
    L=st.integers(1, 9),
    M=st.integers(1, 9),
    D=st.integers(1, 9),
    size=st.integers(1, 40),
    seed=st.integers(0, 99),
)
def test_blocks_of_any_size_give_the_whole(shape, make, L, M, D, size, seed):
    q, k, v = make(2, 3, L, D), make(1, 3, M, D), make(2, 1, M, D)
    mask = None
    if shape:
        lengths = [{"L": L, "M": M}.get(n, n) for n in shape]
        mask = np.random.default_rng(seed).random(lengths) > 0.4
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_blocks, "BLOCK", size)
        patch.setattr(row_blocks, "LEAST", 1)
        found = [blockwise.attention(q, k, v, mask, 0.3), row_blocks.by_blocks(q, k, v, mask, 0.3, softmax_in_place)]
    for got in found:
        assert_near(got, REFERENCES["attention"](*(a.astype("f8") for a in (q, k, v)), mask, 0.3), 50, size=4.0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_backend_takes_it_where_there_are_many_logits(dtype, monkeypatch):
    rng, called = np.random.default_rng(0), []
    q, k = rng.standard_normal((2, 3, 700, 8)).astype(dtype), rng.standard_normal((2, 3, 200, 8)).astype(dtype)
    mask = np.arange(200) < np.array([150, 0]).reshape(2, 1, 1, 1)
    real = blockwise.attention
    monkeypatch.setattr(blockwise, "attention", lambda *args: called.append(1) or real(*args))
    got = NumbaOps(threads=2).attention(q, k, k, mask)
    assert called
    assert not got[1].any()
    assert_near(got, NumpyOps().attention(q.astype("f8"), k.astype("f8"), k.astype("f8"), mask), 50)
    NumbaOps().attention(q[:, :, :5], k, k, mask)
    assert len(called) == 1
