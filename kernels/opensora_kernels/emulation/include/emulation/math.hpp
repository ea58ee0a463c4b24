// Arithmetic intrinsics, in the CPU's own rounding: the approximate ones of a GPU are exact here.
#pragma once

template <class T>
inline T __ldg(const T* p) {
  return *p;
}
template <class T>
inline T min(T a, T b) {
  return b < a ? b : a;
}
template <class T>
inline T max(T a, T b) {
  return a < b ? b : a;
}
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __frsqrt_rn(float x) { return 1.0f / sqrtf(x); }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __saturatef(float x) { return x < 0.0f ? 0.0f : x > 1.0f ? 1.0f : x; }
inline uint32_t __float_as_uint(float f) { return emulation::bits(f); }
inline float __uint_as_float(uint32_t u) { return emulation::from_bits(u); }
inline int __float_as_int(float f) { return int(emulation::bits(f)); }
inline float __int_as_float(int i) { return emulation::from_bits(uint32_t(i)); }
inline int __float2int_rn(float f) { return int(std::nearbyint(f)); }
inline float __int2float_rn(int i) { return float(i); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }

// Atomics: fibers are switched only where they wait, so plain reads and writes are atomic.
template <class T>
inline T atomicAdd(T* p, std::common_type_t<T> v) {
  T old = *p;
  *p = T(old + v);
  return old;
}
template <class T>
inline T atomicMax(T* p, std::common_type_t<T> v) {
  T old = *p;
  *p = max(old, v);
  return old;
}
template <class T>
inline T atomicMin(T* p, std::common_type_t<T> v) {
  T old = *p;
  *p = min(old, v);
  return old;
}
template <class T>
inline T atomicExch(T* p, std::common_type_t<T> v) {
  T old = *p;
  *p = v;
  return old;
}
template <class T>
inline T atomicCAS(T* p, std::common_type_t<T> expected, std::common_type_t<T> v) {
  T old = *p;
  if (old == expected) *p = v;
  return old;
}
inline void __threadfence() {}
inline void __threadfence_block() {}
