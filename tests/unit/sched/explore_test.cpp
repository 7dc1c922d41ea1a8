#include <signal.h>

#include <algorithm>
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/cond.hpp>
#include <bulkhead/sched/explore.hpp>
#include <bulkhead/sched/join.hpp>
#include <bulkhead/sched/mutex.hpp>
#include <bulkhead/sched/once.hpp>
#include <bulkhead/sched/rw_mutex.hpp>
#include <bulkhead/sched/select.hpp>
#include <bulkhead/sched/semaphore.hpp>
#include <bulkhead/sched/timer.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <stdexcept>

#include "sched_test.hpp"

namespace bulkhead::sched {
namespace {

using namespace std::chrono_literals;

// What a chooser chose, and what time it was in the end.
class Recorder final : public Chooser {
 public:
  explicit Recorder(std::unique_ptr<Chooser> chooser) : chooser_(std::move(chooser)) {}
  std::size_t choose(const std::vector<TaskInfo>& runnable, const TaskInfo* last) override {
    const std::size_t place = chooser_->choose(runnable, last);
    chosen.push_back(runnable[place].id);
    return place;
  }
  std::uint64_t seed() const override { return chooser_->seed(); }
  std::vector<std::uint64_t> chosen;

 private:
  const std::unique_ptr<Chooser> chooser_;
};

// Not on a variable that nobody else could ever write: a compiler may take that for a loop that is
// never entered.
void go_on_for_ever() {
  static volatile bool go_on = true;
  while (go_on) {
  }
}

// A little of everything that waits.
void mixture() {
  Channel<int> numbers(2);
  Mutex mutex;
  WaitGroup group;
  int sum = 0;
  for (int i = 0; i < 4; ++i) {
    group.add(1);
    go([&, i] {
      for (int k = 0; k < 3; ++k) {
        select(send(numbers, i, [] {}), timeout(1ms * (i + 1), [] {}));
        mutex.lock();
        ++sum;
        mutex.unlock();
        sleep_for(1s);
      }
      group.done();
    });
  }
  go([&] {
    group.wait();
    numbers.close();
  });
  while (numbers.receive()) yield();
}

std::vector<std::uint64_t> choices_of(std::unique_ptr<Chooser> chooser) {
  Recorder recorder(std::move(chooser));
  Scheduler({.chooser = &recorder}).run(&mixture);
  return recorder.chosen;
}

TEST(ExploreTest, TheSameSeedIsTheSameRunAndAnotherSeedIsAnother) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    EXPECT_EQ(choices_of(random_chooser(seed)), choices_of(random_chooser(seed))) << seed;
    EXPECT_NE(choices_of(random_chooser(seed)), choices_of(random_chooser(seed + 1))) << seed;
    EXPECT_EQ(choices_of(priority_chooser(seed, 3, 100)),
              choices_of(priority_chooser(seed, 3, 100)));
  }
}

TEST(ExploreTest, TimePassesOnlyWhileNobodyCanRunAndThenAtOnce) {
  const auto chooser = random_chooser(1);
  const base::TimePoint before = base::Clock::now();
  Scheduler({.chooser = chooser.get()}).run([] {
    const base::TimePoint start = now();
    sleep_for(1000h);
    EXPECT_EQ(now(), start + 1000h);
    for (int i = 0; i < 1000; ++i) yield();
    EXPECT_EQ(now(), start + 1000h);
    after(30min).channel().receive();
    EXPECT_EQ(now(), start + 1000h + 30min);
    bool timed_out = false;
    Channel<int> never;
    select(receive(never, [](auto) {}), timeout(1h, [&] { timed_out = true; }));
    EXPECT_TRUE(timed_out);
    EXPECT_EQ(now(), start + 1001h + 30min);
  });
  EXPECT_LT(base::Clock::now() - before, 1h);
}

TEST(ExploreTest, WithoutAFaultNothingIsFound) {
  EXPECT_FALSE(explore({.schedules = 200}, &mixture).has_value());
  EXPECT_FALSE(explore({.schedules = 200, .depth = 3, .steps = 100}, &mixture).has_value());
}

// Two locks, taken in either order: one schedule in many.
void opposite_orders() {
  Mutex a, b;
  WaitGroup group;
  group.add(2);
  const auto lock_both = [&group](Mutex& first, Mutex& second) {
    {
      const std::lock_guard outer(first);
      const std::lock_guard inner(second);
    }
    group.done();
  };
  go([&] { lock_both(a, b); });
  go([&] { lock_both(b, a); });
  group.wait();
}

