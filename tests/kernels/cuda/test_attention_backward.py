"""Gradients of attention on emulated CUDA, against the tape in float64 through the default composition."""

import numpy as np
import pytest

from opensora_backends.numpy_ops import NumpyOps
from opensora_core.autodiff import Autodiff
from opensora_core.testing.running import vanilla
from opensora_kernels.cuda.attention import AttentionKernels
from opensora_kernels.cuda.attention_backward import AttentionGradients
from opensora_kernels.emulation import SCHEDULES, GuardedNumPy, guarded, schedule
from tests.kernels.cuda.emulated import DTYPES, Emulated, wide

FORWARD, BACKWARD = "flash_attention.cu", "attention_backward.cu"
TENSOR_CORES = [("__nv_bfloat16", 8, 4), ("__nv_bfloat16", 72, 4), ("__half", 72, 4), ("__nv_bfloat16", 128, 4)]
WIDE = [("__half", 192, 4), ("__nv_bfloat16", 256, 2)]
PLAIN = [*(("float", c) for c in range(1, 9)), ("__half", 2), ("__nv_bfloat16", 3)]
BOTH = [("__nv_bfloat16", 72), ("__half", 72), ("float", 70)]
UNIT = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}  # half a spacing of numbers from 1 to 2


def names():
    forward = [f"flash_attention<{t}, {D}, 4>" for t, D, _ in (*TENSOR_CORES, *WIDE)]
    forward += [f"flash_attention_plain<{t}, {c}>" for t, c in PLAIN]
    back = [f"attention_delta<{t}>" for t in DTYPES]
    for sides, kernels in ((("false, true, false", "true, true, true"), TENSOR_CORES), (SPLIT, WIDE)):
        back += [f"attention_backward<{t}, {D}, {warps}, {side}>" for t, D, warps in kernels for side in sides]
    back += [f"attention_backward_plain<{t}, {c}, {side}>" for t, c in PLAIN for side in ("false", "true")]
    return {FORWARD: forward, BACKWARD: back}


SPLIT = ("false, true, false", "true, true, false", "true, false, true")


@pytest.fixture(scope="module")
def emulated():
    return Emulated(names())


def tape(q, k, v, g, mask, scale):
    """Gradients of sum(g · attention), by the tape in float64."""
    ops = vanilla(NumpyOps)("cpu", "float64")
    names = {"q": wide(q), "k": wide(k), "v": wide(v)}

    def loss(on, p):
        return on.sum(on.attention(p["q"], p["k"], p["v"], mask, scale) * on.asarray(wide(g)))

    found = Autodiff(ops).differentiate(loss, names)[1]
    return [found[name] for name in names]


def plain(q, k, v, g, mask, scale):
    """The same by the textbook, in the dtype: weights from the log-sums, and rounded before a product; float32 sums."""
    dtype = q.dtype
    narrow = [np.float32(x) for x in (q, k, v, g)]
    q, k, v, g = narrow

    def rounded(x):
        return x.astype(dtype).astype(np.float32)

    def swap(x):
        return np.swapaxes(x, -1, -2)

    seen = np.broadcast_to(True if mask is None else mask, (*q.shape[:-1], k.shape[-2]))
    logits = np.where(seen, (q @ swap(k)) * np.float32(scale), np.float32(-1e30))
    most = logits.max(-1, keepdims=True)
    log_sums = most + np.log(np.exp(logits - most).sum(-1, keepdims=True))
    weights = np.where(seen, np.exp(logits - log_sums), np.float32(0))
    out = rounded(rounded(weights) @ v)
    flow = weights * (g @ swap(v) - (g * out).sum(-1, keepdims=True)) * np.float32(scale)
    return [rounded(x) for x in (rounded(flow) @ k, swap(rounded(flow)) @ q, swap(rounded(weights)) @ g)]


def distance(x, true):
    return float(np.abs(wide(x) - true).max())


def check(emulated, t, lead, L, M, D, mask=None, lengths=None, scale=None, spread=1.0, seed=0):
    rng = np.random.default_rng(seed + L * 1000 + M)
    q, k, v, g = (guarded((rng.standard_normal((*lead, n, D)) * spread).astype(DTYPES[t])) for n in (L, M, M, L))
    xp = GuardedNumPy()
    out, lse = AttentionKernels(xp, emulated).attention(q, k, v, mask, scale, lengths, with_lse=True)
    found = AttentionGradients(xp, emulated).gradients(q, k, v, out, lse, g, mask, scale, lengths)
    if lengths is not None:
        mask = (np.arange(M) < np.asarray(lengths)[:, None])[:, None, None]
    given = (mask, D**-0.5 if scale is None else scale)
    truth, same = tape(q, k, v, g, *given), plain(q, k, v, g, *given)
    moved = tape(*(wide(x) * (1 + 2.0**-24 * rng.choice([-1.0, 1.0], x.shape)) for x in (q, k, v, g)), *given)
    # g v^T and delta cancel, wholly where there is one key; what is left is the rounding of either
    cancelled = 2.0**-22 * float(np.abs(wide(g) @ np.swapaxes(wide(v), -1, -2)).max()) * abs(given[1])
    # weights come from logits and log-sums of this size, rounded to float32
    largest = float(np.abs(wide(q) @ np.swapaxes(wide(k), -1, -2)).max()) * abs(given[1])
    for i, name in enumerate("qkv"):
        assert found[i].dtype == q.dtype
        unit = UNIT[q.dtype.name] + UNIT["float32"] * largest
        floor = unit * np.abs(truth[i]).max() + 3 * distance(moved[i], truth[i]) + cancelled
        error, allowed = distance(found[i], truth[i]), 2 * max(distance(same[i], truth[i]), floor)
        assert error <= allowed, f"gradient by {name}: error {error:.3g}, allowed {allowed:.3g}"
    return found


