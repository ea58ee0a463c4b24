// Every wrapper of ptx.cuh on data as it comes, all registers as they are: what the emulation has to give to the bit.
#include "ptx.cuh"

extern "C" __global__ void golden_ldmatrix(const uint32_t* rows, uint32_t* out) {  // rows: 32 of 16 bytes
  DYN_SMEM(raw);
  uint32_t* shared = reinterpret_cast<uint32_t*>(raw);
  const int lane = threadIdx.x;
  for (int i = lane; i < 128; i += 32) shared[i] = rows[i];
  __syncwarp();
  const uint32_t at = uint32_t(__cvta_generic_to_shared(raw)) + (lane * 7 % 32) * 16;  // any row for any lane
  uint32_t one[1], two[2], four[4];
  ptx::ldmatrix_x1(one, at);
  out[lane] = one[0];
  ptx::ldmatrix_x1_trans(one, at);
  out[32 + lane] = one[0];
  ptx::ldmatrix_x2(two, at);
  for (int i = 0; i < 2; i++) out[64 + i * 32 + lane] = two[i];
  ptx::ldmatrix_x2_trans(two, at);
  for (int i = 0; i < 2; i++) out[128 + i * 32 + lane] = two[i];
  ptx::ldmatrix_x4(four, at);
  for (int i = 0; i < 4; i++) out[192 + i * 32 + lane] = four[i];
  ptx::ldmatrix_x4_trans(four, at);
  for (int i = 0; i < 4; i++) out[320 + i * 32 + lane] = four[i];
}

// a [32 lanes, 4], b [32, 2]: registers; c [32, 4] floats. out [2, 32, 4]: of mma_16816 and mma_1688.
template <typename T>
__global__ void golden_mma(const uint32_t* a, const uint32_t* b, const float* c, float* out) {
  const int lane = threadIdx.x;
  uint32_t fa[4], fb[2], ga[2], gb[1];
  float long_sum[4], short_sum[4];
  for (int i = 0; i < 4; i++) fa[i] = a[lane * 4 + i], long_sum[i] = short_sum[i] = c[lane * 4 + i];
  for (int i = 0; i < 2; i++) fb[i] = b[lane * 2 + i], ga[i] = fa[i];
  gb[0] = fb[0];
  ptx::mma_16816<T>(long_sum, fa, fb);
  ptx::mma_1688<T>(short_sum, ga, gb);
  for (int i = 0; i < 4; i++) out[lane * 4 + i] = long_sum[i], out[128 + lane * 4 + i] = short_sum[i];
}

// Copies with and without a source; out [3 sizes, 32 lanes * 4].
extern "C" __global__ void golden_cp_async(const uint32_t* x, uint32_t* out) {
  DYN_SMEM(raw);
  const int lane = threadIdx.x;
  uint32_t* shared = reinterpret_cast<uint32_t*>(raw);
  for (int i = lane; i < 384; i += 32) shared[i] = 0xdeadbeef;
  __syncwarp();
  const uint32_t at = uint32_t(__cvta_generic_to_shared(raw));
  ptx::cp_async<4>(at + lane * 16, x + lane * 4, lane % 3 != 0);
  ptx::cp_async_commit();
  ptx::cp_async<8>(at + 512 + lane * 16, x + lane * 4, lane % 3 != 1);
  ptx::cp_async_commit();
  ptx::cp_async_wait<1>();
  ptx::cp_async<16>(at + 1024 + lane * 16, x + lane * 4, lane % 3 != 2);
  ptx::cp_async_commit();
  ptx::cp_async_wait<0>();
  __syncwarp();
  for (int i = lane; i < 384; i += 32) out[i] = shared[i];
}

extern "C" __global__ void golden_ex2(const float* x, float* out, int n) {
  for (int i = threadIdx.x; i < n; i += blockDim.x) out[i] = ptx::ex2(x[i]);
}
