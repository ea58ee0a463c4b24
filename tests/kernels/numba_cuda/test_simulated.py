"""The kernels in Python on numba-cuda's simulator, in three orders of threads; and what the simulator finds."""

import ml_dtypes
import numpy as np
import pytest
from numba import float32

from opensora_backends.numpy_ops import NumpyOps
from opensora_core.training.optimizer import AdamW
from opensora_kernels.numba_cuda import simulator
from opensora_kernels.numba_cuda.adamw import NumbaAdamW
from opensora_kernels.numba_cuda.attention import NumbaAttention
from opensora_kernels.numba_cuda.conv import NumbaConv
from opensora_kernels.numba_cuda.norms import NumbaNorms
from opensora_kernels.numba_cuda.rotary import NumbaRotary
from opensora_kernels.numba_cuda.simulator import cuda
from tests.kernels.cuda.emulated import PLAIN, assert_right, norms, tables, video


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


@pytest.mark.parametrize("which", [(True, False), (False, True)])
def test_one_of_two_norms(which):
    rng = np.random.default_rng(0)
    qkv = video(rng, 1, 3, 1, 1, 5, np.dtype(np.float32))
    weights = [w if there else None for w, there in zip(norms(rng, 5, qkv.dtype), which, strict=True)]
    got = NumbaAttention(np, nothing_else).attention_3d(qkv, "temporal", *weights)
    q, k, v = (qkv[:, :, :, i].transpose(0, 2, 3, 1, 4) for i in range(3))
    q, k = (x if w is None else PLAIN.rms_norm(x, w) for x, w in ((q, weights[0]), (k, weights[1])))
    np.testing.assert_allclose(got, PLAIN.attention(q, k, v).transpose(0, 3, 1, 2, 4), atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_gated_residual(any_order, dtype):
    rng = np.random.default_rng(0)
    x, branch, gate = (rng.standard_normal((2, n, 35)).astype(dtype) for n in (3, 3, 1))
    exact = x.astype(np.float64) + gate.astype(np.float64) * branch
    got = NumbaNorms(np, nothing_else).gated_residual(x, branch, gate)
    np.testing.assert_allclose(got, exact, atol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(("shape", "groups"), [((2, 6, 3, 5), 3), ((1, 1, 1), 1)])
def test_group_norm_and_silu(any_order, dtype, shape, groups):
    rng = np.random.default_rng(0)
    x, weight, bias = (rng.standard_normal(s).astype(dtype) for s in (shape, shape[1:2], shape[1:2]))
    kernels = NumbaNorms(np, nothing_else)
    normed = kernels.group_norm(x, groups, weight, bias)
    assert_right(normed, "group_norm", x, groups, weight, bias)
    assert_right(kernels.group_norm(x, groups), "group_norm", x, groups)
    want = PLAIN.silu(PLAIN.group_norm(*map(np.float64, (x,)), groups, *map(np.float64, (weight, bias))))
    got = kernels.group_norm(x, groups, weight, bias, silu=True)
    np.testing.assert_allclose(got, want, atol=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_rope_and_the_norm_before_it(any_order, dtype):
    rng, kernels = np.random.default_rng(0), NumbaRotary(np, nothing_else)
    x = rng.standard_normal((2, 3, 5, 70)).astype(dtype)
    weight, (cos, sin) = norms(rng, 70, x.dtype)[0], tables(rng, 5, 70)
    assert_right(kernels.rotary(x, cos, sin), "rotary", x, cos, sin)
    assert_right(kernels.rms_norm_rotary(x, weight, cos, sin), "rms_norm_rotary", x, weight, cos, sin)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [((9,), (3,), (2,), (1,)), ((3, 4), (3, 2), (1, 1), (1, 0)), ((3, 4, 5), (2, 3, 3), (2, 1, 2), (0, 2, 1))],
)
def test_convolution(dtype, size, kernel, stride, padding):
    rng = np.random.default_rng(0)
    x, weight, bias = (rng.standard_normal(s).astype(dtype) for s in ((2, 3, *size), (2, 3, *kernel), (2,)))
    for b in (None, bias):
        got = NumbaConv(np, nothing_else).conv(x, weight, b, stride, padding)
        assert_right(got, "conv", x, weight, b, stride, padding)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_adamw_steps_as_the_optimizer(dtype):
    """Three steps with clipping and decay, whose moments stay in float32."""
    rng = np.random.default_rng(0)
    optimizer = AdamW(learning_rate=0.1, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.1, clip_norm=0.5)
    start = rng.standard_normal((2, 65)).astype(np.float32)
    params, ops = {"w": start}, NumpyOps()
    state = optimizer.init(ops, params)
    weights, mean, square = start.astype(dtype), np.zeros_like(start), np.zeros_like(start)
    for step in (1, 2, 3):
        gradients = rng.standard_normal(start.shape).astype(dtype)
        factor = np.array([0.5 / max(np.linalg.norm(np.float32(gradients)), 0.5)], np.float32)
        params = {"w": np.float32(weights)}
        params, state = optimizer.update(ops, params, {"w": np.float32(gradients)}, state, step)
        weights, mean, square = NumbaAdamW(np, nothing_else).step(
            weights, gradients, mean, square, step, 0.1, (0.9, 0.98), weight_decay=0.1, factor=factor
        )
        np.testing.assert_allclose(weights, params["w"], rtol=1e-5 if dtype == "float32" else 1e-3, atol=1e-6)
    np.testing.assert_allclose(square.reshape(-1), state.square, rtol=1e-5)


def test_what_they_do_not_serve_goes_to_the_others():
    asked = []

    def get_kernel(file, name):
        asked.append(name)
        return lambda *args, **kwargs: None

    half = np.zeros((1, 2, 3, 3, 1, 8), ml_dtypes.bfloat16)
    attention, norm, rope = (kind(np, get_kernel) for kind in (NumbaAttention, NumbaNorms, NumbaRotary))
    attention.attention_3d(half, "temporal")
    attention.attention_3d(half.astype(np.float32), "spatial")
    q = np.zeros((1, 3, 4), np.float32)
    attention.attention(q, q, q, mask=np.ones((3, 3), bool))
    norm.layer_norm(half)
    norm.group_norm(half, 1)
    norm.gated_residual(half, half, half)
    rope.rms_norm_rotary(half, half[0, 0, 0, 0, 0], *np.ones((2, 1, 4), np.float32))
    rope.rotary(half, *np.ones((2, 1, 4), np.float32))
    NumbaConv(np, get_kernel).conv(half[0, 0], half[0, 0], None, (1, 1), (0, 0))
    moment = np.zeros(half.shape, np.float32)
    NumbaAdamW(np, get_kernel).step(half, half, moment, moment, 1, rate=0.1)
    wanted = ["temporal_attention", "flash_attention_plain", "flash_attention_plain", "modulate"]
    wanted += ["group_norm", "gated_residual", "qk_norm_rope", "qk_norm_rope", "conv3d", "adamw"]
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
