// Attention of any sequences, forward: softmax(q k^T scale) v tile by tile (Dao 2023), with QK-norm and rope folded in.
//
// A sequence is (outer, inner) = (n / inner_size, n % inner_size): the frames, places or whole videos of packed qkv
// [B, T, S, 3, H, D], or the rows of plain [B, L, H, D], all by strides. Keys may be fewer or more than queries.
//   lse     float [sequences, H, queries] or null: log of the sum of exponentials, for the backward; -inf without a key
//   mask    bytes, 0 hides a key from a query, by strides (0 to broadcast), or null
//   lengths [outer] numbers of keys that count, the first ones, or null
//   q_norm, k_norm [D] weights of RMS norms or null; cos, sin float [rows, D/2] or null
// A query without any key gets zeros.
//
//   flash_attention        tensor cores; D a multiple of 8, and 16-byte aligned rows. D = 72 takes 4 steps of 16 channels
//                          and one of 8: nothing is padded, where libraries round up to 80 or 96.
//   flash_attention_plain  any D up to 256 and any dtype, arithmetic in float32: the one for float32, and the teacher.
#include "attention.cuh"

#define PARAMETERS                                                                                                     \
  const T *__restrict__ q, const T *__restrict__ k, const T *__restrict__ v, T *__restrict__ o, float *__restrict__ lse, \
      const unsigned char *__restrict__ mask, const int *__restrict__ lengths, const T *__restrict__ q_norm,           \
      const T *__restrict__ k_norm, const float *__restrict__ cos, const float *__restrict__ sin, int queries, int keys, \
      int inner_size, long long q_outer, long long q_inner, long long q_row, long long q_head, long long k_outer,       \
      long long k_inner, long long k_row, long long k_head, long long v_outer, long long v_inner, long long v_row,      \
      long long v_head, long long o_outer, long long o_inner, long long o_row, long long o_head, long long mask_outer,  \
      long long mask_inner, long long mask_head, long long mask_row, long long mask_key, float scale, float eps

// Keys in a tile, by what shared memory and registers hold.
__host__ __device__ constexpr int keys_in_tile(int D) { return D <= 128 ? 64 : D <= 224 ? 32 : 16; }

