// out = x + gate * branch in fp32 with one rounding, one warp a row: how a block lets a branch in.
//
// x, branch, out: [rows, D], dense. gate: D elements a row, found by three strides. FOUR: D and all rows' places are
// multiples of four elements, which are read and written together.
//
// Block: four warps, four rows. Grid: ceil(rows / 4).
#include "rows.cuh"

template <typename T, bool FOUR>
__global__ void __launch_bounds__(128)
    gated_residual(const T* __restrict__ x, const T* __restrict__ branch, const T* __restrict__ gate,
                   T* __restrict__ out, long long rows, int D, int n1, int n2, long long gate0, long long gate1,
                   long long gate2) {
  const int lane = threadIdx.x % 32;
  const long long row = blockIdx.x * 4ll + threadIdx.x / 32;
  if (row >= rows) return;
  x += row * D, branch += row * D, out += row * D;
  gate += RowPlace(row, n1, n2).of(gate0, gate1, gate2);
  if constexpr (FOUR) {
#pragma unroll 4
    for (int d = lane * 4; d < D; d += 128) {
      const float4 a = load_four(x + d), b = load_four(branch + d), g = load_four(gate + d);
      store_four(out + d, make_float4(a.x + g.x * b.x, a.y + g.y * b.y, a.z + g.z * b.z, a.w + g.w * b.w));
    }
  } else {
    for (int d = lane; d < D; d += 32) out[d] = from_float<T>(to_float(x[d]) + to_float(gate[d]) * to_float(branch[d]));
  }
}
