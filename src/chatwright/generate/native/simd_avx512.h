// Sixteen lanes in one register: AVX-512 with VNNI and bfloat16 products (Zen 4, Sapphire Rapids on).
#pragma once
#include <immintrin.h>

#include <cstring>

#define UNROLL _Pragma("GCC unroll 8")

namespace {
// How many rows are multiplied, and how many queries attend, at a time: as many as the registers hold.
constexpr int TILE_ROWS = 4, ATTEND_ROWS = 8;
using vf = __m512;
using vi = __m512i;
using vw = __m512i;  // 64 bytes of weights: [16 lanes][4 x u8] or [16 lanes][2 x bfloat16]

inline vf zero() { return _mm512_setzero_ps(); }
inline vf set1(float x) { return _mm512_set1_ps(x); }
inline vf load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, vf x) { _mm512_storeu_ps(p, x); }
inline vf add(vf a, vf b) { return _mm512_add_ps(a, b); }
inline vf sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
inline vf mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
inline vf div(vf a, vf b) { return _mm512_div_ps(a, b); }
inline vf fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
inline vf vmax(vf a, vf b) { return _mm512_max_ps(a, b); }
inline vf vmin(vf a, vf b) { return _mm512_min_ps(a, b); }
inline vf vabs(vf a) { return _mm512_abs_ps(a); }
inline float sum(vf a) { return _mm512_reduce_add_ps(a); }
inline float largest(vf a) { return _mm512_reduce_max_ps(a); }
// Of both; NaN is the largest, since magnitudes are ordered as their bits are.
inline float largest_magnitude(vf a, vf b) {
  const __m512i bits = _mm512_set1_epi32(0x7fffffff);
  const int32_t most = _mm512_reduce_max_epi32(
      _mm512_max_epi32(_mm512_and_si512(_mm512_castps_si512(a), bits),
                       _mm512_and_si512(_mm512_castps_si512(b), bits)));
  float result;
  std::memcpy(&result, &most, 4);
  return result;
}
inline vf floor_(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
inline vf two_to(vf n) { return _mm512_scalef_ps(_mm512_set1_ps(1.0f), n); }  // 2^n, n whole
inline vf load_half(const uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline vf load_i8(const int8_t* p) {
  return _mm512_cvtepi32_ps(
      _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
inline void store_bf16(uint16_t* p, vf x) {
  const __m256bh rounded = _mm512_cvtneps_pbh(x);
  std::memcpy(p, &rounded, 32);
}

inline vi zero_i() { return _mm512_setzero_si512(); }
inline vi set1_i(int32_t x) { return _mm512_set1_epi32(x); }
inline vi add_i(vi a, vi b) { return _mm512_add_epi32(a, b); }
inline int32_t sum_i(vi a) { return _mm512_reduce_add_epi32(a); }
inline vf to_float(vi a) { return _mm512_cvtepi32_ps(a); }
inline vi nearest(vf a) { return _mm512_cvtps_epi32(a); }
inline void store_i8(int8_t* p, vi a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(a));
}

inline vw load_w(const uint8_t* p) { return _mm512_loadu_si512(p); }
inline void split_nibbles(const uint8_t* p, vw& low, vw& high) {
  const __m512i mask = _mm512_set1_epi8(15), raw = _mm512_loadu_si512(p);
  low = _mm512_and_si512(raw, mask);
  high = _mm512_and_si512(_mm512_srli_epi16(raw, 4), mask);
}
// acc[lane] += sum over 4 of w[lane][i] (unsigned) * a[i] (signed)
inline vi dot4(vi acc, vw w, const int8_t* a) {
  int32_t four;
  std::memcpy(&four, a, 4);
  return _mm512_dpbusd_epi32(acc, w, _mm512_set1_epi32(four));
}
// The same with weights below 16, where less care is needed on other machines.
inline vi dot4_small(vi acc, vw w, const int8_t* a) { return dot4(acc, w, a); }
// acc[lane] += w[lane][0] * a[0] + w[lane][1] * a[1], bfloat16
inline vf dot2(vf acc, vw w, const uint16_t* a) {
  int32_t two;
  std::memcpy(&two, a, 4);
  return _mm512_dpbf16_ps(acc, (__m512bh)w, (__m512bh)_mm512_set1_epi32(two));
}
inline void prefetch(const void* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1); }
}  // namespace
