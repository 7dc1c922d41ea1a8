// Goroutines that wait for one another for ever are told; those that something can still wake are
// not.
#include <algorithm>
#include <bulkhead/sched/blocking.hpp>
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/mutex.hpp>
#include <bulkhead/sched/select.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <chrono>
#include <latch>
#include <mutex>
#include <thread>

#include "sched_test.hpp"

namespace bulkhead::sched {
namespace {

using namespace std::chrono_literals;

using DeadlockTest = UntilStuckTest;

TEST_P(DeadlockTest, TwoThatWaitForOneAnotherAreToldWithReasonAndPlace) {
  Channel<int> first, second;
  Channel<int> ended(1);
  run_until_stuck(
      [&] {
        go([&] {
          first.receive();
          second.send(1);
        });
        second.receive();
        ended.send(1);
      },
      [&] { first.close(); });
  ASSERT_EQ(told.size(), 2u);
  for (const TaskInfo& task : told) {
    EXPECT_EQ(task.state, Task::kParked);
    EXPECT_STREQ(to_string(task.reason), "channel receive");
  }
  const std::string text = describe(told, [](Tag tag) { return std::to_string(tag); });
  EXPECT_NE(text.find("parked, channel receive"), std::string::npos) << text;
  EXPECT_NE(text.find("deadlock_test.cpp:"), std::string::npos) << text;
}

TEST_P(DeadlockTest, IsToldByOneProcessorAtATime) {
  std::atomic<int> telling{0}, most{0};
  std::atomic<bool> rescued{false};
  Channel<int> channel;
  Options options{.processors = GetParam()};
  options.on_deadlock = [&](const std::vector<TaskInfo>&) {
    most = std::max<int>(most, ++telling);
    std::this_thread::sleep_for(30ms);  // gives another one time to look
    --telling;
    if (!rescued.exchange(true)) channel.close();
  };
  make(options).run([&] { channel.receive(); });
  EXPECT_EQ(most, 1);
}

TEST_P(DeadlockTest, AMutexThatNobodyWillUnlock) {
  Mutex mutex;
  run_until_stuck(
      [&] {
        mutex.lock();
        go([&] { std::lock_guard guard(mutex); });
      },
      [&] { mutex.unlock(); });
  ASSERT_EQ(told.size(), 1u);
  EXPECT_STREQ(to_string(told[0].reason), "mutex");
}

TEST_P(DeadlockTest, NotWhileOneSleepsOrWaitsWithATimeout) {
  Channel<int> channel;
  run_until_stuck(
      [&] {
        go([&] { channel.receive(); });
        sleep_for(5ms);
        Channel<int> never;
        select(receive(never, [](std::optional<int>) {}), timeout(5ms, [] {}));
        channel.send(1);
      },
      [] {});
  EXPECT_EQ(times, 0);
}

std::thread send_from_outside(Channel<int>& begun, Channel<int>& to) {
  return std::thread([&] {
    begun.receive();
    std::this_thread::sleep_for(5ms);  // gives a wrong report time to happen
    to.send(1);
  });
}

TEST_P(DeadlockTest, NotThoseThatWaitForTheOutside) {
  Channel<int> from_thread;
  Channel<int> begun(1);
  std::thread thread = send_from_outside(begun, from_thread);
  run_until_stuck(
      [&] {
        const ExternalWait external;
        begun.send(1);
        from_thread.receive();
      },
      [] {});
  thread.join();
  EXPECT_EQ(times, 0);
}

TEST_P(DeadlockTest, ThoseThatWaitForTheOutsideDoNotHideTheOthers) {
  Channel<int> stuck, outside;
  run_until_stuck(
      [&] {
        go([&] {
          const ExternalWait external;
          outside.receive();
        });
        stuck.receive();
      },
      [&] {
        stuck.close();
        outside.close();
      });
  ASSERT_EQ(told.size(), 2u);
  EXPECT_FALSE(told[0].outside);
  EXPECT_TRUE(told[1].outside);
}

TEST_P(DeadlockTest, AnExternalWaitWithinAnotherEndsNothing) {
  Channel<int> from_thread;
  Channel<int> begun(1);
  std::thread thread = send_from_outside(begun, from_thread);
  run_until_stuck(
      [&] {
        const ExternalWait external;
        { const ExternalWait inner; }
        begun.send(1);
        from_thread.receive();
      },
      [] {});
  thread.join();
  EXPECT_EQ(times, 0);
}

// Waits on a plain thread until so many goroutines are parked.
void await_parked(const Scheduler& scheduler, int count) {
  for (;;) {
    int parked = 0;
    for (const TaskInfo& task : scheduler.tasks()) parked += task.state == Task::kParked;
    if (parked == count) return;
    std::this_thread::yield();
  }
}

TEST_P(DeadlockTest, NotWhileOthersWaitForOneInABlockingCall) {
  Channel<int> channel;
  run_until_stuck(
      [&] {
        go([&] {
          blocking([] {
            await_parked(*Scheduler::current(), 1);
            std::this_thread::sleep_for(5ms);  // gives a wrong report time to happen
          });
          channel.send(1);
        });
        channel.receive();
      },
      [] {});
  EXPECT_EQ(times, 0);
}

TEST_P(DeadlockTest, AfterTheBlockingCallOneIsTold) {
  Channel<int> first, second;
  run_until_stuck(
      [&] {
        go([&] {
          blocking([] { await_parked(*Scheduler::current(), 1); });
          second.receive();
        });
        first.receive();
      },
      [&] {
        first.close();
        second.close();
      });
  ASSERT_EQ(told.size(), 2u);
  for (const TaskInfo& task : told) EXPECT_EQ(task.reason, ParkReason::kReceive);
}

TEST_P(DeadlockTest, ABlockingCallThatWaitsForTheOutsideHidesNone) {
  Channel<int> stuck;
  std::latch outside(1);
  run_until_stuck(
      [&] {
        go([&] {
          const ExternalWait external;
          blocking([&] { outside.wait(); });
        });
        stuck.receive();
      },
      [&] {
        stuck.close();
        outside.count_down();
      });
  ASSERT_EQ(told.size(), 2u);
  EXPECT_FALSE(told[0].outside);
  EXPECT_TRUE(told[1].outside);
  EXPECT_EQ(told[1].reason, ParkReason::kBlocking);
}

INSTANTIATE_TEST_SUITE_P(Processors, DeadlockTest, testing::Values(1u, 2u, 4u));

}  // namespace
}  // namespace bulkhead::sched
