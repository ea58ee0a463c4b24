"""Attention along time on emulated CUDA: every instantiation, 1 to 32 frames, orders of execution, guard pages."""

import numpy as np
import pytest

from opensora_kernels.cuda.attention import AttentionKernels
from opensora_kernels.emulation import SCHEDULES, GuardedNumPy, LaunchError, guarded, schedule
from tests.kernels.cuda.emulated import DTYPES, Emulated, assert_attends, norms, tables, video

FILE = "temporal_attention.cu"
TENSOR_CORES = [
    *((t, D, frames, 4) for t in ("__nv_bfloat16", "__half") for D in (8, 72) for frames in (16, 32)),
    *(("__nv_bfloat16", D, 16, 4) for D in (16, 40, 64, 128)),
    *(("__nv_bfloat16", 128, 32, 2), ("__half", 256, 16, 2), ("__nv_bfloat16", 256, 32, 1)),
]
NAMES = [f"temporal_attention<{t}, {D}, {frames}, {warps}>" for t, D, frames, warps in TENSOR_CORES]
NAMES += [f"temporal_attention_plain<{t}>" for t in DTYPES]


@pytest.fixture(scope="module")
def emulated():
    return Emulated({FILE: NAMES})


def attend(emulated, qkv, *prepared):
    """The result on a guarded, read-only copy, and the truth's judgement of it."""
    qkv = guarded(qkv)
    qkv.flags.writeable = False
    out = AttentionKernels(GuardedNumPy(), emulated).attention_3d(qkv, "temporal", *prepared)
    assert_attends(out, "attention_3d", qkv, "temporal", *prepared)
    return out


@pytest.mark.parametrize(("t", "D", "frames", "warps"), TENSOR_CORES)
def test_every_tensor_core_kernel(emulated, t, D, frames, warps):
    rng = np.random.default_rng(D + frames)
    T = frames - 3
    qkv = video(rng, 1, T, 2, 3, D, DTYPES[t])
    attend(emulated, qkv)
    attend(emulated, qkv, *norms(rng, D, qkv.dtype), *tables(rng, T, D))
    assert emulated.counters(f"temporal_attention<{t}, {D}, {frames}, {warps}>")["mma"] > 0


@pytest.mark.parametrize("t", DTYPES)
@pytest.mark.parametrize("D", [1, 2, 3, 30, 33, 70, 127, 255])
def test_every_plain_kernel_takes_any_head_dim(emulated, t, D):
    rng = np.random.default_rng(D)
    qkv = video(rng, 1, 5, 2, 3, D, DTYPES[t])
    emulated.used.clear()
    attend(emulated, qkv)
    attend(emulated, qkv, *norms(rng, D, qkv.dtype), *(tables(rng, 5, D) if D % 2 == 0 else ()))
    assert list(emulated.used) == [f"temporal_attention_plain<{t}>"]


@pytest.mark.parametrize("t", ["float", "__nv_bfloat16"])
@pytest.mark.parametrize("T", [*range(1, 31), 32])
def test_any_number_of_frames(emulated, t, T):
    rng = np.random.default_rng(T)
    qkv = video(rng, 1, T, 1, 2, 72 if t != "float" else 10, DTYPES[t])
    attend(emulated, qkv, *norms(rng, qkv.shape[-1], qkv.dtype), *tables(rng, T, qkv.shape[-1]))


@pytest.mark.parametrize("order", SCHEDULES)
@pytest.mark.parametrize(("t", "D"), [("__nv_bfloat16", 72), ("__half", 72), ("float", 72)])
def test_any_order_of_execution(emulated, order, t, D):
    rng = np.random.default_rng(order)
    qkv = video(rng, 2, 7, 3, 6, D, DTYPES[t])  # six heads: the second block of warps is half idle
    with schedule(order):
        attend(emulated, qkv, *norms(rng, D, qkv.dtype), *tables(rng, 7, D))


