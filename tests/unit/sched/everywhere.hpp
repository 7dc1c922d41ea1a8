// Tests that must hold wherever a primitive is used: in goroutines on 1, 2 and 4 processors, on two
// of which one runs alone by turns, in some that migrate whenever they go on, and in plain threads,
// one for each go(), as in the `threads` model.
#pragma once

#include <atomic>
#include <bulkhead/sched/scheduler.hpp>
#include <chrono>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "sched_test.hpp"

namespace bulkhead::sched {

// Gives go() a plain thread each.
class PlainThreads : public ThreadHost {
 public:
  // Returns when `main` and all that it started have ended.
  void run(std::function<void()> main) {
    go(std::move(main), kNoTag);
    for (;;) {
      std::vector<std::thread> threads;
      {
        std::lock_guard guard(mutex_);
        threads.swap(threads_);
      }
      if (threads.empty()) return;
      for (std::thread& thread : threads) thread.join();
    }
  }

  void go(std::function<void()> body, Tag tag) override {
    std::lock_guard guard(mutex_);
    threads_.emplace_back([this, tag, body = std::move(body)] {
      const Enter enter(*this, tag);
      body();
    });
  }
  void on_block() override { ++blocked_; }
  void on_run(Tag) override {}  // also at each yield(), so not counted
  int blocked() const { return blocked_; }

 private:
  std::mutex mutex_;
  std::vector<std::thread> threads_;
  std::atomic<int> blocked_{0};  // how often one has begun to wait
};

// The parameter: so many processors, kByTurns, kMigrating, or 0 for plain threads.
inline constexpr unsigned kThreads = 0;

class EverywhereTest : public SchedTest, public testing::WithParamInterface<unsigned> {
 protected:
  bool threads() const { return GetParam() == kThreads; }

  // Of a loop that contends: a hand-over between threads takes milliseconds on a busy machine.
  int loops() const { return threads() || kSanitized ? 100 : 1000; }

  void run(std::function<void()> main) {
    if (threads()) {
      threads_.run(std::move(main));
    } else {
      SchedTest::run(GetParam(), std::move(main));
    }
  }

  // Within run(): until so many wait for `reason` at a time; of plain threads, until they have
  // begun to wait so many times in all, whatever for.
  void await_parked(int count, ParkReason reason) {
    const auto enough = [&] {
      if (threads()) return threads_.blocked() >= count;
      int parked = 0;
      for (const TaskInfo& task : Scheduler::current()->tasks()) parked += task.reason == reason;
      return parked >= count;
    };
    await(enough);
  }

  // Within run(): until `condition` holds.
  template <class Condition>
  static void await(Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(2);
    while (!condition()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "waited in vain";
      yield();
    }
  }

 private:
  PlainThreads threads_;
};

inline std::string place_name(const testing::TestParamInfo<unsigned>& info) {
  if (info.param == kThreads) return "threads";
  if (info.param == kByTurns) return "turns";
  return info.param == kMigrating ? "migrating" : "P" + std::to_string(info.param);
}

#define BULKHEAD_EVERYWHERE(Suite) \
  INSTANTIATE_TEST_SUITE_P(        \
      Everywhere, Suite, testing::Values(1u, 2u, 4u, kByTurns, kMigrating, kThreads), place_name)

}  // namespace bulkhead::sched
