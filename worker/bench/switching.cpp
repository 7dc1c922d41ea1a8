// Rows about taking turns: yield, a contended mutex, computations that want every processor.
#include <atomic>
#include <bulkhead/base/check.hpp>
#include <bulkhead/sched/mutex.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <bulkhead/sched/wait_group.hpp>

#include "bench/rows.hpp"

namespace bulkhead::bench {
namespace {

// Two goroutines, one giving way to the other.
std::vector<Figure> yield() {
  constexpr int kTasks = 2;
  constexpr int kYields = 2'000'000;
  sched::WaitGroup group;
  group.add(kTasks);
  const double ns = time_ns([&] {
    for (int task = 0; task < kTasks; ++task) {
      sched::go([&] {
        for (int i = 0; i < kYields; ++i) sched::yield();
        group.done();
      });
    }
    group.wait();
  });
  return {{"yield", "tasks=2", ns / (kTasks * kYields), "ns/yield"}};
}

// Eight goroutines that do nothing but take one mutex and leave it.
std::vector<Figure> mutex8() {
  constexpr int kTasks = 8;
  constexpr int kLocks = 8'000'000;
  sched::Mutex mutex;
  sched::WaitGroup group;
  std::uint64_t count = 0;
  group.add(kTasks);
  const double ns = time_ns([&] {
    for (int task = 0; task < kTasks; ++task) {
      sched::go([&] {
        for (int i = 0; i < kLocks / kTasks; ++i) {
          mutex.lock();
          ++count;
          mutex.unlock();
        }
        group.done();
      });
    }
    group.wait();
  });
  BULKHEAD_CHECK(count == kLocks, "{} locks of {} were counted", count, kLocks);
  return {{"mutex8", "", ns / kLocks, "ns/lock"}};
}

// Arithmetic that fits in registers: nothing of the machine but its processors can slow it down.
std::uint64_t mix(std::uint64_t seed, int rounds) {
  std::uint64_t x = seed | 1;
  for (int i = 0; i < rounds; ++i) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    x = x * 0x9E3779B97F4A7C15U + 0x632BE59BD9B4E019U;
    x = (x << 29) | (x >> 35);
  }
  return x;
}

// 64 computations without a scheduling point; on several processors the speed-up shows.
std::vector<Figure> mix64() {
  constexpr std::uint64_t kTasks = 64;
  constexpr int kRounds = 1'000'000;
  sched::WaitGroup group;
  std::atomic<std::uint64_t> sum{0};
  const double ns = time_ns([&] {
    group.add(kTasks);
    for (std::uint64_t task = 0; task < kTasks; ++task) {
      sched::go([&, task] {
        sum += mix(task, kRounds);
        group.done();
      });
    }
    group.wait();
  });
  keep(sum);
  return {{"mix64", "", ns / 1e6, "ms"}};
}

}  // namespace

const std::vector<Row>& switching_rows() {
  static const std::vector<Row> kRows{{"yield", yield}, {"mutex8", mutex8}, {"mix64", mix64}};
  return kRows;
}

}  // namespace bulkhead::bench
