"""Layer norm, RMS norm, modulate and the gated residual on emulated CUDA, against float64, next to guard pages."""

import ml_dtypes
import numpy as np
import pytest

from opensora_kernels.cuda.norms import HELD, NormKernels
from opensora_kernels.emulation import SCHEDULES, GuardedNumPy, guarded, schedule
from tests.kernels.cuda.emulated import DTYPES, Emulated, assert_right

NAMES = {
    "modulate.cu": [f"modulate<{t}, {held}>" for t in DTYPES for held in HELD] + [f"modulate_any<{t}>" for t in DTYPES],
    "gated_residual.cu": [f"gated_residual<{t}, {four}>" for t in DTYPES for four in ("true", "false")],
}
WIDTHS = {4: 1, 128: 1, 132: 4, 1152: 9, 1160: 16, 2048: 16, 2052: 0, 1: 0, 2: 0, 33: 0, 127: 0}  # D: accesses held


@pytest.fixture(scope="module")
def emulated():
    return Emulated(NAMES)


@pytest.fixture(scope="module")
def kernels(emulated):
    return NormKernels(GuardedNumPy(), emulated)


def draw(rng, shape, dtype, mean=0.0):
    """A read-only array before a guard page."""
    x = guarded((rng.standard_normal(shape) + mean).astype(dtype))
    x.flags.writeable = False
    return x


def name_of(t, D):
    return f"modulate<{t}, {WIDTHS[D]}>" if WIDTHS[D] else f"modulate_any<{t}>"


@pytest.mark.parametrize("t", DTYPES)
@pytest.mark.parametrize("D", WIDTHS)
def test_every_instantiation(emulated, kernels, t, D):
    rng = np.random.default_rng(D)
    emulated.used.clear()
    rows = 1 if D > 1152 else 5
    x = draw(rng, (rows, D), DTYPES[t], mean=2.0)
    weight, bias = draw(rng, D, x.dtype), draw(rng, D, x.dtype)
    assert_right(kernels.layer_norm(x), "layer_norm", x)
    assert_right(kernels.layer_norm(x, weight, bias, 1e-5), "layer_norm", x, weight, bias, 1e-5)
    assert_right(kernels.layer_norm(x, None, bias), "layer_norm", x, None, bias)
    assert_right(kernels.rms_norm(x, weight), "rms_norm", x, weight)
    assert_right(kernels.modulate(x, bias, weight), "modulate", x, bias, weight)
    assert list(emulated.used) == [name_of(t, D)]


@pytest.mark.parametrize("t", DTYPES)
@pytest.mark.parametrize("D", [4, 33, 1152])
def test_the_gated_residual(emulated, kernels, t, D):
    rng = np.random.default_rng(D)
    emulated.used.clear()
    x, branch, gate = (draw(rng, (2, n, D), DTYPES[t]) for n in (3, 3, 1))
    exact = np.float64(x) + np.float64(gate) * np.float64(branch)
    size = np.abs(np.float64(x)) + np.abs(np.float64(gate) * np.float64(branch))
    got = np.float64(kernels.gated_residual(x, branch, gate))
    assert (np.abs(got - exact) <= 1.01 * float(ml_dtypes.finfo(x.dtype).eps) * size).all()
    assert list(emulated.used) == [f"gated_residual<{t}, {'false' if D % 4 else 'true'}>"]


@pytest.mark.parametrize("t", ["float", "__nv_bfloat16"])
@pytest.mark.parametrize("D", [8, 9])
@pytest.mark.parametrize(
    ("shape", "shift", "scale"),
    [
        ((2, 3, 5), (2, 3, 1), (2, 1, 1)),  # a vector a frame, and one a video
        ((2, 3, 5), (2, 3, 5), (5,)),
        ((2, 3, 2, 3), (2, 1, 2, 1), (1, 3, 1, 1)),
        ((7,), (1,), (7,)),
        ((), (), ()),
    ],
)
def test_vectors_broadcast(kernels, t, D, shape, shift, scale):
    rng = np.random.default_rng(D)
    x, shift, scale = (draw(rng, (*lead, D), DTYPES[t]) for lead in (shape, shift, scale))
    assert_right(kernels.modulate(x, shift, scale), "modulate", x, shift, scale)


@pytest.mark.parametrize("order", SCHEDULES)
@pytest.mark.parametrize("t", DTYPES)
def test_any_order_of_execution(kernels, order, t):
    rng = np.random.default_rng(order)
    for D in (36, 35):
        x, shift, scale = draw(rng, (6, D), DTYPES[t]), draw(rng, D, DTYPES[t]), draw(rng, D, DTYPES[t])
        with schedule(order):
            assert_right(kernels.modulate(x, shift, scale), "modulate", x, shift, scale)


def test_any_layout(kernels):
    """Views of larger, transposed and unaligned arrays are read right; the result is dense."""
    rng = np.random.default_rng(0)
    whole = rng.standard_normal((4, 6, 75)).astype(DTYPES["__nv_bfloat16"])
    vectors = rng.standard_normal((2, 75)).astype(whole.dtype)[:, 3:]
    for x in (whole[..., 3:], whole[::-1, ::2, :72], whole.transpose(1, 0, 2)[..., :72], whole[..., ::-1][..., :72]):
        out = kernels.modulate(x, *vectors)
        assert_right(out, "modulate", x, *vectors)
        assert out.flags.c_contiguous


def test_a_row_far_from_the_origin_and_a_constant_one(kernels):
    rng = np.random.default_rng(1)
    far = (rng.standard_normal((2, 1152)) + 1000).astype(np.float32)
    for x in (far, np.full((2, 64), 3.3, np.float32), np.zeros((2, 7), np.float32)):
        assert_right(kernels.layer_norm(x), "layer_norm", x)


def test_nothing_to_norm(kernels):
    for shape in ((0, 8), (3, 0)):
        x = np.zeros(shape, np.float32)
        assert kernels.layer_norm(x).shape == kernels.gated_residual(x, x, x).shape == shape


def test_what_does_not_fit_is_named(kernels):
    x = np.zeros((2, 8), np.float32)
    with pytest.raises(ValueError, match="dtype float64 is not one of the kernels'"):
        kernels.layer_norm(x.astype(np.float64))
    with pytest.raises(ValueError, match="scale is float16 and x float32"):
        kernels.rms_norm(x, np.zeros(8, np.float16))
    with pytest.raises(ValueError, match=r"shift \(3, 8\) does not fit x \(2, 8\)"):
        kernels.modulate(x, np.zeros((3, 8), np.float32), np.zeros(8, np.float32))
    with pytest.raises(ValueError, match=r"branch \(8,\) does not fit x \(2, 8\)"):
        kernels.gated_residual(x, x[0], x)


def test_no_undefined_behaviour():
    names = ["modulate<__half, 1>", "modulate<float, 1>", "modulate_any<__nv_bfloat16>"]
    gated = ["gated_residual<__half, true>", "gated_residual<float, true>", "gated_residual<__nv_bfloat16, false>"]
    emulated = Emulated({"modulate.cu": names, "gated_residual.cu": gated}, sanitize=True)
    kernels = NormKernels(GuardedNumPy(), emulated)
    rng = np.random.default_rng(2)
    for t, D in (("__half", 36), ("float", 36), ("__nv_bfloat16", 35)):
        x, gate, branch, shift, scale = (draw(rng, (3, D), DTYPES[t]) for _ in range(5))
        assert_right(kernels.modulate(x, shift, scale), "modulate", x, shift, scale)
        assert_right(kernels.gated_residual(x, branch, gate), "gated_residual", x, branch, gate)
