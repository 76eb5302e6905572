// The functions that `train_kernels.inc` makes for one instruction set; all take rows [from, to).
#pragma once
#include <cstdint>

struct TrainKernels {
  void (*norm)(const uint16_t*, const uint16_t*, uint16_t*, float*, int64_t, int64_t, int64_t, float);
  void (*norm_again)(const uint16_t*, const uint16_t*, const float*, uint16_t*, int64_t, int64_t,
                     int64_t);
  void (*norm_backward)(const uint16_t*, const uint16_t*, const uint16_t*, const float*,
                        const uint16_t*, uint16_t*, float*, int64_t, int64_t, int64_t);
  void (*turn)(const uint16_t*, const float*, const float*, uint16_t*, int64_t, int64_t, int64_t,
               int64_t, float);
  void (*gated)(const uint16_t*, const uint16_t*, uint16_t*, int64_t, int64_t);
  void (*gated_backward)(const uint16_t*, const uint16_t*, const uint16_t*, uint16_t*, uint16_t*,
                         int64_t, int64_t);
  void (*softmax)(uint16_t*, int64_t, int64_t, int64_t, int64_t, int64_t);
  void (*softmax_backward)(uint16_t*, const uint16_t*, int64_t, int64_t, int64_t, int64_t, int64_t);
  void (*cross_entropy)(uint16_t*, const int64_t*, float*, int64_t, int64_t, int64_t);
};
