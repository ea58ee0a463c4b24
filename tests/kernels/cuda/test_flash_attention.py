"""Attention tile by tile on emulated CUDA: every instantiation, tails, masks, layouts, orders of execution."""

import numpy as np
import pytest

from opensora_kernels.cuda.attention import AttentionKernels
from opensora_kernels.emulation import SCHEDULES, GuardedNumPy, guarded, schedule
from tests.kernels.cuda.emulated import DTYPES, Emulated, assert_attends, norms, tables, video, wide

FILE = "flash_attention.cu"
TENSOR_CORES = [
    *(("__nv_bfloat16", D) for D in (8, 16, 24, 40, 64, 72, 80, 96, 128, 136, 160, 224, 256)),
    *(("__half", D) for D in (8, 72, 128, 256)),
]
PLAIN = [*(("float", c) for c in range(1, 9)), *((t, c) for t in ("__half", "__nv_bfloat16") for c in (1, 3))]
NAMES = [f"flash_attention<{t}, {D}, 4>" for t, D in TENSOR_CORES]
NAMES += [f"flash_attention_plain<{t}, {c}>" for t, c in PLAIN]
BOTH = [("__nv_bfloat16", 72), ("float", 70)]


@pytest.fixture(scope="module")
def emulated():
    return Emulated({FILE: NAMES})


@pytest.fixture(scope="module")
def kernels(emulated):
    return AttentionKernels(GuardedNumPy(), emulated)


def rows(rng, shape, t):
    return guarded((rng.standard_normal(shape) * 1.5).astype(DTYPES[t]))


def qkv_of(seed, t, lead, L, M, D):
    rng = np.random.default_rng(seed)
    return tuple(rows(rng, (*lead, n, D), t) for n in (L, M, M))


