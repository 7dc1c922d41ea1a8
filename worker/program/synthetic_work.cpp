#include <time.h>

#include <algorithm>
#include <array>
#include <bulkhead/base/check.hpp>
#include <bulkhead/program/synthetic_work.hpp>
#include <bulkhead/sched/scheduler.hpp>

namespace bulkhead::program {
namespace {

constexpr std::uint64_t kBetweenCheckpoints = 1 << 16;  // some 0.1 ms

// Never inlined: where it is called from must not change the code of the loop.
__attribute__((noinline)) std::uint64_t chain(std::uint64_t value, std::uint64_t iterations) {
  for (std::uint64_t i = 0; i < iterations; ++i) {
    value = (value ^ (value >> 29)) * 0xd6e8feb86659fd93 + 1;
  }
  return value;
}

// Of this thread: what others take from it meanwhile is not counted.
double processor_seconds() {
  timespec time{};
  BULKHEAD_CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time) == 0);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

}  // namespace

std::uint64_t compute(std::uint64_t seed, std::uint64_t iterations) {
  std::uint64_t value = seed;
  while (iterations > 0) {
    const std::uint64_t now = std::min(iterations, kBetweenCheckpoints);
    value = chain(value, now);
    iterations -= now;
    sched::checkpoint();
  }
  return value;
}

double calibrate() {
  constexpr double kWarmUpSeconds = 10e-3;  // for the clock of a processor that was idle
  constexpr double kSampleSeconds = 2e-3;
  std::uint64_t value = 1;
  std::uint64_t iterations = 1 << 12;
  // Until one measurement is long enough for the clock's grain, and the warm-up is over.
  const double begin = processor_seconds();
  for (double seconds = 0;
       seconds < kSampleSeconds || processor_seconds() - begin < kWarmUpSeconds;) {
    if (seconds > 0 && seconds < kSampleSeconds) iterations *= 2;
    const double before = processor_seconds();
    value = compute(value, iterations);
    seconds = processor_seconds() - before;
  }
  std::array<double, 11> rates{};
  for (double& rate : rates) {
    const double before = processor_seconds();
    value = compute(value, iterations);
    rate = static_cast<double>(iterations) / (processor_seconds() - before);
  }
  [[maybe_unused]] const volatile std::uint64_t used = value;  // so the work can't be left out
  std::sort(rates.begin(), rates.end());
  return rates[rates.size() / 2];
}

}  // namespace bulkhead::program
