// What the kernels compute on, and the table of them that each instruction set fills.
//
// Letters in comments: M rows (tokens of a step), K inputs, N outputs, G = K / 32 groups, D head size.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

enum Kind { F32 = 0, BF16 = 1, Q8 = 2, Q4 = 3 };
constexpr int LANES = 16;   // outputs that lie side by side
constexpr int GROUP = 32;   // inputs that share a scale
constexpr int BLOCK = 32;   // positions of one block of the KV cache
constexpr int MAX_ROWS = 8; // rows of one tile

inline float bf16_to_float(uint16_t b) {
  const uint32_t bits = static_cast<uint32_t>(b) << 16;
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}
inline uint16_t float_to_bf16(float f) {  // to nearest, ties to even; NaN stays NaN
  uint32_t bits;
  std::memcpy(&bits, &f, 4);
  if (f != f) return 0x7fc0;
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
inline float half_to_float(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16;
  uint32_t exponent = (h >> 10) & 31, fraction = h & 1023, bits;
  if (exponent == 31) {
    bits = sign | 0x7f800000 | fraction << 13;
  } else if (exponent == 0) {
    const float value = static_cast<float>(fraction) * 5.9604644775390625e-8f;  // 2^-24
    std::memcpy(&bits, &value, 4);
    bits |= sign;
  } else {
    bits = sign | (exponent + 112) << 23 | fraction << 13;
  }
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}
inline uint16_t float_to_half(float f) {  // to nearest, ties to even
  uint32_t bits;
  std::memcpy(&bits, &f, 4);
  const uint32_t sign = bits >> 16 & 0x8000;
  bits &= 0x7fffffff;
  if (bits > 0x7f800000) return static_cast<uint16_t>(sign | 0x7e00);
  if (bits >= 0x47800000) return static_cast<uint16_t>(sign | 0x7c00);
  if (bits < 0x38800000) {  // below the normal numbers: adding 0.5 lets the hardware round
    float small, half = 0.5f;
    std::memcpy(&small, &bits, 4);
    small += half;
    std::memcpy(&bits, &small, 4);
    return static_cast<uint16_t>(sign | (bits - 0x3f000000));
  }
  bits += 0xfff + (bits >> 13 & 1);
  return static_cast<uint16_t>(sign | (bits - 0x38000000) >> 13);
}

// A weight matrix [N, K], sixteen outputs side by side so that one register holds one input step of
// all of them. `stride` bytes for sixteen outputs:
//   F32   [K][16] float            BF16  [K/2][16][2] bfloat16
//   Q8    [G][8][16][4] u8 (value + 128), then [G][16] half scales
//   Q4    [G][4][16][4] u8 (low nibble: input 4j+i, high: 16+4j+i), [G][16] half scales, [G][16] half
//         minima: value = scale * nibble + minimum
struct Matrix {
  int kind = F32, n = 0, k = 0;  // k is padded to whole groups with zeros
  int blocks = 0;                // of sixteen outputs
  size_t stride = 0;
  uint8_t* data = nullptr;
  const float* bias = nullptr;
};

// Rows that are multiplied with matrices, in the forms that the matrices' kinds want.
struct Rows {
  int k = 0;
  int8_t* q = nullptr;       // [M, K] for Q8 and Q4, with, per group of 32:
  float* scale = nullptr;    // [M, G]
  float* scaled = nullptr;   // [M, G] scale * sum of q: what a minimum is multiplied with
  int32_t* offset = nullptr; // [M, G] -128 * sum of q: what u8 weights have too much
  uint8_t* wide = nullptr;   // [M, G] whether one number stands out, so that 8 bits are too few
  int8_t* rest = nullptr;    // [M, K] then what rounding left, in 254ths of the scale; else zeros
  int32_t* rest_offset = nullptr;  // [M, G]
  uint16_t* b = nullptr;     // [M, K] bfloat16
  float* f = nullptr;        // [M, K]
};
enum Form { AS_F32 = 1, AS_BF16 = 2, AS_Q = 4 };

// One request's keys and values for a query: where, and which positions count.
struct Attend {
  uint8_t* const* blocks;  // base address of each block of the sequence for this layer and head
  int head_dim;
  int group;               // query heads that share this key head
  float scale;
  int window, sinks;       // window 0: all
};

struct Kernels {
  const char* name;
  // out[m * ld + c] (+)= rows[m] . w[16 * block + c], for rows m0..m1 and `count` <= 4 blocks of w.
  void (*multiply)(const Matrix& w, int block, int count, const Rows& a, int m0, int m1, float* out,
                   size_t ld, bool accumulate);
  // rows[m] of `to` from x[K0] (K0 <= to.k), times weight / rms when weight is given.
  void (*prepare)(const float* x, int k0, const float* weight, float eps, int forms, const Rows& to,
                  int m);
  void (*normalise)(float* x, int n, const float* weight, float eps);  // in place
  // Columns c..c+32 of rows[m] of `to`: silu(gate[i]) * up[i], 32 of each.
  void (*gate)(const float* gate, const float* up, int forms, const Rows& to, int m, int c);
  void (*rotate)(float* x, const float* cos_sin, int head_dim);
  size_t (*cache_bytes)(int kind, int head_dim);  // of one block of one head: keys and values
  void (*write)(int kind, uint8_t* block, int at, const float* k, const float* v, int head_dim);
  void (*read_key)(int kind, const uint8_t* block, int at, float* k, int head_dim);
  void (*write_key)(int kind, uint8_t* block, int at, const float* k, int head_dim);
  // out[r * out_ld ...][D] for `tokens` queries of `group` heads each, the first at `position`.
  // q[t * q_ld + h * D]; scratch holds (positions + 3 * BLOCK + 8 * D) * MAX_ROWS floats.
  void (*attend)(int kind, const Attend& to, const float* q, size_t q_ld, int tokens, int position,
                 float* out, size_t out_ld, float* scratch);
  int (*argmax)(const float* x, int n, float* value);  // NaN counts as the largest
};

extern const Kernels portable_kernels;
#if defined(CHATWRIGHT_X86)
extern const Kernels avx2_kernels;
extern const Kernels avx512_kernels;
#endif
