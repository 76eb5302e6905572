// Weights from a file's rows into the layouts that the kernels read.
#pragma once
#include <cmath>
#include <vector>

#include "kernels.h"

// The types that a file may hold. Q8_0, Q4_0 and Q4_1 are ggml's blocks of 32.
enum Source { SRC_F32 = 0, SRC_F16 = 1, SRC_BF16 = 2, SRC_Q8_0 = 3, SRC_Q4_0 = 4, SRC_Q4_1 = 5 };

inline size_t source_row_bytes(int source, int k) {
  switch (source) {
    case SRC_F32: return static_cast<size_t>(k) * 4;
    case SRC_F16:
    case SRC_BF16: return static_cast<size_t>(k) * 2;
    case SRC_Q8_0: return static_cast<size_t>(k) / 32 * 34;
    case SRC_Q4_0: return static_cast<size_t>(k) / 32 * 18;
    default: return static_cast<size_t>(k) / 32 * 20;
  }
}

inline uint16_t half_at(const uint8_t* p) {
  uint16_t h;
  std::memcpy(&h, p, 2);
  return h;
}

inline void source_row(int source, const uint8_t* row, int k, float* out) {
  if (source == SRC_F32) {
    std::memcpy(out, row, static_cast<size_t>(k) * 4);
  } else if (source == SRC_F16) {
    for (int i = 0; i < k; ++i) out[i] = half_to_float(half_at(row + 2 * i));
  } else if (source == SRC_BF16) {
    for (int i = 0; i < k; ++i) out[i] = bf16_to_float(half_at(row + 2 * i));
  } else {
    const int bytes = source == SRC_Q8_0 ? 34 : source == SRC_Q4_0 ? 18 : 20;
    for (int g = 0; g < k / 32; ++g) {
      const uint8_t* block = row + g * bytes;
      const float scale = half_to_float(half_at(block));
      const float least = source == SRC_Q4_1   ? half_to_float(half_at(block + 2))
                          : source == SRC_Q4_0 ? -8.0f * scale
                                               : 0.0f;
      const uint8_t* q = block + (source == SRC_Q4_1 ? 4 : 2);
      for (int i = 0; i < 32; ++i) {
        const int value = source == SRC_Q8_0 ? static_cast<int8_t>(q[i])
                          : i < 16           ? q[i] & 15
                                             : q[i - 16] >> 4;
        out[g * 32 + i] = scale * static_cast<float>(value) + least;
      }
    }
  }
}

inline size_t packed_stride(int kind, int k) {
  const size_t groups = static_cast<size_t>(k) / GROUP;
  switch (kind) {
    case F32: return static_cast<size_t>(k) * LANES * 4;
    case BF16: return static_cast<size_t>(k) * LANES * 2;
    case Q8: return groups * (512 + 32);
    default: return groups * (256 + 64);
  }
}

// Where the group's nibbles or bytes of one lane go: word j of 4 holds inputs 4j.. (Q8), or 4j.. in the
// low and 16 + 4j.. in the high halves (Q4), which is how ggml's blocks pair them too.
inline void put_q8(uint8_t* to, const Matrix& m, int g, int lane, const int8_t* q, uint16_t scale) {
  for (int j = 0; j < 8; ++j)
    for (int i = 0; i < 4; ++i)
      to[g * 512 + j * 64 + lane * 4 + i] = static_cast<uint8_t>(q[4 * j + i] + 128);
  std::memcpy(to + m.k / GROUP * 512 + (g * LANES + lane) * 2, &scale, 2);
}

inline void put_q4(uint8_t* to, const Matrix& m, int g, int lane, const uint8_t* nibbles,
                   uint16_t scale, uint16_t least) {
  for (int j = 0; j < 4; ++j) std::memcpy(to + g * 256 + j * 64 + lane * 4, nibbles + 4 * j, 4);
  uint8_t* scales = to + m.k / GROUP * 256;
  std::memcpy(scales + (g * LANES + lane) * 2, &scale, 2);
  std::memcpy(scales + ((m.k / GROUP + g) * LANES + lane) * 2, &least, 2);
}

