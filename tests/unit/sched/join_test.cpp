#include <bulkhead/sched/join.hpp>
#include <csignal>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "everywhere.hpp"

namespace bulkhead::sched {
namespace {

using JoinTest = EverywhereTest;
using JoinDeathTest = SchedTest;

static_assert(!std::is_copy_constructible_v<Join<int>> && !std::is_copy_assignable_v<Join<int>>);
static_assert(std::is_nothrow_move_constructible_v<Join<int>>);

TEST_P(JoinTest, ReturnsWhatTheBodyReturns) {
  run([&] {
    std::vector<Join<int>> handles;
    for (int i = 0; i < 100; ++i)
      handles.push_back(spawn([i] {
        if (i % 2 == 0) yield();
        return i;
      }));
    for (int i = 0; i < 100; ++i) {
      Join<int>& handle = handles[static_cast<std::size_t>(i)];
      EXPECT_TRUE(handle.joinable());
      EXPECT_EQ(handle.join(), i);
      EXPECT_FALSE(handle.joinable());
    }
  });
}

TEST_P(JoinTest, WaitsForABodyThatReturnsNothing) {
  run([&] {
    int done = 0;
    std::atomic<bool> finish{false};
    Join<void> handle = spawn([&] {
      await([&] { return finish.load(); });
      done = 1;
    });
    Join<void> outer = spawn([inner = std::move(handle)]() mutable { inner.join(); });
    await_parked(1, ParkReason::kJoin);
    finish = true;
    outer.join();
    EXPECT_EQ(done, 1);
  });
}

TEST_P(JoinTest, MoveOnlyBodiesAndResultsWithoutDefault) {
  struct Whole {
    explicit Whole(std::unique_ptr<int> part) : value(std::move(part)) {}
    std::unique_ptr<int> value;
  };
  run([&] {
    Join<Whole> handle =
        spawn([part = std::make_unique<int>(7)]() mutable { return Whole(std::move(part)); });
    EXPECT_EQ(*handle.join().value, 7);
  });
}

TEST_P(JoinTest, RethrowsWhatLeftTheBody) {
  run([&] {
    Join<int> handle = spawn([]() -> int { throw std::runtime_error("no sum"); });
    try {
      handle.join();
      ADD_FAILURE() << "nothing was thrown";
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "no sum");
    }
    EXPECT_FALSE(handle.joinable());
  });
}

TEST_P(JoinTest, WhatTheBodyHeldIsGoneWhenJoinReturns) {
  run([&] {
    auto held = std::make_shared<int>(1);
    const std::weak_ptr<int> watch = held;
    Join<void> handle = spawn([held = std::move(held)] { yield(); });
    handle.join();
    EXPECT_TRUE(watch.expired());
  });
}

TEST_P(JoinTest, ADroppedHandleLetsItRunOn) {
  std::atomic<int> ended{0};
  const auto body = [&] {
    yield();
    ++ended;
  };
  run([&] {
    { Join<void> dropped = spawn(body); }
    Join<void> handle = spawn(body);
    handle = spawn(body);  // drops the first
    handle.detach();
    EXPECT_FALSE(handle.joinable());
  });
  EXPECT_EQ(ended, 3);
}

TEST(JoinThreadTest, APlainThreadJoinsAGoroutine) {
  Scheduler scheduler({.processors = 2});
  Join<std::string> handle;
  {
    const Enter enter(scheduler);
    handle = spawn([] { return std::string("from a goroutine"); });
  }
  std::thread runner([&] { scheduler.run([] {}); });
  EXPECT_EQ(handle.join(), "from a goroutine");
  runner.join();
}

TEST_F(JoinDeathTest, AnExceptionThatNobodyJoinsIsAPanic) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto throws = [] { throw std::out_of_range("far out"); };
  const char* const text = "panic: std::out_of_range left a goroutine that nobody joins: far out";
  // Dropped before the body fails, and after.
  EXPECT_EXIT(run(1, [&] { spawn(throws).detach(); }), testing::KilledBySignal(SIGABRT), text);
  EXPECT_EXIT(run(1,
                  [&] {
                    const Join<void> handle = spawn(throws);
                    for (int i = 0; i < 1000; ++i) yield();
                  }),
              testing::KilledBySignal(SIGABRT), text);
  EXPECT_EXIT(run(1, [&] { spawn([] { throw 7; }).detach(); }), testing::KilledBySignal(SIGABRT),
              "panic: int left a goroutine that nobody joins");
}

TEST_F(JoinDeathTest, MisuseEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(Join<int>().join(), "no goroutine");
  EXPECT_DEATH(Join<int>().detach(), "no goroutine");
  EXPECT_DEATH(run(1,
                   [] {
                     Join<int> handle = spawn([] { return 1; });
                     handle.join();
                     handle.join();
                   }),
               "no goroutine");
}

BULKHEAD_EVERYWHERE(JoinTest);

}  // namespace
}  // namespace bulkhead::sched
