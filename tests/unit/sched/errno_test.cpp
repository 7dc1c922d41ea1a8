// errno over migrations, with optimisers that keep its address if they may: this file is built a
// second time, by itself, with -O3 and link-time optimisation.
#include <bulkhead/sched/errno.hpp>
// Again, and in the C spelling: they change nothing.
#include <errno.h>
#include <pthread.h>
#include <signal.h>

#include <array>
#include <atomic>
#include <bulkhead/sched/channel.hpp>
#include <cerrno>
#include <chrono>
#include <string_view>
#include <thread>

#include "sched_test.hpp"

namespace bulkhead::sched {
namespace {

#define TEXT_OF(x) TEXT_OF_EXPANDED(x)
#define TEXT_OF_EXPANDED(x) #x
static_assert(std::string_view(TEXT_OF(errno)).find("this_errno") != std::string_view::npos);

// Of each processor's thread, its number.
thread_local int number_of_thread = -1;

BULKHEAD_OPAQUE int number_of_this_thread() {
  asm volatile("" ::: "memory");
  return number_of_thread;
}

struct NumbersThreads : Observer {
  void on_switch(unsigned, Tag) override {}
  void on_processor_start(unsigned processor) override {
    number_of_thread = static_cast<int>(processor);
  }
};

struct Migrations {
  std::atomic<int> made{0};
  std::atomic<int> lost{0};     // values of errno
  std::atomic<int> strange{0};  // the thread was not the processor's
};

// In one function, so that the compiler sees all uses. Of two that share a channel one sends.
void migrate_with_errno(Migrations& migrations, int mine, int steps, Channel<int>& channel,
                        bool sends) {
  for (int step = 0; step < steps; ++step) {
    const int before = current_processor();
    errno = mine;
    yield();
    const int after = current_processor();
    if (errno != mine) ++migrations.lost;
    if (number_of_this_thread() != after) ++migrations.strange;
    if (after != before) ++migrations.made;
    errno = mine + 1;
    if (sends)
      channel.send(mine);
    else
      channel.receive();
    if (errno != mine + 1) ++migrations.lost;
    if (number_of_this_thread() != current_processor()) ++migrations.strange;
  }
}

TEST(ErrnoTest, GoesWithItsGoroutineOverAHundredThousandMigrations) {
  constexpr int kGoroutines = 8, kSteps = kSanitized ? 1'250 : 12'500;
  NumbersThreads observer;
  Migrations migrations;
  std::array<Channel<int>, kGoroutines / 2> channels;
  Options options = options_of(kMigrating);
  options.observer = &observer;
  Scheduler(options).run([&] {
    for (int i = 0; i < kGoroutines; ++i)
      go([&, i] {
        migrate_with_errno(migrations, 1000 + 3 * i, kSteps,
                           channels[static_cast<std::size_t>(i / 2)], i % 2 == 0);
      });
  });
  EXPECT_EQ(migrations.made, kGoroutines * kSteps);
  EXPECT_EQ(migrations.lost, 0);
  EXPECT_EQ(migrations.strange, 0);
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

}  // namespace
}  // namespace bulkhead::sched
