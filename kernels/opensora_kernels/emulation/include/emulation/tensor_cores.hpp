// ptx:: mma.sync m16n8k16 and m16n8k8: c[16x8] += a[16xK] b[Kx8], fp32 sums of fp16 or bf16 products.
//
// Fragments as the PTX manual lays them out, for lane l with g = l/4 and t = 2(l%4):
//   a[r] holds row g + 8(r%2), columns t + 8(r/2) and + 1;   b[r] holds column g, rows t + 8r and + 1;
//   c[i] is row g + 8(i/2), column t + i%2.
#pragma once

namespace ptx {

struct Fragments {
  float* c;
  const uint32_t *a, *b;
};

template <class T>
inline float element(uint32_t pair, int i) {
  T value;
  value.v = uint16_t(pair >> (16 * i));
  return value;
}

template <class T, int K>
inline void execute_mma(void** records, unsigned) {
  emulation::machine.count.mma++;
  float a[16][K], b[8][K];
  for (int lane = 0; lane < 32; lane++) {
    const auto* f = static_cast<Fragments*>(records[lane]);
    const int g = lane / 4, t = lane % 4 * 2;
    for (int r = 0; r < K / 4; r++)
      for (int e = 0; e < 2; e++) a[g + 8 * (r % 2)][t + 8 * (r / 2) + e] = element<T>(f->a[r], e);
    for (int r = 0; r < K / 8; r++)
      for (int e = 0; e < 2; e++) b[g][t + 8 * r + e] = element<T>(f->b[r], e);
  }
  for (int lane = 0; lane < 32; lane++) {
    const auto* f = static_cast<Fragments*>(records[lane]);
    for (int i = 0; i < 4; i++) {
      const int row = lane / 4 + 8 * (i / 2), column = lane % 4 * 2 + i % 2;
      float sum = 0.0f;
      for (int k = 0; k < K; k++) sum += a[row][k] * b[column][k];
      f->c[i] += sum;
    }
  }
}

template <class T>
inline void mma_16816(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], int line = __builtin_LINE()) {
  Fragments f{c, a, b};
  emulation::warp_instruction(~0u, execute_mma<T, 16>, &f, {"mma.m16n8k16", line});
}
template <class T>
inline void mma_1688(float (&c)[4], const uint32_t (&a)[2], const uint32_t (&b)[1], int line = __builtin_LINE()) {
  Fragments f{c, a, b};
  emulation::warp_instruction(~0u, execute_mma<T, 8>, &f, {"mma.m16n8k8", line});
}

inline float ex2(float x) { return exp2f(x); }

}  // namespace ptx
