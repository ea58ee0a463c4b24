"""NumPy's convolution of many channels takes one block and one place of the kernel after another."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from opensora_backends import numpy_conv
from opensora_backends.numpy_conv import BLOCK, blocks
from opensora_backends.numpy_ops import NumpyOps
from opensora_core.ops import Ops
from opensora_core.random import normal


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [((3, 3, 3), (2, 1, 2), (0, 1, 1)), ((1, 3), None, (0, 2)), ((2,), (3,), None)]
)
def test_it_equals_the_default_and_errs_less(kernel, stride, padding, dtype):
    ops = NumpyOps("cpu", dtype)
    x = ops.asarray(normal(0, "x", 0, (2, 18, *(6,) * len(kernel))), dtype)
    weight, bias = ops.asarray(normal(0, "w", 0, (5, 18, *kernel)), dtype), ops.asarray(normal(0, "b", 0, (5,)), dtype)
    exact = Ops.conv(NumpyOps(), *(a.astype(np.float64) for a in (x, weight, bias)), stride, padding)
    found, plain = ops.conv(x, weight, bias, stride, padding), Ops.conv(ops, x, weight, bias, stride, padding)
    assert (found.shape, found.dtype) == (exact.shape, x.dtype)
    error, usual = (np.linalg.norm(y.astype(np.float64) - exact) for y in (found, plain))
    assert error <= 1.2 * usual + 1e-14 * np.linalg.norm(exact)


def test_it_holds_the_input_with_its_border_the_result_and_what_a_block_needs():
    x, weight = normal(0, "x", 0, (1, 32, 6, 48, 48)), normal(0, "w", 0, (32, 32, 3, 3, 3))
    tracemalloc.start()
    NumpyOps().conv(x, weight, None, None, (1, 1, 1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    border = 8 * 50 * 50 / (6 * 48 * 48)
    assert peak < (border + 1) * x.nbytes + weight.nbytes + 3.2 * 4 * BLOCK  # all patches side by side would be 27


@pytest.mark.parametrize("most", [1, 4, 7, 12, 100])
@pytest.mark.parametrize("sizes", [(13,), (3, 5), (2, 3, 4), (1, 1, 1)])
def test_blocks_cover_a_grid_once(sizes, most):
    grid = np.zeros(sizes, int)
    for block in blocks(sizes, most):
        grid[block] += 1
        assert 0 < grid[block].size <= most
    assert (grid == 1).all()


def test_it_is_the_same_block_by_block(monkeypatch):
    x, weight = normal(0, "x", 0, (2, 18, 5, 6, 7)), normal(0, "w", 0, (4, 18, 3, 2, 3))
    found = []
    for size in (1, 18 * 11, 1 << 20):
        monkeypatch.setattr(numpy_conv, "BLOCK", size)
        found.append(NumpyOps().conv(x, weight, None, (2, 1, 1), (1, 0, 1)))
    np.testing.assert_allclose(found[0], found[2], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found[1], found[2], rtol=1e-5, atol=1e-5)
