// RMS norm of heads, if there is a weight, and interleaved rotation; eight lanes a row.
//
// Rows of D channels have four leading axes (n0, n1, n2, n3), with strides of their own in x, cos and sin; out is dense.
// weight [D] or null; cos, sin [.., D/2], float. Norm and rotation are done in fp32 and rounded once.
//
//   qk_norm_rope      rows of up to 32 * HELD channels in registers; D and all places multiples of four. D = 72: three.
//   qk_norm_rope_any  any even D and alignment.
//
// Block: 128 threads, 16 rows. Grid: ceil(rows / 16).
#include "rows.cuh"

#define QK_PARAMETERS                                                                                                 \
  const T *__restrict__ x, T *__restrict__ out, const T *__restrict__ weight, const float *__restrict__ cos,          \
      const float *__restrict__ sin, long long rows, int D, int n1, int n2, int n3, long long x0, long long x1,       \
      long long x2, long long x3, long long cos0, long long cos1, long long cos2, long long cos3, long long sin0,     \
      long long sin1, long long sin2, long long sin3, float eps
#define FIND_ROW                                                                                   \
  const int part = threadIdx.x % 8;                                                                \
  const long long row = blockIdx.x * 16ll + threadIdx.x / 8;                                       \
  const bool valid = row < rows; /* all lanes take part in shuffles */                             \
  const long long i3 = row % n3, i2 = row / n3 % n2, i1 = row / n3 / n2 % n1, i0 = row / n3 / n2 / n1; \
  x += i0 * x0 + i1 * x1 + i2 * x2 + i3 * x3, out += row * D;                                      \
  cos += i0 * cos0 + i1 * cos1 + i2 * cos2 + i3 * cos3, sin += i0 * sin0 + i1 * sin1 + i2 * sin2 + i3 * sin3;

// 1 / rms of a row, from the squares that its eight lanes have summed.
__device__ __forceinline__ float norm_factor(float squares, int D, float eps) {
#pragma unroll
  for (int bit = 4; bit; bit >>= 1) squares += __shfl_xor_sync(WARP_MASK, squares, bit);
  return 1.f / sqrtf(squares / D + eps);
}

__device__ __forceinline__ float2 turn(float2 pair, float c, float s) {
  return make_float2(pair.x * c - pair.y * s, pair.y * c + pair.x * s);
}

template <typename T, int HELD>
__global__ void __launch_bounds__(128) qk_norm_rope(QK_PARAMETERS) {
  FIND_ROW
  float4 held[HELD];
#pragma unroll
  for (int i = 0; i < HELD; i++) {
    const int d = (i * 8 + part) * 4;
    held[i] = valid && d < D ? load_four(x + d) : make_float4(0.f, 0.f, 0.f, 0.f);
  }
  if (weight) {
    float squares = 0.f;
#pragma unroll
    for (int i = 0; i < HELD; i++) squares += product_sum(held[i], held[i]);
    const float factor = norm_factor(squares, D, eps);
#pragma unroll
    for (int i = 0; i < HELD; i++) {
      const int d = (i * 8 + part) * 4;
      if (d >= D) continue;
      const float4 w = load_four(weight + d);
      float4& y = held[i];
      y.x *= factor * w.x, y.y *= factor * w.y, y.z *= factor * w.z, y.w *= factor * w.w;
    }
  }
  if (!valid) return;
#pragma unroll
  for (int i = 0; i < HELD; i++) {
    const int d = (i * 8 + part) * 4;
    if (d >= D) continue;
    const float4 y = held[i];
    const float2 c = *reinterpret_cast<const float2*>(cos + d / 2), s = *reinterpret_cast<const float2*>(sin + d / 2);
    const float2 low = turn(make_float2(y.x, y.y), c.x, s.x), high = turn(make_float2(y.z, y.w), c.y, s.y);
    store_four(out + d, make_float4(low.x, low.y, high.x, high.y));
  }
}

template <typename T>
__global__ void __launch_bounds__(128) qk_norm_rope_any(QK_PARAMETERS) {
  FIND_ROW
  float factor = 1.f;
  if (weight) {
    float squares = 0.f;
    for (int d = part; valid && d < D; d += 8) squares += to_float(x[d]) * to_float(x[d]);
    factor = norm_factor(squares, D, eps);
  }
  if (!valid) return;
  for (int d = part * 2; d < D; d += 16) {
    float2 y = make_float2(to_float(x[d]) * factor, to_float(x[d + 1]) * factor);
    if (weight) y.x *= to_float(weight[d]), y.y *= to_float(weight[d + 1]);
    y = turn(y, cos[d / 2], sin[d / 2]);
    out[d] = from_float<T>(y.x), out[d + 1] = from_float<T>(y.y);
  }
}
