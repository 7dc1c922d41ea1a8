// What a burst of goroutines has taken is given back to the system.
#include <unistd.h>

#include <atomic>
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <chrono>
#include <fstream>

#include "sched_test.hpp"

namespace bulkhead::sched {
namespace {

using namespace std::chrono_literals;

double resident_mib() {
  std::size_t total = 0;
  std::size_t resident = 0;
  std::ifstream("/proc/self/statm") >> total >> resident;
  return static_cast<double>(resident) * static_cast<double>(::sysconf(_SC_PAGESIZE)) / (1 << 20);
}

// So many at once; answers what was resident then.
double burst(int count) {
  Channel<int> gate;
  WaitGroup ended;
  ended.add(count);
  std::atomic<int> begun{0};  // each then has a stack of its own
  for (int i = 0; i < count; ++i)
    go([&] {
      ++begun;
      gate.receive();
      ended.done();
    });
  while (begun < count) sleep_for(1ms);
  const double peak = resident_mib();
  gate.close();
  ended.wait();
  return peak;
}

class TrimTest : public SchedProcessorsTest {};

TEST_P(TrimTest, ABurstsMemoryGoesBackAndTheNextBurstHasItsOwn) {
  const int count = kSanitized ? 500 : 50'000;
  run(GetParam(), [&] {
    burst(10);  // what any use takes once
    const double before = resident_mib();
    for (int round = 0; round < 2; ++round) {
      const double peak = burst(count);
      if (kSanitized) continue;  // they keep memory of their own
      EXPECT_GT(peak, before + 4.0 * count / 1024);
      const auto deadline = base::Clock::now() + 60s;
      // For the records of where the stacks are, and for what the C library keeps for each thread.
      const double room = 0.5 + 0.25 * GetParam();
      while (resident_mib() > before + room && base::Clock::now() < deadline) sleep_for(10ms);
      EXPECT_LE(resident_mib(), before + room) << "peak " << peak;
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Processors, TrimTest, testing::Values(1u, 2u, 4u));

}  // namespace
}  // namespace bulkhead::sched
