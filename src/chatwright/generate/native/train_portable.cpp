// Training's kernels for portable.
#include <cstdint>
#include <cstring>

#include "kernels.h"
#include "simd_portable.h"
#define TRAIN_KERNELS portable_train_kernels

namespace {
inline vf load_bf16(const uint16_t* p) {
  float r[LANES];
  for (int i = 0; i < LANES; ++i) {
    const uint32_t bits = uint32_t(p[i]) << 16;
    std::memcpy(r + i, &bits, 4);
  }
  return load(r);
}
inline vf rounded(vf x) {
  uint16_t r[LANES];
  store_bf16(r, x);
  return load_bf16(r);
}
}  // namespace

#include "train_kernels.inc"
