// Exceptions and switches: a goroutine may switch inside a catch block, and go on elsewhere.
#include <csignal>
#include <exception>
#include <stdexcept>
#include <string>

#include "sched_test.hpp"

namespace bulkhead::sched {
namespace {

using ExceptionsTest = SchedTest;
using ExceptionsProcessorsTest = SchedProcessorsTest;
using ExceptionsDeathTest = SchedTest;

TEST_P(ExceptionsProcessorsTest, AHandledExceptionStaysWithItsGoroutine) {
  constexpr int kTasks = 50, kYields = kSanitized ? 10 : 100;
  std::atomic<int> rethrown{0};
  run(GetParam(), [&] {
    for (int task = 0; task < kTasks; ++task)
      go([&, task] {
        const std::string own = std::to_string(task);
        for (int i = 0; i < kYields; ++i) {
          try {
            try {
              throw std::runtime_error(own);
            } catch (const std::runtime_error&) {
              yield();
              throw;  // whichever exception this thread handles: must be ours
            }
          } catch (const std::runtime_error& error) {
            yield();
            EXPECT_EQ(error.what(), own);
            rethrown += error.what() == own;
          }
        }
        EXPECT_EQ(std::current_exception(), nullptr);
      });
  });
  EXPECT_EQ(rethrown, kTasks * kYields);
}

struct YieldsWhileUnwinding {
  ~YieldsWhileUnwinding() {
    yield();
    EXPECT_EQ(std::uncaught_exceptions(), 1);
  }
};

TEST_P(ExceptionsProcessorsTest, AnExceptionInFlightStaysWithItsGoroutine) {
  run(GetParam(), [] {
    for (int task = 0; task < 50; ++task)
      go([task] {
        if (task % 2 == 0) {
          yield();
          EXPECT_EQ(std::uncaught_exceptions(), 0);
          return;
        }
        try {
          YieldsWhileUnwinding guard;
          throw task;
        } catch (int caught) {
          EXPECT_EQ(caught, task);
        }
        EXPECT_EQ(std::uncaught_exceptions(), 0);
      });
  });
}

TEST_F(ExceptionsTest, RunInsideACatchBlockKeepsTheCallersException) {
  try {
    throw std::runtime_error("outer");
  } catch (const std::runtime_error&) {
    run(1, [] { EXPECT_EQ(std::current_exception(), nullptr); });
    EXPECT_THROW(throw, std::runtime_error);
  }
}

TEST_F(ExceptionsDeathTest, AnExceptionThatLeavesAGoroutineEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(run(1, [] { throw std::runtime_error("nobody catches this"); }),
              testing::KilledBySignal(SIGABRT), "nobody catches this");
}

INSTANTIATE_TEST_SUITE_P(Processors, ExceptionsProcessorsTest,
                         testing::Values(1u, 2u, 4u, kByTurns, kMigrating));

}  // namespace
}  // namespace bulkhead::sched
