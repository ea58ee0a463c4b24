"""Convolution on emulated CUDA, against float64, next to guard pages: strides, padding, tails of every tile."""

import numpy as np
import pytest

from opensora_kernels.cuda.conv import ConvKernels
from opensora_kernels.emulation import SCHEDULES, GuardedNumPy, guarded, schedule
from tests.kernels.cuda.emulated import DTYPES, Emulated, assert_right

CASES = [  # x [B, in, *size], out, kernel, stride, padding
    ((1, 1, 1), 1, (1,), (1,), (0,)),
    ((2, 3, 9), 5, (3,), (2,), (1,)),
    ((1, 3, 5, 4), 2, (3, 2), (1, 1), (1, 0)),
    ((2, 4, 3, 6, 5), 3, (3, 3, 3), (1, 1, 1), (1, 1, 1)),
    ((1, 2, 4, 6, 7), 4, (2, 3, 3), (2, 2, 3), (0, 2, 1)),
    ((1, 33, 2, 2, 2), 65, (1, 2, 1), (1, 1, 1), (0, 1, 0)),  # tails of products and outputs
    ((1, 4, 1, 3, 47), 7, (1, 1, 3), (1, 1, 1), (0, 0, 1)),  # 141 places: a second tile
]


@pytest.fixture(scope="module")
def emulated():
    return Emulated({"conv3d.cu": [f"conv3d<{t}>" for t in DTYPES]})


def arrays(shape, out, kernel, dtype, seed=0):
    rng = np.random.default_rng(seed)
    made = [guarded(rng.standard_normal(s).astype(dtype)) for s in (shape, (out, shape[1], *kernel), (out,))]
    for a in made:
        a.flags.writeable = False
    return made


@pytest.mark.parametrize("t", DTYPES)
@pytest.mark.parametrize(("shape", "out", "kernel", "stride", "padding"), CASES)
def test_every_shape(emulated, t, shape, out, kernel, stride, padding):
    kernels = ConvKernels(GuardedNumPy(), emulated)
    x, weight, bias = arrays(shape, out, kernel, DTYPES[t])
    for b in (None, bias):
        got = kernels.conv(x, weight, b, stride, padding)
        assert_right(got, "conv", x, weight, b, stride, padding)


@pytest.mark.parametrize("order", SCHEDULES)
@pytest.mark.parametrize("t", DTYPES)
def test_any_order_of_execution(emulated, order, t):
    x, weight, bias = arrays((1, 5, 3, 6, 8), 66, (3, 3, 3), DTYPES[t], order)
    with schedule(order):
        got = ConvKernels(GuardedNumPy(), emulated).conv(x, weight, bias, (1, 1, 1), (1, 1, 1))
    assert_right(got, "conv", x, weight, bias, (1, 1, 1), (1, 1, 1))
    assert emulated.counters(f"conv3d<{t}>")["bank_conflicts"] == 0


def test_work_is_what_the_arithmetic_says(emulated):
    """5 * 27 products are five tiles of 32; 2 tiles of outputs, 2 of places; a tile is 64 x 128 x 32 of 16 x 8 x 16."""
    x, weight, _ = arrays((1, 5, 3, 6, 8), 66, (3, 3, 3), DTYPES["__half"])
    ConvKernels(GuardedNumPy(), emulated).conv(x, weight, None, (1, 1, 1), (1, 1, 1))
    assert emulated.counters("conv3d<__half>")["mma"] == 5 * 2 * 2 * (4 * 16 * 2)


def test_any_layout(emulated):
    x, weight, _ = arrays((4, 6, 5), 8, (3, 3), np.float32)
    x, weight = x.transpose(1, 0, 2)[None, ::2, :, ::-1], weight.reshape(8, 6, 3, 3)[::2, 1::2]
    got = ConvKernels(GuardedNumPy(), emulated).conv(x, weight, None, (1, 1), (1, 1))
    assert_right(got, "conv", x, weight, None, (1, 1), (1, 1))


def test_what_does_not_fit_is_named(emulated):
    kernels = ConvKernels(GuardedNumPy(), emulated)
    x, weight, bias = arrays((1, 2, 3), 1, (5,), np.float32)
    with pytest.raises(ValueError, match=r"a kernel \(1, 2, 5\) does not fit x \(1, 2, 3\) with padding \(0,\)"):
        kernels.conv(x, weight, bias, (1,), (0,))
    with pytest.raises(ValueError, match="is not float32 as x"):
        kernels.conv(x, weight.astype(np.float16), bias, (1,), (1,))
    with pytest.raises(ValueError, match="dtype float64"):
        kernels.conv(*(a.astype(np.float64) for a in (x, weight, bias)), (1,), (1,))


def test_no_undefined_behaviour():
    emulated = Emulated({"conv3d.cu": ["conv3d<float>", "conv3d<__half>"]}, sanitize=True)
    for t in ("float", "__half"):
        x, weight, bias = arrays((1, 3, 2, 5, 5), 3, (2, 3, 3), DTYPES[t])
        got = ConvKernels(GuardedNumPy(), emulated).conv(x, weight, bias, (1, 2, 1), (1, 1, 1))
        assert_right(got, "conv", x, weight, bias, (1, 2, 1), (1, 1, 1))
