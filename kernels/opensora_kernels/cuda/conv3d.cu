// Convolution of x [B, Cin, T, H, W] by weight [Cout, Cin, kT, kH, kW] as a matrix product whose right factor is never
// written down: out[co, place] = sum over k = (ci, dt, dh, dw) of weight[co, k] x[k, place], zero padding.
//
// A block makes COUT x PLACES of it, DEPTH products at a time: a thread gathers its own place's DEPTH elements, neighbours
// read neighbours, and the next gathering is under way in registers while tiles in shared memory are multiplied. Halves
// are multiplied on tensor cores, floats by each thread; sums are fp32, then the bias, then one rounding.
//
// Block: 128 threads. Grid: (B * ceil(places / PLACES), ceil(Cout / COUT)).
#include "attention.cuh"

constexpr int COUT = 64, PLACES = 128, DEPTH = 32;

template <typename T>
__device__ __forceinline__ T zero() { return from_float<T>(0.f); }

template <typename T>
struct Tiles {
  static constexpr bool halves = sizeof(T) == 2;
  static constexpr int LW = halves ? padded_row(DEPTH) : DEPTH + 1, LX = halves ? padded_row(PLACES) : PLACES;
};

// Where products `first`.. are: offset into a sample's elements, and the steps in time, height and width.
__device__ __forceinline__ void fill_table(int4* table, int first, int depth, int T, int H, int W, int kT, int kH,
                                           int kW) {
  const int i = threadIdx.x;
  if (i >= DEPTH) return;
  const int k = first + i, dw = k % kW, dh = k / kW % kH, dt = k / kW / kH % kT, c = k / kW / kH / kT;
  table[i] = k < depth ? int4{((c * T + dt) * H + dh) * W + dw, dt, dh, dw} : int4{0, 1 << 30, 0, 0};
}

template <typename E>
__global__ void __launch_bounds__(128, 2)
    conv3d(const E* __restrict__ x, const E* __restrict__ weight, const E* __restrict__ bias, E* out, int Cin, int T,
           int H, int W, int Cout, int kT, int kH, int kW, int oT, int oH, int oW, int sT, int sH, int sW, int pT,
           int pH, int pW) {
  constexpr int LW = Tiles<E>::LW, LX = Tiles<E>::LX, WEIGHTS = COUT * DEPTH / 128;
  DYN_SMEM(memory);
  int4* table = reinterpret_cast<int4*>(memory);       // [DEPTH]
  E* tile_w = reinterpret_cast<E*>(table + DEPTH);     // [COUT][LW]
  E* tile_x = tile_w + COUT * LW;                      // [DEPTH][LX]
  const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
  const int depth = Cin * kT * kH * kW, places = oT * oH * oW, blocks = (places + PLACES - 1) / PLACES;
  const int sample = blockIdx.x / blocks, first_place = blockIdx.x % blocks * PLACES, first_out = blockIdx.y * COUT;

  const int place = first_place + thread;  // that this thread gathers for
  const bool inside = place < places;
  const int t0 = place / oW / oH * sT - pT, h0 = place / oW % oH * sH - pH, w0 = place % oW * sW - pW;
  const E* origin = x + sample * ((long long)Cin * T * H * W) + ((long long)t0 * H + h0) * W + w0;
  E gathered[DEPTH], weights[WEIGHTS];
  const auto gather = [&](int first) {
#pragma unroll
    for (int i = 0; i < DEPTH; i++) {
      const int4 step = table[i];
      const bool valid = inside && unsigned(t0 + step.y) < unsigned(T) && unsigned(h0 + step.z) < unsigned(H) &&
                         unsigned(w0 + step.w) < unsigned(W);
      gathered[i] = valid ? origin[step.x] : zero<E>();
    }
#pragma unroll
    for (int i = 0; i < WEIGHTS; i++) {
      const int row = (i * 128 + thread) / DEPTH, k = first + thread % DEPTH;
      const bool valid = first_out + row < Cout && k < depth;
      weights[i] = valid ? weight[(first_out + row) * (long long)depth + k] : zero<E>();
    }
  };

  float sums[2][8][4] = {};  // halves: two times 16 outputs, eight times 8 places; floats: 8 outputs times 8 places
  fill_table(table, 0, depth, T, H, W, kT, kH, kW);
  __syncthreads();  // the first table is there
  gather(0);
  for (int first = 0; first < depth; first += DEPTH) {
    __syncthreads();  // the tiles and the table before are used
#pragma unroll
    for (int i = 0; i < DEPTH; i++) tile_x[i * LX + thread] = gathered[i];
#pragma unroll
    for (int i = 0; i < WEIGHTS; i++) tile_w[(i * 128 + thread) / DEPTH * LW + thread % DEPTH] = weights[i];
    fill_table(table, first + DEPTH, depth, T, H, W, kT, kH, kW);
    __syncthreads();  // these tiles and the next table are there
    if (first + DEPTH < depth) gather(first + DEPTH);
    if constexpr (Tiles<E>::halves) {  // a warp makes 32 outputs of 64 places
#pragma unroll
      for (int k = 0; k < DEPTH; k += 16)
#pragma unroll
        for (int m = 0; m < 2; m++) {
          uint32_t a[4];
          load_a16<E, LW>(a, tile_w + (warp / 2 * 32 + m * 16) * LW, k, lane);
          multiply_columns<E, 64, LX>(sums[m], a, tile_x + k * LX + warp % 2 * 64, lane);
        }
    } else {  // a thread makes outputs thread / 16 * 8 .. + 7 of places thread % 16 + 16 j
#pragma unroll 4
      for (int k = 0; k < DEPTH; k++) {
        float row[8];
#pragma unroll
        for (int j = 0; j < 8; j++) row[j] = tile_x[k * LX + thread % 16 + 16 * j];
#pragma unroll
        for (int i = 0; i < 8; i++) {
          const float w = tile_w[(thread / 16 * 8 + i) * LW + k];
#pragma unroll
          for (int j = 0; j < 8; j++) sums[i / 4][i % 4 * 2 + j / 4][j % 4] += w * row[j];
        }
      }
    }
  }

  const auto store = [&](int co, int at, float y) {
    if (co >= Cout || at >= places) return;
    out[(sample * (long long)Cout + co) * places + at] = from_float<E>(bias ? y + to_float(bias[co]) : y);
  };
#pragma unroll
  for (int m = 0; m < 2; m++)
#pragma unroll
    for (int c = 0; c < 8; c++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        if constexpr (Tiles<E>::halves)
          store(first_out + warp / 2 * 32 + m * 16 + lane / 4 + e / 2 * 8,
                first_place + warp % 2 * 64 + c * 8 + lane % 4 * 2 + e % 2, sums[m][c][e]);
        else
          store(first_out + thread / 16 * 8 + m * 4 + c / 2, first_place + thread % 16 + 16 * (c % 2 * 4 + e),
                sums[m][c][e]);
      }
}
