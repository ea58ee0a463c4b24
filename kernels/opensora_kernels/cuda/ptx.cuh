// All inline assembly that kernels may use. opensora_kernels.emulation has a CPU twin of each line, and gpu_check compares
// the two on a GPU.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#ifndef CUDA_EMULATION
#ifdef __CUDACC_RTC__
typedef unsigned int uint32_t;
typedef unsigned long long uint64_t;
#else
#include <cstdint>
#endif

#define DYN_SMEM(name) extern __shared__ __align__(128) unsigned char name[]

namespace ptx {

// Copy BYTES (4, 8 or 16) from global to shared memory behind the thread's back; zeros if not `valid`.
template <int BYTES>
__device__ __forceinline__ void cp_async(uint32_t target, const void* source, bool valid = true) {
  static_assert(BYTES == 4 || BYTES == 8 || BYTES == 16, "cp.async copies 4, 8 or 16 bytes");
  if (BYTES == 16)  // past L1: a tile is read once by a block
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(target), "l"(source), "r"(valid ? 16 : 0)
                 : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;\n" ::"r"(target), "l"(source), "n"(BYTES),
                 "r"(valid ? BYTES : 0)
                 : "memory");
}
__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
// Wait until at most N of the newest groups are under way.
template <int N>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(N) : "memory");
}

#define LDMATRIX_1(name, suffix)                                                        \
  __device__ __forceinline__ void name(uint32_t (&r)[1], uint32_t address) {            \
    asm volatile("ldmatrix.sync.aligned.m8n8.x1" suffix ".shared.b16 {%0}, [%1];\n"     \
                 : "=r"(r[0]) : "r"(address) : "memory");                               \
  }
#define LDMATRIX_2(name, suffix)                                                        \
  __device__ __forceinline__ void name(uint32_t (&r)[2], uint32_t address) {            \
    asm volatile("ldmatrix.sync.aligned.m8n8.x2" suffix ".shared.b16 {%0,%1}, [%2];\n"  \
                 : "=r"(r[0]), "=r"(r[1]) : "r"(address) : "memory");                   \
  }
#define LDMATRIX_4(name, suffix)                                                              \
  __device__ __forceinline__ void name(uint32_t (&r)[4], uint32_t address) {                  \
    asm volatile("ldmatrix.sync.aligned.m8n8.x4" suffix ".shared.b16 {%0,%1,%2,%3}, [%4];\n"  \
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory"); \
  }
LDMATRIX_1(ldmatrix_x1, "")
LDMATRIX_2(ldmatrix_x2, "")
LDMATRIX_4(ldmatrix_x4, "")
LDMATRIX_1(ldmatrix_x1_trans, ".trans")
LDMATRIX_2(ldmatrix_x2_trans, ".trans")
LDMATRIX_4(ldmatrix_x4_trans, ".trans")
#undef LDMATRIX_1
#undef LDMATRIX_2
#undef LDMATRIX_4

// c[16x8] += a[16xK] b[Kx8] on the tensor cores, fp32 sums; T is __half or __nv_bfloat16.
template <typename T>
__device__ __forceinline__ void mma_16816(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
template <typename T>
__device__ __forceinline__ void mma_1688(float (&c)[4], const uint32_t (&a)[2], const uint32_t (&b)[1]);

#define MMA(T, type)                                                                                              \
  template <>                                                                                                     \
  __device__ __forceinline__ void mma_16816<T>(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {   \
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." type "." type                                           \
                 ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"                                   \
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                                                 \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                             \
  }                                                                                                               \
  template <>                                                                                                     \
  __device__ __forceinline__ void mma_1688<T>(float (&c)[4], const uint32_t (&a)[2], const uint32_t (&b)[1]) {    \
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32." type "." type                                            \
                 ".f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};\n"                                            \
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                                                 \
                 : "r"(a[0]), "r"(a[1]), "r"(b[0]));                                                              \
  }
MMA(__half, "f16")
MMA(__nv_bfloat16, "bf16")
#undef MMA

__device__ __forceinline__ float ex2(float x) {  // 2^x
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace ptx
#endif
