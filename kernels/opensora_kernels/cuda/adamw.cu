// A step of AdamW (Loshchilov & Hutter 2019) in fp32: moments, decoupled decay, one rounding of the weights.
//
// factor: one float by which gradients are multiplied first (clipping), or null. undo2 = (1 - beta2^step)^-1/2, keep =
// 1 - rate * decay, rate = learning rate / (1 - beta1^step). Block: 256 threads. Grid: any number of blocks.
#include "numbers.cuh"

template <typename T>
__global__ void __launch_bounds__(256, 4)
    adamw(const T* __restrict__ weights, const T* __restrict__ gradients, const float* __restrict__ mean,
          const float* __restrict__ square, T* new_weights, float* new_mean, float* new_square,
          const float* __restrict__ factor, long long n, float beta1, float rest1, float beta2, float rest2, float undo2,
          float eps, float keep, float rate) {
  const float clip = factor ? *factor : 1.f;
  for (long long i = blockIdx.x * 256ll + threadIdx.x; i < n; i += gridDim.x * 256ll) {
    const float g = to_float(gradients[i]) * clip;
    const float m = mean[i] * beta1 + g * rest1, v = square[i] * beta2 + g * g * rest2;
    new_mean[i] = m, new_square[i] = v;
    new_weights[i] = from_float<T>(to_float(weights[i]) * keep - m / (sqrtf(v) * undo2 + eps) * rate);
  }
}