TEST(ExploreTest, ADeadlockIsFoundWithItsSeedItsGoroutinesAndItsSteps) {
  for (const unsigned depth : {0u, 3u}) {
    const Exploration exploration{.depth = depth, .steps = 20};
    const auto finding = explore(exploration, &opposite_orders);
    ASSERT_TRUE(finding.has_value()) << depth;
    EXPECT_EQ(finding->what, "deadlock");
    EXPECT_NE(finding->said.find("parked, mutex"), std::string::npos) << finding->said;
    EXPECT_NE(finding->steps.find("explore_test.cpp"), std::string::npos) << finding->steps;
    EXPECT_NE(finding->steps.find("waits: mutex"), std::string::npos) << finding->steps;
    EXPECT_EXIT(replay(exploration, finding->seed, &opposite_orders), testing::ExitedWithCode(113),
                "all goroutines are asleep");
    const auto again =
        explore({.schedules = 1, .first_seed = finding->seed, .depth = depth, .steps = 20},
                &opposite_orders);
    ASSERT_TRUE(again.has_value());
    EXPECT_EQ(again->steps, finding->steps) << "the same seed, the same steps";
    EXPECT_EQ(again->said, finding->said) << "and no time but its own";
    EXPECT_EQ(finding->said.find(", for "), std::string::npos) << finding->said;
  }
}

// Read, let others run, write.
TEST(ExploreTest, ALostUpdateIsFound) {
  const auto finding = explore({}, [] {
    int balance = 0;
    WaitGroup group;
    group.add(2);
    for (int i = 0; i < 2; ++i) {
      go([&] {
        const int read = balance;
        checkpoint();
        balance = read + 1;
        group.done();
      });
    }
    group.wait();
    BULKHEAD_CHECK(balance == 2, "an update was lost: the balance is {}", balance);
  });
  ASSERT_TRUE(finding.has_value());
  EXPECT_EQ(finding->what, "signal 6 (Aborted)");
  EXPECT_NE(finding->said.find("an update was lost: the balance is 1"), std::string::npos);
}

// Each operation can be come before: what lies between it and the one before it is seen by others.
TEST(ExploreTest, EveryOperationIsASchedulingPoint) {
  // One sets `half` between an unlock and the operation; the other looks.
  const auto seen_before = [](const std::function<void()>& operation) {
    const auto program = [&] {
      Mutex mutex;
      bool half = false;
      WaitGroup group;
      group.add(2);
      go([&] {
        mutex.lock();
        half = true;
        mutex.unlock();
        operation();
        half = false;
        group.done();
      });
      go([&] {
        mutex.lock();
        BULKHEAD_CHECK(!half, "it is half done");
        mutex.unlock();
        group.done();
      });
      group.wait();
    };
    const auto finding = explore({}, program);
    if (finding.has_value()) {
      EXPECT_NE(finding->said.find("it is half done"), std::string::npos)
          << finding->said << finding->steps;
    }
    return finding.has_value();
  };
  EXPECT_FALSE(seen_before([] {})) << "two plain lines are never apart";
  EXPECT_TRUE(seen_before([] { Channel<int>(1).send(1); }));
  EXPECT_TRUE(seen_before([] { Channel<int>(1).try_send(1); }));
  EXPECT_TRUE(seen_before([] { Channel<int>().try_receive(); }));
  EXPECT_TRUE(seen_before([] { Channel<int>().close(); }));
  EXPECT_TRUE(seen_before([] { select(otherwise([] {})); }));
  EXPECT_TRUE(seen_before([] {
    Mutex mutex;
    const std::lock_guard guard(mutex);
  }));
  EXPECT_TRUE(seen_before([] {
    Mutex mutex;
    if (mutex.try_lock()) mutex.unlock();
  }));
  EXPECT_TRUE(seen_before([] {
    RWMutex mutex;
    const std::shared_lock guard(mutex);
  }));
  EXPECT_TRUE(seen_before([] {
    Semaphore semaphore(1);
    if (semaphore.try_acquire()) semaphore.release();
  }));
  EXPECT_TRUE(seen_before([] {
    WaitGroup group;
    group.add(1);
    group.done();
  }));
  EXPECT_TRUE(seen_before([] { Once().call([] {}); }));
  EXPECT_TRUE(seen_before([] { Cond().signal(); }));
}

TEST(ExploreTest, WhoeverHoldsALockMayBeMetHoldingIt) {
  const auto finding = explore({}, [] {
    Mutex mutex;
    int got = 0;
    WaitGroup group;
    group.add(2);
    for (int i = 0; i < 2; ++i) {
      go([&] {
        if (mutex.try_lock()) {
          ++got;
          mutex.unlock();
        }
        group.done();
      });
    }
    group.wait();
    BULKHEAD_CHECK(got == 2, "one has met the other");
  });
  EXPECT_TRUE(finding.has_value());
}

TEST(ExploreTest, EveryKindOfBadEndIsTold) {
  const auto what = [](const std::function<void()>& program) {
    const auto finding = explore({.schedules = 1, .limit = 300ms}, program);
    return finding.has_value() ? finding->what : "none";
  };
  EXPECT_EQ(what([] { std::_Exit(3); }), "exit code 3");
  EXPECT_EQ(what([] { throw std::runtime_error("nobody catches it"); }), "signal 6 (Aborted)");
  EXPECT_EQ(what(&go_on_for_ever), "no end within 0.3 s");
  EXPECT_EQ(what([] { go([] { Channel<int>().receive(); }); }), "deadlock") << "left over";
  EXPECT_EQ(what([] {}), "none");
}

