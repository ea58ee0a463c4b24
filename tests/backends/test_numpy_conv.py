"""NumPy's convolution of many channels takes one place of the kernel after another."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

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


def test_it_holds_no_copy_of_the_input_per_place_of_the_kernel():
    x, weight = normal(0, "x", 0, (1, 32, 6, 16, 16)), normal(0, "w", 0, (32, 32, 3, 3, 3))
    tracemalloc.start()
    NumpyOps().conv(x, weight, None, None, (1, 1, 1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * x.nbytes  # all patches side by side would be 27
