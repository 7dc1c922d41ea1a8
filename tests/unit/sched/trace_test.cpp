// What a trace tells: of each goroutine what it did in which order, of each processor what ran.
#include "sched/trace.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bulkhead/sched/blocking.hpp>
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/mutex.hpp>
#include <bulkhead/sched/poll.hpp>
#include <bulkhead/sched/timer.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <chrono>
#include <cstring>
#include <map>
#include <string>
#include <thread>

#include "sched_test.hpp"

namespace bulkhead::sched {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kEnough = 1 << 16;

// What may come after what, of one goroutine.
bool may_follow(TraceKind before, TraceKind after) {
  switch (before) {
    case TraceKind::kGo:
    case TraceKind::kReady:
    case TraceKind::kYield:
      return after == TraceKind::kStart;
    case TraceKind::kStart:
      return after == TraceKind::kPark || after == TraceKind::kYield || after == TraceKind::kEnd;
    case TraceKind::kPark:
      return after == TraceKind::kReady;
    case TraceKind::kEnd:
    case TraceKind::kSteal:
      return false;
  }
  return false;
}

bool begins_or_ends_a_slice(TraceKind kind) {
  return kind == TraceKind::kStart || kind == TraceKind::kPark || kind == TraceKind::kYield ||
         kind == TraceKind::kEnd;
}

// Whether slices alternate on each processor: one begins, and the same goroutine's ends.
void check_processors(const std::vector<TraceEvent>& events, bool from_the_beginning = true) {
  std::map<int, std::uint64_t> running;  // by processor; 0: none
  for (const TraceEvent& event : events) {
    if (!begins_or_ends_a_slice(event.kind)) continue;
    const bool starts = event.kind == TraceKind::kStart;
    const auto [place, is_first] = running.try_emplace(event.processor, 0);
    std::uint64_t& now = place->second;
    if (is_first && !starts && !from_the_beginning) continue;
    ASSERT_EQ(now, starts ? 0 : event.task) << to_string(event.kind) << " of " << event.task;
    now = starts ? event.task : 0;
  }
}

// Each goroutine's story, from its go() to its end, without a gap.
void check_goroutines(const std::vector<TraceEvent>& events) {
  std::map<std::uint64_t, TraceEvent> last;
  base::TimePoint time{};
  for (const TraceEvent& event : events) {
    ASSERT_GE(event.time, time);
    time = event.time;
    if (event.kind == TraceKind::kSteal) continue;
    const auto [place, is_first] = last.try_emplace(event.task, event);
    if (is_first) {
      ASSERT_EQ(event.kind, TraceKind::kGo) << "of " << event.task;
      ASSERT_EQ(event.number, 0u);
      continue;
    }
    const TraceEvent& before = place->second;
    ASSERT_EQ(event.number, before.number + 1) << "of " << event.task;
    ASSERT_TRUE(may_follow(before.kind, event.kind))
        << to_string(event.kind) << " after " << to_string(before.kind) << " of " << event.task;
    place->second = event;
  }
  for (const auto& [task, event] : last)
    EXPECT_EQ(event.kind, TraceKind::kEnd) << to_string(event.kind) << " of " << task;
}

class TraceTest : public SchedProcessorsTest {
 protected:
  Scheduler& make_traced(std::size_t events) {
    Options options = options_of(GetParam());
    options.trace_events = events;
    return make(options);
  }
};

// All kinds of waits, of many.
void work() {
  Mutex mutex;
  Channel<int> values;
  WaitGroup ended;
  constexpr int kEach = kSanitized ? 20 : 100;
  for (int i = 0; i < 8; ++i) {
    ended.add(1);
    go([&, i] {
      for (int step = 0; step < kEach; ++step) {
        if (i % 2 == 0)
          values.send(step);
        else
          values.receive();
        mutex.lock();
        if (step % 10 == 0) yield();
        mutex.unlock();
        if (step % 10 == i) sleep_for(10us);
        if (step % 50 == i) blocking([] {});
      }
      ended.done();
    });
  }
  Timer timer(1ms);
  timer.channel().receive();
  ended.wait();
}

TEST_P(TraceTest, EachGoroutineAndEachProcessorDoesOneThingAfterAnother) {
  Scheduler& scheduler = make_traced(kEnough);
  scheduler.run(&work);
  const TraceSnapshot trace = scheduler.trace();
  EXPECT_EQ(trace.lost, 0u);
  EXPECT_GT(trace.events.size(), 1000u / (kSanitized ? 5 : 1));
  check_goroutines(trace.events);
  check_processors(trace.events);
}

// The only event of the kind that `wanted` holds for.
template <class Wanted>
TraceEvent find(const TraceSnapshot& trace, TraceKind kind, Wanted wanted) {
  std::vector<TraceEvent> found;
  for (const TraceEvent& event : trace.events)
    if (event.kind == kind && wanted(event)) found.push_back(event);
  EXPECT_EQ(found.size(), 1u) << to_string(kind);
  return found.empty() ? TraceEvent{} : found.front();
}

TEST_P(TraceTest, TellsWhoStartedWhomWhatForItWaitedAndWhoWokeIt) {
  Scheduler& scheduler = make_traced(kEnough);
  Channel<int> channel;
  std::uint64_t main = 0, sleeper = 0, receiver = 0;
  std::uint16_t line = 0;
  const base::TimePoint before = base::Clock::now();
  scheduler.run([&] {
    main = current_task_id();
    go([&] {
      sleeper = current_task_id();
      sleep_for(1ms);
    });
    go([&] {
      receiver = current_task_id();
      line = __LINE__ + 1;
      channel.receive();
    });
    const auto waits = [](const TaskInfo& task) { return task.reason == ParkReason::kReceive; };
    for (bool parked = false; !parked;) {
      yield();
      const std::vector<TaskInfo> tasks = scheduler.tasks();
      parked = std::any_of(tasks.begin(), tasks.end(), waits);
    }
    channel.send(1);
  });
  const TraceSnapshot trace = scheduler.trace();
  const auto of = [](std::uint64_t task) {
    return [task](const TraceEvent& event) { return event.task == task; };
  };
  const TraceEvent made = find(trace, TraceKind::kGo, of(receiver));
  EXPECT_EQ(made.by, main);
  EXPECT_NE(std::strstr(made.site.file, "trace_test.cpp"), nullptr);
  const TraceEvent waits = find(trace, TraceKind::kPark, of(receiver));
  EXPECT_EQ(waits.reason, ParkReason::kReceive);
  EXPECT_EQ(waits.object, &channel);
  EXPECT_EQ(waits.site.line, line);
  EXPECT_EQ(find(trace, TraceKind::kReady, of(receiver)).by, main);
  EXPECT_EQ(find(trace, TraceKind::kPark, of(sleeper)).reason, ParkReason::kSleep);
  EXPECT_EQ(find(trace, TraceKind::kReady, of(sleeper)).by, 0u) << "a timer woke it";
  EXPECT_EQ(find(trace, TraceKind::kGo, of(main)).by, 0u) << "run() started it";
  // Clocks of two kinds are compared: not to the nanosecond.
  const auto slept = find(trace, TraceKind::kReady, of(sleeper)).time -
                     find(trace, TraceKind::kPark, of(sleeper)).time;
  EXPECT_GT(slept, 900us);
  EXPECT_GT(made.time, before - 100us);
  EXPECT_LT(trace.events.back().time, base::Clock::now() + 100us);
}

TEST_P(TraceTest, OtherThreadsAreNoProcessors) {
  Scheduler& scheduler = make_traced(kEnough);
  Channel<int> channel;
  std::uint64_t receiver = 0;
  std::thread outside;
  scheduler.run([&] {
    receiver = current_task_id();
    outside = std::thread([&] {
      for (bool parked = false; !parked;)
        for (const TaskInfo& task : scheduler.tasks()) parked |= task.state == Task::kParked;
      scheduler.go([] {});
      channel.send(1);
    });
    channel.receive();
  });
  outside.join();
  const TraceSnapshot trace = scheduler.trace();
  const TraceEvent woken = find(trace, TraceKind::kReady,
                                [&](const TraceEvent& event) { return event.task == receiver; });
  EXPECT_EQ(woken.processor, -1);
  EXPECT_EQ(woken.by, 0u);
  const TraceEvent made =
      find(trace, TraceKind::kGo, [&](const TraceEvent& event) { return event.task != receiver; });
  EXPECT_EQ(made.processor, -1);
  check_goroutines(trace.events);
}

TEST_P(TraceTest, ADescriptorThatIsReadyWakesInNobodysName) {
  Scheduler& scheduler = make_traced(kEnough);
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  std::uint64_t reader = 0;
  scheduler.run([&] {
    go([&] {
      reader = current_task_id();
      EXPECT_TRUE(wait_readable(ends[0]));
    });
    const auto waits = [](const TaskInfo& task) { return task.reason == ParkReason::kReadable; };
    for (bool parked = false; !parked;) {
      yield();
      const std::vector<TaskInfo> tasks = scheduler.tasks();
      parked = std::any_of(tasks.begin(), tasks.end(), waits);
    }
    EXPECT_EQ(::write(ends[1], "", 1), 1);
  });
  for (const int end : ends) ::close(end);
  const TraceSnapshot trace = scheduler.trace();
  const TraceEvent ready =
      find(trace, TraceKind::kReady, [&](const TraceEvent& event) { return event.task == reader; });
  EXPECT_EQ(ready.by, 0u);
  check_goroutines(trace.events);
}

TEST_P(TraceTest, TheNewestAreKeptAndTheLostCounted) {
  constexpr std::uint64_t kYields = 1000, kGoroutines = 5;
  Scheduler& scheduler = make_traced(60);
  scheduler.run([] {
    for (std::uint64_t i = 0; i < kGoroutines; ++i)
      go([] {
        for (std::uint64_t n = 0; n < kYields; ++n) yield();
      });
  });
  const TraceSnapshot trace = scheduler.trace();
  // go, start and end of each, main included; yield and start for each yield.
  const std::uint64_t all = 3 * (kGoroutines + 1) + 2 * kGoroutines * kYields;
  std::uint64_t steals = 0;
  std::map<int, std::size_t> kept;
  for (const TraceEvent& event : trace.events) {
    ++kept[event.processor];
    steals += event.kind == TraceKind::kSteal;
  }
  EXPECT_GE(trace.lost + trace.events.size() - steals, all);
  if (GetParam() == 1) {
    EXPECT_EQ(trace.lost + trace.events.size(), all);
  }
  for (const auto& [processor, count] : kept) EXPECT_LE(count, 64u);
  EXPECT_GE(trace.events.size(), 63u);
  EXPECT_EQ(trace.events.back().kind, TraceKind::kEnd);
}

// What is in a snapshot is whole, though nobody stops for it.
TEST_P(TraceTest, IsReadWhileTheyRun) {
  Scheduler& scheduler = make_traced(256);
  std::atomic<bool> enough{false};
  std::thread reader([&] {
    const int snapshots = kSanitized ? 30 : 300;
    for (int i = 0; i < snapshots; ++i) {
      const TraceSnapshot trace = scheduler.trace();
      std::map<std::uint64_t, TraceEvent> last;
      for (const TraceEvent& event : trace.events) {
        ASSERT_LE(event.kind, TraceKind::kSteal);
        ASSERT_LE(event.task, 100'000u);
        if (event.kind == TraceKind::kSteal) continue;
        const auto [place, is_first] = last.try_emplace(event.task, event);
        if (is_first) continue;
        ASSERT_GT(event.number, place->second.number);
        if (event.number == place->second.number + 1) {
          ASSERT_TRUE(may_follow(place->second.kind, event.kind));
        }
        place->second = event;
      }
      check_processors(trace.events, false);
    }
    enough = true;
  });
  scheduler.run([&] {
    while (!enough) {
      work();
      if (scheduler.trace().events.empty()) ADD_FAILURE() << "nothing was traced";
    }
  });
  reader.join();
}

INSTANTIATE_TEST_SUITE_P(Processors, TraceTest, testing::Values(1u, 2u, 4u, kMigrating));

class TraceAloneTest : public SchedTest {};

TEST_F(TraceAloneTest, StealsAreTold) {
  Options options{.processors = 2};
  options.trace_events = kEnough;
  Scheduler& scheduler = make(options);
  int from = -1;
  std::atomic<int> to{-1};
  std::atomic<std::uint64_t> stolen{0};
  scheduler.run([&] {
    from = current_processor();
    go([&] {
      stolen = current_task_id();
      to = current_processor();
    });
    while (to < 0) std::this_thread::yield();  // this processor does not come to it
  });
  const TraceSnapshot trace = scheduler.trace();
  const TraceEvent steal =
      find(trace, TraceKind::kSteal, [&](const TraceEvent& event) { return event.task == stolen; });
  EXPECT_EQ(steal.victim, static_cast<unsigned>(from));
  EXPECT_EQ(steal.processor, to);
  EXPECT_EQ(steal.count, 1u);
}

TEST_F(TraceAloneTest, NothingIsTracedUnlessAskedFor) {
  Scheduler& scheduler = make({});
  scheduler.run(&work);
  EXPECT_TRUE(scheduler.trace().events.empty());
  EXPECT_EQ(scheduler.trace().lost, 0u);
}

// A processor's counter may be read before what another has done is seen.
TEST(TracerTest, WhatCausedAnotherComesFirstWhateverTheStamps) {
  Tracer tracer(2, 16);
  const std::uint64_t now = time_stamp();
  const auto add = [&](std::size_t processor, TraceKind kind, std::uint64_t stamp,
                       std::uint32_t number) {
    TraceRecord record;
    record.stamp = now + stamp;
    record.task = 7;
    record.kind = kind;
    record.number = number;
    tracer.ring(processor).add(record);
  };
  add(0, TraceKind::kPark, 100, 2);
  add(1, TraceKind::kReady, 90, 3);
  add(1, TraceKind::kStart, 95, 4);
  add(1, TraceKind::kEnd, 120, 5);
  std::string order;
  base::TimePoint time{};
  for (const TraceEvent& event : tracer.collect().events) {
    order += std::string(to_string(event.kind)) + ' ';
    EXPECT_GE(event.time, time);
    time = event.time;
  }
  EXPECT_EQ(order, "park ready start end ");
}

// Numbers that all say the same, or a record is of two writes.
TEST(TraceRingTest, ARecordIsNeverTorn) {
  constexpr std::size_t kRecords = 8;
  const std::uint64_t most = kSanitized ? 100'000 : 2'000'000;
  TraceRing ring(kRecords);
  std::atomic<bool> done{false};
  std::thread writer([&] {
    for (std::uint64_t n = 0; n < most; ++n) {
      TraceRecord record;
      record.stamp = record.task = record.detail = n;
      record.number = static_cast<std::uint32_t>(n);
      ring.add(record);
    }
    done = true;
  });
  std::uint64_t looks = 0, seen = 0;
  for (bool last = false; !last; ++looks) {
    last = done;
    std::vector<TraceRecord> records;
    std::uint64_t next = ring.copy_to(records);
    for (const TraceRecord& record : records) {
      ASSERT_EQ(record.stamp, next);
      ASSERT_EQ(record.task, next);
      ASSERT_EQ(record.detail, next);
      ASSERT_EQ(record.number, next);
      ++next;
      ++seen;
    }
  }
  writer.join();
  EXPECT_GE(seen, kRecords - 1) << looks << " looks";
  std::vector<TraceRecord> records;
  EXPECT_EQ(ring.copy_to(records), most - kRecords + 1);
  EXPECT_EQ(records.back().stamp, most - 1);
}

}  // namespace
}  // namespace bulkhead::sched
