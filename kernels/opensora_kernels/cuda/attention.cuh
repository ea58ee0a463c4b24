// What the attention kernels share: strides, tiles in shared memory, QK-norm and rope of a row, fragments of a tile.
#pragma once
#include "numbers.cuh"

// Elements from one index to the next. A sequence is named by two indices, as (b, t) or (b, s) of a video; rows are its
// tokens. A row's D elements are adjacent.
// For kernels with operands by strides of these names: q, k, v, `fourth` and the mask from head h of sequence n on; and
// keys, no more of which count than its length says.
#define BEGIN_SEQUENCE(fourth)                                                   \
  const int outer = n / inner_size, inner = n % inner_size;                      \
  q += outer * q_outer + inner * q_inner + h * q_head;                           \
  k += outer * k_outer + inner * k_inner + h * k_head;                           \
  v += outer * v_outer + inner * v_inner + h * v_head;                           \
  fourth += outer * fourth##_outer + inner * fourth##_inner + h * fourth##_head; \
  if (mask) mask += outer * mask_outer + inner * mask_inner + h * mask_head;     \
  if (lengths) keys = min(keys, max(0, lengths[outer]));

// What happens to queries and keys before they meet; null pointers leave it out.
template <typename W>
struct Preparation {
  const W* norm;         // [D] weights of the RMS norm
  const W* folded;       // [D] weights of the other side's norm, which a rotation does not separate from it
  const float *cos, *sin;  // [D/2] of this row
  float eps;
};

// Elements from row to row of a tile of D halves: an odd number of 16-byte chunks, so that ldmatrix and row-wise access
// of eight lanes meet no bank twice. D = 72 has nine and needs no padding.
__host__ __device__ constexpr int padded_row(int D) { return D + (D / 8 % 2 ? 0 : 8); }
// The same for rows of floats, four to a chunk.
__host__ __device__ constexpr int padded_floats(int D) { return (D + 3) / 4 * 4 + ((D + 3) / 4 % 2 ? 0 : 4); }

template <typename T>
__device__ __forceinline__ float square_sum(const uint4& chunk) {
  const uint32_t pairs[4] = {chunk.x, chunk.y, chunk.z, chunk.w};
  float sum = 0.f;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const float2 x = unpack<T>(pairs[i]);
    sum += x.x * x.x + x.y * x.y;
  }
  return sum;
}

// Eight elements, from channel `first` of their row: times `factor` and the weights, then rotated in pairs.
template <typename T, typename W>
__device__ __forceinline__ uint4 prepare_chunk(const uint4& chunk, int first, float factor, const Preparation<W>& with) {
  uint32_t pairs[4] = {chunk.x, chunk.y, chunk.z, chunk.w};
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const int d = first + 2 * i;
    float2 x = unpack<T>(pairs[i]);
    x.x *= factor, x.y *= factor;
    if (with.norm) x.x *= to_float(with.norm[d]), x.y *= to_float(with.norm[d + 1]);
    if (with.folded) x.x *= to_float(with.folded[d]), x.y *= to_float(with.folded[d + 1]);
    if (with.cos) {
      const float c = with.cos[d / 2], s = with.sin[d / 2], even = x.x;
      x.x = even * c - x.y * s;
      x.y = x.y * c + even * s;
    }
    pairs[i] = pack<T>(x.x, x.y);
  }
  return make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
}

// 1 / rms of a row of D halves in shared memory; LANES neighbouring lanes share the work and all get the result.
template <typename T, int D, int LANES>
__device__ __forceinline__ float row_factor(const T* row, int part, float eps) {
  float sum = 0.f;
#pragma unroll
  for (int c = 0; c < D / 8; c += LANES)
    if (c + part < D / 8) sum += square_sum<T>(*reinterpret_cast<const uint4*>(row + (c + part) * 8));
#pragma unroll
  for (int bit = LANES / 2; bit; bit >>= 1) sum += __shfl_xor_sync(WARP_MASK, sum, bit);
  return rsqrtf(sum / D + eps);
}