TEST(ExploreTest, EveryBadEndHasItsKind) {
  const auto kind = [](const std::function<void()>& program) {
    const auto finding = explore({.schedules = 1, .limit = 300ms}, program);
    return finding.has_value() ? to_string(finding->kind) : "none";
  };
  EXPECT_STREQ(kind([] { std::_Exit(3); }), "exit");
  EXPECT_STREQ(kind([] { throw std::runtime_error("nobody catches it"); }), "panic");
  EXPECT_STREQ(kind([] { spawn([] { throw 1; }).detach(); }), "panic");
  EXPECT_STREQ(kind([] { BULKHEAD_CHECK(current_task_id() == 0, "it is one"); }), "failed check");
  EXPECT_STREQ(kind([] { ::raise(SIGKILL); }), "signal");
  EXPECT_STREQ(kind([] { wrong_answer("41"); }), "wrong answer");
  EXPECT_STREQ(kind([] { Channel<int>().receive(); }), "deadlock");
  EXPECT_STREQ(kind(&go_on_for_ever), "no end");
  EXPECT_STREQ(kind([] {}), "none");
}

TEST(ExploreTest, ASearchTellsHowMuchItWas) {
  const Search well = search({.schedules = 30, .first_seed = 5}, &mixture);
  EXPECT_EQ(well.schedules, 30u);
  EXPECT_FALSE(well.finding.has_value());
  std::size_t longest = 0;
  for (std::uint64_t seed = 5; seed < 35; ++seed)
    longest = std::max(longest, choices_of(random_chooser(seed)).size());
  EXPECT_EQ(well.longest, longest);
  EXPECT_GT(well.took.count(), 0);

  const Search bad = search({.first_seed = 5}, &opposite_orders);
  ASSERT_TRUE(bad.finding.has_value());
  EXPECT_EQ(bad.finding->seed, 5 + bad.schedules - 1);
  EXPECT_EQ(search({.schedules = 0}, [] { std::abort(); }).schedules, 0u);
}

TEST(ExploreTest, ATraceHasAllStepsWithWhatTheProgramSaysBetweenThem) {
  EXPECT_FALSE(traced());
  note("{} hears this", "nobody");
  const auto program = [] {
    note("begins in goroutine {}", current_task_id());
    std::puts("on standard output");
    go([] { note("the other"); });
    yield();
    note("ends");
  };
  const Trace well = trace({}, 7, program);
  EXPECT_FALSE(well.finding.has_value());
  EXPECT_NE(well.steps.find("     1  goroutine 1 runs\n        · begins in goroutine 1\n"),
            std::string::npos)
      << well.steps;
  EXPECT_NE(well.steps.find("        · the other\n"), std::string::npos) << well.steps;
  EXPECT_NE(well.steps.find(fmt::format("\n{:>6}  ", well.choices)), std::string::npos);
  EXPECT_EQ(well.steps.find(fmt::format("\n{:>6}  ", well.choices + 1)), std::string::npos);
  for (std::uint64_t seed = 1; seed <= 100; ++seed)
    EXPECT_EQ(trace({}, seed, &mixture).steps, trace({}, seed, &mixture).steps) << seed;

  const Trace bad = trace({}, 7, [&] {
    program();
    wrong_answer("it is 41");
  });
  ASSERT_TRUE(bad.finding.has_value());
  EXPECT_EQ(bad.finding->what, "wrong answer");
  EXPECT_EQ(bad.finding->said, "on standard output\nwrong answer: it is 41\n");
  EXPECT_TRUE(bad.finding->steps.empty());
}

TEST(ExploreTest, OfAVeryLongTraceTheBeginningAndTheEndStay) {
  const Trace trace_made = trace({}, 1, [] {
    for (int i = 0; i < 30'000; ++i) checkpoint();
  });
  EXPECT_GE(trace_made.choices, 30'000u);
  EXPECT_LT(trace_made.steps.size(), 600u * 1024);
  EXPECT_EQ(trace_made.steps.rfind("     1  goroutine 1 runs\n", 0), 0u);
  EXPECT_NE(trace_made.steps.find(" more …\n"), std::string::npos);
  EXPECT_TRUE(
      trace_made.steps.ends_with(fmt::format("\n{:>6}  goroutine 1 goes on\n", trace_made.choices)))
      << trace_made.steps.substr(trace_made.steps.size() - 200);
}

TEST(ExploreDeathTest, AChooserTakesOneProcessor) {
  const auto chooser = random_chooser(1);
  EXPECT_DEATH(Scheduler({.processors = 2, .chooser = chooser.get()}), "has one processor");
}

}  // namespace
}  // namespace bulkhead::sched
