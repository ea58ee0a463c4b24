// Adds rows of values to rows of out that may be named more than once, always in the order of the rows: the same bits
// every time, which atomic additions would not give.
//
// keys: [count] ascending, destination * count + position, so that the rows for one destination stand together. Those
// for destinations from `rows` on come last, and are dropped.
// Thread: one column of the first row for a destination, which adds all of them. Grid: (columns / block, count).
template <typename T>
__global__ void index_add(const long long* __restrict__ keys, const T* __restrict__ values, T* out, long long count,
                          long long rows, long long columns) {
  const long long column = blockIdx.x * (long long)blockDim.x + threadIdx.x;
  if (column >= columns) return;
  for (long long first = blockIdx.y; first < count; first += gridDim.y) {
    const long long row = keys[first] / count;
    if (row >= rows) return;
    if (first > 0 && keys[first - 1] / count == row) continue;
    T sum = out[row * columns + column];
    for (long long i = first; i < count && keys[i] / count == row; ++i)
      sum += values[keys[i] % count * columns + column];
    out[row * columns + column] = sum;
  }
}