// QK-norm and rope of a row of D halves in shared memory, in place, by LANES neighbouring lanes.
template <typename T, int D, int LANES, typename W>
__device__ __forceinline__ void prepare_row(T* row, int part, const Preparation<W>& with) {
  const float factor = with.norm ? row_factor<T, D, LANES>(row, part, with.eps) : 1.f;
#pragma unroll 4
  for (int c = part; c < D / 8; c += LANES) {
    uint4* chunk = reinterpret_cast<uint4*>(row + c * 8);
    *chunk = prepare_chunk<T, W>(*chunk, c * 8, factor, with);
  }
}

// One row of D elements from global memory to floats in shared memory, with QK-norm and rope, by a warp. The row is
// filled with zeros up to a multiple of four, and wholly if it is not `valid`.
template <typename T>
__device__ __forceinline__ void load_row(float* target, const T* source, bool valid, int D, int lane,
                                         const Preparation<T>& with) {
  const int end = (D + 3) / 4 * 4;
  float factor = 1.f;
  if (with.norm) {
    float sum = 0.f;
    for (int d = lane; d < D; d += 32) {
      const float x = valid ? to_float(source[d]) : 0.f;
      sum += x * x;
    }
    factor = rsqrtf(warp_sum(sum) / D + with.eps);
  }
  for (int first = 0; first < end; first += 32) {
    const int d = first + lane;
    const bool inside = valid && d < D;
    float x = inside ? to_float(source[d]) * factor : 0.f;
    if (with.norm && inside) x *= to_float(with.norm[d]);
    if (with.cos) {
      const float partner = __shfl_xor_sync(WARP_MASK, x, 1);  // the other channel of the pair
      if (inside) x = x * with.cos[d / 2] + (d % 2 ? partner : -partner) * with.sin[d / 2];
    }
    if (d < end) target[d] = x;
  }
}

// Ask for rows first..first+ROWS-1 of D halves, by THREADS threads; rows from `end` on are zero.
template <typename T, int D, int LD, int ROWS, int THREADS>
__device__ __forceinline__ void load_tile(T* target, const T* source, long long stride, int first, int end) {
#pragma unroll 2
  for (int i = threadIdx.x; i < ROWS * (D / 8); i += THREADS) {
    const int row = i / (D / 8), c = i % (D / 8) * 8;
    const bool valid = first + row < end;
    ptx::cp_async<16>(shared_address(target + row * LD + c), valid ? source + (first + row) * stride + c : source, valid);
  }
}

// Sums of a warp's 16 rows to global memory, through the warp's own rows in shared memory to store 16 bytes at a time.
template <typename T, int D, int LD>
__device__ __forceinline__ void store_rows(T* target, long long stride, int first, int end, T* rows,
                                           const float (&sums)[D / 8][4], const float (&factors)[2], int lane) {
#pragma unroll
  for (int half = 0; half < 2; half++)
#pragma unroll
    for (int c = 0; c < D / 8; c++)
      *reinterpret_cast<uint32_t*>(rows + (lane / 4 + 8 * half) * LD + c * 8 + lane % 4 * 2) =
          pack<T>(sums[c][2 * half] * factors[half], sums[c][2 * half + 1] * factors[half]);
  __syncwarp();
  for (int i = lane; i < 16 * (D / 8); i += 32) {
    const int row = i / (D / 8), c = i % (D / 8) * 8;
    if (first + row < end)
      *reinterpret_cast<uint4*>(target + (first + row) * stride + c) = *reinterpret_cast<const uint4*>(rows + row * LD + c);
  }
}

// Fragments of tensor-core instructions, from tiles of halves in shared memory whose rows are LD elements apart.

// a: 16 rows of `tile`, channels k..k+15.
template <typename T, int LD>
__device__ __forceinline__ void load_a16(uint32_t (&a)[4], const T* tile, int k, int lane) {
  ptx::ldmatrix_x4(a, shared_address(tile + lane % 16 * LD + k + lane / 16 * 8));
}
template <typename T, int LD>
__device__ __forceinline__ void load_a8(uint32_t (&a)[2], const T* tile, int k, int lane) {
  ptx::ldmatrix_x2(a, shared_address(tile + lane % 16 * LD + k));
}

