"""Activations, softmax, group norm and rope on emulated CUDA, against float64, next to guard pages."""

import numpy as np
import pytest

from opensora_kernels.cuda.activations import ActivationKernels
from opensora_kernels.cuda.norms import PIECE, NormKernels
from opensora_kernels.cuda.rotary import HELD, RotaryKernels
from opensora_kernels.emulation import SCHEDULES, GuardedNumPy, guarded, schedule
from tests.kernels.cuda.emulated import DTYPES, Emulated, assert_right, norms, tables, video, wide

NAMES = {
    "activations.cu": [f"activate<{t}>" for t in DTYPES],
    "softmax.cu": [f"softmax<{t}>" for t in DTYPES],
    "group_norm_silu.cu": [f"{kernel}<{t}>" for kernel in ("group_norm", "group_norm_sums") for t in DTYPES],
    "qk_norm_rope.cu": [f"qk_norm_rope<{t}, {held}>" for t in DTYPES for held in HELD]
    + [f"qk_norm_rope_any<{t}>" for t in DTYPES],
}


@pytest.fixture(scope="module")
def emulated():
    return Emulated(NAMES)


def draw(rng, shape, dtype, spread=1.0, mean=0.0):
    """A read-only array before a guard page."""
    x = guarded((rng.standard_normal(shape) * spread + mean).astype(dtype))
    x.flags.writeable = False
    return x


# ------------------------------------------------------------ activations and softmax


@pytest.mark.parametrize("t", DTYPES)
@pytest.mark.parametrize("shape", [(1,), (3, 5), (2, 4, 128), (1025,), ()])
def test_activations(emulated, t, shape):
    kernels = ActivationKernels(GuardedNumPy(), emulated)
    x = draw(np.random.default_rng(0), shape, DTYPES[t], spread=3)
    assert_right(kernels.silu(x), "silu", x)
    for form in ("tanh", "none"):
        assert_right(kernels.gelu(x, form), "gelu", x, form)


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")  # of the judge
@pytest.mark.parametrize("t", DTYPES)
def test_activations_far_out_are_zero_or_the_input(emulated, t):
    kernels = ActivationKernels(GuardedNumPy(), emulated)
    x = np.array([-6e4, -100, 100, 6e4], DTYPES[t])
    for y in (kernels.silu(x), kernels.gelu(x), kernels.gelu(x, "none")):
        np.testing.assert_array_equal(wide(y), wide(np.where([False, False, True, True], x, np.zeros_like(x))))


@pytest.mark.parametrize("t", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (2, 3, 32), (1, 300)])
def test_softmax(emulated, t, shape):
    kernels = ActivationKernels(GuardedNumPy(), emulated)
    for spread in (1, 1e4):
        x = draw(np.random.default_rng(1), shape, DTYPES[t], spread)
        assert_right(kernels.softmax(x), "softmax", x)
    x = np.full((2, 40), -np.inf, DTYPES[t])
    x[:, 35] = 1
    np.testing.assert_array_equal(wide(kernels.softmax(x)), np.eye(40)[[35, 35]])


def test_any_layout(emulated):
    kernels = ActivationKernels(GuardedNumPy(), emulated)
    whole = np.random.default_rng(2).standard_normal((6, 9)).astype(np.float32)
    for x in (whole.T, whole[::-1, 1:], whole[:, ::2], whole[:0]):
        assert_right(kernels.silu(x), "silu", x)
        assert_right(kernels.softmax(x), "softmax", x)


# ------------------------------------------------------------ group norm


@pytest.mark.parametrize("t", DTYPES)
@pytest.mark.parametrize(
    ("shape", "groups"),
    [
        ((1, 1, 1), 1),
        ((2, 6, 5), 3),
        ((1, 4, 3, 4), 2),
        ((2, 4, 7, 5, 3), 1),
        ((1, 2, PIECE), 2),
        ((1, 2, PIECE + 1), 2),
        ((1, 3, PIECE - 3), 1),
    ],
)
def test_group_norm(emulated, t, shape, groups):
    kernels = NormKernels(GuardedNumPy(), emulated)
    rng = np.random.default_rng(shape[-1])
    x = draw(rng, shape, DTYPES[t], mean=1.0)
    weight, bias = draw(rng, shape[1], x.dtype), draw(rng, shape[1], x.dtype)
    assert_right(kernels.group_norm(x, groups, weight, bias), "group_norm", x, groups, weight, bias)
    assert_right(kernels.group_norm(x, groups, None, bias, 1e-5), "group_norm", x, groups, None, bias, 1e-5)


@pytest.mark.parametrize("order", SCHEDULES)
@pytest.mark.parametrize("t", ["float", "__half"])
def test_a_long_group_is_cut_into_chunks_of_many_pieces(emulated, monkeypatch, order, t):
    monkeypatch.setattr("opensora_kernels.cuda.norms.MOST_CHUNKS", 2)
    rng = np.random.default_rng(order)
    x = draw(rng, (1, 2, 3 * PIECE + 5), DTYPES[t], mean=30.0)
    x = guarded(np.float32(x).astype(x.dtype) + np.arange(2, dtype=x.dtype)[None, :, None] * 8)
    with schedule(order):
        out = NormKernels(GuardedNumPy(), emulated).group_norm(x, 1)
    assert_right(out, "group_norm", x, 1)
    assert emulated.counters(f"group_norm_sums<{t}>")["blocks"] == 2


