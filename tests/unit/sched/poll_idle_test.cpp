// Who looks at descriptors, when processors compute, sleep, and are called for something else.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/explore.hpp>
#include <bulkhead/sched/poll.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <chrono>
#include <random>
#include <system_error>
#include <thread>

#include "descriptors.hpp"
#include "sched/pause.hpp"
#include "sched/processor.hpp"
#include "sched_test.hpp"

namespace bulkhead::sched {
namespace {

using namespace std::chrono_literals;
using base::Duration;

template <class Condition>
void await_outside(Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + 2min;
  while (!condition()) {
    BULKHEAD_CHECK(std::chrono::steady_clock::now() < deadline, "waited in vain");
    std::this_thread::sleep_for(20us);  // whoever it waits for may need this core
  }
}

int waiting(const Scheduler& scheduler, ParkReason reason) {
  int count = 0;
  for (const TaskInfo& task : scheduler.tasks())
    count += task.state == Task::kParked && task.reason == reason;
  return count;
}

// Without a scheduling point.
void hog_until(const std::atomic<bool>& flag) {
  await_outside([&] { return flag.load(); });
}

class PollHogTest : public SchedTest {};
class PollIdleTest : public SchedProcessorsTest {};

// A call for one that sleeps on the poller may come when it is awake already, and stays there until
// somebody sleeps there again: no reason to think that others wait.
TEST_F(PollHogTest, ACallThatCameTooLateKeepsNobodyWaiting) {
  std::atomic<int> told{0};
  Options options{.processors = 1};
  options.on_hog = [&](const Hog&) { ++told; };
  Scheduler& scheduler = make(options);
  const Ends ends = make_pipe();
  scheduler.run([&] {
    go([&] { EXPECT_TRUE(wait_readable(ends.out.get())); });
    yield();
    current_task()->scheduler->poller.wake();
    const auto end = std::chrono::steady_clock::now() + 300ms;
    while (std::chrono::steady_clock::now() < end) pause_cpu();
    EXPECT_EQ(told, 0);
    put(ends.in);
  });
  EXPECT_EQ(scheduler.lent_time().hogs, 0u);
}

TEST_P(PollIdleTest, ProcessorsThatAreNeverIdleLookNowAndThen) {
  const Ends ends = make_pipe();
  std::atomic<bool> told{false};
  std::atomic<unsigned> yielding{0};
  run(GetParam(), [&] {
    go([&] {
      EXPECT_TRUE(wait_readable(ends.out.get()));
      told = true;
    });
    for (unsigned i = 0; i < 2 * GetParam(); ++i)
      go([&] {
        for (++yielding; !told;) yield();
      });
    while (yielding < 2 * GetParam() || waiting(*Scheduler::current(), ParkReason::kReadable) == 0)
      yield();
    put(ends.in);
  });
  EXPECT_TRUE(told);
}

// Each of its slices is long enough for a look.
using PollYieldTest = SchedTest;

TEST_F(PollYieldTest, WhoComputesBetweenYieldsHoldsUpNoDescriptor) {
  const Ends ends = make_pipe();
  std::atomic<bool> told{false};
  int slices = 0;
  run(1, [&] {
    go([&] {
      EXPECT_TRUE(wait_readable(ends.out.get()));
      told = true;
    });
    while (waiting(*Scheduler::current(), ParkReason::kReadable) == 0) yield();
    put(ends.in);
    for (; !told; ++slices) {
      const base::TimePoint start = base::Clock::now();
      while (base::Clock::now() - start < 1ms) pause_cpu();
      yield();
    }
  });
  EXPECT_LT(slices, 10);
}

TEST_P(PollIdleTest, AWriteOfAThreadWakesAnIdleScheduler) {
  const Ends to = make_sockets();
  Scheduler& scheduler = make({.processors = GetParam()});
  constexpr int kRounds = 50;
  std::thread thread([&] {
    for (int i = 0; i < kRounds; ++i) {
      await_outside([&] { return waiting(scheduler, ParkReason::kReadable) == 1; });
      if (i % 5 == 0) std::this_thread::sleep_for(1ms);  // so that all are asleep, mostly
      put(to.in, static_cast<char>('a' + i % 26));
      EXPECT_TRUE(wait_readable(to.in.get()));
      EXPECT_EQ(get(to.in), static_cast<char>('A' + i % 26));
    }
  });
  scheduler.run([&] {
    for (int i = 0; i < kRounds; ++i) {
      EXPECT_TRUE(wait_readable(to.out.get()));
      EXPECT_EQ(get(to.out), static_cast<char>('a' + i % 26));
      put(to.out, static_cast<char>('A' + i % 26));
    }
  });
  thread.join();
}

TEST_P(PollIdleTest, TimersGoOnWhileTheProcessorSleepsOnDescriptors) {
  const Ends ends = make_pipe();
  run(GetParam(), [&] {
    go([&] { EXPECT_TRUE(wait_readable(ends.out.get())); });
    for (int i = 0; i < 20; ++i) sleep_for(i % 2 == 0 ? Duration(1ms) : Duration(50us));
    put(ends.in);
  });
}

// The lost wake-up: it would end in a hang.
TEST_P(PollIdleTest, WhatComesFromOutsideAndFromTimersWakesWhoeverPolls) {
  constexpr int kRounds = kSanitized ? 100 : 300;
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    const Ends to = make_sockets();
    const Ends silent = make_pipe();
    Scheduler& scheduler = make({.processors = GetParam()});
    Channel<bool> answers(1);
    std::thread thread([&] {
      std::mt19937_64 random(seed);
      for (int i = 0; i < kRounds; ++i) {
        const auto pause = std::chrono::microseconds(random() % 30);
        const std::uint64_t kind = random() % 4;
        if (kind == 0) {
          put(to.in);
        } else if (kind == 1) {
          scheduler.go([&] { answers.send(true); });
        } else if (kind == 2) {
          scheduler.go([&, pause] {
            sleep_for(pause);
            answers.send(true);
          });
        } else {
          scheduler.go([&, pause] { answers.send(!wait_readable(silent.out.get(), pause)); });
        }
        EXPECT_TRUE(*answers.receive()) << "seed " << seed;
        for (std::uint64_t spin = random() % 2000; spin > 0; --spin) pause_cpu();
      }
      put(silent.in);
      ::shutdown(to.in.get(), SHUT_WR);
    });
    scheduler.run([&] {
      go([&] { EXPECT_TRUE(wait_readable(silent.out.get())); });
      while (wait_readable(to.out.get()) && get(to.out) != '\0') answers.send(true);
    });
    thread.join();
  }
}

TEST_P(PollIdleTest, AnIdleSchedulerMakesNoWakeUps) {
  const Ends ends = make_pipe();
  Scheduler& scheduler = make({.processors = GetParam()});
  std::atomic<SchedulerImpl*> impl{nullptr};
  std::thread thread([&] {
    await_outside([&] { return waiting(scheduler, ParkReason::kReadable) == 20; });
    const auto sleeps = [&] {
      SchedulerImpl& inside = *impl.load();
      LockGuard guard(inside.idle_lock);
      return inside.sleeps;
    };
    // Naps are over, and none begins again.
    await_outside([&] {
      const std::uint64_t before = sleeps();
      std::this_thread::sleep_for(100ms);
      return before != 0 && sleeps() == before;
    });
    put(ends.in);
  });
  scheduler.run([&] {
    impl = current_task()->scheduler;
    for (int i = 0; i < 20; ++i) go([&] { EXPECT_TRUE(wait_readable(ends.out.get())); });
  });
  thread.join();
}

TEST_P(PollIdleTest, TheNextRunWaitsWithTheSameDescriptors) {
  const Ends ends = make_sockets();
  Scheduler& scheduler = make({.processors = GetParam()});
  for (int i = 0; i < 5; ++i) {
    scheduler.run([&] {
      go([&] { put(ends.in); });
      EXPECT_TRUE(wait_readable(ends.out.get()));
      EXPECT_EQ(get(ends.out), 'x');
    });
  }
}

TEST_P(PollIdleTest, ClosedWhileSomebodyWaitsEndsAtTheTimeout) {
  Ends ends = make_sockets();
  Ends next;
  run(GetParam(), [&] {
    std::atomic<bool> over{false};
    go([&] {
      EXPECT_FALSE(wait_readable(ends.out.get(), 20ms));
      over = true;
    });
    const Poller& poller = current_task()->scheduler->poller;
    while (!over && !poller.waiting()) yield();
    EXPECT_FALSE(wait_readable(ends.in.get(), 1us));  // one after the other: the first waits now
    ends.out.reset();
    while (!over) yield();
    next = make_sockets();  // most likely with that number
    go([&] { put(next.in); });
    EXPECT_TRUE(wait_readable(next.out.get()));
  });
}

int error_of_wait(int fd) {
  try {
    return wait_readable(fd) ? 0 : -1;
  } catch (const std::system_error& error) {
    return error.code().value();
  }
}

TEST_P(PollIdleTest, WithoutAFreeDescriptorTheFirstWaitThrows) {
  const Ends ends = make_pipe();
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  base::UniqueFd lowest(::dup(ends.out.get()));
  rlimit none = before;
  none.rlim_cur = static_cast<rlim_t>(lowest.get());
  lowest.reset();
  run(GetParam(), [&] {
    // UBSan needs descriptors to get to know a type of exception.
    EXPECT_EQ(error_of_wait(-1), EBADF);
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
    EXPECT_EQ(error_of_wait(ends.out.get()), EMFILE);
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    go([&] { put(ends.in); });
    EXPECT_EQ(error_of_wait(ends.out.get()), 0);
  });
}

INSTANTIATE_TEST_SUITE_P(Processors, PollIdleTest, testing::Values(1u, 2u, 4u));

// What is ready does not wait for those that compute: another processor takes it, at last one that
// is lent.
class PollTakeOverTest : public SchedProcessorsTest {
 protected:
  // Outside: until another processor, where there is one, watches beside those that compute.
  void await_watch() {
    await_outside([&] {
      SchedulerImpl* const inside = impl_;
      if (inside == nullptr) return false;
      LockGuard guard(inside->idle_lock);
      return GetParam() == 1 || inside->polling != nullptr;
    });
  }
  std::atomic<SchedulerImpl*> impl_{nullptr};
};

TEST_P(PollTakeOverTest, WhileOthersCompute) {
  const Ends ends = make_pipe();
  std::atomic<bool> told{false};
  run(GetParam(), [&] {
    go([&] {
      EXPECT_TRUE(wait_readable(ends.out.get()));
      told = true;
    });
    while (waiting(*Scheduler::current(), ParkReason::kReadable) == 0) yield();
    put(ends.in);
    hog_until(told);
  });
}

// Whoever was asleep on the descriptors computes now.
TEST_P(PollTakeOverTest, WhenTheOneThatPolledComputes) {
  const Ends first = make_pipe();
  const Ends second = make_pipe();
  std::atomic<bool> computes{false};
  std::atomic<bool> told{false};
  Scheduler& scheduler = make({.processors = GetParam()});
  std::thread thread([&] {
    await_outside([&] { return waiting(scheduler, ParkReason::kReadable) == 2; });
    std::this_thread::sleep_for(30ms);  // so that all are asleep, mostly
    put(first.in);
    await_outside([&] { return computes.load(); });
    await_watch();
    put(second.in);
  });
  scheduler.run([&] {
    impl_ = current_task()->scheduler;
    go([&] {
      EXPECT_TRUE(wait_readable(first.out.get()));
      computes = true;
      hog_until(told);
    });
    EXPECT_TRUE(wait_readable(second.out.get()));
    told = true;
  });
  thread.join();
}

// All were asleep when nobody waited for a descriptor yet, and a timer wakes but one.
TEST_P(PollTakeOverTest, WhenTheFirstWaitComesBeforeALongComputation) {
  const Ends ends = make_pipe();
  std::atomic<bool> told{false};
  Channel<int> gate;
  Scheduler& scheduler = make({.processors = GetParam()});
  std::thread thread([&] {
    await_outside([&] { return waiting(scheduler, ParkReason::kReadable) == 1; });
    await_watch();
    put(ends.in);
  });
  scheduler.run([&] {
    impl_ = current_task()->scheduler;
    go([&] {
      gate.receive();
      hog_until(told);
    });
    sleep_for(30ms);  // so that all are asleep, mostly
    gate.send(1);     // the other runs next
    EXPECT_TRUE(wait_readable(ends.out.get()));
    told = true;
  });
  thread.join();
}

INSTANTIATE_TEST_SUITE_P(Processors, PollTakeOverTest, testing::Values(1u, 2u, 4u));

using PollDeadlockTest = UntilStuckTest;

TEST_P(PollDeadlockTest, NotWhileOneWaitsForADescriptorThatOthersWaitFor) {
  const Ends ends = make_pipe();
  std::atomic<Scheduler*> scheduler{nullptr};
  std::thread thread([&] {
    await_outside([&] {
      return scheduler.load() != nullptr && waiting(*scheduler, ParkReason::kReadable) == 1 &&
             waiting(*scheduler, ParkReason::kWaitGroup) == 1;
    });
    std::this_thread::sleep_for(5ms);  // gives a wrong report time to happen
    put(ends.in);
  });
  run_until_stuck(
      [&] {
        WaitGroup group;
        group.add(1);
        go([&] {
          EXPECT_TRUE(wait_readable(ends.out.get()));
          group.done();
        });
        scheduler = Scheduler::current();
        group.wait();
      },
      [] {});
  thread.join();
  EXPECT_EQ(times, 0);
}

TEST_P(PollDeadlockTest, WhenTheWaitIsOverTheOthersAreTold) {
  const Ends ends = make_pipe();
  Channel<int> never;
  run_until_stuck(
      [&] {
        go([&] { EXPECT_FALSE(wait_readable(ends.out.get(), 5ms)); });
        never.receive();
      },
      [&] { never.close(); });
  ASSERT_EQ(told.size(), 1u);
  EXPECT_STREQ(to_string(told[0].reason), "channel receive");
}

TEST_P(PollDeadlockTest, AWaitForTheOutsideDoesNotHideTheOthers) {
  const Ends ends = make_pipe();
  Channel<int> never;
  run_until_stuck(
      [&] {
        go([&] {
          const ExternalWait external;
          EXPECT_TRUE(wait_readable(ends.out.get()));
        });
        never.receive();
      },
      [&] {
        never.close();
        put(ends.in);
      });
  ASSERT_EQ(told.size(), 2u);
  EXPECT_FALSE(told[0].outside);
  EXPECT_EQ(told[0].descriptor, -1);
  EXPECT_TRUE(told[1].outside);
  EXPECT_EQ(told[1].descriptor, ends.out.get());
  const std::string text = describe(told, [](Tag) { return std::string(); });
  const std::string wait = ": parked, readable fd " + std::to_string(ends.out.get()) + ", at ";
  EXPECT_NE(text.find(wait), std::string::npos) << text;
  EXPECT_NE(text.find("poll_idle_test.cpp"), std::string::npos) << text;
}

INSTANTIATE_TEST_SUITE_P(Processors, PollDeadlockTest, testing::Values(1u, 2u, 4u));

// From its parent's instance it would take events, and register there what the parent waits for.
TEST(PollForkTest, AChildHasAnInstanceOfItsOwn) {
#if defined(BULKHEAD_TSAN)
  GTEST_SKIP() << "the child starts a thread (the monitor), which TSan does not allow";
#endif
  const Ends ends = make_sockets();
  const Ends start = make_pipe();
  Scheduler scheduler({.processors = 1});
  const auto told_soon = [&] {
    bool told = false;
    scheduler.run([&] { told = wait_readable(ends.out.get(), 1us); });
    return told;
  };
  EXPECT_FALSE(told_soon());
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    wait_readable(start.out.get());
    const bool told = told_soon() || told_soon();
    const char byte = 'x';
    ::_exit(!told && ::write(ends.in.get(), &byte, 1) == 1 ? 0 : 1);
  }
  scheduler.run([&] {
    go([&] { EXPECT_TRUE(wait_readable(ends.out.get(), 1min)); });
    while (waiting(*Scheduler::current(), ParkReason::kReadable) == 0) yield();
    put(start.in);
  });
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(PollChooserTest, WaitsEndUnderAChooserToo) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const auto chooser = random_chooser(seed);
    Scheduler scheduler({.chooser = chooser.get()});
    const Ends ends = make_sockets();
    std::string got;
    std::thread outside;
    scheduler.run([&] {
      go([&] {
        sleep_for(5ms);
        put(ends.in, 'i');
      });
      const base::TimePoint start = now();
      EXPECT_FALSE(wait_readable(ends.out.get(), 2ms));
      EXPECT_GE(now() - start, 2ms);
      EXPECT_TRUE(wait_readable(ends.out.get(), 1h));
      EXPECT_TRUE(wait_writable(ends.out.get()));
      got += get(ends.out);
      outside = std::thread([&] { put(ends.in, 'o'); });
      EXPECT_TRUE(wait_readable(ends.out.get()));
      got += get(ends.out);
    });
    outside.join();
    EXPECT_EQ(got, "io");
  }
}

}  // namespace
}  // namespace bulkhead::sched
