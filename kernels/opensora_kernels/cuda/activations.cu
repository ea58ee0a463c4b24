// Activations in one pass over memory, four elements a thread, in fp32: those of the language by number.
#include "rows.cuh"

enum Activation { GELU_TANH, GELU_ERF, SILU };

__device__ __forceinline__ float activation(float x, int which) {
  if (which == SILU) return x * sigmoid(x);
  if (which == GELU_ERF) return 0.5f * x * erfcf(x * -0.70710678f);  // erfc keeps the digits that 1 + erf loses
  return x * sigmoid(x * (1.5957691f + 0.071354816f * (x * x)));     // 2 sqrt(2/pi) (x + 0.044715 x^3)
}

// Block: 256 threads. Grid: ceil(n / 1024).
template <typename T>
__global__ void __launch_bounds__(256) activate(const T* __restrict__ x, T* out, long long n, int which,
                                                int aligned) {
  const long long first = (blockIdx.x * 256ll + threadIdx.x) * 4;
  if (first >= n) return;
  const int count = int(min(n - first, 4ll));
  const bool whole = aligned && count == 4;
  const float4 v = load_up_to_four(x + first, 0, count, whole);
  const float4 y = make_float4(activation(v.x, which), activation(v.y, which), activation(v.z, which),
                               activation(v.w, which));
  store_up_to_four(out + first, y, 0, count, whole);
}
