// Group norm of x [B, C, ...], with SiLU if asked: a row is a group's channels, `length` elements one after another.
//
// A row that a block can hold (PIECE elements) is read once, by `group_norm` alone. A longer one is cut into chunks of
// some pieces: `group_norm_sums` finds every chunk's mean and squares, and `group_norm` puts them together and reads the
// chunk again. Nothing is subtracted but a mean from its own numbers, so rows far from the origin keep their digits.
//
// Block: 256 threads. Grid: rows * chunks. Shared memory: WARPS floats.
#include "rows.cuh"

constexpr int WARPS = 8, QUADS = 8, PIECE = WARPS * 32 * QUADS * 4;

// How many numbers, their mean, and the sum of their squared distances to it.
struct Spread {
  float count, mean, squares;
  __device__ __forceinline__ void add(const Spread& other) {  // Chan et al. 1979
    const float all = count + other.count, apart = other.mean - mean;
    mean += apart * (other.count / all);
    squares += other.squares + apart * apart * (count * (other.count / all));
    count = all;
  }
};

__device__ __forceinline__ int quad_place(int i) { return (i * WARPS * 32 + int(threadIdx.x)) * 4; }

template <typename T>
__device__ __forceinline__ void load_piece(float4 (&held)[QUADS], const T* from, int n, bool aligned) {
#pragma unroll
  for (int i = 0; i < QUADS; i++) held[i] = load_up_to_four(from, quad_place(i), n, aligned);
}

__device__ __forceinline__ Spread spread_of(const float4 (&held)[QUADS], int n, float* shared) {
  float sum = 0.f, squares = 0.f;
#pragma unroll
  for (int i = 0; i < QUADS; i++) sum += sum_of(held[i]);
  const float mean = block_sum<WARPS>(sum, shared) / n;
#pragma unroll
  for (int i = 0; i < QUADS; i++) {
    const int d = quad_place(i);
    const float4 x = held[i];
    if (d < n) squares += (x.x - mean) * (x.x - mean);
    if (d + 1 < n) squares += (x.y - mean) * (x.y - mean);
    if (d + 2 < n) squares += (x.z - mean) * (x.z - mean);
    if (d + 3 < n) squares += (x.w - mean) * (x.w - mean);
  }
  return {float(n), mean, block_sum<WARPS>(squares, shared)};
}

// spreads: [rows, chunks, 2] mean and squares.
template <typename T>
__global__ void __launch_bounds__(WARPS * 32) group_norm_sums(const T* __restrict__ x, float* spreads, int length,
                                                              int chunks, int pieces, int aligned) {
  DYN_SMEM(memory);
  float* shared = reinterpret_cast<float*>(memory);
  const int chunk = blockIdx.x % chunks;
  const T* row = x + blockIdx.x / chunks * (long long)length;
  Spread all{0.f, 0.f, 0.f};
  for (int piece = chunk * pieces; piece < (chunk + 1) * pieces && piece * (long long)PIECE < length; ++piece) {
    const int first = piece * PIECE, n = min(PIECE, length - first);
    float4 held[QUADS];
    load_piece(held, row + first, n, aligned);
    all.add(spread_of(held, n, shared));
  }
  if (threadIdx.x == 0) {
    spreads[blockIdx.x * 2ll] = all.mean;
    spreads[blockIdx.x * 2ll + 1] = all.squares;
  }
}

// weight, bias: [groups * channels] or null; a channel has `places` neighbouring elements.
template <typename T>
__global__ void __launch_bounds__(WARPS * 32)
    group_norm(const T* __restrict__ x, T* out, const T* __restrict__ weight, const T* __restrict__ bias,
               const float* __restrict__ spreads, int length, int places, int groups, int channels, int chunks,
               int pieces, float eps, int silu, int aligned) {
  DYN_SMEM(memory);
  float* shared = reinterpret_cast<float*>(memory);
  const int chunk = blockIdx.x % chunks, row = blockIdx.x / chunks, group = row % groups;
  x += row * (long long)length, out += row * (long long)length;

  float mean = 0.f, squares = 0.f;
  if (spreads) {
    spreads += row * 2ll * chunks;
    const float whole = float(pieces) * PIECE;
    const auto count = [&](int c) { return c + 1 < chunks ? whole : length - c * whole; };
    for (int c = threadIdx.x; c < chunks; c += WARPS * 32) mean += spreads[2 * c] * (count(c) / length);
    mean = block_sum<WARPS>(mean, shared);
    for (int c = threadIdx.x; c < chunks; c += WARPS * 32) {
      const float apart = spreads[2 * c] - mean;
      squares += spreads[2 * c + 1] + apart * apart * count(c);
    }
    squares = block_sum<WARPS>(squares, shared);
  }
  for (int piece = chunk * pieces; piece < (chunk + 1) * pieces && piece * (long long)PIECE < length; ++piece) {
    const int first = piece * PIECE, n = min(PIECE, length - first);
    float4 held[QUADS];
    load_piece(held, x + first, n, aligned);
    if (!spreads) {
      const Spread found = spread_of(held, n, shared);
      mean = found.mean, squares = found.squares;
    }
    const float inverse = 1.f / sqrtf(squares / length + eps);
#pragma unroll
    for (int i = 0; i < QUADS; i++) {
      const int d = quad_place(i);
      int c = (first + d) / places, left = (c + 1) * places - (first + d);  // of this channel
      float y[4] = {held[i].x, held[i].y, held[i].z, held[i].w};
#pragma unroll
      for (int e = 0; e < 4; e++) {
        if (d + e >= n) break;
        y[e] = (y[e] - mean) * inverse;
        if (weight) y[e] *= to_float(weight[group * channels + c]);
        if (bias) y[e] += to_float(bias[group * channels + c]);
        if (silu) y[e] *= sigmoid(y[e]);
        if (--left == 0) c++, left = places;
      }
      store_up_to_four(out + first, make_float4(y[0], y[1], y[2], y[3]), d, n, aligned);
    }
  }
}
