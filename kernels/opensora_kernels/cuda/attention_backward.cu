// Gradients of attention: from those of its result to those of q, k and v, the weights computed again (Dao 2023).
//
// With p the weights, o the result and g its gradient: delta = sum(g o) for each query, f = p (g v^T - delta) scale, and
// then dq = f k, dk = f^T q, dv = p^T g. A block owns rows (queries, or keys) and goes through the columns (the other
// side), so that nothing is added up between blocks and results are the same every time.
//
// Arguments are those of flash_attention.cu; `grad` is g by strides, lse that kernel's, delta float [sequences, H,
// queries]. The results of a block's rows are dense [sequences, rows, H, D]: `first` is f times the columns (dq, or dk),
// `second`, for keys, p times g (dv). Sequences, heads and lengths as there; leading axes are not summed.
//
//   attention_backward        tensor cores; D a multiple of 8, and 16-byte aligned rows
//   attention_backward_plain  any D up to 256 and any dtype, arithmetic in float32: the one for float32, and the teacher
#include "attention.cuh"

#define PARAMETERS                                                                                                     \
  const T *__restrict__ q, const T *__restrict__ k, const T *__restrict__ v, const T *__restrict__ grad,               \
      const float *__restrict__ lse, const float *__restrict__ delta, T *__restrict__ first, T *__restrict__ second,   \
      const unsigned char *__restrict__ mask, const int *__restrict__ lengths, int queries, int keys, int inner_size,  \
      long long q_outer, long long q_inner, long long q_row, long long q_head, long long k_outer, long long k_inner,   \
      long long k_row, long long k_head, long long v_outer, long long v_inner, long long v_row, long long v_head,      \
      long long grad_outer, long long grad_inner, long long grad_row, long long grad_head, long long mask_outer,       \
      long long mask_inner, long long mask_head, long long mask_row, long long mask_key, float scale

// delta[n, h, query] = sum over channels of grad times o, a warp each. Grid: (ceil(rows / warps)), rows = n * H * queries.
template <typename T>
__global__ void attention_delta(const T* __restrict__ o, const T* __restrict__ grad, float* __restrict__ delta,
                                int sequences, int H, int queries, int D, int inner_size, long long o_outer,
                                long long o_inner, long long o_row, long long o_head, long long grad_outer,
                                long long grad_inner, long long grad_row, long long grad_head) {
  const int lane = threadIdx.x % 32;
  const long long i = static_cast<long long>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
  if (i >= static_cast<long long>(sequences) * H * queries) return;
  const int query = i % queries, h = i / queries % H, n = i / queries / H;
  const int outer = n / inner_size, inner = n % inner_size;
  o += outer * o_outer + inner * o_inner + h * o_head + query * o_row;
  grad += outer * grad_outer + inner * grad_inner + h * grad_head + query * grad_row;
  float sum = 0.f;
  for (int d = lane; d < D; d += 32) sum += to_float(o[d]) * to_float(grad[d]);
  sum = warp_sum(sum);
  if (lane == 0) delta[i] = sum;
}

