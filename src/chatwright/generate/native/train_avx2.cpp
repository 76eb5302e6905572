// Training's kernels for avx2.
#include <cstdint>
#include <cstring>

#include "kernels.h"
#include "simd_avx2.h"
#define TRAIN_KERNELS avx2_train_kernels

namespace {
inline vf load_bf16(const uint16_t* p) {
  alignas(64) float r[LANES];
  const __m256i all = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  const __m256i low = _mm256_cvtepu16_epi32(_mm256_castsi256_si128(all));
  const __m256i high = _mm256_cvtepu16_epi32(_mm256_extracti128_si256(all, 1));
  _mm256_store_ps(r, _mm256_castsi256_ps(_mm256_slli_epi32(low, 16)));
  _mm256_store_ps(r + 8, _mm256_castsi256_ps(_mm256_slli_epi32(high, 16)));
  return load(r);
}
inline vf rounded(vf x) {
  uint16_t r[LANES];
  store_bf16(r, x);
  return load_bf16(r);
}
}  // namespace

#include "train_kernels.inc"