// s[2] += a b^T for 16 rows of `tile` as the columns of b, channels k..k+15; s[0] is of rows 0..7, s[1] of 8..15.
template <typename T, int LD>
__device__ __forceinline__ void multiply_rows16(float (&low)[4], float (&high)[4], const uint32_t (&a)[4], const T* tile,
                                                int k, int lane) {
  uint32_t b[4];
  ptx::ldmatrix_x4(b, shared_address(tile + (lane / 16 * 8 + lane % 8) * LD + k + lane / 8 % 2 * 8));
  const uint32_t first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
  ptx::mma_16816<T>(low, a, first);
  ptx::mma_16816<T>(high, a, second);
}
template <typename T, int LD>
__device__ __forceinline__ void multiply_rows8(float (&low)[4], float (&high)[4], const uint32_t (&a)[2], const T* tile,
                                               int k, int lane) {
  uint32_t b[2];
  ptx::ldmatrix_x2(b, shared_address(tile + lane % 16 * LD + k));
  const uint32_t first[1] = {b[0]}, second[1] = {b[1]};
  ptx::mma_1688<T>(low, a, first);
  ptx::mma_1688<T>(high, a, second);
}

// sums[c] += a b for 16 rows of `tile` as the rows of b, and all D channels, eight to each c.
template <typename T, int D, int LD>
__device__ __forceinline__ void multiply_columns(float (&sums)[D / 8][4], const uint32_t (&a)[4], const T* tile,
                                                 int lane) {
#pragma unroll
  for (int c = 0; c + 1 < D / 8; c += 2) {
    uint32_t b[4];
    ptx::ldmatrix_x4_trans(b, shared_address(tile + lane % 16 * LD + c * 8 + lane / 16 * 8));
    const uint32_t first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
    ptx::mma_16816<T>(sums[c], a, first);
    ptx::mma_16816<T>(sums[c + 1], a, second);
  }
  if constexpr (D / 8 % 2 == 1) {
    uint32_t b[2];
    ptx::ldmatrix_x2_trans(b, shared_address(tile + lane % 16 * LD + D - 8));
    ptx::mma_16816<T>(sums[D / 8 - 1], a, b);
  }
}

// sums += a b^T for the 16 rows of `rows` and the COLUMNS rows of `tile`, over all D channels.
template <typename T, int D, int LD, int COLUMNS>
__device__ __forceinline__ void multiply_tiles(float (&sums)[COLUMNS / 8][4], const T* rows, const T* tile, int lane) {
#pragma unroll(D <= 128 ? D / 16 : 1)
  for (int channel = 0; channel < D / 16 * 16; channel += 16) {
    uint32_t a[4];
    load_a16<T, LD>(a, rows, channel, lane);
#pragma unroll
    for (int c = 0; c < COLUMNS / 16; c++)
      multiply_rows16<T, LD>(sums[2 * c], sums[2 * c + 1], a, tile + c * 16 * LD, channel, lane);
  }
  if constexpr (D % 16 == 8) {
    uint32_t a[2];
    load_a8<T, LD>(a, rows, D - 8, lane);
#pragma unroll
    for (int c = 0; c < COLUMNS / 16; c++)
      multiply_rows8<T, LD>(sums[2 * c], sums[2 * c + 1], a, tile + c * 16 * LD, D - 8, lane);
  }
}

// Weights of 16 rows and COLUMNS columns as the left side of a product with tiles of COLUMNS rows.
template <typename T, int D, int LD, int COLUMNS>
__device__ __forceinline__ void multiply_weights(float (&sums)[D / 8][4], const float (&weights)[COLUMNS / 8][4],
                                                 const T* tile, int lane) {
#pragma unroll
  for (int c = 0; c < COLUMNS / 16; c++) {
    const float(&x)[4] = weights[2 * c], (&y)[4] = weights[2 * c + 1];
    const uint32_t a[4] = {pack<T>(x[0], x[1]), pack<T>(x[2], x[3]), pack<T>(y[0], y[1]), pack<T>(y[2], y[3])};
    multiply_columns<T, D, LD>(sums, a, tile + c * 16 * LD, lane);
  }
}
