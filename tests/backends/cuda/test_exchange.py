"""Arrays come from the host and go back unchanged, and cross to Torch and back without a copy."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from opensora_core.testing.conformance import require
from opensora_kernels.cupy_on_cpu import ndarray
from opensora_kernels.cupy_on_cpu.state import STATE

DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "bool")


def values(dtype, *shape):
    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    return (np.random.default_rng(0).standard_normal(shape) * 3).astype(kind)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("how", ["plain", "read-only", "strided", "reversed", "transposed", "scalar", "empty"])
def test_the_host_gets_back_what_it_gave(ops, dtype, how):
    x = values(dtype, 4, 6)
    x = {"strided": x[:, ::2], "reversed": x[::-1], "transposed": x.T, "scalar": x[0, 0], "empty": x[:0]}.get(how, x)
    if how == "read-only":
        x.flags.writeable = False
    device = ops.asarray(x)
    assert type(device) is ndarray
    back = ops.to_numpy(device)
    assert type(back) is np.ndarray
    assert (back.dtype, back.shape, back.tobytes()) == (x.dtype, np.shape(x), np.ascontiguousarray(x).tobytes())


def test_numbers_and_lists_come_as_numpy_reads_them(ops):
    assert ops.asarray(3).dtype == np.int64
    assert ops.asarray([1.5, 2.0]).dtype == np.float64
    assert ops.asarray([1, 2], "bfloat16").dtype == ml_dtypes.bfloat16


@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_sees_the_same_memory_and_gives_it_back(ops, dtype):
    require("torch")
    import torch

    x = ops.asarray(values(dtype, 3, 4))[:, 1:]
    tensor = ops.to_torch(x)
    assert tensor.dtype == getattr(torch, dtype)
    assert (tensor.data_ptr(), tuple(tensor.shape)) == (x.data.ptr, x.shape)
    assert [s * x.itemsize for s in tensor.stride()] == list(x.strides)
    again = ops.from_torch(tensor)
    assert (type(again), again.dtype, again.data.ptr) == (ndarray, x.dtype, x.data.ptr)
    np.testing.assert_array_equal(ops.to_numpy(again), ops.to_numpy(x))


def test_a_tensor_with_a_gradient_comes_without_it(ops):
    require("torch")
    import torch

    tensor = torch.ones(3, requires_grad=True)
    assert ops.from_torch(tensor).data.ptr == tensor.data_ptr()


def test_half_precision_numbers_fill_arrays(ops):
    for dtype in ("float16", "bfloat16"):
        np.testing.assert_array_equal(ops.to_numpy(ops.full((2,), -1.5, dtype)).astype(np.float64), [-1.5, -1.5])


def test_synchronize_waits_for_the_current_stream(ops):
    waited = []
    stream = ops.xp.cuda.Stream()
    stream.synchronize = lambda: waited.append(STATE.device)
    with stream:
        ops.synchronize()
    assert waited == [0]
