// Attention along time: QK-norm, rope and attention of packed qkv in one pass over memory, one warp per (b, s, h).
//
// A video has tens of thousands of sequences (place, head) of T <= 32 frames, so this is bound by memory: each element
// is read once and written once, and nothing is permuted. qkv is [B, T, S, 3, H, D] with any strides, its last axis
// dense; o is [B, T, S, H, D], dense. q_norm, k_norm [D] or null; cos, sin float [T, D/2] or null.
//
//   temporal_attention        tensor cores; D a multiple of 8, and 16-byte aligned rows. D = 72 takes 4 steps of 16
//                             channels and one of 8: nothing is padded.
//   temporal_attention_plain  any D and dtype, arithmetic in float32: the one for float32, and the teacher.
#include "attention.cuh"

// Block: WARPS heads. Grid: (any number up to B*S of blocks that share the places, ceil(H / WARPS)).
template <typename T, int D, int FRAMES, int WARPS>
__global__ void __launch_bounds__(WARPS * 32, FRAMES == 16 && D <= 72 ? 6 : FRAMES == 16 || D <= 72 ? 4 : 1)
    temporal_attention(const T* __restrict__ qkv, T* __restrict__ o, const T* __restrict__ q_norm,
                       const T* __restrict__ k_norm, const float* __restrict__ cos, const float* __restrict__ sin,
                       int B, int frames, int S, int H, long long stride_b, long long stride_t, long long stride_s,
                       long long stride_qkv, long long stride_h, float scale, float eps) {
  static_assert(D % 8 == 0 && FRAMES % 16 == 0 && FRAMES <= 32, "tiles of tensor cores");
  constexpr int LD = padded_row(D), LR = padded_floats(D / 2), CHUNKS = D / 8, TILE = FRAMES * LD;
  DYN_SMEM(shared);
  float* weights = reinterpret_cast<float*>(shared);  // [2][D] of q and k
  float* turns = weights + 2 * D;                     // [2][frames][LR]: cos, sin
  T* tiles = reinterpret_cast<T*>(turns + (cos ? 2 * frames * LR : 0));
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, h = blockIdx.y * WARPS + warp;

  for (int d = threadIdx.x; d < D; d += WARPS * 32) {
    weights[d] = q_norm ? to_float(q_norm[d]) : 1.f;
    weights[D + d] = k_norm ? to_float(k_norm[d]) : 1.f;
  }
  if (cos)
    for (int i = threadIdx.x; i < frames * (D / 2); i += WARPS * 32) {
      const int at = i / (D / 2) * LR + i % (D / 2);
      turns[at] = cos[i];
      turns[frames * LR + at] = sin[i];
    }
  __syncthreads();
  if (h >= H) return;

  T* q = tiles + warp * 3 * TILE;  // then k and v, FRAMES rows each
  const T* k = q + TILE;
  const T* v = k + TILE;
  for (int place = blockIdx.x; place < B * S; place += gridDim.x) {
    const int b = place / S, s = place % S;
    const T* source = qkv + b * stride_b + s * stride_s + h * stride_h;
#pragma unroll 3
    for (int i = lane; i < 3 * FRAMES * CHUNKS; i += 32) {  // frames beyond the last are zero
      const int c = i % CHUNKS, row = i / CHUNKS, t = row % FRAMES, which = row / FRAMES;
      const bool valid = t < frames;
      const T* from = valid ? source + t * stride_t + which * stride_qkv + c * 8 : qkv;
      ptx::cp_async<16>(shared_address(q + row * LD + c * 8), from, valid);
    }
    ptx::cp_async_commit();
    ptx::cp_async_wait<0>();
    __syncwarp();

    if (q_norm || k_norm || cos) {  // a lane prepares a row; the rows of k follow those of q
#pragma unroll
      for (int row = lane; row < 2 * FRAMES; row += 32) {
        const int t = row % FRAMES;
        const bool key = row >= FRAMES, normed = key ? k_norm != nullptr : q_norm != nullptr;
        if (t >= frames) continue;
        Preparation<float> with{normed ? weights + key * D : nullptr, nullptr, nullptr, nullptr, eps};
        if (cos) with.cos = turns + t * LR, with.sin = turns + (frames + t) * LR;
        prepare_row<T, D, 1>(q + row * LD, 0, with);
      }
      __syncwarp();
    }

#pragma unroll
    for (int m = 0; m < FRAMES / 16; m++) {  // sixteen queries at a time
      T* rows = q + m * 16 * LD;
      float logits[FRAMES / 8][4] = {};
      multiply_tiles<T, D, LD, FRAMES>(logits, rows, k, lane);
      float inverse[2];
#pragma unroll
      for (int half = 0; half < 2; half++) {  // this lane's two rows of the sixteen; four lanes share a row
        float most = MINUS_INFINITY, sum = 0.f;
#pragma unroll
        for (int n = 0; n < FRAMES / 8; n++)
#pragma unroll
          for (int e = 0; e < 2; e++) {
            float& x = logits[n][2 * half + e];
            x = n * 8 + lane % 4 * 2 + e < frames ? x * (scale * LOG2_E) : MINUS_INFINITY;
            most = fmaxf(most, x);
          }
        most = fmaxf(most, __shfl_xor_sync(WARP_MASK, most, 1));
        most = fmaxf(most, __shfl_xor_sync(WARP_MASK, most, 2));
#pragma unroll
        for (int n = 0; n < FRAMES / 8; n++)
#pragma unroll
          for (int e = 0; e < 2; e++) {
            float& x = logits[n][2 * half + e];
            x = ptx::ex2(x - most);
            sum += x;
          }
        sum += __shfl_xor_sync(WARP_MASK, sum, 1);
        sum += __shfl_xor_sync(WARP_MASK, sum, 2);
        inverse[half] = 1.f / sum;
      }
      float sums[CHUNKS][4] = {};
      multiply_weights<T, D, LD, FRAMES>(sums, logits, v, lane);
      __syncwarp();  // these queries are read; their rows take the result
#pragma unroll
      for (int c = 0; c < CHUNKS; c++)
#pragma unroll
        for (int half = 0; half < 2; half++)
          *reinterpret_cast<uint32_t*>(rows + (lane / 4 + 8 * half) * LD + c * 8 + lane % 4 * 2) =
              pack<T>(sums[c][2 * half] * inverse[half], sums[c][2 * half + 1] * inverse[half]);
    }
    __syncwarp();
    for (int i = lane; i < frames * CHUNKS; i += 32) {
      const int c = i % CHUNKS, t = i / CHUNKS;
      T* to = o + (((static_cast<long long>(b) * frames + t) * S + s) * H + h) * D + c * 8;
      *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(q + t * LD + c * 8);
    }
    __syncwarp();  // before the next place overwrites the tiles
  }
}

