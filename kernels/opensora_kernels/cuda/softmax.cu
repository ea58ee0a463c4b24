// Softmax of rows [rows, N], one warp a row, in fp32; the row is read three times, from the cache after the first.
//
// Block: four warps, four rows. Grid: ceil(rows / 4).
#include "rows.cuh"

template <typename T>
__global__ void __launch_bounds__(128) softmax(const T* __restrict__ x, T* out, long long rows, int N) {
  const int lane = threadIdx.x % 32;
  const long long row = blockIdx.x * 4ll + threadIdx.x / 32;
  if (row >= rows) return;
  x += row * N, out += row * N;
  float most = MINUS_INFINITY, sum = 0.f;
  for (int i = lane; i < N; i += 32) most = fmaxf(most, to_float(x[i]));
  most = warp_max(most);
  for (int i = lane; i < N; i += 32) sum += expf(to_float(x[i]) - most);
  sum = warp_sum(sum);
  for (int i = lane; i < N; i += 32) out[i] = from_float<T>(expf(to_float(x[i]) - most) / sum);
}
