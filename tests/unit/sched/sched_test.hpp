// What the tests of sched share: schedulers that are checked for leaked goroutines.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <bulkhead/sched/scheduler.hpp>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "sched/sanitizer.hpp"

namespace bulkhead::sched {

inline constexpr bool kSanitized = sanitizer::kStackFactor > 1;

// In place of a number of processors: two, between which goroutines migrate whenever they go on.
inline constexpr unsigned kMigrating = ~0u;
// Likewise: two, of which one runs alone by turns.
inline constexpr unsigned kByTurns = ~1u;

inline Options options_of(unsigned processors) {
  Options options;
  options.migrate = processors == kMigrating;
  if (processors == kByTurns) options.one_alone = OneAlone::kByTurns;
  options.processors = processors >= kByTurns ? 2 : processors;
  return options;
}

// What an arm of a select does whose value does not matter.
inline constexpr auto kNothing = [](auto&&...) {};

// A random one, which a test tells when it fails; BULKHEAD_TEST_SEED=N: the same each time.
inline std::uint64_t test_seed() {
  const char* const given = std::getenv("BULKHEAD_TEST_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
}

class SchedTest : public testing::Test {
 protected:
  // Lives until the end of the test, where nothing may be alive on it.
  Scheduler& make(Options options) {
    schedulers_.push_back(std::make_unique<Scheduler>(options));
    return *schedulers_.back();
  }
  void run(unsigned processors, std::function<void()> main) {
    make(options_of(processors)).run(std::move(main));
  }
  void TearDown() override {
    for (const auto& scheduler : schedulers_) {
      EXPECT_EQ(scheduler->alive(), 0u);
      EXPECT_TRUE(scheduler->tasks().empty());
    }
  }

 private:
  std::vector<std::unique_ptr<Scheduler>> schedulers_;
};

// The same test with 1, 2 and 4 processors, some also kMigrating.
class SchedProcessorsTest : public SchedTest, public testing::WithParamInterface<unsigned> {};

// Goroutines that wait for one another for ever.
class UntilStuckTest : public SchedProcessorsTest {
 protected:
  // Runs `main`; `rescue` ends the first deadlock.
  void run_until_stuck(std::function<void()> main, std::function<void()> rescue) {
    Options options{.processors = GetParam()};
    options.on_deadlock = [this, rescue](const std::vector<TaskInfo>& tasks) {
      if (times++ > 0) return;
      told = tasks;
      rescue();
    };
    make(options).run(std::move(main));
  }
  std::vector<TaskInfo> told;
  std::atomic<int> times{0};
};

}  // namespace bulkhead::sched
