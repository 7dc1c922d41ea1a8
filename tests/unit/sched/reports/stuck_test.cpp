// What is stuck is told, and what only seems to be goes on (Go's issues 12734, 21576, 25538, 46260:
// a deadlock's report must not vanish because threads are there that only might do something;
// 76808, 7576, 15418, 74641: an RWMutex read twice; 77687: time that no longer passes because one
// waits for a mutex).
#include <bulkhead/sched/blocking.hpp>
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/cond.hpp>
#include <bulkhead/sched/err_group.hpp>
#include <bulkhead/sched/explore.hpp>
#include <bulkhead/sched/join.hpp>
#include <bulkhead/sched/mutex.hpp>
#include <bulkhead/sched/once.hpp>
#include <bulkhead/sched/rw_mutex.hpp>
#include <bulkhead/sched/select.hpp>
#include <bulkhead/sched/semaphore.hpp>
#include <bulkhead/sched/timer.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <chrono>
#include <functional>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <thread>

#include "tests/unit/sched/sched_test.hpp"

namespace bulkhead::sched {
namespace {

using namespace std::chrono_literals;

class StuckTest : public SchedProcessorsTest {
 protected:
  // The first report's text; `rescue` ends what it tells of.
  std::string report_of(const std::function<void()>& main, const std::function<void()>& rescue) {
    std::string text;
    Options options{.processors = GetParam()};
    options.on_deadlock = [&](const std::vector<TaskInfo>& tasks) {
      if (!text.empty()) return;
      text = describe_deadlock(tasks, [](Tag) { return std::string(); });
      rescue();
    };
    make(options).run(main);
    return text;
  }
};

// Whatever threads a program has beside its goroutines: one that waits for work, as a link does;
// the timers' thread and the helpers of blocking(), with nothing to do.
TEST_P(StuckTest, ThreadsThatOnlyMightDoSomethingHideNoDeadlock) {
  Channel<int> work;
  std::thread link([&] {
    while (work.receive()) {
    }
  });
  Timer(0ns).channel().receive();  // that thread runs from here on
  Channel<int> first, second;
  std::atomic<bool> rescued{false};
  const std::string text = report_of(
      [&] {
        blocking([] {});  // its helper waits for the next call
        go([&] {
          first.receive();
          second.send(1);
        });
        second.receive();
        if (!rescued) first.send(1);
      },
      [&] {
        rescued = true;
        first.close();
      });
  work.close();
  link.join();
  EXPECT_NE(text.find("all goroutines are asleep"), std::string::npos) << text;
  EXPECT_NE(text.find("parked, channel receive #1, at "), std::string::npos) << text;
  EXPECT_NE(text.find("parked, channel receive #2, at "), std::string::npos) << text;
  EXPECT_NE(text.find("stuck_test.cpp:"), std::string::npos) << text;
}

// A reader that reads again while a writer waits for it: both wait for one lock, and the report
// says so.
TEST_P(StuckTest, AnRWMutexReadAgainBeforeAWaitingWriterIsTold) {
  RWMutex mutex;
  const std::string text = report_of(
      [&] {
        mutex.lock_shared();
        go({.name = "writer"}, [&] { const std::lock_guard lock(mutex); });
        while (mutex.try_lock_shared()) {  // until the writer waits
          mutex.unlock_shared();
          yield();
        }
        go({.name = "reader"}, [&] { const std::shared_lock lock(mutex); });
      },
      [&] { mutex.unlock_shared(); });
  EXPECT_NE(text.find("'writer': parked, rwmutex write lock #1, at "), std::string::npos) << text;
  EXPECT_NE(text.find("'reader': parked, rwmutex read lock #1, at "), std::string::npos) << text;
}

INSTANTIATE_TEST_SUITE_P(Processors, StuckTest, testing::Values(1u, 2u, 4u));

// Time passes for whoever sleeps while others wait for what the sleeper has, whatever that is.
struct HeldOverAnHour {
  const char* name;
  std::function<void()> scene;  // in which somebody sleeps for an hour, and the caller waits for it
};

// `hold` says `begun` when it has what the caller then wants.
void hold_and_wait(const std::function<void(Channel<int>& begun)>& hold,
                   const std::function<void()>& wait) {
  Channel<int> begun, ended;
  go([&] {
    hold(begun);
    ended.send(0);
  });
  begun.receive();
  wait();
  ended.receive();
}

template <class Lock, class Other = Lock>
std::function<void()> locked() {
  return [] {
    typename Lock::mutex_type mutex;
    hold_and_wait(
        [&](Channel<int>& begun) {
          const Lock lock(mutex);
          begun.send(0);
          sleep_for(1h);
        },
        [&] { const Other lock(mutex); });
  };
}

std::vector<HeldOverAnHour> scenes() {
  using Shared = std::shared_lock<RWMutex>;
  using Unique = std::unique_lock<RWMutex>;
  return {
      {"mutex", locked<std::unique_lock<Mutex>>()},
      {"rwmutex, write before read", locked<Unique, Shared>()},
      {"rwmutex, read before write", locked<Shared, Unique>()},
      {"rwmutex, write before write", locked<Unique>()},
      {"once",
       [] {
         Once once;
         hold_and_wait(
             [&](Channel<int>& begun) {
               once.call([&] {
                 begun.send(0);
                 sleep_for(1h);
               });
             },
             [&] { once.call([] { ADD_FAILURE() << "twice"; }); });
       }},
      {"semaphore",
       [] {
         Semaphore semaphore(2);
         hold_and_wait(
             [&](Channel<int>& begun) {
               semaphore.acquire(1);
               begun.send(0);
               sleep_for(1h);
               semaphore.release(1);
             },
             [&] { semaphore.acquire(2); });
         semaphore.release(2);
       }},
      {"cond",
       [] {
         Mutex mutex;
         Cond cond;
         bool over = false;
         hold_and_wait(
             [&](Channel<int>& begun) {
               begun.send(0);
               sleep_for(1h);
               const std::lock_guard lock(mutex);
               over = true;
               cond.signal();
             },
             [&] {
               std::unique_lock lock(mutex);
               while (!over) cond.wait(lock);
             });
       }},
      {"wait group",
       [] {
         WaitGroup group;
         group.add();
         hold_and_wait(
             [&](Channel<int>& begun) {
               begun.send(0);
               sleep_for(1h);
               group.done();
             },
             [&] { group.wait(); });
       }},
      {"join", [] { spawn([] { sleep_for(1h); }).join(); }},
      {"error group",
       [] {
         ErrGroup group;
         group.go([] { sleep_for(1h); });
         EXPECT_TRUE(group.wait());
       }},
      {"channel send",
       [] {
         Channel<int> channel;
         hold_and_wait(
             [&](Channel<int>& begun) {
               begun.send(0);
               sleep_for(1h);
               channel.receive();
             },
             [&] { channel.send(1); });
       }},
      {"channel receive",
       [] {
         Channel<int> channel;
         hold_and_wait(
             [&](Channel<int>& begun) {
               begun.send(0);
               sleep_for(1h);
               channel.send(1);
             },
             [&] { channel.receive(); });
       }},
      {"select",
       [] {
         Channel<int> channel, never;
         hold_and_wait(
             [&](Channel<int>& begun) {
               begun.send(0);
               sleep_for(1h);
               channel.send(1);
             },
             [&] { select(receive(channel, [](auto) {}), receive(never, [](auto) {})); });
       }},
  };
}

TEST(HeldOverAnHourTest, TimePassesWhateverTheOthersWaitFor) {
  for (const HeldOverAnHour& held : scenes()) {
    SCOPED_TRACE(held.name);
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
      const auto chooser = random_chooser(seed);
      base::Duration took{};
      Scheduler({.chooser = chooser.get()}).run([&] {
        const base::TimePoint start = now();
        held.scene();
        took = now() - start;
      });
      EXPECT_EQ(took, 1h) << seed;
    }
  }
}

}  // namespace
}  // namespace bulkhead::sched
