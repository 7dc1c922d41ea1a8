// blocking(): its call blocks a thread and nothing else, wherever it is made.
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bulkhead/sched/blocking.hpp>
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/explore.hpp>
#include <bulkhead/sched/mutex.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <cerrno>
#include <latch>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>

#include "everywhere.hpp"

namespace bulkhead::sched {
namespace {

using BlockingTest = EverywhereTest;
using BlockingOnProcessorsTest = SchedProcessorsTest;
using BlockingPoolTest = SchedTest;

std::string thread_name() {
  std::array<char, 16> name{};
  EXPECT_EQ(::pthread_getname_np(::pthread_self(), name.data(), name.size()), 0);
  return name.data();
}

int count_waiting(ParkReason reason) {
  const std::vector<TaskInfo> tasks = Scheduler::current()->tasks();
  return static_cast<int>(std::count_if(
      tasks.begin(), tasks.end(), [&](const TaskInfo& task) { return task.reason == reason; }));
}

TEST_P(BlockingTest, ReturnsWhatTheCallReturns) {
  struct Whole {
    explicit Whole(std::unique_ptr<int> part) : value(std::move(part)) {}
    std::unique_ptr<int> value;
  };
  run([] {
    EXPECT_EQ(blocking([] { return 7; }), 7);
    const Whole whole = blocking([] { return Whole(std::make_unique<int>(8)); });
    EXPECT_EQ(*whole.value, 8);
    int at = 0;
    static_assert(std::is_same_v<decltype(blocking([&]() -> int& { return at; })), int&>);
    blocking([&]() -> int& { return at; }) = 9;
    EXPECT_EQ(at, 9);
    auto held = std::make_unique<int>(10);
    const auto give = [&]() -> std::unique_ptr<int>&& { return std::move(held); };
    const std::unique_ptr<int> taken = blocking(give);
    EXPECT_EQ(*taken, 10);
    bool done = false;
    static_assert(std::is_void_v<decltype(blocking([&] { done = true; }))>);
    blocking([&] { done = true; });
    EXPECT_TRUE(done);
    EXPECT_EQ(blocking(::getpid), ::getpid());
    EXPECT_EQ(blocking([part = std::make_unique<int>(11)]() mutable { return *part; }), 11);
  });
}

TEST_P(BlockingTest, RethrowsWhatLeavesTheCall) {
  run([] {
    for (int i = 0; i < 10; ++i) {
      try {
        blocking([i]() -> int { throw std::runtime_error("call " + std::to_string(i)); });
        ADD_FAILURE() << "nothing was thrown";
      } catch (const std::runtime_error& error) {
        EXPECT_EQ(error.what(), "call " + std::to_string(i));
        EXPECT_EQ(blocking([i] { return i; }), i);  // also while one is handled
        try {
          throw;  // still the same
        } catch (const std::runtime_error& again) {
          EXPECT_EQ(again.what(), "call " + std::to_string(i));
        }
      }
    }
  });
}

// On one processor, too: the call ends only when another goroutine has run.
TEST_P(BlockingTest, OthersRunMeanwhile) {
  std::latch others(2);
  run([&] {
    for (int i = 0; i < 2; ++i) go([&] { others.count_down(); });
    blocking([&] { others.wait(); });
  });
  EXPECT_TRUE(others.try_wait());
}

TEST_P(BlockingTest, TheCallStartsGoroutinesAndUsesChannelsInTheNameOfItsCaller) {
  constexpr Tag kTag = 42;
  run([&] {
    Channel<Tag> tags;
    go(
        [&] {
          blocking([&] {
            tags.send(current_tag());
            go([&] { tags.send(current_tag()); });
            EXPECT_EQ(blocking([] { return current_tag(); }), kTag);
          });
          tags.send(current_tag());
        },
        kTag);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(tags.receive(), kTag);
  });
}

TEST_P(BlockingTest, ItsErrnoIsItsOwn) {
  run([] {
    const int of_call = blocking([] {
      errno = 0;
      const int failed = ::close(-1);
      return failed == -1 ? errno : 0;
    });
    EXPECT_EQ(of_call, EBADF);
  });
}

// In goroutines 256 at a time; the others wait for a free helper.
TEST_P(BlockingTest, MoreCallsThanHelpersAllEnd) {
  constexpr int kCalls = static_cast<int>(kMostHelpers) + 50;
  std::atomic<int> inside{0};
  std::atomic<int> most{0};
  std::atomic<int> ended{0};
  std::latch open(1);
  run([&] {
    WaitGroup group;
    for (int i = 0; i < kCalls; ++i) {
      group.add(1);
      go([&] {
        blocking([&] {
          const int now = ++inside;
          for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
          }
          open.wait();
          --inside;
          ++ended;
        });
        group.done();
      });
    }
    await([&] { return inside >= static_cast<int>(kMostHelpers); });
    if (!threads()) {
      await([] { return count_waiting(ParkReason::kBlockingPoolFull) == 50; });
      EXPECT_EQ(count_waiting(ParkReason::kBlocking), static_cast<int>(kMostHelpers));
    }
    open.count_down();
    group.wait();
  });
  EXPECT_EQ(ended, kCalls);
  EXPECT_TRUE(threads() || most == static_cast<int>(kMostHelpers)) << most;
}

TEST_P(BlockingTest, StressWithPrimitivesAddsUp) {
  constexpr int kGoroutines = 16;
  const int calls = kSanitized ? 30 : 300;
  Mutex mutex;
  std::mutex foreign;
  std::uint64_t by_goroutines = 0, by_calls = 0;
  std::atomic<std::uint64_t> sent{0}, received{0};
  run([&] {
    Channel<std::uint64_t> channel(4);
    WaitGroup senders;
    for (int i = 0; i < kGoroutines; ++i) {
      senders.add(1);
      go([&, i] {
        for (int call = 0; call < calls; ++call) {
          const auto value = static_cast<std::uint64_t>(i * calls + call);
          const std::uint64_t same = blocking([&, value] {
            if (value % 3 == 0) {
              channel.send(value);
              sent += value;
            }
            const std::lock_guard guard(foreign);
            ++by_calls;
            return value;
          });
          EXPECT_EQ(same, value);
          const std::lock_guard guard(mutex);
          ++by_goroutines;
          if (value % 5 == 0) yield();
        }
        senders.done();
      });
    }
    go([&] {
      senders.wait();
      channel.close();
    });
    while (const auto value = channel.receive()) received += *value;
  });
  EXPECT_EQ(sent, received);
  EXPECT_EQ(by_goroutines, static_cast<std::uint64_t>(kGoroutines * calls));
  EXPECT_EQ(by_calls, by_goroutines);
}

BULKHEAD_EVERYWHERE(BlockingTest);

TEST_P(BlockingOnProcessorsTest, RunReturnsAfterTheCallOfADetachedGoroutine) {
  std::atomic<bool> ended{false};
  Scheduler& scheduler = make({.processors = GetParam()});
  scheduler.run([&] {
    std::latch begun(1);
    go([&] {
      blocking([&] {
        begun.count_down();
        while (scheduler.alive() > 1) std::this_thread::yield();  // main
        ended = true;
      });
    });
    while (!begun.try_wait()) yield();
  });
  EXPECT_TRUE(ended);
}

TEST_P(BlockingOnProcessorsTest, IsSeenInDumps) {
  std::latch open(1);
  run(GetParam(), [&] {
    go([&] { blocking([&] { open.wait(); }); });
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(2);
    while (count_waiting(ParkReason::kBlocking) == 0 && std::chrono::steady_clock::now() < deadline)
      yield();
    const std::string text =
        describe(Scheduler::current()->tasks(), [](Tag) { return std::string(); });
    EXPECT_NE(text.find("sleeping, blocking call, at "), std::string::npos) << text;
    open.count_down();
  });
}

INSTANTIATE_TEST_SUITE_P(Processors, BlockingOnProcessorsTest, testing::Values(1u, 2u, 4u));

TEST_F(BlockingPoolTest, HelpersAreNamedToldOfAndUsedAgain) {
  struct Helpers : Observer {
    void on_switch(unsigned, Tag) override {}
    void on_processor_start(unsigned) override {}
    void on_helper_start() override {
      const std::lock_guard guard(mutex);
      names.push_back(thread_name());
    }
    std::mutex mutex;
    std::vector<std::string> names;
  } helpers;
  make({.processors = 2, .observer = &helpers}).run([] {
    for (int i = 0; i < 100; ++i) EXPECT_EQ(blocking(thread_name).substr(0, 9), "blocking-");
    std::latch both(2);
    WaitGroup group;
    for (int i = 0; i < 2; ++i) {
      group.add(1);
      go([&] {
        blocking([&] { both.arrive_and_wait(); });
        group.done();
      });
    }
    group.wait();
  });
  EXPECT_EQ(helpers.names, (std::vector<std::string>{"blocking-1", "blocking-2"}));
}

TEST_F(BlockingPoolTest, UnderAChooserCallsAreMadeInPlaceAsTheScheduleSays) {
  const auto order_of = [&](std::uint64_t seed) {
    std::vector<int> order;
    const std::unique_ptr<Chooser> chooser = random_chooser(seed);
    make({.chooser = chooser.get()}).run([&order] {
      for (int i = 0; i < 5; ++i) {
        go([&order, i] {
          const std::uint64_t caller = current_task_id();
          EXPECT_EQ(blocking([&] { return order.push_back(i), current_task_id(); }), caller);
        });
      }
    });
    EXPECT_EQ(order.size(), 5u);
    return order;
  };
  std::set<std::vector<int>> seen;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const std::vector<int> order = order_of(seed);
    EXPECT_EQ(order, order_of(seed));
    seen.insert(order);
  }
  EXPECT_GT(seen.size(), 5u);
}

