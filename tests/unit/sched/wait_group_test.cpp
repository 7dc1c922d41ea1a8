#include <bulkhead/sched/wait_group.hpp>
#include <memory>
#include <thread>

#include "sched_test.hpp"

namespace bulkhead::sched {
namespace {

using WaitGroupTest = SchedTest;
using WaitGroupProcessorsTest = SchedProcessorsTest;
using WaitGroupDeathTest = SchedTest;

TEST_F(WaitGroupTest, WaitReturnsAtOnceWhenNothingIsOpen) {
  WaitGroup group;
  group.wait();
  group.add(2);
  group.done();
  group.done();
  group.wait();
}

TEST_P(WaitGroupProcessorsTest, WaitSeesWhatWasDoneBeforeDone) {
  constexpr std::size_t kTasks = 500;
  std::vector<int> results(kTasks, 0);
  run(GetParam(), [&] {
    WaitGroup group;
    group.add(kTasks);
    for (std::size_t i = 0; i < kTasks; ++i)
      go([&, i] {
        results[i] = 1;
        group.done();
      });
    group.wait();
    for (int result : results) EXPECT_EQ(result, 1);
  });
}

TEST_P(WaitGroupProcessorsTest, AllWaitersAreWoken) {
  std::atomic<int> woken{0};
  run(GetParam(), [&] {
    WaitGroup start, finished;
    start.add();
    finished.add(20);
    for (int i = 0; i < 20; ++i)
      go([&] {
        start.wait();
        ++woken;
        finished.done();
      });
    yield();
    start.done();
    finished.wait();
  });
  EXPECT_EQ(woken, 20);
}

TEST_P(WaitGroupProcessorsTest, GroupMayBeDestroyedAsSoonAsWaitReturns) {
  run(GetParam(), [] {
    for (int round = 0; round < (kSanitized ? 200 : 5000); ++round) {
      auto group = std::make_unique<WaitGroup>();
      group->add();
      go([&borrowed = *group] { borrowed.done(); });
      group->wait();
    }
  });
}

TEST_F(WaitGroupTest, PlainThreadWaitsForGoroutinesAndTheyForIt) {
  WaitGroup from_thread, from_goroutines;
  from_thread.add();
  from_goroutines.add(10);
  std::thread thread([&] {
    from_thread.done();
    from_goroutines.wait();
  });
  run(2, [&] {
    for (int i = 0; i < 10; ++i)
      go([&] {
        from_thread.wait();
        from_goroutines.done();
      });
  });
  thread.join();
}

TEST_F(WaitGroupDeathTest, MoreDoneThanAddEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        WaitGroup group;
        group.done();
      },
      "falls to -1");
}

INSTANTIATE_TEST_SUITE_P(Processors, WaitGroupProcessorsTest, testing::Values(1u, 2u, 4u));

}  // namespace
}  // namespace bulkhead::sched
