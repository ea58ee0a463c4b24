// Norms of rows in one pass over memory, one warp a row, in fp32 with one rounding at the end:
//
//   out = (x - mean) / rms(x - mean) * (scale + offset) + shift     (mean = 0 if not `centred`)
//
// With offset 1 this is DiT's modulate, with offset 0 layer norm (centred) and RMS norm (not). Null pointers leave a
// part out. x, out: [rows, D], dense. scale, shift: D elements a row, found by three strides.
//
//   modulate      rows of up to 128 * HELD channels in registers: every element is read once. D and all rows' places
//                 are multiples of four elements. D = 1152 takes nine accesses a lane.
//   modulate_any  any D and alignment; reads a row three times, from the cache after the first.
//
// Block: four warps, four rows. Grid: ceil(rows / 4).
#include "rows.cuh"

#define MODULATE_PARAMETERS                                                                                            \
  const T *__restrict__ x, T *__restrict__ out, const T *__restrict__ scale, const T *__restrict__ shift,              \
      long long rows, int D, int n1, int n2, long long scale0, long long scale1, long long scale2, long long shift0,   \
      long long shift1, long long shift2, float offset, float eps, int centred

template <typename T, int HELD>
__global__ void __launch_bounds__(128, HELD <= 4 ? 8 : HELD <= 9 ? 4 : 3) modulate(MODULATE_PARAMETERS) {
  const int lane = threadIdx.x % 32;
  const long long row = blockIdx.x * 4ll + threadIdx.x / 32;
  if (row >= rows) return;
  const RowPlace place(row, n1, n2);
  x += row * D;

  float4 held[HELD];
#pragma unroll
  for (int i = 0; i < HELD; i++) {
    const int d = (i * 32 + lane) * 4;
    held[i] = d < D ? load_four(x + d) : make_float4(0.f, 0.f, 0.f, 0.f);
  }
  float mean = 0.f, sum = 0.f;
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
  float mean = 0.f;
  if (centred) {
    float sum = 0.f;
    for (int d = lane; d < D; d += 32) sum += to_float(x[d]);
    mean = warp_sum(sum) / D;
  }
  float squares = 0.f;
  for (int d = lane; d < D; d += 32) {
    const float r = to_float(x[d]) - mean;
    squares += r * r;
  }
  const float inverse = 1.f / sqrtf(warp_sum(squares) / D + eps);
  const T* scales = scale ? scale + place.of(scale0, scale1, scale2) : nullptr;
  const T* shifts = shift ? shift + place.of(shift0, shift1, shift2) : nullptr;
  for (int d = lane; d < D; d += 32) {
    float y = (to_float(x[d]) - mean) * inverse;
    if (scales) y *= to_float(scales[d]) + offset;
    if (shifts) y += to_float(shifts[d]);
    out[row * D + d] = from_float<T>(y);
  }
}
