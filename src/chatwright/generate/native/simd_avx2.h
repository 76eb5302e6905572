// Sixteen lanes in two registers: AVX2 with FMA and half-precision loads (Haswell, Zen on).
#pragma once
#include <immintrin.h>

#include <cstring>

#define UNROLL _Pragma("GCC unroll 8")

namespace {
// How many rows are multiplied, and how many queries attend, at a time: as many as the registers hold.
constexpr int TILE_ROWS = 2, ATTEND_ROWS = 4;
struct vf { __m256 a, b; };
struct vi { __m256i a, b; };
using vw = vi;

inline vf zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
inline vf set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline vf load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline void store(float* p, vf x) { _mm256_storeu_ps(p, x.a); _mm256_storeu_ps(p + 8, x.b); }
inline vf add(vf x, vf y) { return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)}; }
inline vf sub(vf x, vf y) { return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)}; }
inline vf mul(vf x, vf y) { return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)}; }
inline vf div(vf x, vf y) { return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)}; }
inline vf fma(vf x, vf y, vf z) {
  return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
inline vf vmax(vf x, vf y) { return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)}; }
inline vf vmin(vf x, vf y) { return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)}; }
inline vf vabs(vf x) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
}
inline float sum(vf x) {
  const __m256 t = _mm256_add_ps(x.a, x.b);
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(t), _mm256_extractf128_ps(t, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}
inline float largest(vf x) {
  const __m256 t = _mm256_max_ps(x.a, x.b);
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(t), _mm256_extractf128_ps(t, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)));
}
// Of both; NaN is the largest, since magnitudes are ordered as their bits are.
inline float largest_magnitude(vf x, vf y) {
  const vf p = vabs(x), q = vabs(y);
  const __m256i t =
      _mm256_max_epi32(_mm256_max_epi32(_mm256_castps_si256(p.a), _mm256_castps_si256(p.b)),
                       _mm256_max_epi32(_mm256_castps_si256(q.a), _mm256_castps_si256(q.b)));
  __m128i s = _mm_max_epi32(_mm256_castsi256_si128(t), _mm256_extracti128_si256(t, 1));
  s = _mm_max_epi32(s, _mm_shuffle_epi32(s, 0x4e));
  s = _mm_max_epi32(s, _mm_shuffle_epi32(s, 0xb1));
  return _mm_cvtss_f32(_mm_castsi128_ps(s));
}
inline vf floor_(vf x) { return {_mm256_floor_ps(x.a), _mm256_floor_ps(x.b)}; }
inline __m256 two_to_half(__m256 n) {
  const __m256i e = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_castsi256_ps(_mm256_slli_epi32(e, 23));
}
inline vf two_to(vf n) { return {two_to_half(n.a), two_to_half(n.b)}; }
inline vf load_half(const uint16_t* p) {
  const auto* q = reinterpret_cast<const __m128i*>(p);
  return {_mm256_cvtph_ps(_mm_loadu_si128(q)), _mm256_cvtph_ps(_mm_loadu_si128(q + 1))};
}
inline vf load_i8(const int8_t* p) {
  const __m128i raw = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(raw)),
          _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(raw, 8)))};
}
inline __m128i to_bf16(__m256 x) {  // to nearest, ties to even; NaN stays NaN
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  __m256i up = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  up = _mm256_blendv_epi8(up, _mm256_set1_epi32(0x7fc00000), nan);
  up = _mm256_srli_epi32(up, 16);
  return _mm_packus_epi32(_mm256_castsi256_si128(up), _mm256_extracti128_si256(up, 1));
}
inline void store_bf16(uint16_t* p, vf x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), to_bf16(x.a));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), to_bf16(x.b));
}

inline vi zero_i() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
inline vi set1_i(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
inline vi add_i(vi x, vi y) { return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)}; }
inline int32_t sum_i(vi x) {
  const __m256i t = _mm256_add_epi32(x.a, x.b);
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(t), _mm256_extracti128_si256(t, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}
inline vf to_float(vi x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
inline vi nearest(vf x) { return {_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)}; }
inline void store_i8(int8_t* p, vi x) {
  const __m128i low =
      _mm_packs_epi32(_mm256_castsi256_si128(x.a), _mm256_extracti128_si256(x.a, 1));
  const __m128i high =
      _mm_packs_epi32(_mm256_castsi256_si128(x.b), _mm256_extracti128_si256(x.b, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(low, high));
}

inline vw load_w(const uint8_t* p) {
  const auto* q = reinterpret_cast<const __m256i*>(p);
  return {_mm256_loadu_si256(q), _mm256_loadu_si256(q + 1)};
}
inline void split_nibbles(const uint8_t* p, vw& low, vw& high) {
  const __m256i mask = _mm256_set1_epi8(15);
  const vw raw = load_w(p);
  low = {_mm256_and_si256(raw.a, mask), _mm256_and_si256(raw.b, mask)};
  high = {_mm256_and_si256(_mm256_srli_epi16(raw.a, 4), mask),
          _mm256_and_si256(_mm256_srli_epi16(raw.b, 4), mask)};
}
inline __m256i four_of(const int8_t* a) {
  int32_t four;
  std::memcpy(&four, a, 4);
  return _mm256_set1_epi32(four);
}
// Two products of u8 and s8 overflow 16 bits where both are large. So the sixteen-bit products are
// made of the widened halves: (even bytes, odd bytes), each exact.
inline __m256i dot4_exact(__m256i acc, __m256i w, __m256i a) {
  const __m256i low = _mm256_set1_epi16(0xff);
  const __m256i even = _mm256_madd_epi16(_mm256_and_si256(w, low),
                                         _mm256_srai_epi16(_mm256_slli_epi16(a, 8), 8));
  const __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(w, 8), _mm256_srai_epi16(a, 8));
  return _mm256_add_epi32(acc, _mm256_add_epi32(even, odd));
}
inline vi dot4(vi acc, vw w, const int8_t* a) {
  const __m256i four = four_of(a);
  return {dot4_exact(acc.a, w.a, four), dot4_exact(acc.b, w.b, four)};
}
inline vi dot4_small(vi acc, vw w, const int8_t* a) {
  const __m256i four = four_of(a), ones = _mm256_set1_epi16(1);
  return {_mm256_add_epi32(acc.a, _mm256_madd_epi16(_mm256_maddubs_epi16(w.a, four), ones)),
          _mm256_add_epi32(acc.b, _mm256_madd_epi16(_mm256_maddubs_epi16(w.b, four), ones))};
}
inline __m256 dot2_half(__m256 acc, __m256i w, __m256 even, __m256 odd) {
  const __m256 w0 = _mm256_castsi256_ps(_mm256_slli_epi32(w, 16));
  const __m256 w1 = _mm256_castsi256_ps(
      _mm256_and_si256(w, _mm256_set1_epi32(static_cast<int32_t>(0xffff0000))));
  return _mm256_fmadd_ps(w1, odd, _mm256_fmadd_ps(w0, even, acc));
}
inline vf dot2(vf acc, vw w, const uint16_t* a) {
  const int32_t bits[2] = {static_cast<int32_t>(static_cast<uint32_t>(a[0]) << 16),
                           static_cast<int32_t>(static_cast<uint32_t>(a[1]) << 16)};
  const __m256 even = _mm256_castsi256_ps(_mm256_set1_epi32(bits[0]));
  const __m256 odd = _mm256_castsi256_ps(_mm256_set1_epi32(bits[1]));
  return {dot2_half(acc.a, w.a, even, odd), dot2_half(acc.b, w.b, even, odd)};
}
inline void prefetch(const void* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0); }
}  // namespace
