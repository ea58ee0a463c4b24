// Gradients of the norms of modulate.cu: out = y * (scale + offset) + shift with y = (x - mean) / rms(x - mean).
//
//   to_x     = (g - mean(g) - y * mean(g * y)) / rms        with g = grad * (scale + offset); mean(g) only if centred
//   to_scale = sum of grad * y, to_shift = sum of grad      over the rows that share a vector
//
// A warp takes `run` neighbouring rows, which share scale; its sums over them go to sums [runs, 2, D] (or null), for the
// host to add up: always in the same order. Lane l owns columns l, l + 32, ... so lanes never meet.
//
// Block: `warps` warps, a run each. Grid: ceil(runs / warps). Shared memory: 8 * D bytes a warp if there are sums.
#include "numbers.cuh"

template <typename T>
__global__ void modulate_backward(const T* __restrict__ x, const T* __restrict__ grad, const T* __restrict__ scale,
                                  T* to_x, float* sums, long long runs, int run, int runs_a_vector, int D, float offset,
                                  float eps, int centred) {
  DYN_SMEM(memory);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const long long n = blockIdx.x * (long long)(blockDim.x / 32) + warp;
  if (n >= runs) return;
  float *scales = reinterpret_cast<float*>(memory) + warp * 2ll * D, *shifts = scales + D;
  if (sums)
    for (int d = lane; d < D; d += 32) scales[d] = shifts[d] = 0.f;
  if (scale) scale += n / runs_a_vector * D;
  for (long long row = n * run; row < (n + 1) * run; ++row) {
    const T *xs = x + row * D, *gs = grad + row * D;
    float mean = 0.f, squares = 0.f, sum_g = 0.f, sum_gy = 0.f;
    if (centred) {
      for (int d = lane; d < D; d += 32) mean += to_float(xs[d]);
      mean = warp_sum(mean) / D;
    }
    for (int d = lane; d < D; d += 32) squares += (to_float(xs[d]) - mean) * (to_float(xs[d]) - mean);
    const float inverse = 1.f / sqrtf(warp_sum(squares) / D + eps);
    for (int d = lane; d < D; d += 32) {
      const float y = (to_float(xs[d]) - mean) * inverse, g = to_float(gs[d]);
      if (sums) scales[d] += g * y, shifts[d] += g;
      const float flow = scale ? g * (to_float(scale[d]) + offset) : g;
      sum_g += flow, sum_gy += flow * y;
    }
    sum_g = centred ? warp_sum(sum_g) / D : 0.f;
    sum_gy = warp_sum(sum_gy) / D;
    for (int d = lane; d < D; d += 32) {
      const float y = (to_float(xs[d]) - mean) * inverse, g = to_float(gs[d]);
      const float flow = scale ? g * (to_float(scale[d]) + offset) : g;
      to_x[row * D + d] = from_float<T>((flow - sum_g - y * sum_gy) * inverse);
    }
  }
  if (sums)
    for (int d = lane; d < D; d += 32) {
      sums[n * 2 * D + d] = scales[d];
      sums[(n * 2 + 1) * D + d] = shifts[d];
    }
}