// False where a scale is NaN or infinite, or a number that becomes an integer is: rounding and
// products of integers would hide it.
inline bool put_row(uint8_t* to, const Matrix& m, int lane, int source, const uint8_t* row, int k0,
                    std::vector<float>& x) {
  const int groups = m.k / GROUP;
  bool sound = true;
  const auto check = [&](uint16_t half) {
    sound = sound && (half & 0x7c00) != 0x7c00;
    return half;
  };
  if (m.kind == Q8 && source == SRC_Q8_0) {  // as they are in the file: no rounding anew
    for (int g = 0; g < groups; ++g)
      put_q8(to, m, g, lane, reinterpret_cast<const int8_t*>(row + g * 34 + 2),
             check(half_at(row + g * 34)));
    return sound;
  }
  if (m.kind == Q4 && source == SRC_Q4_1) {
    for (int g = 0; g < groups; ++g)
      put_q4(to, m, g, lane, row + g * 20 + 4, check(half_at(row + g * 20)),
             check(half_at(row + g * 20 + 2)));
    return sound;
  }
  if (m.kind == Q4 && source == SRC_Q4_0) {
    for (int g = 0; g < groups; ++g) {
      const uint16_t scale = check(half_at(row + g * 18));
      put_q4(to, m, g, lane, row + g * 18 + 2, scale,
             check(float_to_half(-8.0f * half_to_float(scale))));
    }
    return sound;
  }
  x.assign(m.k, 0.0f);
  source_row(source, row, k0, x.data());
  if (m.kind == Q8 || m.kind == Q4)
    for (const float number : x) sound = sound && std::isfinite(number);
  if (!sound) return false;
  if (m.kind == F32) {
    for (int i = 0; i < m.k; ++i)
      std::memcpy(to + (static_cast<size_t>(i) * LANES + lane) * 4, &x[i], 4);
  } else if (m.kind == BF16) {
    for (int i = 0; i < m.k; ++i) {
      const uint16_t b = float_to_bf16(x[i]);
      std::memcpy(to + (static_cast<size_t>(i / 2) * 2 * LANES + lane * 2 + i % 2) * 2, &b, 2);
    }
  } else if (m.kind == Q8) {
    for (int g = 0; g < groups; ++g) {
      float most = 0.0f;
      for (int i = 0; i < 32; ++i) most = std::fmax(most, std::fabs(x[g * 32 + i]));
      const uint16_t scale = check(float_to_half(most / 127.0f));
      const float kept = half_to_float(scale), inverse = kept > 0.0f ? 1.0f / kept : 0.0f;
      int8_t q[32];
      for (int i = 0; i < 32; ++i)
        q[i] = static_cast<int8_t>(
            std::fmax(-127.0f, std::fmin(127.0f, std::nearbyint(x[g * 32 + i] * inverse))));
      put_q8(to, m, g, lane, q, scale);
    }
  } else {
    for (int g = 0; g < groups; ++g) {
      float low = x[g * 32], high = low;
      for (int i = 1; i < 32; ++i) {
        low = std::fmin(low, x[g * 32 + i]);
        high = std::fmax(high, x[g * 32 + i]);
      }
      const uint16_t scale = check(float_to_half((high - low) / 15.0f));
      const uint16_t least = check(float_to_half(low));
      const float kept = half_to_float(scale), inverse = kept > 0.0f ? 1.0f / kept : 0.0f;
      uint8_t q[32], nibbles[16];
      for (int i = 0; i < 32; ++i)
        q[i] = static_cast<uint8_t>(std::fmax(
            0.0f,
            std::fmin(15.0f, std::nearbyint((x[g * 32 + i] - half_to_float(least)) * inverse))));
      for (int i = 0; i < 16; ++i) nibbles[i] = static_cast<uint8_t>(q[i] | q[i + 16] << 4);
      put_q4(to, m, g, lane, nibbles, scale, least);
    }
  }
  return sound;
}

// One output's weights back as numbers: for the embedding, and for tests.
inline void unpack_row(const Matrix& m, int n, float* out, int k0) {
  const uint8_t* from = m.data + static_cast<size_t>(n / LANES) * m.stride;
  const int lane = n % LANES, groups = m.k / GROUP;
  for (int i = 0; i < k0; ++i) {
    const int g = i / GROUP, in = i % GROUP;
    if (m.kind == F32) {
      std::memcpy(out + i, from + (static_cast<size_t>(i) * LANES + lane) * 4, 4);
    } else if (m.kind == BF16) {
      out[i] = bf16_to_float(
          half_at(from + (static_cast<size_t>(i / 2) * 2 * LANES + lane * 2 + i % 2) * 2));
    } else if (m.kind == Q8) {
      const float scale = half_to_float(half_at(from + groups * 512 + (g * LANES + lane) * 2));
      out[i] = scale * static_cast<float>(from[g * 512 + in / 4 * 64 + lane * 4 + in % 4] - 128);
    } else {
      const uint8_t* scales = from + groups * 256;
      const uint8_t byte = from[g * 256 + in % 16 / 4 * 64 + lane * 4 + in % 4];
      const float scale = half_to_float(half_at(scales + (g * LANES + lane) * 2));
      const float least = half_to_float(half_at(scales + ((groups + g) * LANES + lane) * 2));
      out[i] = scale * static_cast<float>(in < 16 ? byte & 15 : byte >> 4) + least;
    }
  }
}