// Block: WARPS warps with 16 rows each; rows are keys if OF_KEYS, else queries. Grid: (tiles of rows times sequences,
// heads). FIRST, SECOND: which results; both of wide heads do not fit into registers at once.
template <typename T, int D, int WARPS, bool OF_KEYS, bool FIRST, bool SECOND>
__global__ void __launch_bounds__(WARPS * 32, 1) attention_backward(PARAMETERS) {
  static_assert(D % 8 == 0 && D <= 256 && (FIRST || SECOND) && (OF_KEYS || !SECOND), "head dim, and what dq needs");
  constexpr int THREADS = WARPS * 32, ROWS = WARPS * 16, COLUMNS = D <= 128 ? 32 : 16, LD = padded_row(D);
  DYN_SMEM(shared);
  T* rows_a = reinterpret_cast<T*>(shared);  // k or q
  T* rows_b = rows_a + ROWS * LD;            // v or grad
  T* tiles_a = rows_b + ROWS * LD;           // q or k, two: one in use, one under way
  T* tiles_b = tiles_a + 2 * COLUMNS * LD;   // grad or v, two
  float* logs = reinterpret_cast<float*>(tiles_b + 2 * COLUMNS * LD);  // [COLUMNS] lse, and delta, of queries in columns
  float* deltas = logs + COLUMNS;

  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, h = blockIdx.y, all_keys = keys;
  const int row_tiles = ((OF_KEYS ? keys : queries) + ROWS - 1) / ROWS;
  const int n = blockIdx.x / row_tiles, first_row = blockIdx.x % row_tiles * ROWS;
  BEGIN_SEQUENCE(grad)
  lse += (static_cast<long long>(n) * gridDim.y + h) * queries;
  delta += (static_cast<long long>(n) * gridDim.y + h) * queries;

  const int rows = OF_KEYS ? keys : queries, columns = OF_KEYS ? queries : keys;
  const T *a = OF_KEYS ? q : k, *b = OF_KEYS ? grad : v;  // of the columns
  const long long a_row = OF_KEYS ? q_row : k_row, b_row = OF_KEYS ? grad_row : v_row;
  load_tile<T, D, LD, ROWS, THREADS>(rows_a, OF_KEYS ? k : q, OF_KEYS ? k_row : q_row, first_row, rows);
  load_tile<T, D, LD, ROWS, THREADS>(rows_b, OF_KEYS ? v : grad, OF_KEYS ? v_row : grad_row, first_row, rows);
  load_tile<T, D, LD, COLUMNS, THREADS>(tiles_a, a, a_row, 0, columns);
  load_tile<T, D, LD, COLUMNS, THREADS>(tiles_b, b, b_row, 0, columns);
  ptx::cp_async_commit();

  T *own_a = rows_a + warp * 16 * LD, *own_b = rows_b + warp * 16 * LD;  // the rows of this warp
  float row_log[2] = {}, row_delta[2] = {};
  if constexpr (!OF_KEYS) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int query = min(first_row + warp * 16 + lane / 4 + 8 * half, queries - 1);
      row_log[half] = lse[query] * LOG2_E, row_delta[half] = delta[query];
    }
  }
  float firsts[FIRST ? D / 8 : 1][4] = {}, seconds[SECOND ? D / 8 : 1][4] = {};
  const int tiles = first_row < rows ? (columns + COLUMNS - 1) / COLUMNS : 0;
  for (int tile = 0; tile < tiles; tile++) {
    const int first_column = tile * COLUMNS, stage = tile % 2 * COLUMNS * LD, next = (tile + 1) % 2 * COLUMNS * LD;
    if (tile + 1 < tiles) {
      load_tile<T, D, LD, COLUMNS, THREADS>(tiles_a + next, a, a_row, first_column + COLUMNS, columns);
      load_tile<T, D, LD, COLUMNS, THREADS>(tiles_b + next, b, b_row, first_column + COLUMNS, columns);
    }
    ptx::cp_async_commit();
    if (OF_KEYS && threadIdx.x < COLUMNS) {
      const int query = min(first_column + static_cast<int>(threadIdx.x), queries - 1);
      logs[threadIdx.x] = lse[query] * LOG2_E, deltas[threadIdx.x] = delta[query];
    }
    ptx::cp_async_wait<1>();
    __syncthreads();  // these columns, and the rows, are in

    float weights[COLUMNS / 8][4] = {}, flows[COLUMNS / 8][4] = {};
    multiply_tiles<T, D, LD, COLUMNS>(weights, own_a, tiles_a + stage, lane);
    if constexpr (FIRST) multiply_tiles<T, D, LD, COLUMNS>(flows, own_b, tiles_b + stage, lane);
    uint32_t seen = 0;  // a bit for each of this lane's weights: few registers while the mask is read
#pragma unroll 1
    for (int i = 0; i < COLUMNS / 2; i++) {
      const int row = first_row + warp * 16 + lane / 4 + i % 4 / 2 * 8;
      const int column = first_column + i / 4 * 8 + lane % 4 * 2 + i % 2;
      const int query = OF_KEYS ? column : row, key = OF_KEYS ? row : column;
      const bool sees = query < queries && key < keys && (!mask || mask[query * mask_row + key * mask_key]);
      seen |= static_cast<uint32_t>(sees) << i;
    }
#pragma unroll
    for (int i = 0; i < COLUMNS / 2; i++) {
      const int column = i / 4 * 8 + lane % 4 * 2 + i % 2, half = i % 4 / 2;
      float &weight = weights[i / 4][i % 4], &flow = flows[i / 4][i % 4];
      const float log = OF_KEYS ? logs[column] : row_log[half];
      weight = seen >> i & 1 ? ptx::ex2(weight * (scale * LOG2_E) - log) : 0.f;
      flow = weight * (flow - (OF_KEYS ? deltas[column] : row_delta[half])) * scale;
    }
    if constexpr (FIRST) multiply_weights<T, D, LD, COLUMNS>(firsts, flows, tiles_a + stage, lane);
    if constexpr (SECOND) multiply_weights<T, D, LD, COLUMNS>(seconds, weights, tiles_b + stage, lane);
    __syncthreads();  // both tiles may be overwritten
  }

  ptx::cp_async_wait<0>();
  __syncthreads();  // without any column, the rows are still under way
  const int end = OF_KEYS ? all_keys : queries;  // keys beyond a length get zeros
  const long long stride = static_cast<long long>(gridDim.y) * D;
  const long long at = (static_cast<long long>(n) * end * gridDim.y + h) * D;
  const float as_is[2] = {1.f, 1.f};
  if constexpr (FIRST) store_rows<T, D, LD>(first + at, stride, first_row + warp * 16, end, own_a, firsts, as_is, lane);
  if constexpr (SECOND) store_rows<T, D, LD>(second + at, stride, first_row + warp * 16, end, own_b, seconds, as_is, lane);
}

