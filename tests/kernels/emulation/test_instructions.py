"""The instructions of ptx.cuh, against NumPy: halves, cp.async, ldmatrix, mma."""

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import opensora_kernels
from opensora_kernels.emulation import SCHEDULES, EmulatedModule, LaunchError, guarded, poisoned, schedule

CUDA = Path(opensora_kernels.__file__).parent / "cuda"
CODE = r"""
#include "ptx.cuh"

extern "C" __global__ void narrow(const float* x, __half* h, __nv_bfloat16* b, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) h[i] = __float2half(x[i]), b[i] = __float2bfloat16(x[i]);
}
extern "C" __global__ void widen(const __half* h, const __nv_bfloat16* b, float* fh, float* fb, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) fh[i] = __half2float(h[i]), fb[i] = __bfloat162float(b[i]);
}

template <int BYTES, int WAIT>
__global__ void copy(const float* x, float* y, int n) {  // two groups; what WAIT lets go on is not read yet
  DYN_SMEM(raw);
  const int i = threadIdx.x, per = BYTES / 4;
  const uint32_t to = uint32_t(__cvta_generic_to_shared(raw));
  for (int g = 0; g < 2; g++) {
    const int first = (g * blockDim.x + i) * per;
    ptx::cp_async<BYTES>(to + first * 4, first < n ? x + first : x, first < n);
    ptx::cp_async_commit();
  }
  ptx::cp_async_wait<WAIT>();
  __syncthreads();
  for (int k = i; k < int(blockDim.x) * per; k += blockDim.x) y[k] = reinterpret_cast<float*>(raw)[k];
  ptx::cp_async_wait<0>();
  __syncthreads();
  for (int k = i; k < int(blockDim.x) * per; k += blockDim.x)
    y[blockDim.x * per + k] = reinterpret_cast<float*>(raw)[blockDim.x * per + k];
}
extern "C" __global__ void forget(const float* x) {
  DYN_SMEM(raw);
  ptx::cp_async<16>(uint32_t(__cvta_generic_to_shared(raw)), x);
  ptx::cp_async_commit();
}
extern "C" __global__ void misaligned(const float* x) {
  DYN_SMEM(raw);
  ptx::cp_async<16>(uint32_t(__cvta_generic_to_shared(raw)), x + 1);
  ptx::cp_async_commit();
  ptx::cp_async_wait<0>();
}

// c [16, 8] = a [16, K] b [K, 8]: a by rows and b by columns ([8, K]) for TRANS = false, b by rows ([K, 8]) for true.
template <typename T, int K, int ROW, bool TRANS>
__global__ void product(const T* a, const T* b, float* c) {
  DYN_SMEM(raw);
  T* sa = reinterpret_cast<T*>(raw);
  T* sb = sa + 16 * ROW;
  const int lane = threadIdx.x;
  for (int i = lane; i < 16 * K; i += 32) sa[i / K * ROW + i % K] = a[i];
  for (int i = lane; i < 8 * K; i += 32) sb[TRANS ? i : i / K * ROW + i % K] = b[i];
  __syncwarp();
  auto at = [](const T* p) { return uint32_t(__cvta_generic_to_shared(p)); };
  float sum[4] = {0.f, 0.f, 0.f, 0.f};
  if constexpr (K == 16) {
    uint32_t fa[4], fb[2];
    ptx::ldmatrix_x4(fa, at(sa + lane % 16 * ROW + lane / 16 * 8));
    if (TRANS) ptx::ldmatrix_x2_trans(fb, at(sb + lane % 16 * 8));
    else ptx::ldmatrix_x2(fb, at(sb + lane % 8 * ROW + lane / 8 % 2 * 8));
    ptx::mma_16816<T>(sum, fa, fb);
  } else {
    uint32_t fa[2], fb[1];
    ptx::ldmatrix_x2(fa, at(sa + lane % 16 * ROW));
    if (TRANS) ptx::ldmatrix_x1_trans(fb, at(sb + lane % 8 * 8));
    else ptx::ldmatrix_x1(fb, at(sb + lane % 8 * ROW));
    ptx::mma_1688<T>(sum, fa, fb);
  }
  for (int i = 0; i < 4; i++) c[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sum[i];
}
"""
TYPES = {"__half": np.float16, "__nv_bfloat16": ml_dtypes.bfloat16}
COPIES = [f"copy<{size}, {wait}>" for size in (4, 8, 16) for wait in (0, 1)] + ["copy<16, 2>"]
PRODUCTS = [
    f"product<{t}, {k}, {row}, {tr}>"
    for t in TYPES
    for k, row in ((16, 16), (16, 24), (8, 8))
    for tr in ("false", "true")
]


