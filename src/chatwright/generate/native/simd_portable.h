// Sixteen lanes as the compilers' own vectors, which become whatever the machine has (SSE2, NEON, …).
// With NEON's dot products (ARMv8.2 on) the products of small integers are written out.
#pragma once
#include <cmath>
#include <cstring>
#if defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#endif

#define UNROLL

namespace {
// How many rows are multiplied, and how many queries attend, at a time: as many as the registers hold.
constexpr int TILE_ROWS = 2, ATTEND_ROWS = 4;
typedef float vf __attribute__((vector_size(64)));
typedef int32_t vi __attribute__((vector_size(64)));
typedef uint32_t vw __attribute__((vector_size(64)));

inline vf set1(float s) { return s - vf{}; }
inline vf zero() { return vf{}; }
inline vf load(const float* p) { vf r; std::memcpy(&r, p, 64); return r; }
inline void store(float* p, vf a) { std::memcpy(p, &a, 64); }
inline vf add(vf a, vf b) { return a + b; }
inline vf sub(vf a, vf b) { return a - b; }
inline vf mul(vf a, vf b) { return a * b; }
inline vf div(vf a, vf b) { return a / b; }
inline vf fma(vf a, vf b, vf c) { return a * b + c; }
inline vf vmax(vf a, vf b) { return a > b ? a : b; }
inline vf vmin(vf a, vf b) { return a < b ? a : b; }
inline vf vabs(vf a) { return (vf)((vi)a & 0x7fffffff); }
inline float sum(vf a) {
  float s = 0.0f;
  for (int i = 0; i < 16; ++i) s += a[i];
  return s;
}
inline float largest(vf a) {
  float s = a[0];
  for (int i = 1; i < 16; ++i) s = a[i] > s ? a[i] : s;
  return s;
}
// Of both; NaN is the largest, since magnitudes are ordered as their bits are.
inline float largest_magnitude(vf a, vf b) {
  const vi p = (vi)vabs(a), q = (vi)vabs(b);
  int32_t most = 0;
  for (int i = 0; i < 16; ++i) {
    most = p[i] > most ? p[i] : most;
    most = q[i] > most ? q[i] : most;
  }
  float result;
  std::memcpy(&result, &most, 4);
  return result;
}
inline vf floor_(vf a) {
  const vf whole = __builtin_convertvector(__builtin_convertvector(a, vi), vf);
  return whole > a ? whole - 1.0f : whole;
}
inline vf two_to(vf n) { return (vf)((__builtin_convertvector(n, vi) + 127) << 23); }
inline vf load_half(const uint16_t* p) {
  vf r;
  for (int i = 0; i < 16; ++i) r[i] = half_to_float(p[i]);
  return r;
}
inline vf load_i8(const int8_t* p) {
  vf r;
  for (int i = 0; i < 16; ++i) r[i] = p[i];
  return r;
}
inline void store_bf16(uint16_t* p, vf a) {
  for (int i = 0; i < 16; ++i) p[i] = float_to_bf16(a[i]);
}

inline vi set1_i(int32_t s) { return s - vi{}; }
inline vi zero_i() { return vi{}; }
inline vi add_i(vi a, vi b) { return a + b; }
inline int32_t sum_i(vi a) {
  int32_t s = 0;
  for (int i = 0; i < 16; ++i) s += a[i];
  return s;
}
inline vf to_float(vi a) { return __builtin_convertvector(a, vf); }
inline vi nearest(vf a) {  // adding and taking away 1.5 * 2^23 rounds to nearest, ties to even
  const vf magic = set1(12582912.0f);
  return __builtin_convertvector((a + magic) - magic, vi);
}
inline void store_i8(int8_t* p, vi a) {
  for (int i = 0; i < 16; ++i)
    p[i] = static_cast<int8_t>(a[i] < -128 ? -128 : a[i] > 127 ? 127 : a[i]);
}

inline vw load_w(const uint8_t* p) { vw r; std::memcpy(&r, p, 64); return r; }
inline void split_nibbles(const uint8_t* p, vw& low, vw& high) {
  const vw raw = load_w(p);
  low = raw & 0x0f0f0f0fu;
  high = raw >> 4 & 0x0f0f0f0fu;
}
inline vi dot4(vi acc, vw w, const int8_t* a) {
  return acc + (vi)(w & 255u) * a[0] + (vi)(w >> 8 & 255u) * a[1] + (vi)(w >> 16 & 255u) * a[2] +
         (vi)(w >> 24) * a[3];
}
#if defined(__ARM_FEATURE_DOTPROD)
inline vi dot4_small(vi acc, vw w, const int8_t* a) {
  int32_t four;
  std::memcpy(&four, a, 4);
  const int8x16_t b = vreinterpretq_s8_s32(vdupq_n_s32(four));
  int32_t sums[16];
  uint8_t bytes[64];
  std::memcpy(sums, &acc, 64);
  std::memcpy(bytes, &w, 64);
  for (int i = 0; i < 4; ++i) {
    const int8x16_t part = vreinterpretq_s8_u8(vld1q_u8(bytes + 16 * i));
    vst1q_s32(sums + 4 * i, vdotq_s32(vld1q_s32(sums + 4 * i), part, b));
  }
  std::memcpy(&acc, sums, 64);
  return acc;
}
#else
inline vi dot4_small(vi acc, vw w, const int8_t* a) { return dot4(acc, w, a); }
#endif
inline vf dot2(vf acc, vw w, const uint16_t* a) {
  return acc + (vf)(w << 16) * bf16_to_float(a[0]) + (vf)(w & 0xffff0000u) * bf16_to_float(a[1]);
}
inline void prefetch(const void* p) { __builtin_prefetch(p); }
}  // namespace
