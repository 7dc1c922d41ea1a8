// errno over migrations, with optimisers that keep its address if they may: this file is built a
// second time, by itself, with -O3 and link-time optimisation.
#include <bulkhead/sched/errno.hpp>
// Again, and in the C spelling: they change nothing.
#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <bulkhead/sched/wait_group.hpp>
#include <bulkhead/sched/waiter.hpp>
#include <cerrno>
#include <chrono>
#include <string_view>
#include <thread>
#include <vector>

#include "sched_test.hpp"

namespace bulkhead::sched {
namespace {

#define TEXT_OF(x) TEXT_OF_EXPANDED(x)
#define TEXT_OF_EXPANDED(x) #x
static_assert(std::string_view(TEXT_OF(errno)).find("this_errno") != std::string_view::npos);

using ErrnoTest = SchedProcessorsTest;

// Hands those that come here from one processor to another: whoever wakes a goroutine has it on its
// own processor.
class Ferry {
 public:
  // Returns on another processor.
  void cross() {
    Waiter waiter;
    Passenger passenger{.waiter = waiter, .from = current_processor()};
    lock_.lock();
    passengers_.push_back(&passenger);
    waiter.park(lock_, ParkReason::kSelect);
  }

  // Wakes one that comes from elsewhere.
  void row() {
    Waiter* waiter = nullptr;
    {
      const LockGuard guard(lock_);
      for (auto at = passengers_.begin(); at != passengers_.end(); ++at) {
        if ((*at)->from == current_processor()) continue;
        waiter = &(*at)->waiter;
        passengers_.erase(at);
        break;
      }
    }
    if (waiter != nullptr) waiter->wake();
  }

 private:
  struct Passenger {
    Waiter& waiter;
    const int from;
  };
  Lock lock_;
  std::vector<Passenger*> passengers_ BULKHEAD_GUARDED_BY(lock_);
};

struct Crossings {
  Ferry ferry;
  // On a busy machine a processor's thread waits for milliseconds until it runs again.
  const std::chrono::steady_clock::time_point enough =
      std::chrono::steady_clock::now() + std::chrono::seconds(20);
  std::atomic<int> left;
  std::atomic<int> migrated{0};
  std::atomic<int> lost{0};
};

// In one function, so that the compiler sees both uses of errno.
void cross_with_errno(Crossings& crossings, int mine) {
  while (crossings.left.fetch_sub(1) > 0 && std::chrono::steady_clock::now() < crossings.enough) {
    const int before = current_processor();
    errno = mine;
    crossings.ferry.cross();
    if (errno != mine) ++crossings.lost;
    if (current_processor() != before) ++crossings.migrated;
    errno = mine + 1;
    yield();
    if (errno != mine + 1) ++crossings.lost;
  }
}

TEST_P(ErrnoTest, GoesWithItsGoroutineOverMigrations) {
  constexpr int kCrossings = kSanitized ? 10'000 : 100'000;
  constexpr int kGoroutines = 64;
  Crossings crossings;
  crossings.left = kCrossings;
  std::atomic<int> crossing{kGoroutines};
  run(GetParam(), [&] {
    for (int i = 0; i < kGoroutines; ++i) {
      go([&crossings, &crossing, i] {
        cross_with_errno(crossings, 1000 * (i + 1));
        --crossing;
      });
    }
    for (unsigned i = 0; i < GetParam(); ++i) {
      go([&] {
        while (crossing > 0) {
          crossings.ferry.row();
          yield();
        }
      });
    }
  });
  EXPECT_EQ(crossings.lost, 0);
  EXPECT_GT(crossings.migrated, 1000);
  RecordProperty("migrations", crossings.migrated);
}

// Whoever waits for long sleeps, and signals interrupt that.
TEST(ErrnoThreadTest, IsLeftAloneByALockThatIsWaitedFor) {
  static std::atomic<int> signals;
  struct sigaction action {};
  struct sigaction before {};
  action.sa_handler = [](int) { ++signals; };
  ASSERT_EQ(::sigaction(SIGUSR1, &action, &before), 0);
  Lock lock;
  int after = 0;
  lock.lock();
  std::thread waiter([&] {
    errno = ENOTTY;
    const LockGuard guard(lock);
    after = errno;
  });
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(2);
  while (signals < 1000 && std::chrono::steady_clock::now() < deadline) {
    ::pthread_kill(waiter.native_handle(), SIGUSR1);
    std::this_thread::yield();
  }
  lock.unlock();
  waiter.join();
  ::sigaction(SIGUSR1, &before, nullptr);
  EXPECT_EQ(after, ENOTTY);
}

INSTANTIATE_TEST_SUITE_P(Processors, ErrnoTest, testing::Values(2u, 4u));

}  // namespace
}  // namespace bulkhead::sched