// Block: WARPS warps with 16 queries each. Grid: (tiles of queries times sequences, heads).
// Blocks on a multiprocessor: up to D = 72 the compiler finds three by itself (136 registers, no spills); for wider heads
// it would spill to reach another one, unless told not to.
template <typename T, int D, int WARPS>
__global__ void __launch_bounds__(WARPS * 32, D <= 72 ? 0 : D <= 128 ? 8 / WARPS : 1) flash_attention(PARAMETERS) {
  static_assert(D % 8 == 0 && D <= 256, "head dim of the tensor cores");
  constexpr int THREADS = WARPS * 32, QUERIES = WARPS * 16, KEYS = keys_in_tile(D);
  constexpr int LD = padded_row(D), CHUNKS = D / 8, STEPS = D / 16, TAIL = D % 16 / 8;
  constexpr bool HOLD_QUERIES = D <= 128;  // in registers; otherwise read again for every tile of keys
  constexpr int LANES = THREADS / KEYS;    // that prepare a key together
  DYN_SMEM(shared);
  T* tile_q = reinterpret_cast<T*>(shared);
  T* tiles_k = tile_q + QUERIES * LD;      // two: one in use, one under way
  T* tiles_v = tiles_k + 2 * KEYS * LD;    // two
  float* factors = reinterpret_cast<float*>(tiles_v + 2 * KEYS * LD);  // [KEYS] 1 / rms of the keys in use

  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, h = blockIdx.y;
  const int tiles_of_queries = (queries + QUERIES - 1) / QUERIES;
  const int n = blockIdx.x / tiles_of_queries, first_query = blockIdx.x % tiles_of_queries * QUERIES;
  BEGIN_SEQUENCE(o)
  const int tiles = (keys + KEYS - 1) / KEYS;

  load_tile<T, D, LD, QUERIES, THREADS>(tile_q, q, q_row, first_query, queries);
  load_tile<T, D, LD, KEYS, THREADS>(tiles_k, k, k_row, 0, keys);
  ptx::cp_async_commit();
  load_tile<T, D, LD, KEYS, THREADS>(tiles_v, v, v_row, 0, keys);
  ptx::cp_async_commit();

  T* rows = tile_q + warp * 16 * LD;  // the queries of this warp
  uint32_t held[HOLD_QUERIES ? STEPS + 1 : 1][4], held_tail[2];
  float sums[CHUNKS][4] = {}, most[2] = {MINUS_INFINITY, MINUS_INFINITY}, total[2] = {0.f, 0.f};
  for (int tile = 0; tile < tiles; tile++) {
    const int first_key = tile * KEYS;
    T* tile_k = tiles_k + tile % 2 * KEYS * LD;
    const T* tile_v = tiles_v + tile % 2 * KEYS * LD;
    const int next_stage = (tile + 1) % 2 * KEYS * LD;
    if (tile + 1 < tiles) load_tile<T, D, LD, KEYS, THREADS>(tiles_k + next_stage, k, k_row, first_key + KEYS, keys);
    ptx::cp_async_commit();
    if (tile + 1 < tiles) load_tile<T, D, LD, KEYS, THREADS>(tiles_v + next_stage, v, v_row, first_key + KEYS, keys);
    ptx::cp_async_commit();
    ptx::cp_async_wait<3>();
    __syncthreads();  // these keys, and the queries, are in

    if (k_norm || cos) {
      const int row = threadIdx.x / LANES, part = threadIdx.x % LANES, at = min(first_key + row, keys - 1);
      T* key = tile_k + row * LD;
      if (cos) {
        prepare_row<T, D, LANES>(key, part, Preparation<T>{k_norm, nullptr, cos + at * (D / 2), sin + at * (D / 2), eps});
      } else {  // q k^T is linear in 1 / rms of a key: it is left to the logits, and the weights to the queries
        const float factor = row_factor<T, D, LANES>(key, part, eps);
        if (part == 0) factors[row] = factor;
      }
      __syncthreads();  // these keys are prepared
    }
    if (tile == 0) {
      if (q_norm || k_norm || cos) {
        const int row = lane / 2, at = min(first_query + warp * 16 + row, queries - 1);
        Preparation<T> with{q_norm, cos ? nullptr : k_norm, nullptr, nullptr, eps};
        if (cos) with.cos = cos + at * (D / 2), with.sin = sin + at * (D / 2);
        prepare_row<T, D, 2>(rows + row * LD, lane % 2, with);
        __syncwarp();
      }
      if constexpr (HOLD_QUERIES) {
#pragma unroll
        for (int i = 0; i < STEPS; i++) load_a16<T, LD>(held[i], rows, i * 16, lane);
        if constexpr (TAIL) load_a8<T, LD>(held_tail, rows, STEPS * 16, lane);
      }
    }

    float logits[KEYS / 8][4] = {};
#pragma unroll(HOLD_QUERIES ? STEPS : 1)
    for (int i = 0; i < STEPS; i++) {
      uint32_t read[4];
      if constexpr (!HOLD_QUERIES) load_a16<T, LD>(read, rows, i * 16, lane);
      const uint32_t(&a)[4] = HOLD_QUERIES ? held[i] : read;
#pragma unroll
      for (int c = 0; c < KEYS / 16; c++)
        multiply_rows16<T, LD>(logits[2 * c], logits[2 * c + 1], a, tile_k + c * 16 * LD, i * 16, lane);
    }
    if constexpr (TAIL) {
      if constexpr (!HOLD_QUERIES) load_a8<T, LD>(held_tail, rows, STEPS * 16, lane);
#pragma unroll
      for (int c = 0; c < KEYS / 16; c++)
        multiply_rows8<T, LD>(logits[2 * c], logits[2 * c + 1], held_tail, tile_k + c * 16 * LD, STEPS * 16, lane);
    }

    if (k_norm && !cos) {
#pragma unroll
      for (int c = 0; c < KEYS / 8; c++) {
        const float2 factor = *reinterpret_cast<const float2*>(factors + c * 8 + lane % 4 * 2);
        logits[c][0] *= factor.x, logits[c][1] *= factor.y, logits[c][2] *= factor.x, logits[c][3] *= factor.y;
      }
    }
#pragma unroll
    for (int c = 0; c < KEYS / 8; c++)
#pragma unroll
      for (int e = 0; e < 4; e++) logits[c][e] *= scale * LOG2_E;
    if (mask || first_key + KEYS > keys) {
      uint32_t seen = 0;  // a bit for each of this lane's logits: few registers while the mask is read
#pragma unroll 1
      for (int i = 0; i < KEYS / 2; i++) {
        const int key = first_key + i / 4 * 8 + lane % 4 * 2 + i % 2, row = warp * 16 + lane / 4 + i % 4 / 2 * 8;
        const int query = min(first_query + row, queries - 1);
        const bool sees = key < keys && (!mask || mask[query * mask_row + key * mask_key]);
        seen |= static_cast<uint32_t>(sees) << i;
      }
#pragma unroll
      for (int i = 0; i < KEYS / 2; i++)
        if (!(seen >> i & 1)) logits[i / 4][i % 4] = MINUS_INFINITY;
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {  // this lane's two rows of the sixteen; four lanes share a row
      float next = most[half];
#pragma unroll
      for (int c = 0; c < KEYS / 8; c++) next = fmaxf(next, fmaxf(logits[c][2 * half], logits[c][2 * half + 1]));
      next = fmaxf(next, __shfl_xor_sync(WARP_MASK, next, 1));
      next = fmaxf(next, __shfl_xor_sync(WARP_MASK, next, 2));
      const float shift = next == MINUS_INFINITY ? 0.f : next;  // no key so far: all weights are exp(-inf) = 0
      const float shrink = ptx::ex2(most[half] - shift);
      most[half] = next;
      total[half] *= shrink;
#pragma unroll
      for (int c = 0; c < KEYS / 8; c++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
          float& x = logits[c][2 * half + e];
          x = ptx::ex2(x - shift);
          total[half] += x;
        }
#pragma unroll
      for (int c = 0; c < CHUNKS; c++) sums[c][2 * half] *= shrink, sums[c][2 * half + 1] *= shrink;
    }
    ptx::cp_async_wait<2>();
    __syncthreads();  // these values are in
    multiply_weights<T, D, LD, KEYS>(sums, logits, tile_v, lane);
    __syncthreads();  // both tiles may be overwritten
  }

  ptx::cp_async_wait<0>();
  __syncwarp();
  float inverse[2];
#pragma unroll
  for (int half = 0; half < 2; half++) {
    total[half] += __shfl_xor_sync(WARP_MASK, total[half], 1);
    total[half] += __shfl_xor_sync(WARP_MASK, total[half], 2);
    inverse[half] = total[half] == 0.f ? 0.f : 1.f / total[half];
    const int query = first_query + warp * 16 + lane / 4 + 8 * half;
    if (lse && lane % 4 == 0 && query < queries)
      lse[(static_cast<long long>(n) * gridDim.y + h) * queries + query] = most[half] * LN_2 + logf(total[half]);
  }
  store_rows<T, D, LD>(o, o_row, first_query + warp * 16, queries, rows, sums, inverse, lane);
}

// Block: 4 warps with 4 queries each, a lane per key of a tile. Grid: (tiles of queries times sequences, heads).
// COLUMNS = ceil(D / 32): a lane sums the channels lane, lane + 32, ...
template <typename T, int COLUMNS>
__global__ void __launch_bounds__(128, 4) flash_attention_plain(PARAMETERS, int D) {
  constexpr int WARPS = 4, ROWS = 4, QUERIES = WARPS * ROWS, KEYS = 32;
  DYN_SMEM(shared);
  const int LD = padded_floats(D), lane = threadIdx.x % 32, warp = threadIdx.x / 32, h = blockIdx.y;
  float* tile_q = reinterpret_cast<float*>(shared) + warp * ROWS * LD;  // the queries of this warp
  float* tile_k = reinterpret_cast<float*>(shared) + QUERIES * LD;
  float* tile_v = tile_k + KEYS * LD;
  float* weights = tile_v + KEYS * LD + warp * ROWS * KEYS;  // of this warp

  const int tiles_of_queries = (queries + QUERIES - 1) / QUERIES;
  const int n = blockIdx.x / tiles_of_queries, first_query = blockIdx.x % tiles_of_queries * QUERIES + warp * ROWS;
  BEGIN_SEQUENCE(o)

  auto preparation = [&](const T* norm, int at) {
    return Preparation<T>{norm, nullptr, cos ? cos + at * (D / 2) : nullptr, cos ? sin + at * (D / 2) : nullptr, eps};
  };
  for (int r = 0; r < ROWS; r++) {
    const int at = min(first_query + r, queries - 1);
    load_row(tile_q + r * LD, q + at * q_row, first_query + r < queries, D, lane, preparation(q_norm, at));
  }
  float sums[ROWS][COLUMNS] = {}, most[ROWS], total[ROWS] = {};
#pragma unroll
  for (int r = 0; r < ROWS; r++) most[r] = MINUS_INFINITY;
  for (int first_key = 0; first_key < keys; first_key += KEYS) {
    __syncthreads();  // the tiles before are used
    for (int r = warp; r < KEYS; r += WARPS) {
      const int at = min(first_key + r, keys - 1);
      load_row(tile_k + r * LD, k + at * k_row, first_key + r < keys, D, lane, preparation(k_norm, at));
      load_row(tile_v + r * LD, v + at * v_row, first_key + r < keys, D, lane, Preparation<T>{});
    }
    __syncthreads();  // these are in
    float logits[ROWS] = {};
#pragma unroll 2
    for (int d = 0; d < D; d += 4) {
      const float4 y = *reinterpret_cast<const float4*>(tile_k + lane * LD + d);
#pragma unroll
      for (int r = 0; r < ROWS; r++) {
        const float4 x = *reinterpret_cast<const float4*>(tile_q + r * LD + d);
        logits[r] += x.x * y.x + x.y * y.y + x.z * y.z + x.w * y.w;
      }
    }
    const int key = first_key + lane;
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
      const int query = first_query + r;
      bool seen = key < keys;
      if (seen && mask && query < queries) seen = mask[query * mask_row + key * mask_key];
      const float x = seen ? logits[r] * (scale * LOG2_E) : MINUS_INFINITY;
      const float next = fmaxf(most[r], warp_max(x)), shift = next == MINUS_INFINITY ? 0.f : next;
      const float weight = exp2f(x - shift), shrink = exp2f(most[r] - shift);
      most[r] = next;
      total[r] = total[r] * shrink + weight;  // of this lane's keys
      weights[r * KEYS + lane] = weight;
#pragma unroll
      for (int c = 0; c < COLUMNS; c++) sums[r][c] *= shrink;
    }
    __syncwarp();
#pragma unroll 2
    for (int j = 0; j < KEYS; j++)
#pragma unroll
      for (int c = 0; c < COLUMNS; c++) {
        const int d = c * 32 + lane;
        const float y = d < D ? tile_v[j * LD + d] : 0.f;
#pragma unroll
        for (int r = 0; r < ROWS; r++) sums[r][c] += weights[r * KEYS + j] * y;
      }
  }
#pragma unroll
  for (int r = 0; r < ROWS; r++) {
    const float sum = warp_sum(total[r]), inverse = sum == 0.f ? 0.f : 1.f / sum;
    const int query = first_query + r;
    if (query >= queries) continue;
    if (lse && lane == 0)
      lse[(static_cast<long long>(n) * gridDim.y + h) * queries + query] = most[r] * LN_2 + logf(sum);
#pragma unroll
    for (int c = 0; c < COLUMNS; c++)
      if (c * 32 + lane < D) o[query * o_row + c * 32 + lane] = from_float<T>(sums[r][c] * inverse);
  }
}