// Block: any number of warps, a head each. Grid: (places B*S, ceil(H / warps)). frames <= 32: a lane is a key.
template <typename T>
__global__ void temporal_attention_plain(const T* __restrict__ qkv, T* __restrict__ o, const T* __restrict__ q_norm,
                                         const T* __restrict__ k_norm, const float* __restrict__ cos,
                                         const float* __restrict__ sin, int B, int frames, int S, int H, int D,
                                         long long stride_b, long long stride_t, long long stride_s,
                                         long long stride_qkv, long long stride_h, float scale, float eps) {
  DYN_SMEM(shared);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32, h = blockIdx.y * warps + warp;
  if (h >= H) return;
  const int LD = padded_floats(D), place = blockIdx.x, b = place / S, s = place % S;
  float* k = reinterpret_cast<float*>(shared) + warp * ((2 * frames + 1) * LD + 32);
  float* v = k + frames * LD;
  float* q = v + frames * LD;
  float* weights = q + LD;  // [32] of the keys
  const T* source = qkv + b * stride_b + s * stride_s + h * stride_h;
  auto preparation = [&](const T* norm, int t) {
    return Preparation<T>{norm, nullptr, cos ? cos + t * (D / 2) : nullptr, cos ? sin + t * (D / 2) : nullptr, eps};
  };
  for (int t = 0; t < frames; t++) {
    load_row(k + t * LD, source + t * stride_t + stride_qkv, true, D, lane, preparation(k_norm, t));
    load_row(v + t * LD, source + t * stride_t + 2 * stride_qkv, true, D, lane, Preparation<T>{});
  }
  for (int t = 0; t < frames; t++) {
    load_row(q, source + t * stride_t, true, D, lane, preparation(q_norm, t));
    __syncwarp();
    float logit = MINUS_INFINITY;
    if (lane < frames) {
      float sum = 0.f;
      for (int d = 0; d < D; d += 4) {
        const float4 x = *reinterpret_cast<const float4*>(q + d), y = *reinterpret_cast<const float4*>(k + lane * LD + d);
        sum += x.x * y.x + x.y * y.y + x.z * y.z + x.w * y.w;
      }
      logit = sum * scale;
    }
    const float weight = expf(logit - warp_max(logit)), inverse = 1.f / warp_sum(weight);
    weights[lane] = weight;
    __syncwarp();
    T* to = o + (((static_cast<long long>(b) * frames + t) * S + s) * H + h) * D;
    for (int d = lane; d < D; d += 32) {
      float sum = 0.f;
      for (int j = 0; j < frames; j++) sum += weights[j] * v[j * LD + d];
      to[d] = from_float<T>(sum * inverse);
    }
    __syncwarp();  // before the next query overwrites q and weights
  }
}