@pytest.mark.parametrize(("t", "D"), TENSOR_CORES)
def test_every_tensor_core_kernel(kernels, emulated, t, D):
    q, k, v = qkv_of(D, t, (1, 2), 67, 70, D)
    assert_attends(kernels.attention(q, k, v), "attention", q, k, v)
    counters = emulated.counters(f"flash_attention<{t}, {D}, 4>")
    assert counters["bank_conflicts"] == 0
    keys = 64 if D <= 128 else 32 if D <= 224 else 16
    tiles, pairs = -(-70 // keys), keys // 16
    assert counters["mma"] == 2 * 2 * 4 * tiles * pairs * (2 * (D // 16 + D % 16 // 8) + D // 8)


@pytest.mark.parametrize(("t", "columns"), PLAIN)
def test_every_plain_kernel(kernels, emulated, t, columns):
    for D in {columns * 32 - 31, columns * 32 - (1 if t != "float" else 0)}:
        q, k, v = qkv_of(D, t, (1, 2), 19, 35, D)
        assert_attends(kernels.attention(q, k, v), "attention", q, k, v)
    assert f"flash_attention_plain<{t}, {columns}>" in emulated.used


@pytest.mark.parametrize(("t", "D"), BOTH)
@pytest.mark.parametrize("keys", [1, 2, 7, 17, 63, 64, 65, 130])
def test_any_number_of_keys(kernels, t, D, keys):
    q, k, v = qkv_of(keys, t, (1, 1), 3, keys, D)
    assert_attends(kernels.attention(q, k, v), "attention", q, k, v)


@pytest.mark.parametrize(("t", "D"), BOTH)
@pytest.mark.parametrize("queries", [1, 7, 16, 17, 63, 64, 65, 130])
def test_any_number_of_queries(kernels, t, D, queries):
    q, k, v = qkv_of(queries, t, (1, 1), queries, 5, D)
    assert_attends(kernels.attention(q, k, v), "attention", q, k, v)


@pytest.mark.parametrize("order", SCHEDULES)
@pytest.mark.parametrize(("t", "D"), [*BOTH, ("__half", 128), ("__nv_bfloat16", 256)])
def test_any_order_of_execution(kernels, order, t, D):
    q, k, v = qkv_of(order, t, (1, 1), 20, 3 * 16 + 150 * (D < 129), D)
    with schedule(order):
        assert_attends(kernels.attention(q, k, v), "attention", q, k, v)


@pytest.mark.parametrize("order", SCHEDULES[:4])
@pytest.mark.parametrize("pattern", ["spatial", "temporal", "full"])
@pytest.mark.parametrize(("t", "D"), [("__nv_bfloat16", 72), ("__half", 256), ("float", 6), ("__nv_bfloat16", 70)])
@pytest.mark.parametrize("given", ["nothing", "norms", "rope", "both", "k_norm"])
def test_videos_by_every_pattern(kernels, emulated, order, pattern, t, D, given):
    """Tokens of [B, T, S, 3, H, D] where they lie; 33 frames are one more than a temporal tile holds."""
    shape = {"spatial": (2, 2, 21), "temporal": (1, 33, 2), "full": (2, 3, 7)}[pattern]
    rng = np.random.default_rng(D)
    qkv = guarded(video(rng, *shape, 2, D, DTYPES[t]))
    L = {"spatial": 21, "temporal": 33, "full": 21}[pattern]
    weights, turns = norms(rng, D, qkv.dtype), tables(rng, L, D)
    prepared = {"nothing": (), "norms": weights, "rope": (None, None, *turns), "both": (*weights, *turns)}
    prepared["k_norm"] = (None, weights[1])
    with schedule(order):
        out = kernels.attention_3d(qkv, pattern, *prepared[given])
    assert_attends(out, "attention_3d", qkv, pattern, *prepared[given])


@pytest.mark.parametrize(("t", "D"), BOTH)
@pytest.mark.parametrize(
    "shape", [(2, 1, 1, 70), (70,), (1, 1), (2, 2, 19, 70), (19, 70), (2, 1, 19, 1), (2, 1, 1, 1)], ids=str
)
def test_masks_of_any_shape(kernels, t, D, shape):
    rng = np.random.default_rng(len(shape))
    q, k, v = qkv_of(5, t, (2, 2), 19, 70, D)
    mask = rng.random(shape) < 0.4
    for seen in (mask, mask | True, mask & False):
        assert_attends(kernels.attention(q, k, v, seen), "attention", q, k, v, seen)


@pytest.mark.parametrize(("t", "D"), BOTH)
def test_rows_without_a_key_give_zeros(kernels, t, D):
    q, k, v = qkv_of(6, t, (1, 2), 19, 100, D)
    mask = np.ones((19, 100), bool)
    mask[3], mask[5, :80], mask[7, 1:] = False, False, False  # none; none in the first tile; only the first
    out, lse = kernels.attention(q, k, v, mask, with_lse=True)
    assert_attends(out, "attention", q, k, v, mask)
    assert (out[..., 3, :] == 0).all()
    assert (lse[..., 3] == -np.inf).all()
    assert np.isfinite(np.delete(lse, 3, axis=-1)).all()


@pytest.mark.parametrize(("t", "D"), BOTH)
def test_lengths_count_the_first_keys(kernels, t, D):
    q, k, v = qkv_of(7, t, (4, 2), 5, 70, D)
    lengths = np.array([0, 1, 66, 100], np.int32)
    mask = (np.arange(70) < lengths[:, None])[:, None, None]
    assert_attends(kernels.attention(q, k, v, lengths=lengths), "attention", q, k, v, mask)


@pytest.mark.parametrize(("t", "D"), BOTH)
def test_log_sum_exp(kernels, t, D):
    q, k, v = qkv_of(8, t, (2, 3), 20, 70, D)
    _, lse = kernels.attention(q, k, v, scale=0.2, with_lse=True)
    logits = wide(q) @ np.swapaxes(wide(k), -1, -2) * 0.2
    np.testing.assert_allclose(lse, np.log(np.exp(logits).sum(-1)), rtol=0, atol=3e-6 * np.abs(logits).max())


@pytest.mark.parametrize("scale", [0.0, -0.3, 1.0])
@pytest.mark.parametrize(("t", "D"), BOTH)
def test_any_scale(kernels, scale, t, D):
    q, k, v = qkv_of(9, t, (1, 1), 9, 11, D)
    assert_attends(kernels.attention(q, k, v, scale=scale), "attention", q, k, v, None, scale)


@pytest.mark.parametrize(("t", "D"), BOTH)
def test_leading_axes_broadcast_and_lie_anywhere(kernels, t, D):
    rng = np.random.default_rng(10)
    q = np.swapaxes(rows(rng, (2, 9, 3, D), t), 1, 2)  # the model's: heads behind tokens
    k, v = rows(rng, (1, 3, 7, D), t), rows(rng, (7, D), t)
    out = kernels.attention(q, k, v)
    assert_attends(out, "attention", q, k, v)
    assert np.swapaxes(out, 1, 2).flags.c_contiguous
    for lead in ((), (3,), (2, 1, 3, 2)):
        q, k, v = (rows(rng, (*lead, n, D), t) for n in (4, 5, 5))
        assert_attends(kernels.attention(q, k, v), "attention", q, k, v)


def test_large_logits_do_not_overflow(kernels):
    for t, D in BOTH:
        q, k, v = qkv_of(11, t, (1, 1), 9, 70, D)
        q = (q * DTYPES[t](30)).astype(q.dtype)
        out = kernels.attention(q, k, v)
        assert np.isfinite(wide(out)).all()
        assert_attends(out, "attention", q, k, v)


def test_nothing_to_do(kernels):
    empty = np.zeros((2, 3, 0, 72), np.float16)
    some = np.ones((2, 3, 4, 72), np.float16)
    assert kernels.attention(empty, some, some).shape == (2, 3, 0, 72)
    out, lse = kernels.attention(some, empty, empty, with_lse=True)
    assert (out == 0).all()
    assert (lse == -np.inf).all()
    assert kernels.attention_3d(np.zeros((1, 0, 3, 3, 2, 8), np.float16), "spatial").shape == (1, 0, 3, 2, 8)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"q": np.zeros((1, 1, 2, 300), np.float32)}, "head dim 300 is outside 1..256"),
        ({"k": np.zeros((1, 1, 2, 16), np.float32)}, "do not share head dim and dtype"),
        ({"v": np.zeros((1, 1, 3, 8), np.float32)}, "do not share head dim"),
        ({"v": np.zeros((1, 1, 2, 8), np.float16)}, r"v \(1, 1, 2, 8\) float16 do not share"),
        (dict.fromkeys("qkv", np.zeros((1, 1, 2, 8))), "dtype float64 is not one of the kernels': float32, float16"),
    ],
)
def test_what_no_kernel_serves_is_said(kernels, change, words):
    given = dict.fromkeys("qkv", np.zeros((1, 1, 2, 8), np.float32)) | change
    with pytest.raises(ValueError, match=words):
        kernels.attention(**given)


