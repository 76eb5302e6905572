// Training's kernels for avx512.
#include <cstdint>
#include <cstring>

#include "kernels.h"
#include "simd_avx512.h"
#define TRAIN_KERNELS avx512_train_kernels

namespace {
inline vf widened(__m256i x) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}
inline vf load_bf16(const uint16_t* p) {
  return widened(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline vf rounded(vf x) {
  const __m256bh narrow = _mm512_cvtneps_pbh(x);
  __m256i bits;
  std::memcpy(&bits, &narrow, 32);
  return widened(bits);
}
}  // namespace

#include "train_kernels.inc"
