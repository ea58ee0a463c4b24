"""What a block of fibers does together, and how it says what went wrong."""

import ml_dtypes
import numpy as np
import pytest

from opensora_kernels.emulation import SCHEDULES, EmulatedModule, LaunchError, guarded, poisoned, schedule

CODE = r"""
#include <cuda_bf16.h>
#include <cuda_fp16.h>

template <typename T>
__global__ void __launch_bounds__(64) reverse(const T* __restrict__ x, T* y, int n) {
  DYN_SMEM(raw);
  T* s = reinterpret_cast<T*>(raw);
  const int i = threadIdx.x, g = blockIdx.x * 64 + i;
  if (g < n) s[i] = x[g];
  __syncthreads();
  if (g < n) y[g] = s[min(63, n - 1 - int(blockIdx.x) * 64) - i];
}

extern "C" __global__ void no_barrier(const float* x, float* y) {
  DYN_SMEM(raw);
  float* s = reinterpret_cast<float*>(raw);
  s[threadIdx.x] = x[threadIdx.x];
  y[threadIdx.x] = s[63 - threadIdx.x];
}

extern "C" __global__ void shuffles(int* y, unsigned* votes) {
  const int lane = threadIdx.x % 32, i = threadIdx.x * 6;
  const unsigned all = 0xffffffffu;
  y[i] = __shfl_xor_sync(all, lane, 5);
  y[i + 1] = __shfl_down_sync(all, lane, 3);
  y[i + 2] = __shfl_up_sync(all, lane, 3);
  y[i + 3] = __shfl_sync(all, lane, 9);
  y[i + 4] = __shfl_sync(all, lane, 1, 8);
  y[i + 5] = __shfl_down_sync(all, lane, 3, 8);
  const int any = __any_sync(all, lane == 7), every = __all_sync(all, lane < 32);
  votes[threadIdx.x] = __ballot_sync(all, lane % 3 == 0) ^ (any << 1) ^ every;
}

extern "C" __global__ void atomics(int* sum, float* total, int* most, int* ticket) {
  atomicAdd(sum, int(threadIdx.x));
  atomicAdd(total, 0.5f);
  atomicMax(most, int(threadIdx.x * 7 % 64));
  atomicCAS(ticket, 0, int(threadIdx.x) + 1);
}

extern "C" __global__ void half_a_warp_shuffles(int* y) {
  if (threadIdx.x < 16) y[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1, 1);
}
extern "C" __global__ void lanes_disagree(int* y) {
  y[threadIdx.x] = threadIdx.x < 16 ? __shfl_xor_sync(0xffffffffu, 1, 1) : __shfl_up_sync(0xffffffffu, 1, 1);
}
extern "C" __global__ void unnamed_source(int* y) {
  if (threadIdx.x < 16) y[threadIdx.x] = __shfl_xor_sync(0x0000ffffu, 1, 16);
}
extern "C" __global__ void mask_without_oneself(int* y) { y[threadIdx.x] = __shfl_xor_sync(0x0000ffffu, 1, 1); }
extern "C" __global__ void two_barriers(int* y) {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  y[threadIdx.x] = 1;
}
extern "C" __global__ void barrier_against_warp(int* y) {
  if (threadIdx.x == 40) __syncthreads();
  __syncwarp();
  y[threadIdx.x] = 1;
}
extern "C" __global__ void shift(int* y, int by) { y[threadIdx.x] = 1 << by; }
extern "C" __global__ void write_at(float* y, int at) {
  DYN_SMEM(raw);
  reinterpret_cast<float*>(raw)[at] = 1.0f;
  y[0] = reinterpret_cast<float*>(raw)[0];
}
extern "C" __global__ void misaligned(float* y, int at) {
  *reinterpret_cast<float4*>(y + at) = make_float4(1, 2, 3, 4);
}
extern "C" __global__ void no_end(int* y) {
  volatile int pit[1 << 16];
  for (int i = 0; i < (1 << 16); i++) pit[i] = i;
  y[0] = pit[y[0]];
}
"""
TYPES = {"float": np.float32, "__half": np.float16, "__nv_bfloat16": ml_dtypes.bfloat16}


@pytest.fixture(scope="module")
def module():
    return EmulatedModule(code=CODE, name_expressions=[f"reverse<{t}>" for t in TYPES])


def line_of(words):
    return next(i for i, line in enumerate(CODE.splitlines(), 1) if words in line)


@pytest.mark.parametrize("order", SCHEDULES)
@pytest.mark.parametrize("name", TYPES)
def test_a_block_shares_memory(module, name, order):
    x = np.arange(150).astype(TYPES[name])
    y = poisoned(x.shape, x.dtype)
    kernel = module.get_function(f"reverse<{name}>")
    with schedule(order):
        kernel((3,), (64,), (guarded(x), y, np.int32(150)), shared_mem=64 * x.itemsize)
    expected = np.concatenate([x[:64][::-1], x[64:128][::-1], x[128:][::-1]])
    np.testing.assert_array_equal(y.astype(np.float32), expected.astype(np.float32))
    assert kernel.counters["blocks"] == kernel.counters["barriers"] == 3
    assert kernel.counters["shared_bytes"] == 64 * x.itemsize


def test_a_missing_barrier_shows_as_poison(module):
    y = poisoned((64,), np.float32)
    module.get_function("no_barrier")((1,), (64,), (np.ones(64, np.float32), y), shared_mem=256)
    assert np.isnan(y).any()


