"""AdamW and the gradients of norms on emulated CUDA: as the optimizer computes it, and as the tape in float64."""

import numpy as np
import pytest

from opensora_backends.numpy_ops import NumpyOps
from opensora_core.autodiff import Autodiff
from opensora_core.testing.running import vanilla
from opensora_core.training.optimizer import AdamState, AdamW
from opensora_kernels.cuda.adamw import AdamWKernels
from opensora_kernels.cuda.group_norm_gradients import CHUNK, GroupNormGradients
from opensora_kernels.cuda.norm_gradients import NormGradients
from opensora_kernels.cuda.norms import PIECE
from opensora_kernels.emulation import SCHEDULES, GuardedNumPy, guarded, schedule
from tests.kernels.cuda.emulated import DTYPES, Emulated, wide

EPS = {"float": 2.0**-22, "__half": 2.0**-10, "__nv_bfloat16": 2.0**-7}
NUMPY = NumpyOps()
NAMES = {f"{file}.cu": [f"{file}<{t}>" for t in DTYPES] for file in ("adamw", "modulate_backward")}
NAMES["group_norm_silu.cu"] = [f"group_norm_sums<{t}>" for t in DTYPES]
NAMES["group_norm_backward.cu"] = [
    f"{kernel}<{t}>" for t in DTYPES for kernel in ("group_norm_backward_sums", "group_norm_to_x")
]


@pytest.fixture(scope="module")
def emulated():
    return Emulated(NAMES)


# ------------------------------------------------------------ AdamW


@pytest.mark.parametrize("t", DTYPES)
@pytest.mark.parametrize("n", [1, 255, 257])
def test_steps_are_the_optimizers(emulated, t, n):
    """Three steps with clipping and decay, whose moments stay in float32."""
    rng = np.random.default_rng(n)
    optimizer = AdamW(learning_rate=0.1, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.1, clip_norm=0.5)
    start = rng.standard_normal(n).astype(np.float32)
    state, params = optimizer.init(NUMPY, {"w": start}), {"w": start}
    weights, mean, square = guarded(start.astype(DTYPES[t])), guarded(state.mean), guarded(state.square)
    for step in (1, 2, 3):
        gradients = guarded(rng.standard_normal(n).astype(DTYPES[t]))
        exact, params = np.float32(gradients), {"w": np.float32(weights)}
        factor = np.array([0.5 / max(np.linalg.norm(exact), 0.5)], np.float32)
        params, state = optimizer.update(NUMPY, params, {"w": exact}, AdamState(*state), step)
        before = [a.copy() for a in (weights, mean, square)]
        new = AdamWKernels(GuardedNumPy(), emulated).step(
            weights, gradients, mean, square, step, 0.1, (0.9, 0.98), weight_decay=0.1, factor=factor
        )
        for a, same in zip((weights, mean, square), before, strict=True):
            np.testing.assert_array_equal(wide(a), wide(same))
        weights, mean, square = new
        np.testing.assert_allclose(wide(weights), params["w"], rtol=max(1e-5, EPS[t]), atol=1e-6)
        for got, want in ((mean, state.mean), (square, state.square)):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("order", SCHEDULES)
def test_blocks_share_a_long_vector(emulated, monkeypatch, order):
    monkeypatch.setattr("opensora_kernels.cuda.adamw.MOST_BLOCKS", 2)
    rng = np.random.default_rng(order)
    weights, gradients = (guarded(rng.standard_normal(1100).astype(np.float32)) for _ in range(2))
    mean, square = guarded(np.zeros(1100, np.float32)), guarded(np.zeros(1100, np.float32))
    want = weights - np.sign(gradients) * 0.01
    with schedule(order):
        new, _, _ = AdamWKernels(GuardedNumPy(), emulated).step(weights, gradients, mean, square, 1, rate=0.01)
    np.testing.assert_allclose(new, want, atol=1e-5)


def test_half_precision_weights_alone_are_updated_in_float32(emulated):
    weights = np.ones(3, DTYPES["__nv_bfloat16"])
    moments = np.zeros((2, 3), np.float32)
    new, _, _ = AdamWKernels(GuardedNumPy(), emulated).step(weights, weights, *moments, 1, rate=0.25)
    np.testing.assert_array_equal(wide(new), 0.75)