// Block: 4 warps with ROWS rows each, a lane per column of a tile; otherwise as above, always with both results.
// WIDTH = ceil(D / 32): a lane sums the channels lane, lane + 32, ...
template <typename T, int WIDTH, bool OF_KEYS>
__global__ void __launch_bounds__(128, 4) attention_backward_plain(PARAMETERS, int D) {
  constexpr int WARPS = 4, ROWS = WIDTH <= 4 ? 4 : 2, COLUMNS = 32;
  DYN_SMEM(shared);
  const int LD = padded_floats(D), lane = threadIdx.x % 32, warp = threadIdx.x / 32, h = blockIdx.y, all_keys = keys;
  float* rows_a = reinterpret_cast<float*>(shared) + warp * 2 * ROWS * LD;  // k or q, of this warp
  float* rows_b = rows_a + ROWS * LD;                                       // v or grad
  float* tile_a = reinterpret_cast<float*>(shared) + WARPS * 2 * ROWS * LD;
  float* tile_b = tile_a + COLUMNS * LD;
  float* flows = tile_b + COLUMNS * LD + warp * 2 * ROWS * COLUMNS;  // of this warp
  float* weights = flows + ROWS * COLUMNS;

  const int row_tiles = ((OF_KEYS ? keys : queries) + WARPS * ROWS - 1) / (WARPS * ROWS);
  const int n = blockIdx.x / row_tiles, first_row = blockIdx.x % row_tiles * WARPS * ROWS + warp * ROWS;
  BEGIN_SEQUENCE(grad)
  lse += (static_cast<long long>(n) * gridDim.y + h) * queries;
  delta += (static_cast<long long>(n) * gridDim.y + h) * queries;

  const int rows = OF_KEYS ? all_keys : queries, columns = OF_KEYS ? queries : keys;
  const Preparation<T> nothing{};
  for (int r = 0; r < ROWS; r++) {
    const long long at = min(first_row + r, rows - 1);
    const bool valid = first_row + r < rows;
    load_row(rows_a + r * LD, OF_KEYS ? k + at * k_row : q + at * q_row, valid, D, lane, nothing);
    load_row(rows_b + r * LD, OF_KEYS ? v + at * v_row : grad + at * grad_row, valid, D, lane, nothing);
  }
  float firsts[ROWS][WIDTH] = {}, seconds[ROWS][WIDTH] = {};
  for (int first_column = 0; first_column < columns; first_column += COLUMNS) {
    __syncthreads();  // the tiles before are used
    for (int r = warp; r < COLUMNS; r += WARPS) {
      const long long at = min(first_column + r, columns - 1);
      const bool valid = first_column + r < columns;
      load_row(tile_a + r * LD, OF_KEYS ? q + at * q_row : k + at * k_row, valid, D, lane, nothing);
      load_row(tile_b + r * LD, OF_KEYS ? grad + at * grad_row : v + at * v_row, valid, D, lane, nothing);
    }
    __syncthreads();  // these are in
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
      float logit = 0.f, flow = 0.f;
#pragma unroll 2
      for (int d = 0; d < D; d += 4) {
        const float4 xa = *reinterpret_cast<const float4*>(rows_a + r * LD + d);
        const float4 ya = *reinterpret_cast<const float4*>(tile_a + lane * LD + d);
        const float4 xb = *reinterpret_cast<const float4*>(rows_b + r * LD + d);
        const float4 yb = *reinterpret_cast<const float4*>(tile_b + lane * LD + d);
        logit += xa.x * ya.x + xa.y * ya.y + xa.z * ya.z + xa.w * ya.w;
        flow += xb.x * yb.x + xb.y * yb.y + xb.z * yb.z + xb.w * yb.w;
      }
      const int row = first_row + r, column = first_column + lane;
      const int query = OF_KEYS ? column : row, key = OF_KEYS ? row : column;
      float weight = 0.f;
      if (query < queries && key < keys && (!mask || mask[query * mask_row + key * mask_key])) {
        weight = exp2f((logit * scale - lse[query]) * LOG2_E);
        flow = weight * (flow - delta[query]) * scale;
      } else {
        flow = 0.f;
      }
      flows[r * COLUMNS + lane] = flow;
      weights[r * COLUMNS + lane] = weight;
    }
    __syncwarp();
#pragma unroll 2
    for (int j = 0; j < COLUMNS; j++)
#pragma unroll
      for (int c = 0; c < WIDTH; c++) {
        const int d = c * 32 + lane;
        const float ya = d < D ? tile_a[j * LD + d] : 0.f, yb = OF_KEYS && d < D ? tile_b[j * LD + d] : 0.f;
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
          firsts[r][c] += flows[r * COLUMNS + j] * ya;
          if (OF_KEYS) seconds[r][c] += weights[r * COLUMNS + j] * yb;
        }
      }
  }
#pragma unroll
  for (int r = 0; r < ROWS; r++) {
    const int row = first_row + r;
    if (row >= rows) continue;
    const long long at = ((static_cast<long long>(n) * rows + row) * gridDim.y + h) * D;
#pragma unroll
    for (int c = 0; c < WIDTH; c++) {
      const int d = c * 32 + lane;
      if (d < D) first[at + d] = from_float<T>(firsts[r][c]);
      if (OF_KEYS && d < D) second[at + d] = from_float<T>(seconds[r][c]);
    }
  }
}
