// A team of threads that walks through one function together, with barriers between its phases.
#pragma once
#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

inline void pause_briefly() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

class Team {
 public:
  explicit Team(int size) : size_(size) {
    try {
      for (int i = 1; i < size; ++i) workers_.emplace_back([this, i] { work(i); });
    } catch (...) {  // the system has no more threads
      dismiss();
      throw;
    }
  }
  ~Team() { dismiss(); }
  int size() const { return size_; }

  // Run job(i) on every thread, i = 0 on the caller's.
  void run(const std::function<void(int)>& job) {
    if (size_ > 1) {
      job_ = &job;
      left_.store(size_ - 1, std::memory_order_relaxed);
      {
        std::lock_guard<std::mutex> lock(mutex_);
        round_.fetch_add(1, std::memory_order_release);
      }
      if (sleeping_.load() > 0) wake_.notify_all();
    }
    job(0);
    for (int spins = 0; left_.load(std::memory_order_acquire) > 0; ++spins)
      spins < SPINS ? pause_briefly() : std::this_thread::yield();
  }

  // All threads wait here for one another. Spinning, since a phase takes microseconds; where other
  // programs hold the cores, the thread lets them run.
  void barrier() {
    if (size_ == 1) return;
    const unsigned phase = phase_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) == size_ - 1) {
      arrived_.store(0, std::memory_order_relaxed);
      phase_.store(phase + 1, std::memory_order_release);
      return;
    }
    for (int spins = 0; phase_.load(std::memory_order_acquire) == phase; ++spins)
      spins < SPINS ? pause_briefly() : std::this_thread::yield();
  }

 private:
  static constexpr int SPINS = 4000;

  void dismiss() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
      round_.fetch_add(1);
    }
    wake_.notify_all();
    for (auto& worker : workers_) worker.join();
  }

  void work(int index) {
    int seen = 0;
    for (;;) {
      int spins = 0;
      while (round_.load(std::memory_order_acquire) == seen && spins < SPINS) {
        pause_briefly();
        ++spins;
      }
      if (round_.load(std::memory_order_acquire) == seen) {
        std::unique_lock<std::mutex> lock(mutex_);
        sleeping_.fetch_add(1);
        wake_.wait(lock, [&] { return round_.load(std::memory_order_acquire) != seen; });
        sleeping_.fetch_sub(1);
      }
      seen = round_.load(std::memory_order_acquire);
      if (stop_) return;
      (*job_)(index);
      left_.fetch_sub(1, std::memory_order_acq_rel);
    }
  }

  const int size_;
  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  const std::function<void(int)>* job_ = nullptr;
  bool stop_ = false;
  alignas(64) std::atomic<int> round_{0};
  alignas(64) std::atomic<int> left_{0};
  alignas(64) std::atomic<int> sleeping_{0};
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<unsigned> phase_{0};  // wraps around in days
};