@pytest.fixture(scope="module")
def module():
    return EmulatedModule(code=CODE, options=(f"-I{CUDA}",), name_expressions=(*COPIES, *PRODUCTS))


def test_halves_round_as_numpy_does(module):
    rng = np.random.default_rng(0)
    edges = [0, -0.0, 65504, 65519.99, 65520, 1e9, -1e9, 2**-24, 2**-25, 1.5 * 2**-25, 6.1e-5, 6.09e-5, np.inf, np.nan]
    x = np.concatenate([np.float32(edges), rng.standard_normal(3000, np.float32) * 2.0 ** rng.integers(-30, 18, 3000)])
    x = x.astype(np.float32)
    h, b = np.empty(x.shape, np.float16), np.empty(x.shape, ml_dtypes.bfloat16)
    module.get_function("narrow")((-(-x.size // 128),), (128,), (x, h, b, np.int32(x.size)))
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(h, x.astype(np.float16))
    np.testing.assert_array_equal(b.astype(np.float32), x.astype(ml_dtypes.bfloat16).astype(np.float32))


def test_every_half_widens_exactly(module):
    every = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16)
    h, b = every.view(np.float16), every.view(ml_dtypes.bfloat16)
    fh, fb = np.empty(h.shape, np.float32), np.empty(h.shape, np.float32)
    module.get_function("widen")((512,), (128,), (h, b, fh, fb, np.int32(h.size)))
    np.testing.assert_array_equal(fh, h.astype(np.float32))
    np.testing.assert_array_equal(fb, b.astype(np.float32))


@pytest.mark.parametrize("order", SCHEDULES)
@pytest.mark.parametrize("name", COPIES[:-1])
def test_asynchronous_copies_arrive_and_fill_with_zeros(module, name, order):
    per = int(name[5:].split(",")[0]) // 4
    n = 50 * per
    x, y = guarded(np.arange(1, n + 1, dtype=np.float32)), poisoned((64 * per,), np.float32)
    kernel = module.get_function(name)
    with schedule(order):
        kernel((1,), (32,), (x, y, np.int32(n)), shared_mem=64 * per * 4)
    np.testing.assert_array_equal(y, np.concatenate([x, np.zeros(14 * per, np.float32)]))
    assert kernel.counters["cp_async"] == 64


def test_a_wait_too_weak_reads_poison_in_the_late_schedule_only(module):
    x, seen = np.ones(256, np.float32), {}
    for order in (0, 1):
        y = poisoned((256,), np.float32)
        with schedule(order):
            module.get_function("copy<16, 2>")((1,), (32,), (x, y, np.int32(256)), shared_mem=1024)
        seen[order] = bool(np.isnan(y).any())
    assert seen == {0: True, 1: False}


def test_copies_must_be_waited_for_and_aligned(module):
    x = np.zeros(8, np.float32)
    with pytest.raises(LaunchError, match=r"ends with a cp\.async not waited for"):
        module.get_function("forget")((1,), (1,), (x,), shared_mem=16)
    with pytest.raises(LaunchError, match=r"cp\.async from global memory: .* not aligned to 16 bytes, in thread"):
        module.get_function("misaligned")((1,), (1,), (x,), shared_mem=16)


@pytest.mark.parametrize("name", PRODUCTS)
def test_tensor_cores_multiply(module, name):
    t, k, row, transposed = name[len("product<") : -1].split(", ")
    k, row = int(k), int(row)
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((16, k)).astype(TYPES[t]), rng.standard_normal((k, 8)).astype(TYPES[t])
    given = b if transposed == "true" else np.ascontiguousarray(b.T)
    c, kernel = poisoned((16, 8), np.float32), module.get_function(name)
    kernel(
        (1,), (32,), (guarded(a), guarded(given), c), shared_mem=(24 * row + (8 * k if transposed == "true" else 0)) * 2
    )
    np.testing.assert_allclose(c, a.astype(np.float64) @ b.astype(np.float64), rtol=0, atol=1e-5)
    assert (kernel.counters["mma"], kernel.counters["ldmatrix"]) == (1, 2)
    assert (kernel.counters["bank_conflicts"] > 0) == (row == 16)  # rows of 32 bytes meet in a bank; 16 and 48 do not