def test_silu_is_done_in_the_same_pass(emulated):
    rng = np.random.default_rng(3)
    x, weight, bias = draw(rng, (2, 4, 9), np.float32), draw(rng, 4, np.float32), draw(rng, 4, np.float32)
    kernels = NormKernels(GuardedNumPy(), emulated)
    normed = np.float64(kernels.group_norm(x, 2, weight, bias))
    got = kernels.group_norm(x, 2, weight, bias, silu=True)
    np.testing.assert_allclose(got, normed / (1 + np.exp(-normed)), rtol=1e-6, atol=1e-7)


def test_what_group_norm_does_not_take_is_named(emulated):
    kernels = NormKernels(GuardedNumPy(), emulated)
    with pytest.raises(ValueError, match="4 channels of float32 in 3 groups"):
        kernels.group_norm(np.zeros((1, 4, 2), np.float32), 3)
    with pytest.raises(ValueError, match=r"1073741824 elements a group are more than 1073741823"):
        kernels.group_norm(np.broadcast_to(np.float32(0), (1, 1, 2**30)), 1)


# ------------------------------------------------------------ rope and QK-norm


@pytest.mark.parametrize("t", DTYPES)
@pytest.mark.parametrize("D", [2, 6, 72, 128, 256, 258])
def test_rotary(emulated, t, D):
    rng = np.random.default_rng(D)
    kernels = RotaryKernels(GuardedNumPy(), emulated)
    for shape in ((5, D), (2, 3, 5, D), (2, 1, 2, 3, 5, D)):
        x, (cos, sin) = draw(rng, shape, DTYPES[t]), map(guarded, tables(rng, 5, D))
        assert_right(kernels.rotary(x, cos, sin), "rotary", x, cos, sin)
        weight = draw(rng, D, x.dtype)
        assert_right(kernels.rms_norm_rotary(x, weight, cos, sin), "rms_norm_rotary", x, weight, cos, sin)
        turned = x.swapaxes(0, -2)  # read where it lies
        assert_right(
            kernels.rms_norm_rotary(turned, weight, cos[:1], sin[:1]),
            "rms_norm_rotary",
            turned,
            weight,
            cos[:1],
            sin[:1],
        )


@pytest.mark.parametrize("order", SCHEDULES)
@pytest.mark.parametrize(("t", "D"), [("__nv_bfloat16", 72), ("__half", 6), ("float", 128), ("float", 30)])
def test_keys_in_packed_memory_of_a_video_in_any_order_of_execution(emulated, order, t, D):
    rng = np.random.default_rng(order)
    keys = guarded(video(rng, 1, 3, 2, 2, D, DTYPES[t]))[:, :, :, 1].transpose(0, 3, 1, 2, 4)  # (B, H, T, S, D)
    weight, (cos, sin) = norms(rng, D, keys.dtype)[1], (a.reshape(3, 2, D // 2) for a in tables(rng, 6, D))
    with schedule(order):
        out = RotaryKernels(GuardedNumPy(), emulated).rms_norm_rotary(keys, weight, cos, sin)
    assert_right(out, "rms_norm_rotary", keys, weight, cos, sin)


def test_any_strides(emulated):
    rng = np.random.default_rng(8)
    kernels = RotaryKernels(GuardedNumPy(), emulated)
    whole, weight, (cos, sin) = video(rng, 2, 3, 4, 5, 9, np.float32), norms(rng, 8, np.float32)[0], tables(rng, 3, 8)
    for x in (whole[..., 1:], whole[:, :, ::2, :, 1:4, :8], whole[::-1].transpose(1, 0, 2, 3, 4, 5)[..., 8:0:-1]):
        x = x.swapaxes(3, 4)
        assert_right(kernels.rms_norm_rotary(x, weight, cos, sin), "rms_norm_rotary", x, weight, cos, sin)


def test_what_rope_does_not_take_is_named(emulated):
    kernels = RotaryKernels(GuardedNumPy(), emulated)
    x = np.zeros((2, 7), np.float32)
    with pytest.raises(ValueError, match="7 are odd"):
        kernels.rotary(x, x[..., :3], x[..., :3])


def test_no_undefined_behaviour():
    names = {file: [expressions[i] for i in (0, -1)] for file, expressions in NAMES.items()}
    names["group_norm_silu.cu"] = ["group_norm_sums<float>", "group_norm<float>"]
    emulated, rng = Emulated(names, sanitize=True), np.random.default_rng(5)
    x, half = draw(rng, (3, 37), np.float32), draw(rng, (3, 36), DTYPES["__nv_bfloat16"])
    activations = ActivationKernels(GuardedNumPy(), emulated)
    for a in (x, half):
        assert_right(activations.gelu(a), "gelu", a)
        assert_right(activations.softmax(a), "softmax", a)
    long = draw(rng, (1, 2, PIECE + 1), np.float32)
    assert_right(NormKernels(GuardedNumPy(), emulated).group_norm(long, 1), "group_norm", long, 1)
    for a in (draw(rng, (3, 72), np.float32), draw(rng, (3, 6), half.dtype)):
        cos, sin = tables(rng, 3, a.shape[-1])
        assert_right(RotaryKernels(GuardedNumPy(), emulated).rotary(a, cos, sin), "rotary", a, cos, sin)