@pytest.mark.parametrize(("t", "D", "warps"), [*TENSOR_CORES, *WIDE])
def test_every_tensor_core_kernel(emulated, t, D, warps):
    emulated.used.clear()
    check(emulated, t, (1, 2), 67, 70, D)
    used = [name for name in emulated.used if name.startswith("attention_backward<")]
    assert len(used) == (2 if D <= 128 else 3)
    for name in used:
        assert f"<{t}, {D}, {warps}, " in name
        assert emulated.counters(name)["mma"] > 0
        assert emulated.counters(name)["bank_conflicts"] == 0


@pytest.mark.parametrize(("t", "columns"), PLAIN)
def test_every_plain_kernel(emulated, t, columns):
    for D in {columns * 32 - 31, columns * 32 - (t != "float")}:
        check(emulated, t, (1, 2), 19, 35, D)
    assert f"attention_backward_plain<{t}, {columns}, true>" in emulated.used


@pytest.mark.parametrize(("t", "D"), BOTH)
@pytest.mark.parametrize(("L", "M"), [(1, 1), (2, 1), (1, 2), (7, 17), (17, 7), (31, 33), (63, 65), (64, 64), (65, 3)])
def test_any_number_of_queries_and_keys(emulated, t, D, L, M):
    check(emulated, t, (1, 1), L, M, D)


@pytest.mark.parametrize("order", SCHEDULES)
@pytest.mark.parametrize(("t", "D"), [*BOTH, ("__nv_bfloat16", 256)])
def test_any_order_of_execution(emulated, order, t, D):
    with schedule(order):
        check(emulated, t, (1, 1), 40, 70, D, seed=order)


@pytest.mark.parametrize(("t", "D"), BOTH)
def test_masks_and_lengths(emulated, t, D):
    rng = np.random.default_rng(3)
    mask = rng.random((2, 1, 19, 70)) < 0.4
    mask[0, 0, 4] = False  # a query without a key has no part in any gradient
    dq, _, _ = check(emulated, t, (2, 2), 19, 70, D, mask=mask)
    assert (dq[0, :, 4] == 0).all()
    check(emulated, t, (2, 2), 19, 70, D, mask=rng.random((2, 1, 1, 70)) < 0.5)
    _, dk, dv = check(emulated, t, (3, 1), 5, 70, D, lengths=np.array([0, 3, 70], np.int32))
    for x in (dk, dv):
        assert (x[0] == 0).all()
        assert (x[1, :, 3:] == 0).all()


@pytest.mark.parametrize("scale", [0.0, -0.2, 0.5])
@pytest.mark.parametrize(("t", "D"), BOTH)
def test_any_scale(emulated, scale, t, D):
    check(emulated, t, (1, 1), 9, 11, D, scale=scale)


def test_large_logits(emulated):
    for t, D in BOTH:
        check(emulated, t, (1, 1), 9, 40, D, spread=2.5)


def test_leading_axes_are_kept_apart_and_strides_heeded(emulated):
    """q of the model lies with its heads behind the tokens; keys are shared by the first axis."""
    rng = np.random.default_rng(5)
    xp, dtype = GuardedNumPy(), DTYPES["__nv_bfloat16"]
    q, g = (np.swapaxes(guarded(rng.standard_normal((2, 9, 3, 72)).astype(dtype)), 1, 2) for _ in range(2))
    k, v = (guarded(rng.standard_normal((1, 3, 7, 72)).astype(dtype)) for _ in range(2))
    out, lse = AttentionKernels(xp, emulated).attention(q, k, v, with_lse=True)
    dq, dk, dv = AttentionGradients(xp, emulated).gradients(q, k, v, out, lse, g)
    assert dk.shape == dv.shape == (2, 3, 7, 72)
    for x, true in zip(
        (dq, wide(dk).sum(0, keepdims=True), wide(dv).sum(0, keepdims=True)),
        tape(q, k, v, g, None, 72**-0.5),
        strict=True,
    ):
        assert np.abs(wide(x) - true).max() <= 0.02 * np.abs(true).max()


def test_nothing_to_do(emulated):
    empty, some = np.zeros((2, 3, 0, 72), np.float16), np.ones((2, 3, 4, 72), np.float16)
    out, lse = AttentionKernels(np, emulated).attention(some, empty, empty, with_lse=True)
    dq, dk, _ = AttentionGradients(np, emulated).gradients(some, empty, empty, out, lse, some)
    assert (dq == 0).all()
    assert dk.shape == (2, 3, 0, 72)


@pytest.mark.parametrize(("t", "D"), [("__half", 72), ("float", 70)])
def test_no_undefined_behaviour(t, D):
    mine = [
        n for n in names()[BACKWARD] if f"<{t}, {D}, " in n or f"_plain<{t}, 3, " in n or n == f"attention_delta<{t}>"
    ]
    forward = f"flash_attention<{t}, {D}, 4>" if t != "float" else "flash_attention_plain<float, 3>"
    emulated = Emulated({BACKWARD: mine, FORWARD: [forward]}, sanitize=True)
    check(emulated, t, (1, 2), 19, 40, D, mask=np.random.default_rng(7).random((1, 1, 19, 40)) < 0.6)
