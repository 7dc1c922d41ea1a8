#include "sched/parallelism.hpp"

#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <chrono>
#include <set>

#include "sched_test.hpp"

namespace bulkhead::sched {
namespace {

constexpr std::int64_t kMillisecond = 1'000'000;

// So many operations a microsecond on all processors, and on one.
struct Workload {
  double all;
  double one;
};

// Periods of 10 ms; what they do follows from how many processors run.
class Simulation {
 public:
  // Answers whether one runs alone in the next period.
  bool period(Workload workload, bool brisk = true) {
    const std::int64_t length = (parallelism_.tries() ? 4 : 10) * kMillisecond;
    now_ += length;
    const double rate = one_ ? workload.one : workload.all;
    one_ = parallelism_.wants_one(
        {.now_ns = now_,
         .length_ns = length,
         .progress = static_cast<std::uint64_t>(rate * static_cast<double>(length) / 1'000),
         .brisk = brisk});
    changes_ += one_ != before_;
    before_ = one_;
    alone_ns_ += one_ ? length : 0;
    return one_;
  }
  // Answers the part of the time in which one ran alone.
  double run(std::int64_t milliseconds, Workload workload) {
    const std::int64_t start = now_;
    alone_ns_ = 0;
    changes_ = 0;
    while (now_ < start + milliseconds * kMillisecond) period(workload);
    return static_cast<double>(alone_ns_) / static_cast<double>(now_ - start);
  }
  int changes() const { return changes_; }

 private:
  Parallelism parallelism_;
  std::int64_t now_ = 0;
  std::int64_t alone_ns_ = 0;
  int changes_ = 0;
  bool one_ = false;
  bool before_ = false;
};

constexpr Workload kTalkative{.all = 20, .one = 50};
constexpr Workload kIndependent{.all = 40, .one = 20};

TEST(ParallelismTest, OneRunsAloneWhereThatIsFaster) {
  Simulation simulation;
  EXPECT_FALSE(simulation.period(kTalkative));  // one period may be a start
  EXPECT_GT(simulation.run(2'000, kTalkative), 0.9);
  EXPECT_GT(simulation.run(20'000, kTalkative), 0.99);
  EXPECT_LE(simulation.changes(), 20);  // less and less often
}

TEST(ParallelismTest, AllRunWhereThatIsFaster) {
  Simulation simulation;
  EXPECT_LT(simulation.run(2'000, kIndependent), 0.05);
  EXPECT_LT(simulation.run(20'000, kIndependent), 0.005);
  EXPECT_GE(simulation.changes(), 10);  // it may have changed: that is tried
}

// All of them cost more processor time.
TEST(ParallelismTest, OneRunsAloneWhereAllAreHardlyFaster) {
  Simulation simulation;
  EXPECT_GT(simulation.run(4'000, {.all = 21, .one = 20}), 0.9);
}

TEST(ParallelismTest, AChangedWorkloadIsJudgedAnew) {
  Simulation simulation;
  simulation.run(20'000, kTalkative);
  EXPECT_LT(simulation.run(10'000, kIndependent), 0.4);  // after 3.2 s at most
  EXPECT_LT(simulation.run(10'000, kIndependent), 0.01);
  EXPECT_GT(simulation.run(10'000, kTalkative), 0.6);
}

TEST(ParallelismTest, AllRunAsSoonAsOneComputes) {
  Simulation simulation;
  simulation.run(1'000, kTalkative);
  ASSERT_TRUE(simulation.period(kTalkative));
  EXPECT_FALSE(simulation.period(kTalkative, false));
  for (int i = 0; i < 1'000; ++i) EXPECT_FALSE(simulation.period(kTalkative, false));
  EXPECT_GT(simulation.run(1'000, kTalkative), 0.5);
}

class OneAloneTest : public SchedTest {
 protected:
  using Clock = std::chrono::steady_clock;

  // Within run(): goroutines that hand over to one another all the time, and whether one processor
  // has run all of the last hundred thousand steps.
  class Talk {
   public:
    explicit Talk(int pairs) {
      for (int pair = 0; pair < pairs; ++pair) {
        go([this] {
          while (!stop_) values_.send(1);
          senders_.done();
        });
        go([this] {
          while (const auto value = values_.receive()) {
            sum_ += *value;
            const int place = current_processor();
            if (last_place_.exchange(place) != place) last_change_ = sum_.load();
          }
          receivers_.done();
        });
      }
      senders_.add(pairs);
      receivers_.add(pairs);
    }
    bool keeps_to_one() const { return sum_ > last_change_ + 100'000; }
    std::uint64_t sum() const { return sum_; }
    void end() {
      stop_ = true;
      senders_.wait();
      values_.close();
      receivers_.wait();
    }

   private:
    Channel<std::uint64_t> values_{16};
    WaitGroup senders_;
    WaitGroup receivers_;
    std::atomic<bool> stop_{false};
    std::atomic<std::uint64_t> sum_{0};
    std::atomic<int> last_place_{-1};
    std::atomic<std::uint64_t> last_change_{0};
  };

  template <class Condition>
  static bool eventually(Condition condition) {
    const auto deadline = Clock::now() + std::chrono::minutes(2);
    while (!condition()) {
      if (Clock::now() > deadline) return false;
      sleep_for(std::chrono::milliseconds(1));
    }
    return true;
  }
};

// Under a sanitizer nothing is brisk: an operation takes a microsecond.
TEST_F(OneAloneTest, ThoseThatHandOverAllTheTimeRunOnOneProcessor) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer makes each operation long";
  Scheduler& scheduler = make({.processors = 2});
  scheduler.run([&] {
    Talk talk(4);
    EXPECT_TRUE(eventually([&] { return talk.keeps_to_one(); }));
    EXPECT_TRUE(eventually([&] { return scheduler.alone_time().count() > 0; }));
    talk.end();
  });
}

// The one that is alone runs a goroutine that waits, without a scheduling point, for what another
// is to do.
TEST_F(OneAloneTest, TheOthersComeBackForWhoeverComputes) {
  constexpr int kHogs = kSanitized ? 1 : 5;
  make({.processors = 2}).run([] {
    Talk talk(4);
    for (int hog = 0; hog < kHogs; ++hog) {
      if (!kSanitized) {
        ASSERT_TRUE(eventually([&] { return talk.keeps_to_one(); }));
      }
      const std::uint64_t before = talk.sum();
      WaitGroup done;
      done.add(1);
      go([&] {
        while (talk.sum() < before + 1'000'000) {
        }
        done.done();
      });
      done.wait();
    }
    talk.end();
  });
}

TEST_F(OneAloneTest, NeverMeansNever) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer makes each operation long";
  Scheduler& scheduler = make({.processors = 2, .one_alone = OneAlone::kNever});
  scheduler.run([] {
    Talk talk(4);
    const auto end = Clock::now() + std::chrono::milliseconds(300);
    std::uint64_t elsewhere = 0;
    while (Clock::now() < end || elsewhere < 3) {
      if (!talk.keeps_to_one()) ++elsewhere;
      sleep_for(std::chrono::milliseconds(1));
    }
    talk.end();
  });
  EXPECT_EQ(scheduler.alone_time().count(), 0);
}

TEST_F(OneAloneTest, APinnedGoroutineKeepsAllAtWork) {
  make({.processors = 2}).run([] {
    Talk talk(2);
    WaitGroup done;
    done.add(1);
    const int home = current_processor();
    go({.pin = true}, [&] {
      for (int i = 0; i < 100'000; ++i) {
        ASSERT_EQ(current_processor(), home);
        yield();
      }
      done.done();
    });
    done.wait();
    talk.end();
  });
}

// Whatever holds a channel's lock, in whichever way, as one begins or ends to be alone.
TEST_F(OneAloneTest, NoValueIsLostOrDoubledOverTheChange) {
  constexpr int kPairs = 4;
  constexpr std::uint64_t kValues = kSanitized ? 20'000 : 300'000;
  for (const unsigned processors : {2u, 4u}) {
    Scheduler& scheduler = make({.processors = processors, .one_alone = OneAlone::kByTurns});
    std::array<std::uint64_t, kPairs> sums{};
    scheduler.run([&] {
      std::array<Channel<std::uint64_t>, kPairs> channels;
      for (int pair = 0; pair < kPairs; ++pair) {
        Channel<std::uint64_t>& channel = channels[static_cast<std::size_t>(pair)];
        go([&channel] {
          for (std::uint64_t i = 1; i <= kValues; ++i) channel.send(i);
          channel.close();
        });
      }
      WaitGroup done;
      done.add(kPairs);
      for (int pair = 0; pair < kPairs; ++pair)
        go([&, pair] {
          const auto place = static_cast<std::size_t>(pair);
          std::uint64_t last = 0;
          while (const auto value = channels[place].receive()) {
            EXPECT_EQ(*value, last + 1);
            last = *value;
            sums[place] += *value;
          }
          done.done();
        });
      done.wait();
    });
    for (const std::uint64_t sum : sums) EXPECT_EQ(sum, kValues * (kValues + 1) / 2);
  }
}

// Threads take the locks away for good while the processors change.
TEST_F(OneAloneTest, ThreadsTakePartOverTheChange) {
  constexpr int kRounds = kSanitized ? 5 : 50;
  constexpr int kValues = 500;
  Scheduler& scheduler = make({.processors = 2, .one_alone = OneAlone::kByTurns});
  for (int round = 0; round < kRounds; ++round) {
    Channel<int> there(4), back(4);
    std::thread thread([&] {
      while (const auto value = there.receive()) back.send(*value);
      back.close();
    });
    scheduler.run([&] {
      Channel<int> here;
      go([&] {
        for (int i = 0; i < kValues; ++i) here.send(i);
        here.close();
      });
      go([&] {
        while (const auto value = here.receive()) there.send(*value);
        there.close();
      });
      int count = 0;
      while (const auto value = back.receive()) EXPECT_EQ(*value, count++);
      EXPECT_EQ(count, kValues);
    });
    thread.join();
  }
}

// The end of a run, a deadlock, sleepers: also while all but one sit out.
TEST_F(OneAloneTest, RunsEndAndDeadlocksAreFoundInEitherState) {
  constexpr int kRounds = kSanitized ? 20 : 200;
  std::atomic<int> deadlocks{0};
  Channel<int> never;
  Options options{.processors = 4, .one_alone = OneAlone::kByTurns};
  options.on_deadlock = [&](const std::vector<TaskInfo>&) {
    if (deadlocks.fetch_add(1) == 0) never.close();
  };
  for (int round = 0; round < kRounds; ++round) {
    Scheduler& scheduler = make(options);
    scheduler.run([&] {
      WaitGroup done;
      done.add(100);
      for (int i = 0; i < 100; ++i)
        go([&, i] {
          if (i % 10 == 0) sleep_for(std::chrono::microseconds(100 * (round % 20)));
          done.done();
        });
      done.wait();
    });
  }
  make(options).run([&] { EXPECT_FALSE(never.receive().has_value()); });
  EXPECT_GE(deadlocks, 1);
}

}  // namespace
}  // namespace bulkhead::sched
