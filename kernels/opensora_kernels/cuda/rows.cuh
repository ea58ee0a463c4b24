// What kernels of one warp a row share: four elements in one access, and operands that broadcast along leading axes.
#pragma once
#include "numbers.cuh"

// Four neighbouring elements in one load or store; the address is a multiple of their size.
template <typename T>
__device__ __forceinline__ float4 load_four(const T* from) {
  const uint2 bits = *reinterpret_cast<const uint2*>(from);
  const float2 low = unpack<T>(bits.x), high = unpack<T>(bits.y);
  return make_float4(low.x, low.y, high.x, high.y);
}
template <>
__device__ __forceinline__ float4 load_four<float>(const float* from) {
  return *reinterpret_cast<const float4*>(from);
}
template <typename T>
__device__ __forceinline__ void store_four(T* to, float4 x) {
  *reinterpret_cast<uint2*>(to) = uint2{pack<T>(x.x, x.y), pack<T>(x.z, x.w)};
}
template <>
__device__ __forceinline__ void store_four<float>(float* to, float4 x) { *reinterpret_cast<float4*>(to) = x; }

__device__ __forceinline__ float sum_of(float4 x) { return (x.x + x.y) + (x.z + x.w); }
__device__ __forceinline__ float product_sum(float4 a, float4 b) {
  return (a.x * b.x + a.y * b.y) + (a.z * b.z + a.w * b.w);
}

// Rows of x have three leading axes (n0, n1, n2); those of an operand that broadcasts have a stride of zero somewhere.
struct RowPlace {
  long long i0;
  int i1, i2;
  __device__ __forceinline__ RowPlace(long long row, int n1, int n2)
      : i0(row / n2 / n1), i1(int(row / n2 % n1)), i2(int(row % n2)) {}
  __device__ __forceinline__ long long of(long long stride0, long long stride1, long long stride2) const {
    return i0 * stride0 + i1 * stride1 + i2 * stride2;
  }
};

// Elements d..d+3 of n, zeros beyond the end; one load if `aligned` (then n is a multiple of four).
template <typename T>
__device__ __forceinline__ float4 load_up_to_four(const T* from, int d, int n, bool aligned) {
  if (aligned) return d < n ? load_four(from + d) : make_float4(0.f, 0.f, 0.f, 0.f);
  return make_float4(d < n ? to_float(from[d]) : 0.f, d + 1 < n ? to_float(from[d + 1]) : 0.f,
                     d + 2 < n ? to_float(from[d + 2]) : 0.f, d + 3 < n ? to_float(from[d + 3]) : 0.f);
}
template <typename T>
__device__ __forceinline__ void store_up_to_four(T* to, float4 x, int d, int n, bool aligned) {
  if (aligned) {
    if (d < n) store_four(to + d, x);
    return;
  }
  if (d < n) to[d] = from_float<T>(x.x);
  if (d + 1 < n) to[d + 1] = from_float<T>(x.y);
  if (d + 2 < n) to[d + 2] = from_float<T>(x.z);
  if (d + 3 < n) to[d + 3] = from_float<T>(x.w);
}

// The sum over a block of WARPS warps, for all its threads; shared: WARPS floats.
template <int WARPS>
__device__ __forceinline__ float block_sum(float x, float* shared) {
  x = warp_sum(x);
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();  // every warp's sum is there
  float sum = 0.f;
#pragma unroll
  for (int w = 0; w < WARPS; w++) sum += shared[w];
  __syncthreads();  // and may be overwritten
  return sum;
}

__device__ __forceinline__ float sigmoid(float x) { return 1.f / (1.f + expf(-x)); }
