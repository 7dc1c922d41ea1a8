// Forced migration: whoever goes on does so elsewhere.
#include <algorithm>
#include <atomic>
#include <bulkhead/sched/blocking.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <bulkhead/sched/waiter.hpp>
#include <chrono>
#include <set>
#include <thread>
#include <vector>

#include "sched_test.hpp"

namespace bulkhead::sched {
namespace {

using namespace std::chrono_literals;

// Its parameter is a number of processors.
class MigrateTest : public SchedProcessorsTest {
 protected:
  void run_migrating(std::function<void()> main) {
    Options options{.processors = GetParam()};
    options.migrate = true;
    make(options).run(std::move(main));
  }
};

// Returns when another goroutine, which it starts, has woken it.
void park() {
  Lock lock;
  lock.lock();
  Waiter waiter;
  go([&] {
    { const LockGuard until_it_is_parked(lock); }
    waiter.wake();
  });
  waiter.park(lock, ParkReason::kSelect);
}

// One scheduling point after another, of each kind.
void reach_a_point(int number) {
  switch (number % 4) {
    case 0:
      return yield();
    case 1:
      return park();
    case 2:
      return sleep_for(1us);
    default:
      return blocking([] {});
  }
}

TEST_P(MigrateTest, EachStepIsOnAnotherProcessorThanTheLast) {
  constexpr int kGoroutines = 8, kSteps = kSanitized ? 40 : 400;
  std::atomic<int> moved{0}, stayed{0};
  std::vector<std::set<int>> seen(kGoroutines);
  run_migrating([&] {
    for (std::set<int>& processors : seen)
      go([&] {
        for (int step = 0; step < kSteps; ++step) {
          const int before = current_processor();
          processors.insert(before);
          reach_a_point(step);
          ++(current_processor() == before ? stayed : moved);
        }
      });
  });
  EXPECT_EQ(stayed, 0);
  EXPECT_EQ(moved, kGoroutines * kSteps);
  for (const std::set<int>& processors : seen) EXPECT_GE(processors.size(), GetParam());
}

// Elsewhere it would go on at once.
TEST_P(MigrateTest, OneThatIsAloneMovesToo) {
  run_migrating([] {
    for (int step = 0; step < 200; ++step) {
      const int before = current_processor();
      yield();
      ASSERT_NE(current_processor(), before) << "yield " << step;
    }
  });
}

TEST_P(MigrateTest, APinnedOneStays) {
  constexpr int kSteps = kSanitized ? 40 : 400;
  std::atomic<int> left_home{0}, ended{0};
  run_migrating([&] {
    for (int i = 0; i < 8; ++i) {
      go({.pin = i % 2 == 0}, [&, pinned = i % 2 == 0] {
        const int home = current_processor();
        for (int step = 0; step < kSteps; ++step) {
          reach_a_point(step);
          if (pinned && current_processor() != home) ++left_home;
        }
        ++ended;
      });
    }
  });
  EXPECT_EQ(left_home, 0);
  EXPECT_EQ(ended, 8);
}

// A processor is lent for those that would have had to go to the hog's.
TEST_P(MigrateTest, TheyGoOnBesideAHog) {
  std::atomic<bool> enough{false};
  run_migrating([&] {
    std::atomic<unsigned> running{0};
    WaitGroup ended;
    for (unsigned i = 1; i < GetParam(); ++i) {
      ended.add(1);
      go([&] {
        ++running;
        while (!enough) {
        }
        ended.done();
      });
    }
    while (running != GetParam() - 1) std::this_thread::yield();
    for (int step = 0; step < 3; ++step) {
      const int before = current_processor();
      yield();
      EXPECT_NE(current_processor(), before);
    }
    enough = true;
    ended.wait();
  });
}

INSTANTIATE_TEST_SUITE_P(Processors, MigrateTest, testing::Values(2u, 4u));

class MigrateAloneTest : public SchedTest {};

TEST_F(MigrateAloneTest, OneProcessorIsAllThereIs) {
  Options options;
  options.migrate = true;
  int steps = 0;
  make(options).run([&] {
    for (; steps < 20; ++steps) reach_a_point(steps);
  });
  EXPECT_EQ(steps, 20);
}

}  // namespace
}  // namespace bulkhead::sched
