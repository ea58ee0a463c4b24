// Gradients of group norm, with SiLU if asked: out = f(u) with u = y * weight + bias and y = (x - mean) / deviation.
//
//   to_x = (g * weight - mean(g * weight) - y * mean(g * weight * y)) / deviation     with g = grad * f'(u)
//   to_weight = sum of g * y, to_bias = sum of g          over a channel, of all samples
//
// `group_norm_sums` of group_norm_silu.cu gives mean and deviation. group_norm_backward_sums adds up g and g * y of a
// chunk of a channel, for the host to add further, always in the same order; group_norm_to_x goes over x once more.
//
// x, grad, to_x: [samples, channels, places], dense. norms: [samples * groups, 2] mean and 1 / deviation. means: the
// same shape, mean(g * weight) and mean(g * weight * y). Block: 256 threads. Grid: samples * channels * chunks of CHUNK
// places. Shared memory: WARPS floats.
#include "rows.cuh"

constexpr int WARPS = 8, CHUNK = WARPS * 32 * 16;

// Where a block's chunk of a channel is, and what its channel is normed by.
template <typename T>
struct Channel {
  long long begin;
  int n, group;
  float mean, inverse, weight, bias;
  __device__ __forceinline__ Channel(const T* weights, const T* biases, const float* norms, long long places,
                                     int channels, int of_group, int chunks) {
    const int row = blockIdx.x / chunks, channel = row % channels;  // a row is a channel of a sample
    const long long first = blockIdx.x % chunks * (long long)CHUNK;
    begin = row * places + first;
    n = int(min((long long)CHUNK, places - first));
    group = row / of_group;
    mean = norms[2ll * group], inverse = norms[2ll * group + 1];
    weight = weights ? to_float(weights[channel]) : 1.f, bias = biases ? to_float(biases[channel]) : 0.f;
  }
  __device__ __forceinline__ float normed(T x) const { return (to_float(x) - mean) * inverse; }
  // grad * f'(u)
  __device__ __forceinline__ float flow(T grad, float y, int silu) const {
    if (!silu) return to_float(grad);
    const float u = y * weight + bias, s = sigmoid(u);
    return to_float(grad) * (s * (1.f + u * (1.f - s)));
  }
};

#define CHANNELS                                                                                                     \
  const T *__restrict__ x, const T *__restrict__ grad, const T *__restrict__ weight, const T *__restrict__ bias,     \
      const float *__restrict__ norms, long long places, int channels, int of_group, int chunks, int silu

template <typename T>
__global__ void __launch_bounds__(WARPS * 32) group_norm_backward_sums(CHANNELS, float* sums) {
  DYN_SMEM(memory);
  float* shared = reinterpret_cast<float*>(memory);
  const Channel<T> at(weight, bias, norms, places, channels, of_group, chunks);
  float sum_g = 0.f, sum_gy = 0.f;
  for (int i = threadIdx.x; i < at.n; i += WARPS * 32) {
    const float y = at.normed(x[at.begin + i]), g = at.flow(grad[at.begin + i], y, silu);
    sum_g += g, sum_gy += g * y;
  }
  sum_g = block_sum<WARPS>(sum_g, shared);
  sum_gy = block_sum<WARPS>(sum_gy, shared);
  if (threadIdx.x == 0) sums[blockIdx.x * 2ll] = sum_g, sums[blockIdx.x * 2ll + 1] = sum_gy;
}

template <typename T>
__global__ void __launch_bounds__(WARPS * 32)
    group_norm_to_x(CHANNELS, const float* __restrict__ means, T* __restrict__ to_x) {
  const Channel<T> at(weight, bias, norms, places, channels, of_group, chunks);
  const float mean_g = means[2ll * at.group], mean_gy = means[2ll * at.group + 1];
  for (int i = threadIdx.x; i < at.n; i += WARPS * 32) {
    const float y = at.normed(x[at.begin + i]), g = at.flow(grad[at.begin + i], y, silu);
    to_x[at.begin + i] = from_float<T>((g * at.weight - mean_g - y * mean_gy) * at.inverse);
  }
}
