// Training's kernels, as `train/native.py` calls them: rows divided among torch's own threads.
//
// A pool of threads beside OpenMP's, whose idle threads spin, would halve both. So the caller hands
// in the functions of the OpenMP library that torch has loaded; without them one thread computes.
#include <algorithm>
#include <string>
#ifdef CHATWRIGHT_X86
#include <cpuid.h>
#endif

#include "train_kernels.h"

#define API extern "C" __attribute__((visibility("default")))

extern const TrainKernels portable_train_kernels;
#ifdef CHATWRIGHT_X86
extern const TrainKernels avx2_train_kernels, avx512_train_kernels;
#endif

namespace {
using Parallel = void (*)(void (*)(void*), void*, unsigned, unsigned);
using Number = int (*)();
Parallel parallel = nullptr;
Number thread_number = nullptr, team_size = nullptr;

#ifdef CHATWRIGHT_X86
bool has_f16c() {  // older compilers' __builtin_cpu_supports does not know it
  unsigned a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

// Those of that name, or the best ones (""); null where this processor lacks them.
const TrainKernels* kernels_called(const std::string& name) {
#ifdef CHATWRIGHT_X86
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16");
  const bool avx2 =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
  if (avx512 && (name.empty() || name == "avx512")) return &avx512_train_kernels;
  if (avx2 && (name.empty() || name == "avx2")) return &avx2_train_kernels;
#endif
  return name.empty() || name == "portable" ? &portable_train_kernels : nullptr;
}

const TrainKernels* chosen = kernels_called("");
const TrainKernels& kernels() { return *chosen; }

template <class Job>
struct Task {
  const Job* job;
  int64_t rows, grain;
};

template <class Job>
void share(void* data) {
  const auto& task = *static_cast<Task<Job>*>(data);
  const int64_t size = team_size(), number = thread_number();
  // Whole multiples of the grain, so that a thread's part begins at a cache line.
  const int64_t grains = (task.rows + task.grain - 1) / task.grain;
  const int64_t from = grains * number / size * task.grain;
  const int64_t to = std::min(task.rows, grains * (number + 1) / size * task.grain);
  if (from < to) (*task.job)(from, to, number);
}

template <class Job>
void run(int threads, int64_t rows, int64_t grain, const Job& job) {
  if (threads > 1 && parallel && rows > grain) {
    Task<Job> task{&job, rows, grain};
    parallel(share<Job>, &task, unsigned(threads), 0);
  } else {
    job(int64_t(0), rows, int64_t(0));
  }
}
}  // namespace

API void cw_train_threads(Parallel p, Number number, Number size) {
  parallel = p;
  thread_number = number;
  team_size = size;
}

// Use the kernels of that name from now on; 0 where this processor lacks them.
API int cw_train_choose(const char* name) {
  const TrainKernels* found = kernels_called(name);
  if (found) chosen = found;
  return found != nullptr;
}

API void cw_train_norm(int threads, const uint16_t* x, const uint16_t* w, uint16_t* y, float* factor,
                       int64_t rows, int64_t width, float eps) {
  run(threads, rows, 8, [=](int64_t from, int64_t to, int64_t) {
    kernels().norm(x, w, y, factor, from, to, width, eps);
  });
}

API void cw_train_norm_again(int threads, const uint16_t* x, const uint16_t* w, const float* factor,
                             uint16_t* y, int64_t rows, int64_t width) {
  run(threads, rows, 8, [=](int64_t from, int64_t to, int64_t) {
    kernels().norm_again(x, w, factor, y, from, to, width);
  });
}

// `grad_w` is [threads, width], zeros at first, or null.
API void cw_train_norm_backward(int threads, const uint16_t* grad, const uint16_t* x,
                                const uint16_t* w, const float* factor, const uint16_t* add,
                                uint16_t* out, float* grad_w, int64_t rows, int64_t width) {
  run(threads, rows, 8, [=](int64_t from, int64_t to, int64_t number) {
    kernels().norm_backward(grad, x, w, factor, add, out, grad_w ? grad_w + number * width : nullptr,
                            from, to, width);
  });
}

API void cw_train_turn(int threads, const uint16_t* x, const float* cos, const float* sin,
                       uint16_t* y, int64_t rows, int64_t heads, int64_t size, float sign) {
  run(threads, rows, 8, [=](int64_t from, int64_t to, int64_t) {
    kernels().turn(x, cos, sin, y, from, to, heads, size, sign);
  });
}

API void cw_train_gated(int threads, const uint16_t* gate, const uint16_t* up, uint16_t* out,
                        int64_t count) {
  run(threads, count, 4096, [=](int64_t from, int64_t to, int64_t) {
    kernels().gated(gate, up, out, from, to);
  });
}

API void cw_train_gated_backward(int threads, const uint16_t* gate, const uint16_t* up,
                                 const uint16_t* grad, uint16_t* grad_gate, uint16_t* grad_up,
                                 int64_t count) {
  run(threads, count, 4096, [=](int64_t from, int64_t to, int64_t) {
    kernels().gated_backward(gate, up, grad, grad_gate, grad_up, from, to);
  });
}

API void cw_train_softmax(int threads, uint16_t* scores, int64_t rows, int64_t queries, int64_t keys,
                          int64_t before) {
  run(threads, rows, 8, [=](int64_t from, int64_t to, int64_t) {
    kernels().softmax(scores, from, to, queries, keys, before);
  });
}

API void cw_train_softmax_backward(int threads, uint16_t* grad, const uint16_t* weights, int64_t rows,
                                   int64_t queries, int64_t keys, int64_t before) {
  run(threads, rows, 8, [=](int64_t from, int64_t to, int64_t) {
    kernels().softmax_backward(grad, weights, from, to, queries, keys, before);
  });
}

API void cw_train_cross_entropy(int threads, uint16_t* logits, const int64_t* targets, float* losses,
                                int64_t rows, int64_t size) {
  run(threads, rows, 1, [=](int64_t from, int64_t to, int64_t) {
    kernels().cross_entropy(logits, targets, losses, from, to, size);
  });
}