def test_what_adamw_does_not_take_is_named(emulated):
    x, kernels = np.zeros((2, 3), np.float32), AdamWKernels(GuardedNumPy(), emulated)
    with pytest.raises(ValueError, match=r"gradients is \(2, 3\) float16; \(2, 3\) float32 is wanted"):
        kernels.step(x, x.astype(np.float16), x, x, 1, rate=1)
    with pytest.raises(ValueError, match=r"square is \(2, 3\) float16; \(2, 3\) float32 is wanted"):
        kernels.step(x, x, x, x.astype(np.float16), 1, rate=1)
    with pytest.raises(ValueError, match="step 0 is below 1"):
        kernels.step(x, x, x, x, 0, rate=1)
    with pytest.raises(ValueError, match=r"factor is \(2,\) float32, not one float32"):
        kernels.step(x, x, x, x, 1, rate=1, factor=x[:, 0])


# ------------------------------------------------------------ norms


def of_the_tape(op, grad, *args):
    """Gradients of a norm of the language, in float64, by every argument, flowing from `grad`."""
    names = [f"a{i}" for i in range(len(args))]

    def loss(ops, params):
        return ops.sum(getattr(ops, op)(*(params[n] for n in names)) * np.float64(grad))

    tape = Autodiff(vanilla(NumpyOps)(dtype="float64"))
    return list(tape.differentiate(loss, dict(zip(names, map(np.float64, args), strict=True)))[1].values())


def assert_gradients(t, found, wanted, terms=1):
    """terms: how large what is added up may become on the way."""
    for got, want in zip(found, wanted, strict=True):
        assert got.shape == want.shape
        assert got.dtype == DTYPES[t]
        assert np.abs(np.float64(got) - want).max(initial=0) <= 2 * EPS[t] * max(np.abs(want).max(initial=0), terms)


@pytest.mark.parametrize("t", DTYPES)
@pytest.mark.parametrize("D", [1, 2, 33, 1152])
def test_gradients_of_the_norms(emulated, t, D):
    rng = np.random.default_rng(D)
    x, grad = (guarded((rng.standard_normal((2, 3, D)) * 2).astype(DTYPES[t])) for _ in range(2))
    weight, bias = (guarded(rng.standard_normal(D).astype(x.dtype)) for _ in range(2))
    gradients = NormGradients(GuardedNumPy(), emulated)
    if D > 2:  # of fewer channels, the truth of a norm's slope is zero over zero
        assert_gradients(t, gradients.layer_norm(x, grad, weight), of_the_tape("layer_norm", grad, x, weight, bias))
        assert_gradients(t, gradients.layer_norm(x, grad)[:1], of_the_tape("layer_norm", grad, x))
    assert_gradients(t, gradients.rms_norm(x, grad, weight), of_the_tape("rms_norm", grad, x, weight))


@pytest.mark.parametrize("t", DTYPES)
@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize(
    ("shape", "groups"), [((2, 6, 5), 3), ((1, 4, 3, 5, 7), 1), ((3, 10), 2), ((1, 2, CHUNK + 3), 2)]
)
def test_gradients_of_group_norm(emulated, t, silu, shape, groups):
    rng = np.random.default_rng(shape[-1])
    x, grad = (guarded((rng.standard_normal(shape) + 1).astype(DTYPES[t])) for _ in range(2))
    weight, bias = (guarded(rng.standard_normal(shape[1]).astype(x.dtype)) for _ in range(2))
    op = "group_norm_silu" if silu else "group_norm"
    gradients = GroupNormGradients(GuardedNumPy(), emulated).gradients
    want = of_group_norm(op, grad, x, groups, weight, bias)
    found = gradients(x, grad, groups, weight, bias, silu=silu)
    assert_gradients(t, found[:1], want[:1])
    assert_gradients(t, found[1:], want[1:], terms=np.prod(shape[2:]))
    assert_gradients(t, gradients(x, grad, groups, silu=silu)[:1], of_group_norm(op, grad, x, groups))


