"""The kernels in Python on numba-cuda's simulator, in three orders of threads; and what the simulator finds."""

import ml_dtypes
import numpy as np
import pytest
from numba import float32

from opensora_backends.cuda_kernels import kernel_classes
from opensora_kernels.cuda.attention import AttentionKernels
from opensora_kernels.cuda.norms import NormKernels
from opensora_kernels.numba_cuda import simulator
from opensora_kernels.numba_cuda.host import NumbaAttention, NumbaNorms
from opensora_kernels.numba_cuda.simulator import cuda
from tests.kernels.cuda.emulated import assert_right, norms, tables, video


def nothing_else(file, name):
    raise AssertionError(f"{name} was asked for")


@pytest.fixture(params=simulator.ORDERS)
def any_order(request):
    with simulator.order(request.param):
        yield


@pytest.mark.parametrize(("T", "D", "dtype"), [(3, 6, "float32"), (1, 40, "float16"), (7, 4, "float16")])
@pytest.mark.parametrize("prepared", [False, True])
def test_temporal_attention(any_order, T, D, dtype, prepared):
    rng = np.random.default_rng(T)
    qkv = video(rng, 1, T, 2, 2, D, np.dtype(dtype))
    given = (*norms(rng, D, qkv.dtype), *tables(rng, T, D)) if prepared else ()
    out = NumbaAttention(np, nothing_else).attention_3d(qkv, "temporal", *given)
    assert_right(out, "attention_3d", qkv, "temporal", *given)


@pytest.mark.parametrize(("L", "M", "D"), [(3, 1, 4), (33, 17, 3), (2, 16, 5)])
def test_attention(any_order, L, M, D):
    rng = np.random.default_rng(M)
    q, k, v = (rng.standard_normal((2, n, D)).astype(np.float32) for n in (L, M, M))
    assert_right(NumbaAttention(np, nothing_else).attention(q, k, v), "attention", q, k, v)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("D", [1, 33, 70])
def test_norms(any_order, dtype, D):
    rng = np.random.default_rng(D)
    x, scale, shift = (rng.standard_normal(shape).astype(dtype) for shape in ((2, 2, D), (2, 1, D), (2, 1, D)))
    weight, bias = scale[0, 0], shift[0, 0]
    kernels = NumbaNorms(np, nothing_else)
    assert_right(kernels.layer_norm(x, weight, bias), "layer_norm", x, weight, bias)
    assert_right(kernels.rms_norm(x, weight), "rms_norm", x, weight)
    assert_right(kernels.modulate(x, shift, scale), "modulate", x, shift, scale)


def test_what_they_do_not_serve_goes_to_the_others():
    asked = []

    def get_kernel(file, name):
        asked.append(name)
        return lambda *args, **kwargs: None

    half = np.zeros((1, 2, 3, 3, 1, 8), ml_dtypes.bfloat16)
    attention, norm = NumbaAttention(np, get_kernel), NumbaNorms(np, get_kernel)
    attention.attention_3d(half, "temporal")
    attention.attention_3d(half.astype(np.float32), "spatial")
    q = np.zeros((1, 3, 4), np.float32)
    attention.attention(q, q, q, mask=np.ones((3, 3), bool))
    norm.layer_norm(half)
    wanted = ["temporal_attention", "flash_attention_plain", "flash_attention_plain", "modulate"]
    assert [name.partition("<")[0] for name in asked] == wanted


def test_a_barrier_that_only_some_threads_reach_is_an_error():
    @cuda.jit
    def divergent(x):
        if cuda.threadIdx.x < 16:
            cuda.syncthreads()
        x[cuda.threadIdx.x] = 1

    with pytest.raises(simulator.SimulationError, match="wait for others that do not come"):
        divergent[1, 32](np.zeros(32, np.float32))


def test_a_shuffle_in_a_branch_is_an_error():
    @cuda.jit
    def branching(x):
        if cuda.threadIdx.x < 16:
            x[cuda.threadIdx.x] = cuda.shfl_xor_sync(0xFFFFFFFF, x[cuda.threadIdx.x], 1)

    with pytest.raises(simulator.SimulationError, match="for its warp"):
        branching[1, 32](np.zeros(32, np.float32))


def test_a_missing_barrier_shows_in_some_order():
    @cuda.jit
    def mirrored(x, y):
        shared = cuda.shared.array(32, float32)
        shared[cuda.threadIdx.x] = x[cuda.threadIdx.x]
        y[cuda.threadIdx.x] = shared[31 - cuda.threadIdx.x]

    x, right = np.arange(32, dtype=np.float32) + 1, []
    for name in simulator.ORDERS:
        y = np.zeros_like(x)
        with simulator.order(name):
            mirrored[1, 32](x, y)
        right.append(np.array_equal(y, x[::-1]))
    assert not all(right)


def test_shuffles():
    @cuda.jit
    def shuffle(x, y):
        lane = cuda.threadIdx.x
        y[0, lane] = cuda.shfl_sync(0xFFFFFFFF, x[lane], 3)
        y[1, lane] = cuda.shfl_xor_sync(0xFFFFFFFF, x[lane], 5)
        y[2, lane] = cuda.shfl_down_sync(0xFFFFFFFF, x[lane], 2)
        y[3, lane] = cuda.shfl_up_sync(0xFFFFFFFF, x[lane], 2)

    x, y, lanes = np.arange(32.0), np.zeros((4, 32)), np.arange(32)
    shuffle[1, 32](x, y)
    wanted = [lanes * 0 + 3, lanes ^ 5, np.where(lanes < 30, lanes + 2, lanes), np.where(lanes >= 2, lanes - 2, lanes)]
    np.testing.assert_array_equal(y, wanted)


def test_the_backend_takes_them_by_name():
    assert kernel_classes("numba") == (NumbaAttention, NumbaNorms)
    assert kernel_classes("auto") == (AttentionKernels, NormKernels)