def test_a_block_goes_on_to_the_next_place(emulated, monkeypatch):
    monkeypatch.setattr("opensora_kernels.cuda.attention.RESIDENT_BLOCKS", 1)
    rng = np.random.default_rng(0)
    qkv = video(rng, 2, 6, 5, 2, 72, DTYPES["__half"])
    for order in SCHEDULES:
        with schedule(order):
            attend(emulated, qkv, *norms(rng, 72, qkv.dtype), *tables(rng, 6, 72))
    assert emulated.counters("temporal_attention<__half, 72, 16, 4>")["blocks"] == 3  # of ten places


@pytest.mark.parametrize("given", ["q_norm", "k_norm", "rope"])
@pytest.mark.parametrize(("t", "D"), [("__nv_bfloat16", 72), ("float", 34)])
def test_each_preparation_alone(emulated, given, t, D):
    rng = np.random.default_rng(1)
    qkv = video(rng, 1, 9, 2, 2, D, DTYPES[t])
    q_norm, k_norm = norms(rng, D, qkv.dtype)
    cos, sin = tables(rng, 9, D)
    chosen = {"q_norm": (q_norm, None), "k_norm": (None, k_norm), "rope": (None, None, cos, sin)}[given]
    attend(emulated, qkv, *chosen)


def test_any_strides(emulated):
    """Views of larger and transposed arrays are read where they lie; unaligned ones are copied."""
    rng = np.random.default_rng(2)
    kernels = AttentionKernels(GuardedNumPy(), emulated)
    whole = video(rng, 2, 6, 4, 5, 72, DTYPES["__nv_bfloat16"])
    for qkv in (
        whole[:, ::2],
        whole[:, :, 1:3],
        whole[:, :, :, :, 1:4],
        whole[::-1],
        whole.transpose(0, 2, 1, 3, 4, 5),
    ):
        assert_attends(kernels.attention_3d(qkv, "temporal"), "attention_3d", qkv, "temporal")
    unaligned = video(rng, 1, 4, 2, 2, 75, DTYPES["__nv_bfloat16"])[..., 3:]
    assert_attends(kernels.attention_3d(unaligned, "temporal"), "attention_3d", unaligned, "temporal")


def test_an_unaligned_pointer_would_be_a_fault(emulated):
    kernel = emulated(FILE, "temporal_attention<__nv_bfloat16, 72, 16, 4>")
    qkv, out = np.zeros(3 * 72 + 1, DTYPES["__nv_bfloat16"])[1:], np.zeros(72, DTYPES["__nv_bfloat16"])
    numbers = (*map(np.int32, (1, 1, 1, 1)), *map(np.int64, (216, 216, 216, 72, 72)), np.float32(1), np.float32(0))
    with pytest.raises(LaunchError, match="not aligned to 16 bytes"):
        kernel((1, 1), (128,), (qkv, out, *[np.uintp(0)] * 4, *numbers), shared_mem=40000)


def test_work_is_what_the_arithmetic_says(emulated):
    """B=1, T=15, S=3, H=4, D=72: per head 2 x 4 + 2 mma for the logits and 9 for the result, no bank met twice."""
    rng = np.random.default_rng(3)
    attend(emulated, video(rng, 1, 15, 3, 4, 72, DTYPES["__nv_bfloat16"]))
    counters = emulated.counters("temporal_attention<__nv_bfloat16, 72, 16, 4>")
    assert counters["mma"] == 3 * 4 * (2 * 4 + 2 + 9)
    assert counters["cp_async"] == 3 * 4 * 3 * 16 * 9
    assert counters["bank_conflicts"] == 0
    assert counters["shared_bytes"] == 4 * 3 * 16 * 72 * 2 + 2 * 72 * 4


@pytest.mark.parametrize("name", ["temporal_attention<__half, 72, 16, 4>", "temporal_attention_plain<float>"])
def test_no_undefined_behaviour(name):
    emulated = Emulated({FILE: [name]}, sanitize=True)
    rng = np.random.default_rng(4)
    t = "float" if "float" in name else "__half"
    qkv = video(rng, 1, 7, 2, 3, 72, DTYPES[t])
    attend(emulated, qkv, *norms(rng, 72, qkv.dtype), *tables(rng, 7, 72))