def test_lanes_exchange_values(module):
    y, votes = np.full((64, 6), -1, np.int32), np.zeros(64, np.uint32)
    module.get_function("shuffles")((1,), (64,), (y, votes))
    lane = np.arange(32)
    segment = np.where(lane % 8 + 3 < 8, lane + 3, lane)
    down, up = np.where(lane < 29, lane + 3, lane), np.where(lane >= 3, lane - 3, lane)
    expected = np.stack([lane ^ 5, down, up, lane * 0 + 9, lane // 8 * 8 + 1, segment], axis=-1)
    np.testing.assert_array_equal(y.reshape(2, 32, 6), np.stack([expected, expected]))
    assert set(votes.tolist()) == {int((1 << lane[lane % 3 == 0]).sum()) ^ 3}


@pytest.mark.parametrize("order", SCHEDULES)
def test_atomics_lose_nothing(module, order):
    total, cells = np.zeros(1, np.float32), [np.zeros(1, np.int32) for _ in range(3)]
    with schedule(order):
        module.get_function("atomics")((2,), (64,), (cells[0], total, cells[1], cells[2]))
    assert (cells[0][0], total[0], cells[1][0]) == (2 * 63 * 32, 64, 63)
    assert 1 <= cells[2][0] <= 64


@pytest.mark.parametrize(
    ("name", "words", "at"),
    [
        ("half_a_warp_shuffles", "deadlock: thread (0,0,0) of block (0,0,0), line {}", "if (threadIdx.x < 16) y"),
        ("lanes_disagree", "while other lanes of its warp are at __shfl", None),
        ("unnamed_source", "lane 0 shuffles from lane 16, which the mask 0000ffff does not name", None),
        ("mask_without_oneself", "with mask 0000ffff, which does not name its lane 16", None),
        ("two_barriers", "different barriers: thread 0 at line {}, thread 32", "    __syncthreads();"),
        ("barrier_against_warp", "deadlock: thread (32,0,0) of block (0,0,0)", None),
        ("no_end", "memory fault at address", None),
    ],
)
def test_a_fault_names_its_thread_and_place(module, name, words, at):
    with pytest.raises(LaunchError) as caught:
        module.get_function(name)((1,), (64,), (np.zeros(64, np.int32),))
    assert words.format(line_of(at) if at else "") in str(caught.value)
    assert str(caught.value).startswith(f"{name}: ")


def test_the_machine_runs_on_after_a_fault(module):
    y = np.zeros(64, np.int32)
    for _ in range(3):
        with pytest.raises(LaunchError):
            module.get_function("half_a_warp_shuffles")((1,), (64,), (y,))
        module.get_function("shift")((1,), (64,), (y, np.int32(4)))
        assert (y == 16).all()


def test_reading_or_writing_past_the_end_is_a_fault(module):
    kernel = module.get_function("reverse<float>")
    x, y = guarded(np.zeros(60, np.float32)), np.zeros(64, np.float32)
    with pytest.raises(LaunchError, match=r"memory fault .* thread \(60,0,0\) of block \(0,0,0\)"):
        kernel((1,), (64,), (x, y, np.int32(64)), shared_mem=256)
    with pytest.raises(LaunchError, match=r"thread \(60,0,0\) of block"):
        kernel((1,), (64,), (y, x, np.int32(64)), shared_mem=256)
    with pytest.raises(LaunchError, match="memory fault"):
        kernel((1,), (64,), (y, y.copy(), np.int32(64)), shared_mem=240)


def test_writing_just_behind_shared_memory_is_seen(module):
    y = np.zeros(1, np.float32)
    kernel = module.get_function("write_at")
    kernel((1,), (1,), (y, np.int32(0)), shared_mem=4)
    assert y[0] == 1
    with pytest.raises(LaunchError, match="byte 4 of 4 of shared memory was written"):
        kernel((1,), (1,), (y, np.int32(1)), shared_mem=4)


def test_the_sanitizing_build_traps_undefined_behaviour():
    module = EmulatedModule(code=CODE, sanitize=True)
    module.get_function("shift")((1,), (1,), (np.zeros(1, np.int32), np.int32(31)))
    with pytest.raises(LaunchError, match="undefined behaviour in thread"):
        module.get_function("shift")((1,), (1,), (np.zeros(1, np.int32), np.int32(32)))
    y = guarded(np.zeros(8, np.float32))
    module.get_function("misaligned")((1,), (1,), (y, np.int32(4)))
    np.testing.assert_array_equal(y[4:], [1, 2, 3, 4])
    with pytest.raises(LaunchError, match="undefined behaviour"):
        module.get_function("misaligned")((1,), (1,), (y, np.int32(3)))


@pytest.mark.parametrize(
    ("grid", "block", "shared", "words"),
    [
        ((0,), (32,), 0, r"a grid of \(0, 1, 1\)"),
        ((1, 70000), (32,), 0, r"a grid of \(1, 70000, 1\)"),
        ((1,), (2048,), 0, r"a block of \(2048, 1, 1\)"),
        ((1,), (1, 1, 65), 0, "deeper than 64"),
        ((1,), (32,), 50000, "max_dynamic_shared_size_bytes is 49152"),
    ],
)
def test_a_launch_that_a_gpu_refuses_is_refused(module, grid, block, shared, words):
    with pytest.raises(LaunchError, match=words):
        module.get_function("shift")(grid, block, (np.zeros(4096, np.int32), np.int32(1)), shared_mem=shared)


def test_shared_memory_has_a_limit(module):
    kernel = module.get_function("shift")
    kernel.max_dynamic_shared_size_bytes = 300 << 10
    with pytest.raises(LaunchError, match="237568 bytes of shared memory; a block may have 232448"):
        kernel((1,), (32,), (np.zeros(32, np.int32), np.int32(1)), shared_mem=232 << 10)
    kernel((1,), (32,), (np.zeros(32, np.int32), np.int32(1)), shared_mem=227 << 10)