// A default size that no machine has, for as long as it lives.
class HugeThreads {
 public:
  HugeThreads() {
    EXPECT_EQ(::pthread_getattr_default_np(&before_), 0);
    pthread_attr_t huge;
    EXPECT_EQ(::pthread_getattr_default_np(&huge), 0);
    EXPECT_EQ(::pthread_attr_setstacksize(&huge, std::size_t{1} << 47), 0);
    EXPECT_EQ(::pthread_setattr_default_np(&huge), 0);
    ::pthread_attr_destroy(&huge);
  }
  ~HugeThreads() {
    EXPECT_EQ(::pthread_setattr_default_np(&before_), 0);
    ::pthread_attr_destroy(&before_);
  }

 private:
  pthread_attr_t before_{};
};

TEST_F(BlockingPoolTest, WithoutAnyThreadTheCallFailsAndWithSomeItWaits) {
  run(2, [] {
    {
      const HugeThreads huge;
      try {
        blocking([] { ADD_FAILURE() << "it was called"; });
        ADD_FAILURE() << "nothing was thrown";
      } catch (const std::system_error& error) {
        EXPECT_EQ(error.code(), std::errc::resource_unavailable_try_again);
        EXPECT_NE(std::string(error.what()).find("a call that blocks"), std::string::npos);
      }
    }
    std::latch open(1), begun(1);
    Channel<int> ended(2);
    go([&] {
      blocking([&] {
        begun.count_down();
        open.wait();
      });
      ended.send(1);
    });
    while (!begun.try_wait()) yield();
    const HugeThreads huge;
    go([&] { ended.send(blocking([] { return 2; })); });
    while (count_waiting(ParkReason::kBlockingPoolFull) == 0) yield();
    open.count_down();
    EXPECT_EQ(*ended.receive() + *ended.receive(), 3);
  });
}

}  // namespace
}  // namespace bulkhead::sched
