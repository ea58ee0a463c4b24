// Norms of rows in one pass over memory, one warp a row, in fp32 with one rounding at the end:
//
//   r   = x + gate * branch                              (r = x without a branch; stored if `residual` is given)
//   out = (r - mean) / rms(r - mean) * (scale + offset) + shift     (mean = 0 if not `centred`)
//
// With offset 1 this is DiT's modulate, with offset 0 layer norm (centred) and RMS norm (not). Null pointers leave a
// part out. x, branch, residual, out: [rows, D], dense. gate, scale, shift: D elements a row, found by three strides.
//
//   modulate      rows of up to 128 * HELD channels in registers: every element is read once. D and all rows' places
//                 are multiples of four elements. D = 1152 takes nine accesses a lane.
//   modulate_any  any D and alignment; reads a row three times, from the cache after the first.
//
// Block: four warps, four rows. Grid: ceil(rows / 4).
#include "rows.cuh"

#define MODULATE_PARAMETERS                                                                                         \
  const T *__restrict__ x, const T *__restrict__ branch, const T *__restrict__ gate, T *residual, T *out,           \
      const T *__restrict__ scale, const T *__restrict__ shift, long long rows, int D, int n1, int n2,              \
      long long gate0, long long gate1, long long gate2, long long scale0, long long scale1, long long scale2,      \
      long long shift0, long long shift1, long long shift2, float offset, float eps, int centred

template <typename T, int HELD>
__global__ void __launch_bounds__(128, HELD <= 4 ? 8 : HELD <= 9 ? 4 : 3) modulate(MODULATE_PARAMETERS) {
  const int lane = threadIdx.x % 32;
  const long long row = blockIdx.x * 4ll + threadIdx.x / 32;
  if (row >= rows) return;
  const RowPlace place(row, n1, n2);
  x += row * D;

  float4 held[HELD];
  float sum = 0.f;
#pragma unroll
  for (int i = 0; i < HELD; i++) {
    const int d = (i * 32 + lane) * 4;
    held[i] = d < D ? load_four(x + d) : make_float4(0.f, 0.f, 0.f, 0.f);
  }
  if (branch) {
    branch += row * D, gate += place.of(gate0, gate1, gate2);
#pragma unroll
    for (int i = 0; i < HELD; i++) {
      const int d = (i * 32 + lane) * 4;
      if (d >= D) continue;
      const float4 b = load_four(branch + d), g = load_four(gate + d);
      float4& r = held[i];
      r.x = rounded<T>(r.x + g.x * b.x), r.y = rounded<T>(r.y + g.y * b.y);
      r.z = rounded<T>(r.z + g.z * b.z), r.w = rounded<T>(r.w + g.w * b.w);
      if (residual) store_four(residual + row * D + d, r);
    }
  }
  if (!out) return;

  float mean = 0.f;
  if (centred) {
#pragma unroll
    for (int i = 0; i < HELD; i++) sum += sum_of(held[i]);
    mean = warp_sum(sum) / D;
    sum = 0.f;
  }
#pragma unroll
  for (int i = 0; i < HELD; i++) {
    float4& r = held[i];
    if ((i * 32 + lane) * 4 < D) r.x -= mean, r.y -= mean, r.z -= mean, r.w -= mean;
    sum += product_sum(r, r);
  }
  const float inverse = 1.f / sqrtf(warp_sum(sum) / D + eps);
  const T* scales = scale ? scale + place.of(scale0, scale1, scale2) : nullptr;
  const T* shifts = shift ? shift + place.of(shift0, shift1, shift2) : nullptr;
#pragma unroll
  for (int i = 0; i < HELD; i++) {
    const int d = (i * 32 + lane) * 4;
    if (d >= D) continue;
    float4 y = held[i];
    y.x *= inverse, y.y *= inverse, y.z *= inverse, y.w *= inverse;
    if (scales) {
      const float4 a = load_four(scales + d);
      y.x *= a.x + offset, y.y *= a.y + offset, y.z *= a.z + offset, y.w *= a.w + offset;
    }
    if (shifts) {
      const float4 b = load_four(shifts + d);
      y.x += b.x, y.y += b.y, y.z += b.z, y.w += b.w;
    }
    store_four(out + row * D + d, y);
  }
}

template <typename T>
__global__ void __launch_bounds__(128) modulate_any(MODULATE_PARAMETERS) {
  const int lane = threadIdx.x % 32;
  const long long row = blockIdx.x * 4ll + threadIdx.x / 32;
  if (row >= rows) return;
  const RowPlace place(row, n1, n2);
  x += row * D;
  if (branch) branch += row * D, gate += place.of(gate0, gate1, gate2);
  const auto value = [&](int d) {
    const float r = to_float(x[d]);
    return branch ? rounded<T>(r + to_float(gate[d]) * to_float(branch[d])) : r;
  };
  if (residual)
    for (int d = lane; d < D; d += 32) residual[row * D + d] = from_float<T>(value(d));
  if (!out) return;

  float mean = 0.f;
  if (centred) {
    float sum = 0.f;
    for (int d = lane; d < D; d += 32) sum += value(d);
    mean = warp_sum(sum) / D;
  }
  float squares = 0.f;
  for (int d = lane; d < D; d += 32) {
    const float r = value(d) - mean;
    squares += r * r;
  }
  const float inverse = 1.f / sqrtf(warp_sum(squares) / D + eps);
  const T* scales = scale ? scale + place.of(scale0, scale1, scale2) : nullptr;
  const T* shifts = shift ? shift + place.of(shift0, shift1, shift2) : nullptr;
  for (int d = lane; d < D; d += 32) {
    float y = (value(d) - mean) * inverse;
    if (scales) y *= to_float(scales[d]) + offset;
    if (shifts) y += to_float(shifts[d]);
    out[row * D + d] = from_float<T>(y);
  }
}
