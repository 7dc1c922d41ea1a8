// Rows about starting goroutines and waiting for their ends.
#include <atomic>
#include <bulkhead/base/check.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <bulkhead/sched/wait_group.hpp>

#include "bench/rows.hpp"

namespace bulkhead::bench {
namespace {

// Starts `tasks` goroutines that only say that they are done, and waits for all; so often.
double waves_ns(int waves, int tasks) {
  sched::WaitGroup group;
  return time_ns([&] {
    for (int wave = 0; wave < waves; ++wave) {
      group.add(tasks);
      for (int i = 0; i < tasks; ++i) sched::go([&] { group.done(); });
      group.wait();
    }
  });
}

std::vector<Figure> in_waves() {
  constexpr int kTasks = 1'000'000;
  constexpr int kWave = 1000;
  return {{"spawn_join_wave", "n=1000000 wave=1000", waves_ns(kTasks / kWave, kWave) / kTasks,
           "ns/task"}};
}

// All of them are alive before anybody waits.
std::vector<Figure> all_at_once() {
  constexpr int kTasks = 1'000'000;
  return {{"spawn_join", "n=1000000", waves_ns(1, kTasks) / kTasks, "ns/task"}};
}

// Out to ten thousand, each of which counts itself, and in again.
std::vector<Figure> fan_out() {
  constexpr int kWaves = 50;
  constexpr int kTasks = 10'000;
  sched::WaitGroup group;
  std::atomic<int> count{0};
  const double ns = time_ns([&] {
    for (int wave = 0; wave < kWaves; ++wave) {
      group.add(kTasks);
      for (int i = 0; i < kTasks; ++i) {
        sched::go([&] {
          ++count;
          group.done();
        });
      }
      group.wait();
    }
  });
  BULKHEAD_CHECK(count == kWaves * kTasks, "{} goroutines of {} ran", count.load(),
                 kWaves * kTasks);
  return {{"fanout_10k", "", ns / (kWaves * kTasks), "ns/task"}};
}

std::uint64_t fibonacci(int n) {
  if (n < 2) return static_cast<std::uint64_t>(n);
  return fibonacci(n - 1) + fibonacci(n - 2);
}

// One half in a goroutine of its own, down to `cutoff`; the parent waits for it, as for a join.
std::uint64_t forked_fibonacci(int n, int cutoff) {
  if (n <= cutoff) return fibonacci(n);
  std::uint64_t first = 0;
  sched::WaitGroup child;
  child.add();
  sched::go([&first, &child, n, cutoff] {
    first = forked_fibonacci(n - 1, cutoff);
    child.done();
  });
  const std::uint64_t second = forked_fibonacci(n - 2, cutoff);
  child.wait();
  return first + second;
}

std::uint64_t forks_of(int n) {
  if (n < 2) return 0;
  return 1 + forks_of(n - 1) + forks_of(n - 2);
}

// Each call forks: this is the price of a fork and its join, not of the arithmetic.
std::vector<Figure> fork_join() {
  constexpr int kNumber = 25;
  keep(forked_fibonacci(kNumber, 1));  // a warm-up
  std::uint64_t value = 0;
  const double ns = time_ns([&] { value = forked_fibonacci(kNumber, 1); });
  BULKHEAD_CHECK(value == 75'025, "fib({}) is not {}", kNumber, value);
  return {{"fib_fork", "n=25", ns / static_cast<double>(forks_of(kNumber)), "ns/fork"}};
}

// Forks that are worth their price.
std::vector<Figure> coarse_fork_join() {
  constexpr int kRuns = 5;
  constexpr int kNumber = 35;
  constexpr int kCutoff = 20;
  keep(forked_fibonacci(30, kCutoff));  // a warm-up
  std::uint64_t sum = 0;
  const double ns = time_ns([&] {
    for (int i = 0; i < kRuns; ++i) sum += forked_fibonacci(kNumber, kCutoff);
  });
  BULKHEAD_CHECK(sum == kRuns * std::uint64_t{9'227'465}, "a sum of {}", sum);
  return {{"fib", "n=35 cutoff=20", ns / kRuns / 1e6, "ms"}};
}

}  // namespace

const std::vector<Row>& spawning_rows() {
  static const std::vector<Row> kRows{{"spawn_join_wave", in_waves},
                                      {"spawn_join", all_at_once},
                                      {"fanout_10k", fan_out},
                                      {"fib_fork", fork_join},
                                      {"fib", coarse_fork_join}};
  return kRows;
}

}  // namespace bulkhead::bench
