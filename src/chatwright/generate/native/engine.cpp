// A Llama-shaped decoder over a paged cache, for CPUs: the C interface that native.py calls.
//
// All threads walk through `forward` together (SPMD); each phase's work is cut into tasks that they
// take one after another, so that a thread whose core is busy elsewhere takes fewer. Everything that
// a step needs is allocated before: nothing is allocated for a token. Sums that leave the kernels are
// float32, the residual stream too.
#include <sys/mman.h>
#if defined(CHATWRIGHT_X86)
#include <cpuid.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>

#include "pack.h"
#include "threads.h"

namespace {

constexpr size_t ALIGN = 64;

template <class T>
struct Buffer {  // aligned, zeroed, grows only
  T* data = nullptr;
  size_t size = 0;
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { std::free(data); }
  void need(size_t n) {
    if (n <= size) return;
    std::free(data);
    size = 0;
    const size_t bytes = (n * sizeof(T) + ALIGN - 1) / ALIGN * ALIGN;
    data = static_cast<T*>(std::aligned_alloc(ALIGN, bytes));
    if (!data) throw std::bad_alloc();
    std::memset(static_cast<void*>(data), 0, bytes);
    size = n;
  }
};

struct Shape {
  int vocab, width, layers, heads, kv_heads, head_dim, mlp, context, n_blocks, cache_kind, window,
      sinks, window_from, threads;
  float eps, rope_scale;
};

struct Layer {
  Matrix q, k, v, o, gate, up, down;
  std::vector<float> norm1, norm2, q_norm, k_norm;
};

struct RowStore {  // memory behind Rows
  Buffer<int8_t> q, rest;
  Buffer<uint8_t> wide;
  Buffer<float> scale, scaled, f;
  Buffer<int32_t> offset, rest_offset;
  Buffer<uint16_t> b;
  Rows rows;
  void need(int m, int k, int forms) {
    const size_t n = static_cast<size_t>(m) * k, g = n / GROUP;
    if (forms & AS_Q) {
      q.need(n);
      scale.need(g);
      scaled.need(g);
      offset.need(g);
      wide.need(g);
      rest.need(n);
      rest_offset.need(g);
    }
    if (forms & AS_BF16) b.need(n);
    if (forms & AS_F32) f.need(n);
    rows = {k,         q.data,    scale.data,       scaled.data, offset.data,
            wide.data, rest.data, rest_offset.data, b.data,      f.data};
  }
};

struct Task {  // one run of a step
  int first, length, start, outputs;
  const int32_t* table;
};

inline int up_to(int n, int multiple) { return (n + multiple - 1) / multiple * multiple; }
inline int form_of(const Matrix& m) {
  return m.kind == F32 ? AS_F32 : m.kind == BF16 ? AS_BF16 : AS_Q;
}

#if defined(CHATWRIGHT_X86)
bool has_f16c() {  // older compilers' __builtin_cpu_supports does not know it
  unsigned a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

const Kernels* best_kernels(const char* wanted) {
  const std::string name = wanted ? wanted : "";
#if defined(CHATWRIGHT_X86)
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16");
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    has_f16c();
  if (avx512 && (name.empty() || name == "avx512")) return &avx512_kernels;
  if (avx2 && (name.empty() || name == "avx2")) return &avx2_kernels;
#endif
  return name.empty() || name == "portable" ? &portable_kernels : nullptr;
}

class Engine {
 public:
  Engine(const Shape& shape, const float* frequencies, const Kernels* kernels)
      : s(shape), kernels_(kernels), team_(shape.threads), layers_(shape.layers) {
    frequencies_.assign(frequencies, frequencies + s.head_dim / 2);
    width_ = up_to(s.width, LANES);
    head_bytes_ = (kernels_->cache_bytes(s.cache_kind, s.head_dim) + ALIGN - 1) / ALIGN * ALIGN;
    block_bytes_ = head_bytes_ * s.kv_heads * s.layers;
    cache_bytes_ = block_bytes_ * s.n_blocks;
    // Pages are taken from the system when they are first written, and read as zero until then.
    void* cache = mmap(nullptr, cache_bytes_, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (cache == MAP_FAILED) throw std::bad_alloc();
    cache_ = static_cast<uint8_t*>(cache);
    scratch_ = std::make_unique<Buffer<float>[]>(s.threads);
    own_ = std::make_unique<RowStore[]>(s.threads);
  }
  ~Engine() {
    munmap(cache_, cache_bytes_);
    for (void* p : owned_) std::free(p);
  }

  // Memory for weights, out of large pages where the system has them: a matrix of 98 MB is 24,000
  // small ones, and looking those up cost 5 % of a token.
  uint8_t* take(size_t bytes) {
    bytes = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    if (bytes > left_) {
      const size_t size = (std::max(bytes, CHUNK) + PAGE - 1) / PAGE * PAGE;
      chunk_ = static_cast<uint8_t*>(std::aligned_alloc(PAGE, size));
      if (!chunk_) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
      madvise(chunk_, size, MADV_HUGEPAGE);
#endif
      owned_.push_back(chunk_);
      left_ = size;
    }
    uint8_t* taken = chunk_;
    chunk_ += bytes;
    left_ -= bytes;
    return taken;
  }

  size_t block_bytes() const { return block_bytes_; }
  size_t weight_bytes() const { return weight_bytes_; }
  const char* kernels() const { return kernels_->name; }

  Matrix* matrix(int layer, int which) {
    if (which == 7) return &embedding_;
    if (which == 8) return &head_;
    Layer& l = layers_.at(layer);
    Matrix* all[] = {&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down};
    return which >= 0 && which < 7 ? all[which] : nullptr;
  }

  void pack(int layer, int which, int kind, int source, const uint8_t* data, int n, int k,
            const int32_t* order) {
    Matrix* m = matrix(layer, which);
    m->kind = kind;
    m->n = n;
    m->k = up_to(k, GROUP);
    m->blocks = up_to(n, 2 * LANES) / LANES;  // an even number: they are multiplied in pairs
    m->stride = packed_stride(kind, m->k);
    const size_t bytes = m->stride * m->blocks;
    m->data = take(bytes);
    weight_bytes_ += bytes;
    const size_t row_bytes = source_row_bytes(source, k);
    std::atomic<int> next{0};
    std::atomic<bool> broken{false};
    team_.run([&](int) {
      std::vector<float> x;
      for (int b; (b = next.fetch_add(1)) < m->blocks;) {
        uint8_t* to = m->data + b * m->stride;
        if ((b + 1) * LANES > n) std::memset(to, 0, m->stride);
        for (int lane = 0; lane < LANES && b * LANES + lane < n; ++lane) {
          const int row = b * LANES + lane;
          if (!put_row(to, *m, lane, source, data + (order ? order[row] : row) * row_bytes, k, x))
            broken.store(true);
        }
      }
    });
    if (broken.load()) 
      throw std::runtime_error("it holds a number that is infinite or not a number");
  }

  int set_vector(int layer, int which, const float* data, int n) {
    if (which == 0) final_norm_.assign(data, data + n);
    if (which >= 1 && which <= 4) {
      Layer& l = layers_.at(layer);
      (which == 1 ? l.norm1 : which == 2 ? l.norm2 : which == 3 ? l.q_norm : l.k_norm)
          .assign(data, data + n);
    }
    if (which >= 5 && which <= 8) {  // a bias, padded to whole registers
      Matrix* m = matrix(layer, which - 5);
      if (!m->data) return 1;
      auto* kept = reinterpret_cast<float*>(take(m->blocks * LANES * sizeof(float)));
      std::fill(kept, kept + m->blocks * LANES, 0.0f);
      std::copy(data, data + n, kept);
      m->bias = kept;
    }
    return 0;
  }

  void step(int n_runs, const int32_t* lengths, const int32_t* starts, const int32_t* outputs,
            const int32_t* tokens, const int32_t* tables, const int32_t* table_starts,
            float* logits, int64_t* likeliest, float* highest, float* states) {
    tasks_.clear();
    int rows = 0, n_out = 0;
    out_rows_.clear();
    for (int i = 0; i < n_runs; ++i) {
      tasks_.push_back({rows, lengths[i], starts[i], outputs[i], tables + table_starts[i]});
      rows += lengths[i];
      for (int j = 0; j < outputs[i]; ++j) out_rows_.push_back(rows - outputs[i] + j);
      n_out += outputs[i];
    }
    tokens_ = tokens;
    logits_ = logits;
    likeliest_ = likeliest;
    highest_ = highest;
    states_ = states;
    reserve(rows, n_out);
    rows_ = rows;
    team_.run([this](int thread) { forward(thread); });
  }

  void copy_block(int from, int to) {
    std::memcpy(cache_ + to * block_bytes_, cache_ + from * block_bytes_, block_bytes_);
  }
  void clear_block(int block) { std::memset(cache_ + block * block_bytes_, 0, block_bytes_); }

  // Turn every key of a block back by `by` positions.
  void shift_block(int block, int by) {
    const int half = s.head_dim / 2;
    std::vector<float> turn(s.head_dim), k(s.head_dim);
    for (int i = 0; i < half; ++i) {
      const float angle = -static_cast<float>(by) * frequencies_[i];
      turn[i] = std::cos(angle);
      turn[half + i] = std::sin(angle);
    }
    for (int layer = 0; layer < s.layers; ++layer)
      for (int h = 0; h < s.kv_heads; ++h)
        for (int at = 0; at < BLOCK; ++at) {
          uint8_t* where = cache_at(block, layer, h);
          kernels_->read_key(s.cache_kind, where, at, k.data(), s.head_dim);
          kernels_->rotate(k.data(), turn.data(), s.head_dim);
          kernels_->write_key(s.cache_kind, where, at, k.data(), s.head_dim);
        }
  }

  void multiply_for_test(const Matrix& m, const float* x, int rows, int k, float* out, int ld) {
    RowStore store;
    store.need(rows, m.k, form_of(m));
    for (int r = 0; r < rows; ++r)
      kernels_->prepare(x + static_cast<size_t>(r) * k, k, nullptr, 0.0f, form_of(m), store.rows, r);
    for (int b = 0; b < m.blocks; b += 2)
      kernels_->multiply(m, b, 2, store.rows, 0, rows, out + b * LANES, ld, false);
  }

 private:
  struct alignas(64) Counter {
    std::atomic<int> next{0};
  };

  uint8_t* cache_at(int block, int layer, int head) const {
    return cache_ + block * block_bytes_ +
           (static_cast<size_t>(layer) * s.kv_heads + head) * head_bytes_;
  }

  void reserve(int rows, int n_out) {
    const int qkv = (s.heads + 2 * s.kv_heads) * s.head_dim;
    qkv_ld_ = up_to(qkv, 2 * LANES) + 2 * LANES;
    x_ld_ = up_to(width_, 2 * LANES);
    att_ld_ = up_to(s.heads * s.head_dim, GROUP);
    x_.need(static_cast<size_t>(rows) * x_ld_);
    qkv_.need(static_cast<size_t>(rows) * qkv_ld_);
    att_.need(static_cast<size_t>(rows) * att_ld_);
    rope_.need(static_cast<size_t>(rows) * s.head_dim);
    int in = 0, att = 0, down = 0;
    for (const Layer& l : layers_) {
      in |= form_of(l.q) | form_of(l.k) | form_of(l.v) | form_of(l.gate) | form_of(l.up);
      att |= form_of(l.o);
      down |= form_of(l.down);
    }
    in |= form_of(head());
    in_forms_ = in;
    att_forms_ = att;
    down_forms_ = down;
    const int k = up_to(std::max(s.width, s.heads * s.head_dim), GROUP);
    shared_.need(std::max(rows, n_out), k, in | att);
    hidden_.need(rows, up_to(s.mlp, GROUP), down);
    for (int t = 0; t < s.threads; ++t) own_[t].need(SMALL, k, in | att);
    int longest = 0;
    for (const Task& task : tasks_) longest = std::max(longest, task.start + task.length);
    const size_t positions = up_to(longest, BLOCK) + 3 * BLOCK;
    table_pointers_ = positions / BLOCK;
    for (int t = 0; t < s.threads; ++t)
      scratch_[t].need(std::max(positions * MAX_ROWS * 2 + 8 * s.head_dim * MAX_ROWS,
                                static_cast<size_t>(MAX_GATE_ROWS) * 4 * LANES));
    pointers_.need(table_pointers_ * s.threads);
    const size_t phases = (static_cast<size_t>(s.layers) * COUNTERS + 4) * s.threads;
    if (counters_.size() < phases) counters_ = std::vector<Counter>(phases);
    for (Counter& counter : counters_) counter.next.store(0, std::memory_order_relaxed);
    best_.need(static_cast<size_t>(s.threads) * std::max(n_out, 1));
  }

  const Matrix& head() const { return head_.data ? head_ : embedding_; }

  // Every thread has a run of neighbouring tasks, whose weights follow one another in memory, and then
  // takes what others have left: one whose core is busy elsewhere does fewer.
  template <class F>
  void each(int thread, int phase, int tasks, F&& work) {
    for (int k = 0; k < s.threads; ++k) {
      const int owner = (thread + k) % s.threads;
      const int first = tasks * owner / s.threads, end = tasks * (owner + 1) / s.threads;
      std::atomic<int>& next = counters_[phase * s.threads + owner].next;
      for (int i; (i = first + next.fetch_add(1, std::memory_order_relaxed)) < end;) work(i);
    }
  }

  // Rows for products: few are made by every thread for itself, which saves a barrier.
  Rows ready(int thread, int counter, const float* x, size_t ld, int k, const float* weight,
             int forms, int rows) {
    RowStore& store = rows <= SMALL ? own_[thread] : shared_;
    Rows to = store.rows;
    to.k = up_to(k, GROUP);
    if (rows <= SMALL) {
      for (int m = 0; m < rows; ++m) kernels_->prepare(x + m * ld, k, weight, s.eps, forms, to, m);
    } else {
      each(thread, counter, (rows + 7) / 8, [&](int i) {
        for (int m = 8 * i; m < std::min(rows, 8 * i + 8); ++m)
          kernels_->prepare(x + m * ld, k, weight, s.eps, forms, to, m);
      });
      team_.barrier();
    }
    return to;
  }

  // out (+)= rows . w for several matrices at once; tasks are 32 outputs of up to MANY rows.
  struct Job {
    const Matrix* w;
    float* out;
    size_t ld;
    bool accumulate;
  };
  void multiply(int thread, int counter, std::initializer_list<Job> jobs, const Rows& a, int rows) {
    const int chunks = (rows + MANY - 1) / MANY;
    int tasks = 0;
    for (const Job& job : jobs) tasks += job.w->blocks / 2 * chunks;
    each(thread, counter, tasks, [&](int i) {
      for (const Job& job : jobs) {
        const int mine = job.w->blocks / 2 * chunks;
        if (i >= mine) {
          i -= mine;
          continue;
        }
        const int block = i / chunks * 2, m0 = i % chunks * MANY;
        // The last pair may be half there: what stands beside in `out` is another matrix's.
        const int count = std::min(2, up_to(job.w->n, LANES) / LANES - block);
        kernels_->multiply(*job.w, block, count, a, m0, std::min(rows, m0 + MANY),
                           job.out + block * LANES, job.ld, job.accumulate);
        return;
      }
    });
  }

  static constexpr int COUNTERS = 9;  // phases of a layer whose tasks are shared out

  void forward(int thread) {
    const int rows = rows_, q_width = s.heads * s.head_dim, kv_width = s.kv_heads * s.head_dim;
    each(thread, 0, rows, [&](int m) { embed(m); });
    team_.barrier();
    for (int l = 0; l < s.layers; ++l) {
      const Layer& layer = layers_[l];
      const int c = 1 + l * COUNTERS;
      float* qkv = qkv_.data;
      Rows in = ready(thread, c, x_.data, x_ld_, s.width, layer.norm1.data(), in_forms_, rows);
      multiply(thread, c + 1,
               {{&layer.q, qkv, qkv_ld_, false},
                {&layer.k, qkv + q_width, qkv_ld_, false},
                {&layer.v, qkv + q_width + kv_width, qkv_ld_, false}},
               in, rows);
      team_.barrier();
      attention(thread, c + 2, l);  // takes two
      team_.barrier();
      in = ready(thread, c + 4, att_.data, att_ld_, q_width, nullptr, att_forms_, rows);
      multiply(thread, c + 5, {{&layer.o, x_.data, x_ld_, true}}, in, rows);
      team_.barrier();
      in = ready(thread, c + 6, x_.data, x_ld_, s.width, layer.norm2.data(), in_forms_, rows);
      gated(thread, c + 7, layer, in);
      team_.barrier();
      multiply(thread, c + 8, {{&layer.down, x_.data, x_ld_, true}}, hidden_.rows, rows);
      team_.barrier();
    }
    finish(thread, 1 + s.layers * COUNTERS);
  }

  void embed(int m) {
    unpack_row(embedding_, tokens_[m], x_.data + m * x_ld_, s.width);
    int position = 0;
    for (const Task& task : tasks_)
      if (m >= task.first && m < task.first + task.length)
        position = task.start + m - task.first;
    float* turn = rope_.data + static_cast<size_t>(m) * s.head_dim;
    const int half = s.head_dim / 2;
    for (int i = 0; i < half; ++i) {
      const float angle = static_cast<float>(position) * frequencies_[i];
      turn[i] = std::cos(angle) * s.rope_scale;
      turn[half + i] = std::sin(angle) * s.rope_scale;
    }
  }

  // Normalise and turn queries and the key of one row for one key head; both go where they belong.
  void place(int l, const Task& task, int m, int h) {
    const Layer& layer = layers_[l];
    float* row = qkv_.data + m * qkv_ld_;
    const float* turn = rope_.data + static_cast<size_t>(m) * s.head_dim;
    const int group = s.heads / s.kv_heads, d = s.head_dim;
    for (int i = 0; i < group; ++i) {
      float* q = row + (h * group + i) * d;
      if (!layer.q_norm.empty()) kernels_->normalise(q, d, layer.q_norm.data(), s.eps);
      kernels_->rotate(q, turn, d);
    }
    float* k = row + (s.heads + h) * d;
    if (!layer.k_norm.empty()) kernels_->normalise(k, d, layer.k_norm.data(), s.eps);
    kernels_->rotate(k, turn, d);
    const int position = task.start + m - task.first;
    kernels_->write(s.cache_kind, cache_at(task.table[position / BLOCK], l, h), position % BLOCK, k,
                    row + (s.heads + s.kv_heads + h) * d, d);
  }

  void attend(int thread, int l, const Task& task, int h, int first, int tokens) {
    const int group = s.heads / s.kv_heads, d = s.head_dim;
    const int position = task.start + first;
    uint8_t** pointers = pointers_.data + thread * table_pointers_;
    for (int b = 0; b <= (position + tokens - 1) / BLOCK; ++b)
      pointers[b] = cache_at(task.table[b], l, h);
    const Attend to{pointers, d, group, 1.0f / std::sqrt(static_cast<float>(d)),
                    l >= s.window_from ? s.window : 0, s.sinks};
    const size_t m = task.first + first;
    kernels_->attend(s.cache_kind, to, qkv_.data + m * qkv_ld_ + h * group * d, qkv_ld_, tokens,
                     position, att_.data + m * att_ld_ + h * group * d, att_ld_,
                     scratch_[thread].data);
  }

  void attention(int thread, int counter, int l) {
    const int n_runs = static_cast<int>(tasks_.size());
    if (rows_ == n_runs) {  // one token each: nobody waits for another's keys
      each(thread, counter, n_runs * s.kv_heads, [&](int i) {
        const Task& task = tasks_[i / s.kv_heads];
        place(l, task, task.first, i % s.kv_heads);
        attend(thread, l, task, i % s.kv_heads, 0, 1);
      });
      return;
    }
    each(thread, counter, n_runs * s.kv_heads, [&](int i) {
      const Task& task = tasks_[i / s.kv_heads];
      for (int m = 0; m < task.length; ++m) place(l, task, task.first + m, i % s.kv_heads);
    });
    team_.barrier();
    // Tiles of queries, the longest (last) first, so that the threads end together.
    const int group = s.heads / s.kv_heads, tile = std::max(1, MAX_ROWS / group);
    int total = 0;
    for (const Task& task : tasks_) total += (task.length + tile - 1) / tile * s.kv_heads;
    each(thread, counter + 1, total, [&](int i) {
      for (const Task& task : tasks_) {
        const int tiles = (task.length + tile - 1) / tile, mine = tiles * s.kv_heads;
        if (i >= mine) {
          i -= mine;
          continue;
        }
        const int first = (tiles - 1 - i / s.kv_heads) * tile;
        attend(thread, l, task, i % s.kv_heads, first, std::min(tile, task.length - first));
        return;
      }
    });
  }

  void gated(int thread, int counter, const Layer& layer, const Rows& in) {
    const int chunks = (rows_ + MAX_GATE_ROWS - 1) / MAX_GATE_ROWS;
    float* gate = scratch_[thread].data;
    float* up = gate + MAX_GATE_ROWS * 2 * LANES;
    each(thread, counter, layer.gate.blocks / 2 * chunks, [&](int i) {
      const int pair = i / chunks, m0 = i % chunks * MAX_GATE_ROWS;
      const int m1 = std::min(rows_, m0 + MAX_GATE_ROWS);
      constexpr size_t ld = 2 * LANES;
      kernels_->multiply(layer.gate, pair * 2, 2, in, m0, m1, gate - m0 * ld, ld, false);
      kernels_->multiply(layer.up, pair * 2, 2, in, m0, m1, up - m0 * ld, ld, false);
      for (int m = m0; m < m1; ++m)
        kernels_->gate(gate + (m - m0) * ld, up + (m - m0) * ld, down_forms_, hidden_.rows, m,
                       pair * 2 * LANES);
    });
  }

  void finish(int thread, int counter) {
    const int n_out = static_cast<int>(out_rows_.size());
    if (states_) {
      each(thread, counter++, rows_, [&](int m) {
        float* to = states_ + static_cast<size_t>(m) * s.width;
        std::memcpy(to, x_.data + m * x_ld_, s.width * sizeof(float));
        kernels_->normalise(to, s.width, final_norm_.data(), s.eps);
      });
    } else {
      ++counter;
    }
    if (n_out == 0) return;
    RowStore& store = n_out <= SMALL ? own_[thread] : shared_;
    Rows to = store.rows;
    to.k = up_to(s.width, GROUP);
    const int forms = form_of(head());
    auto one = [&](int i) {
      kernels_->prepare(x_.data + out_rows_[i] * x_ld_, s.width, final_norm_.data(), s.eps, forms, to,
                        i);
    };
    if (n_out <= SMALL) {
      for (int i = 0; i < n_out; ++i) one(i);
      ++counter;
    } else {
      each(thread, counter++, n_out, one);
      team_.barrier();
    }
    Best* best = best_.data + static_cast<size_t>(thread) * n_out;
    for (int i = 0; i < n_out; ++i) best[i] = {-INFINITY, -1};
    constexpr int AT_ONCE = 8;  // pairs of blocks: 256 tokens of the vocabulary
    const int pairs = head().blocks / 2, chunks = (n_out + MANY - 1) / MANY;
    const size_t ld = static_cast<size_t>(head().blocks) * LANES;
    each(thread, counter++, (pairs + AT_ONCE - 1) / AT_ONCE * chunks, [&](int i) {
      const int p0 = i / chunks * AT_ONCE, p1 = std::min(pairs, p0 + AT_ONCE);
      const int m0 = i % chunks * MANY, m1 = std::min(n_out, m0 + MANY);
      for (int p = p0; p < p1; ++p)
        kernels_->multiply(head(), 2 * p, 2, to, m0, m1, logits_ + p * 2 * LANES, ld, false);
      const int c0 = p0 * 2 * LANES, c1 = std::min(s.vocab, p1 * 2 * LANES);
      if (c1 <= c0) return;
      for (int m = m0; m < m1; ++m) {
        float value;
        const int at = c0 + kernels_->argmax(logits_ + m * ld + c0, c1 - c0, &value);
        if (better({value, at}, best[m])) best[m] = {value, at};
      }
    });
    team_.barrier();
    if (thread == 0)
      for (int i = 0; i < n_out; ++i) {
        Best most = best_.data[i];
        for (int t = 1; t < s.threads; ++t) {
          const Best& other = best_.data[static_cast<size_t>(t) * n_out + i];
          if (better(other, most)) most = other;
        }
        likeliest_[i] = most.at;
        highest_[i] = most.value;
      }
  }

  struct Best {
    float value;
    int at;
  };
  // NaN is the largest; of equals the lower index.
  static bool better(const Best& a, const Best& b) {
    if (a.at < 0) return false;
    if (b.at < 0) return true;
    if (std::isnan(b.value)) return std::isnan(a.value) && a.at < b.at;
    return std::isnan(a.value) || a.value > b.value || (a.value == b.value && a.at < b.at);
  }

  static constexpr int SMALL = 4, MANY = 128, MAX_GATE_ROWS = 64;

  const Shape s;
  const Kernels* kernels_;
  Team team_;
  std::vector<Layer> layers_;
  Matrix embedding_, head_;
  std::vector<float> final_norm_, frequencies_;
  static constexpr size_t PAGE = size_t{2} << 20, CHUNK = size_t{16} << 20;
  std::vector<void*> owned_;
  uint8_t* chunk_ = nullptr;
  size_t left_ = 0;
  size_t weight_bytes_ = 0, head_bytes_ = 0, block_bytes_ = 0, cache_bytes_ = 0;
  uint8_t* cache_ = nullptr;
  int width_ = 0;

  // Of the step that runs.
  std::vector<Task> tasks_;
  std::vector<int> out_rows_;
  int rows_ = 0, in_forms_ = 0, att_forms_ = 0, down_forms_ = 0;
  size_t x_ld_ = 0, qkv_ld_ = 0, att_ld_ = 0, table_pointers_ = 0;
  const int32_t* tokens_ = nullptr;
  float *logits_ = nullptr, *highest_ = nullptr, *states_ = nullptr;
  int64_t* likeliest_ = nullptr;
  Buffer<float> x_, qkv_, att_, rope_;
  Buffer<uint8_t*> pointers_;
  Buffer<Best> best_;
  RowStore shared_, hidden_;
  std::unique_ptr<RowStore[]> own_;
  std::unique_ptr<Buffer<float>[]> scratch_;
  std::vector<Counter> counters_;
};

thread_local std::string last_error;

template <class F>
int guarded(F&& work) {
  try {
    work();
    return 0;
  } catch (const std::bad_alloc&) {
    last_error = "out of memory";
    return 2;
  } catch (const std::exception& error) {
    last_error = error.what();
    return 1;
  }
}

}  // namespace

#define API extern "C" __attribute__((visibility("default")))

API int cw_abi() { return 1; }
API const char* cw_last_error() { return last_error.c_str(); }
API const char* cw_best_kernels() { return best_kernels(nullptr)->name; }

API void* cw_create(const int32_t* shape, float eps, float rope_scale, const float* frequencies,
                    const char* kernels) {
  const Kernels* chosen = best_kernels(kernels && *kernels ? kernels : nullptr);
  if (!chosen) {
    last_error = "this machine cannot run the kernels that were asked for";
    return nullptr;
  }
  Shape s{shape[0], shape[1], shape[2], shape[3],  shape[4],  shape[5],  shape[6],
          shape[7], shape[8], shape[9], shape[10], shape[11], shape[12], shape[13], eps, rope_scale};
  Engine* made = nullptr;
  guarded([&] { made = new Engine(s, frequencies, chosen); });
  return made;
}
API void cw_destroy(void* engine) { delete static_cast<Engine*>(engine); }
API const char* cw_kernels(void* engine) { return static_cast<Engine*>(engine)->kernels(); }
API uint64_t cw_block_bytes(void* engine) { return static_cast<Engine*>(engine)->block_bytes(); }
API uint64_t cw_weight_bytes(void* engine) { return static_cast<Engine*>(engine)->weight_bytes(); }
API int cw_pack(void* engine, int layer, int which, int kind, int source, const uint8_t* data, int n,
                int k, const int32_t* order) {
  return guarded(
      [&] { static_cast<Engine*>(engine)->pack(layer, which, kind, source, data, n, k, order); });
}
API int cw_set_vector(void* engine, int layer, int which, const float* data, int n) {
  return guarded([&] { static_cast<Engine*>(engine)->set_vector(layer, which, data, n); });
}
API int cw_step(void* engine, int n_runs, const int32_t* lengths, const int32_t* starts,
                const int32_t* outputs, const int32_t* tokens, const int32_t* tables,
                const int32_t* table_starts, float* logits, int64_t* likeliest, float* highest,
                float* states) {
  return guarded([&] {
    static_cast<Engine*>(engine)->step(n_runs, lengths, starts, outputs, tokens, tables,
                                       table_starts, logits, likeliest, highest, states);
  });
}
API void cw_copy_block(void* engine, int from, int to) {
  static_cast<Engine*>(engine)->copy_block(from, to);
}
API void cw_clear_block(void* engine, int block) { static_cast<Engine*>(engine)->clear_block(block); }
API int cw_shift_block(void* engine, int block, int by) {
  return guarded([&] { static_cast<Engine*>(engine)->shift_block(block, by); });
}
API int cw_multiply(void* engine, int layer, int which, const float* x, int rows, int k, float* out,
                    int ld) {
  return guarded([&] {
    auto* e = static_cast<Engine*>(engine);
    e->multiply_for_test(*e->matrix(layer, which), x, rows, k, out, ld);
  });
}
API void cw_unpack_row(void* engine, int layer, int which, int row, float* out, int k) {
  unpack_row(*static_cast<Engine*>(engine)->matrix(layer, which), row, out, k);
}
