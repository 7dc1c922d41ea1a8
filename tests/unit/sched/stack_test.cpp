#include "sched/stack.hpp"

#include <csignal>
#include <fstream>
#include <limits>
#include <set>

#include "sched_test.hpp"

namespace bulkhead::sched {
namespace {

TEST(StackPoolTest, ReusesWhatWasGivenBackLast) {
  StackPool pool(64 * 1024, probe_stack_guard());
  const Stack first = pool.acquire();
  const Stack second = pool.acquire();
  EXPECT_NE(first.low, second.low);
  EXPECT_EQ(first.usable_bytes(), 64u * 1024);
  pool.release(first);
  const Stack third = pool.acquire();
  EXPECT_EQ(third.low, first.low);
  pool.release(second);
  pool.release(third);
}

TEST(StackPoolTest, StacksDoNotOverlap) {
  StackPool pool(1, probe_stack_guard());
  std::vector<Stack> stacks;
  std::set<std::byte*> lows;
  for (int i = 0; i < 200; ++i) {
    stacks.push_back(pool.acquire());
    const Stack& stack = stacks.back();
    *stack.usable_low() = std::byte{1};
    *(stack.high - 1) = std::byte{1};
    lows.insert(stack.low);
  }
  std::byte* end = nullptr;
  for (std::byte* low : lows) {
    EXPECT_GE(low, end);
    end = low + (stacks[0].high - stacks[0].low);
  }
  for (const Stack& stack : stacks) pool.release(stack);
}

TEST(StackPoolTest, FallsBackToCanariesBeforeMappingsRunOut) {
  StackPool pool(4096, StackGuard::kMprotect);
  std::vector<Stack> stacks;
  const int tries = kSanitized ? 100 : 32'000;  // 2 mappings each: beyond 80 % of 65,530
  for (int i = 0; i < tries; ++i) stacks.push_back(pool.acquire());
  EXPECT_EQ(stacks.front().guard, StackGuard::kMprotect);
  int limit = 0;
  std::ifstream("/proc/sys/vm/max_map_count") >> limit;
  if (limit > 0 && 2 * tries > limit / 10 * 8) {
    EXPECT_EQ(stacks.back().guard, StackGuard::kCanary);
  }
  for (const Stack& stack : stacks) pool.release(stack);
}

TEST(StackPoolTest, ABrokenCanaryIsNoticed) {
  StackPool pool(4096, StackGuard::kCanary);
  const Stack stack = pool.acquire();
  EXPECT_EQ(stack.guard, StackGuard::kCanary);
  EXPECT_TRUE(StackPool::canary_whole(stack));
  *(stack.usable_low() - 1) ^= std::byte{1};
  EXPECT_FALSE(StackPool::canary_whole(stack));
  pool.release(stack);
}

// For a death that is wanted: a sanitizer would catch the signal and report it.
void die_by_signal() { std::signal(SIGSEGV, SIG_DFL); }

TEST(StackPoolDeathTest, AGuardPageStopsAWrite) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (StackGuard guard : {probe_stack_guard(), StackGuard::kMprotect}) {
    SCOPED_TRACE(to_string(guard));
    EXPECT_EXIT(
        {
          die_by_signal();
          StackPool pool(4096, guard);
          const Stack stack = pool.acquire();
          *static_cast<volatile std::byte*>(stack.usable_low() - 1) = std::byte{1};
        },
        testing::KilledBySignal(SIGSEGV), "");
  }
}

// Each level keeps its frame: what it adds after the call hangs on the frame. `limit` is never
// reached; without it the compiler would object.
int recurse(int depth, int limit) {
  if (depth == limit) return 0;
  volatile int frame[64] = {};
  frame[depth % 64] = depth;
  return recurse(depth + 1, limit) + frame[depth % 64];
}

TEST(StackPoolDeathTest, DeepRecursionOfAGoroutineHitsTheGuard) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto overflow = [] {
    die_by_signal();
    Scheduler scheduler({.processors = 2});
    scheduler.run([] { EXPECT_NE(recurse(0, std::numeric_limits<int>::max()), 0); });
  };
  EXPECT_EXIT(overflow(), testing::KilledBySignal(SIGSEGV), "");
}

}  // namespace
}  // namespace bulkhead::sched
