#include <gmock/gmock.h>

#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <chrono>
#include <mutex>
#include <numeric>
#include <set>
#include <thread>
#include <vector>

#include "sched_test.hpp"

namespace bulkhead::sched {
namespace {

using namespace std::chrono_literals;
using SchedulerTest = SchedTest;
using SchedulerProcessorsTest = SchedProcessorsTest;
using SchedulerDeathTest = SchedTest;

TEST_P(SchedulerProcessorsTest, RunReturnsWhenAllDescendantsHaveEnded) {
  std::atomic<int> ended{0};
  run(GetParam(), [&] {
    for (int i = 0; i < 100; ++i)
      go([&] {
        yield();
        go([&] { ++ended; });
        ++ended;
      });
  });
  EXPECT_EQ(ended, 200);
}

TEST_P(SchedulerProcessorsTest, RunMayBeCalledAgain) {
  Scheduler& scheduler = make({.processors = GetParam()});
  int runs = 0;
  for (int i = 0; i < 20; ++i) scheduler.run([&] { ++runs; });
  EXPECT_EQ(runs, 20);
}

TEST_F(SchedulerTest, GoBeforeRunWaitsForIt) {
  Scheduler& scheduler = make({});
  bool ran = false;
  scheduler.go([&] { ran = true; });
  EXPECT_FALSE(ran);
  EXPECT_EQ(scheduler.alive(), 1u);
  scheduler.run([] {});
  EXPECT_TRUE(ran);
}

TEST_F(SchedulerTest, WhatNeverRanIsDropped) {
  auto held = std::make_shared<int>(1);
  {
    Scheduler scheduler({});
    scheduler.go([held] {});
    EXPECT_EQ(held.use_count(), 2);
  }
  EXPECT_EQ(held.use_count(), 1);
}

TEST_F(SchedulerTest, WhatNeverRanIsToldAsALeak) {
  std::string told;
  {
    Options options;
    options.on_leak = [&](const std::vector<TaskInfo>& left) {
      told = describe_leaks(left, [](Tag tag) { return "job " + std::to_string(tag); });
    };
    Scheduler scheduler(options);
    scheduler.run([] { go([] { yield(); }); });
    scheduler.go([] {}, 7);
    scheduler.go(
        GoOptions{.name = "late"}, [] {}, kNoTag);
    EXPECT_EQ(told, "");
  }
  EXPECT_EQ(told.substr(0, told.find('\n')), "leak: 2 goroutines have not ended with the run");
  EXPECT_NE(told.find(" of job 7: runnable; started at "), std::string::npos) << told;
  EXPECT_NE(told.find(" 'late': runnable; started at "), std::string::npos) << told;
  EXPECT_NE(told.find("scheduler_test.cpp:"), std::string::npos) << told;
}

TEST_F(SchedulerTest, WhenNothingIsLeftNoLeakIsTold) {
  bool told = false;
  {
    Options options;
    options.on_leak = [&](const auto&) { told = true; };
    Scheduler scheduler(options);
    scheduler.run([] { go([] { sleep_for(1ms); }); });
  }
  EXPECT_FALSE(told);
  EXPECT_EQ(describe_leaks({}, [](Tag) { return std::string(); }), "");
}

TEST_P(SchedulerProcessorsTest, PlainThreadStartsGoroutinesWhileRunIsActive) {
  Scheduler& scheduler = make({.processors = GetParam()});
  std::atomic<int> ended{0};
  Channel<int> finished;
  std::thread thread([&] {
    Enter enter(scheduler, 9);
    EXPECT_EQ(Scheduler::current(), &scheduler);
    for (int i = 0; i < 100; ++i) scheduler.go([&] { ++ended; });
    for (int i = 0; i < 100; ++i)
      go([&] {
        EXPECT_EQ(current_tag(), 9u);
        ++ended;
      });
    finished.close();
  });
  scheduler.run([&] { finished.receive(); });
  thread.join();
  EXPECT_EQ(ended, 200);
  EXPECT_EQ(Scheduler::current(), nullptr);
}

TEST_F(SchedulerTest, YieldLetsTheOthersRunInTurn) {
  std::string order;
  run(1, [&] {
    for (char name : {'a', 'b', 'c'})
      go([&, name] {
        for (int i = 0; i < 3; ++i) {
          order += name;
          yield();
        }
      });
  });
  EXPECT_EQ(order, "abcabcabc");
}

TEST_P(SchedulerProcessorsTest, SleepersWakeButNeverEarly) {
  std::atomic<int> woken{0};
  run(GetParam(), [&] {
    for (int i : {3, 0, 1, -1, 2})
      go([&, i] {
        const base::TimePoint start = base::Clock::now();
        sleep_for(i * 5ms);
        EXPECT_GE(base::Clock::now() - start, i * 5ms);
        ++woken;
      });
  });
  EXPECT_EQ(woken, 5);
}

TEST_F(SchedulerTest, ChildrenInheritTheTag) {
  Scheduler& scheduler = make({.processors = 2});
  std::atomic<int> checked{0};
  scheduler.go(
      [&] {
        EXPECT_EQ(current_tag(), 42u);
        go([&] {
          yield();
          EXPECT_EQ(current_tag(), 42u);
          go([&] { checked += current_tag() == 42; });
          go([&] { checked += current_tag() == 7; }, 7);
        });
      },
      42);
  scheduler.run([] { EXPECT_EQ(current_tag(), kNoTag); });
  EXPECT_EQ(checked, 2);
}

TEST_F(SchedulerTest, GoroutinesWithATagOfTheirOwnStartInOrderHoweverManyWait) {
  constexpr Tag kMany = 200;
  std::vector<Tag> order;
  make({.processors = 1}).run([&] {
    Channel<int> places(kMany / 2);
    for (Tag tag = 0; tag < kMany; ++tag) {
      places.send(0);  // waits for the first of them to end
      go(
          [&] {
            order.push_back(current_tag());
            places.receive();
          },
          tag);
    }
    for (Tag i = 0; i < kMany / 2; ++i) places.send(0);
  });
  std::vector<Tag> expected(kMany);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(order, expected);
}

class Recorder : public Observer {
 public:
  void on_switch(unsigned processor, Tag tag) override {
    EXPECT_EQ(current_processor(), static_cast<int>(processor));
    switches.push_back(tag);
  }
  void on_processor_start(unsigned processor) override {
    EXPECT_EQ(current_processor(), static_cast<int>(processor));
    std::lock_guard guard(mutex);
    started.push_back({processor, std::this_thread::get_id()});
  }
  std::vector<Tag> switches;  // meaningful with one processor
  std::mutex mutex;
  std::vector<std::pair<unsigned, std::thread::id>> started;
};

TEST_F(SchedulerTest, ObserverSeesEachSwitchAndCheckpoint) {
  Recorder recorder;
  Scheduler& scheduler = make({.processors = 1, .observer = &recorder});
  scheduler.go([] { yield(); }, 1);
  scheduler.go([] { checkpoint(); }, 2);
  scheduler.run([] {});
  // On a slow machine the second may be overdue at its checkpoint, and yield there.
  EXPECT_THAT(recorder.switches, testing::AnyOf(testing::ElementsAre(1, 2, 2, kNoTag, 1, kNoTag),
                                                testing::ElementsAre(1, 2, kNoTag, 1, 2, kNoTag)));
}

class CountingObserver : public Observer {
 public:
  void on_switch(unsigned, Tag) override {}
  void on_processor_start(unsigned processor) override {
    std::lock_guard guard(mutex);
    started.insert({processor, std::this_thread::get_id()});
    ++calls;
  }
  std::mutex mutex;
  std::set<std::pair<unsigned, std::thread::id>> started;
  int calls = 0;
};

TEST_F(SchedulerTest, EachProcessorStartsOnItsThreadAndTheCallerIsZero) {
  CountingObserver observer;
  Scheduler& scheduler = make({.processors = 3, .observer = &observer});
  for (int runs = 1; runs <= 2; ++runs) {
    scheduler.run([] {});
    EXPECT_EQ(observer.calls, 3 * runs);
  }
  EXPECT_TRUE(observer.started.contains({0, std::this_thread::get_id()}));
}

TEST_F(SchedulerTest, GoroutineKnowsItsPlace) {
  EXPECT_EQ(current_processor(), -1);
  EXPECT_EQ(current_task_id(), 0u);
  EXPECT_EQ(current_stack().high, 0u);
  run(1, [] {
    EXPECT_EQ(current_processor(), 0);
    EXPECT_NE(current_task_id(), 0u);
    int local = 0;
    const auto here = reinterpret_cast<std::uintptr_t>(&local);
    const StackBounds bounds = current_stack();
    EXPECT_GT(here, bounds.low + bounds.guard_bytes);
    EXPECT_LT(here, bounds.high);
  });
  EXPECT_EQ(current_processor(), -1);
}

TEST_F(SchedulerTest, DumpNamesWhyAGoroutineIsParked) {
  Scheduler& scheduler = make({.processors = 1});
  scheduler.run([&] {
    Channel<int> channel;
    go([&] { channel.receive(); }, 5);
    yield();
    const std::vector<TaskInfo> tasks = scheduler.tasks();
    ASSERT_EQ(tasks.size(), 2u);
    EXPECT_EQ(tasks[0].state, Task::kRunning);
    EXPECT_EQ(tasks[1].tag, 5u);
    EXPECT_EQ(tasks[1].state, Task::kParked);
    EXPECT_STREQ(to_string(tasks[1].reason), "channel receive");
    channel.close();
  });
}

TEST_F(SchedulerTest, ASchedulerMayRunInsideAGoroutineOfAnother) {
  Scheduler& outer = make({.processors = 2});
  Scheduler& inner = make({.processors = 2});
  outer.run([&] {
    const std::uint64_t id = current_task_id();
    inner.run([&] { EXPECT_EQ(Scheduler::current(), &inner); });
    EXPECT_EQ(Scheduler::current(), &outer);
    EXPECT_EQ(current_task_id(), id);
  });
}

TEST_P(SchedulerProcessorsTest, AHundredThousandGoroutinesAreAliveAtOnce) {
  constexpr std::size_t kTasks = sanitizer::kStackFactor > 1 ? 1000 : 100'000;
  Scheduler& scheduler = make({.processors = GetParam(), .stack_bytes = 32 * 1024});
  std::atomic<std::size_t> ended{0};
  scheduler.run([&] {
    WaitGroup parked, gate;
    parked.add(kTasks);
    gate.add();
    for (std::size_t i = 0; i < kTasks; ++i)
      go([&] {
        parked.done();
        gate.wait();
        ++ended;
      });
    parked.wait();
    EXPECT_EQ(scheduler.alive(), kTasks + 1);
    EXPECT_EQ(ended, 0u);
    gate.done();
    // `gate` is on this stack: it must outlive those that have yet to come to it.
    while (scheduler.alive() > 1) yield();
  });
  EXPECT_EQ(ended, kTasks);
}

TEST_F(SchedulerDeathTest, RunTwiceAtOnceEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        Scheduler scheduler({});
        scheduler.run([&] { scheduler.run([] {}); });
      },
      "another run");
}

TEST_F(SchedulerDeathTest, GoWithoutSchedulerEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(go([] {}), "entered no scheduler");
}

INSTANTIATE_TEST_SUITE_P(Processors, SchedulerProcessorsTest, testing::Values(1u, 2u, 4u));

}  // namespace
}  // namespace bulkhead::sched