@pytest.mark.parametrize("order", SCHEDULES)
def test_a_long_group_is_added_up_in_any_order(emulated, monkeypatch, order):
    monkeypatch.setattr("opensora_kernels.cuda.norms.MOST_CHUNKS", 2)
    rng = np.random.default_rng(order)
    x = guarded((rng.standard_normal((1, 2, PIECE + 7)) + np.array([[[3], [40]]])).astype(np.float32))
    grad, weight = (guarded(rng.standard_normal(s).astype(np.float32)) for s in (x.shape, 2))
    with schedule(order):
        found = GroupNormGradients(GuardedNumPy(), emulated).gradients(x, grad, 1, weight, None)
    for got, want in zip(found, of_group_norm("group_norm", grad, x, 1, weight), strict=False):
        np.testing.assert_allclose(got, want, rtol=0, atol=2e-5 * np.abs(want).max())


def of_group_norm(op, grad, x, groups, *vectors):
    """Gradients in float64 by x and the vectors."""
    values = {f"a{i}": np.float64(a) for i, a in enumerate((x, *vectors))}

    def loss(ops, p):
        return ops.sum(getattr(ops, op)(p["a0"], groups, *list(p.values())[1:]) * np.float64(grad))

    return list(Autodiff(vanilla(NumpyOps)(dtype="float64"), units=()).differentiate(loss, values)[1].values())


@pytest.mark.parametrize("order", SCHEDULES)
@pytest.mark.parametrize("vectors", [(2, 1, 1), (2, 3, 1), (1, 3, 1), (2, 3, 7), (), (7,)])
def test_gradients_of_modulate_add_up_over_what_shares_a_vector(emulated, monkeypatch, order, vectors):
    monkeypatch.setattr("opensora_kernels.cuda.norm_gradients.LONGEST_RUN", 4)
    rng = np.random.default_rng(order)
    x, grad = (guarded(rng.standard_normal((2, 3, 7, 10)).astype(np.float32)) for _ in range(2))
    scale, shift = (guarded(rng.standard_normal((*vectors, 10)).astype(np.float32)) for _ in range(2))
    with schedule(order):
        to_x, to_scale, to_shift = NormGradients(GuardedNumPy(), emulated).modulate(x, grad, scale)
    assert_gradients("float", (to_x, to_shift, to_scale), of_the_tape("modulate", grad, x, shift, scale))


def test_what_gradients_do_not_take_is_named(emulated):
    gradients, x = NormGradients(GuardedNumPy(), emulated), np.zeros((2, 4), np.float32)
    with pytest.raises(ValueError, match=r"scale \(3, 4\) does not fit x \(2, 4\)"):
        gradients.modulate(x, x, np.zeros((3, 4), np.float32))
    with pytest.raises(ValueError, match=r"grad \(4,\) float32 and scale do not fit x \(2, 4\) float32"):
        gradients.layer_norm(x, x[0])
    with pytest.raises(ValueError, match=r"20000 channels are outside 1..12672"):
        gradients.layer_norm(*[np.zeros((1, 20000), np.float32)] * 2)
    with pytest.raises(ValueError, match=r"grad \(4,\) float32 does not fit x \(2, 4\) float32"):
        GroupNormGradients(GuardedNumPy(), emulated).gradients(x, x[0], 2)


def test_no_undefined_behaviour():
    emulated = Emulated({file: [n for n in names if "__half" in n] for file, names in NAMES.items()}, sanitize=True)
    x = np.random.default_rng(0).standard_normal((3, 35)).astype(np.float16)
    assert_gradients(
        "__half", NormGradients(GuardedNumPy(), emulated).layer_norm(x, x)[:1], of_the_tape("layer_norm", x, x)
    )
    GroupNormGradients(GuardedNumPy(), emulated).gradients(x, x, 5, silu=True)
    new, _, _ = AdamWKernels(GuardedNumPy(), emulated).step(x, x, *np.zeros((2, 3, 35), np.float32), 1, rate=0.5)
    assert np.isfinite(new).all()
