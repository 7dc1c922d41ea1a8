// Goroutines that compute for long do not keep the others from running; and what the monitor tells.
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/mutex.hpp>
#include <bulkhead/sched/timer.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "sched_test.hpp"

namespace bulkhead::sched {
namespace {

using namespace std::chrono_literals;

// Computes until `enough`, and comes to no scheduling point. (The system call is for TSan, which
// gives a thread its signals only in those it knows.)
[[gnu::noinline]] void compute_until(const std::atomic<bool>& enough) {
  while (!enough.load(std::memory_order_acquire)) {
    const timespec nothing{};
    ::clock_nanosleep(CLOCK_MONOTONIC, 0, &nothing, nullptr);
  }
}

void start_hogs(unsigned count, const std::atomic<bool>& enough, WaitGroup& ended) {
  ended.add(count);
  for (unsigned i = 0; i < count; ++i)
    go([&] {
      compute_until(enough);
      ended.done();
    });
}

// The processor time that this process's threads of a name have used.
std::int64_t cpu_ns_of_threads(const std::string& name) {
  std::int64_t sum = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string comm;
    std::getline(std::ifstream(entry.path() / "comm"), comm);
    std::int64_t ns = 0;
    if (comm == name && std::ifstream(entry.path() / "schedstat") >> ns) sum += ns;
  }
  return sum;
}

class MonitorTest : public SchedProcessorsTest {};

// It looks a hundred times a second, which is little beside what the goroutine computes; also after
// a quiet time, from which a processor has called it.
TEST_P(MonitorTest, CostsLittleAfterAQuietTime) {
  Scheduler& scheduler = make({.processors = GetParam()});
  scheduler.run([] {
    sleep_for(300ms);
    const std::int64_t before = cpu_ns_of_threads("monitor");
    const auto own = [] {
      timespec used{};
      ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
      return std::int64_t{used.tv_sec} * 1'000'000'000 + used.tv_nsec;
    };
    const std::int64_t begin = own();
    while (own() - begin < 500'000'000) {
    }
    EXPECT_LT(cpu_ns_of_threads("monitor") - before, 500'000'000 / 4);
  });
}

// The last hog to begin starts the one that ends them: nothing but a processor that is lent can run
// it.
TEST_P(MonitorTest, LendsAProcessorForThoseThatHogsKeepWaiting) {
  std::mutex mutex;
  std::vector<std::string> told;
  Options options{.processors = GetParam()};
  options.on_hog = [&](const Hog& hog) {
    std::lock_guard guard(mutex);
    told.push_back(describe(hog, [](Tag) { return "nothing"; }));
  };
  Scheduler& scheduler = make(options);
  std::atomic<bool> enough{false};
  std::atomic<unsigned> begun{0};
  scheduler.run([&] {
    for (unsigned i = 0; i < GetParam(); ++i)
      go({.name = "hog"}, [&] {
        if (++begun == GetParam()) go([&] { enough.store(true, std::memory_order_release); });
        compute_until(enough);
      });
  });
  EXPECT_GE(scheduler.lent_time().hogs, 1u);
  EXPECT_GT(scheduler.lent_time().lent.count(), 0);
  std::lock_guard guard(mutex);
  ASSERT_EQ(told.size(), 1u);  // one place starts them
  EXPECT_NE(told[0].find("'hog' has run for"), std::string::npos) << told[0];
  EXPECT_NE(told[0].find("monitor_test.cpp:"), std::string::npos) << told[0];
  EXPECT_NE(told[0].find("\n    "), std::string::npos) << told[0];
}

// As many hogs as processors, again and again, and all that wait is done each time.
TEST_P(MonitorTest, HogsOnAllProcessorsComeAndGo) {
  Scheduler& scheduler = make({.processors = GetParam()});
  std::atomic<int> done{0};
  scheduler.run([&] {
    for (int round = 0; round < 3; ++round) {
      std::atomic<bool> enough{false};
      WaitGroup hogs;
      start_hogs(GetParam(), enough, hogs);
      Channel<int> channel;
      go([&] {
        for (int i = 0; i < 100; ++i) channel.send(i);
        channel.close();
      });
      go([&] {
        while (channel.receive()) ++done;
        enough.store(true, std::memory_order_release);
      });
      hogs.wait();
      for (int i = 0; i < 2000; ++i) yield();  // the lent ones are called back amid this
    }
  });
  EXPECT_EQ(done, 300);
}

TEST_P(MonitorTest, ATimerFiresBesideHogsOnAllProcessors) {
  std::atomic<bool> enough{false};
  run(GetParam(), [&] {
    Timer timer(1ms, [&] { enough.store(true, std::memory_order_release); });
    WaitGroup hogs;
    start_hogs(GetParam(), enough, hogs);
    hogs.wait();
  });
}

// With one processor: who computes and calls checkpoint() lets others run by and by.
TEST_P(MonitorTest, ACheckpointLetsOthersRunThatHaveWaited) {
  std::atomic<bool> enough{false};
  run(GetParam(), [&] {
    WaitGroup group;
    group.add(GetParam());
    for (unsigned i = 0; i < GetParam(); ++i)
      go([&] {
        while (!enough) checkpoint();
        group.done();
      });
    go([&] { enough = true; });
    group.wait();
  });
}

TEST_P(MonitorTest, GoroutinesThatWaitForOneAnothersMutexesAreToldThoughOthersRun) {
  std::mutex mutex;
  std::set<std::string> told;
  std::atomic<int> times{0};
  Options options{.processors = GetParam()};
  options.on_circle = [&](const std::string& circles) {
    std::lock_guard guard(mutex);
    told.insert(circles);
    ++times;
  };
  options.on_deadlock = [](const std::vector<TaskInfo>& tasks) {
    FAIL() << describe_deadlock(tasks, [](Tag) { return ""; });
  };
  Mutex first, second;
  make(options).run([&] {
    Channel<int> both(2);
    go({.name = "ab"}, [&] {
      first.lock();
      both.send(1);
      while (both.size() < 2) yield();
      second.lock();
      second.unlock();
    });
    go({.name = "ba"}, [&] {
      second.lock();
      both.send(2);
      while (both.size() < 2) yield();
      first.lock();
      first.unlock();
      second.unlock();
    });
    while (times == 0) sleep_for(1ms);
    first.unlock();  // as nobody should; but it ends the circle
    while (both.size() > 0) both.receive();
  });
  std::lock_guard guard(mutex);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_NE(told.begin()->find("'ab' waits for a mutex of goroutine"), std::string::npos)
      << *told.begin();
  EXPECT_NE(told.begin()->find("'ba'"), std::string::npos) << *told.begin();
}

INSTANTIATE_TEST_SUITE_P(Processors, MonitorTest, testing::Values(1u, 2u, 4u));

}  // namespace
}  // namespace bulkhead::sched