def test_rope_wants_pairs(kernels):
    turns = np.zeros((4, 3), np.float32)
    with pytest.raises(ValueError, match="head dim 7 is odd"):
        kernels.attention_3d(np.zeros((1, 1, 4, 3, 2, 7), np.float32), "spatial", None, None, turns, turns)


@pytest.mark.parametrize(("t", "D"), BOTH)
def test_no_undefined_behaviour(t, D):
    name = f"flash_attention<{t}, {D}, 4>" if t != "float" else f"flash_attention_plain<{t}, 3>"
    kernels = AttentionKernels(GuardedNumPy(), Emulated({FILE: [name]}, sanitize=True))
    rng = np.random.default_rng(12)
    q, k, v = qkv_of(12, t, (1, 2), 19, 70, D)
    mask = rng.random((1, 1, 1, 70)) < 0.5
    out, _ = kernels.attention(q, k, v, mask, with_lse=True)
    assert_attends(out, "attention", q, k, v, mask)
    qkv = guarded(video(rng, 1, 2, 21, 2, D, DTYPES[t]))
    for prepared in (norms(rng, D, qkv.dtype), (*norms(rng, D, qkv.dtype), *tables(rng, 21, D))):
        out = kernels.attention_3d(qkv, "spatial", *prepared)
        assert_attends(out, "attention_3d", qkv, "spatial", *prepared)
