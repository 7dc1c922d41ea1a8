// Goroutines with a name, a stack of another size, or a place.
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/join.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <cstring>
#include <numeric>

#include "everywhere.hpp"
#include "sched_test.hpp"

namespace bulkhead::sched {
namespace {

class GoOptionsTest : public SchedProcessorsTest {};

TEST_P(GoOptionsTest, ADumpTellsNameOperationAndPlace) {
  Channel<int> silent;
  TaskInfo told;
  run(GetParam(), [&] {
    Join<void> ended = spawn({.name = "listener"}, [&] { silent.receive(); });
    while (told.state != Task::kParked) {
      yield();
      for (const TaskInfo& task : Scheduler::current()->tasks())
        if (task.name == "listener") told = task;
    }
    silent.close();
    ended.join();
    while (Scheduler::current()->alive() > 1) yield();  // it has still to leave
    for (const TaskInfo& task : Scheduler::current()->tasks()) EXPECT_EQ(task.name, "");
  });
  EXPECT_EQ(told.reason, ParkReason::kReceive);
  EXPECT_EQ(told.object, &silent);
  EXPECT_NE(std::strstr(told.waits_at.file, "go_options_test.cpp"), nullptr);
  EXPECT_EQ(told.waits_at.line, told.site.line);
  EXPECT_GT(told.since.time_since_epoch().count(), 0);
  const std::string text = describe(
      {told}, [](Tag) { return ""; }, told.since + std::chrono::seconds(3));
  EXPECT_NE(text.find(" 'listener': parked, channel receive #1, at "), std::string::npos) << text;
  EXPECT_NE(text.find(", for 3.0 s; started at "), std::string::npos) << text;
}

// Fills so much of the stack, frame by frame.
[[gnu::noinline]] std::size_t recurse(std::size_t bytes) {
  volatile char filler[4096];
  filler[0] = 1;
  filler[sizeof filler - 1] = 1;
  if (bytes <= sizeof filler) return 1;
  return 1 + recurse(bytes - sizeof filler) + static_cast<std::size_t>(filler[0]) - 1;
}

TEST_P(GoOptionsTest, ALargeStackHoldsWhatTheUsualOneDoesNot) {
  run(GetParam(), [] {
    Join<std::size_t> depth = spawn({.stack_bytes = 8 << 20}, [] { return recurse(4u << 20); });
    EXPECT_EQ(depth.join(), (4u << 20) / 4096);
  });
}

TEST_P(GoOptionsTest, UsualAndLargeStacksTakeTurns) {
  std::atomic<int> ended{0};
  run(GetParam(), [&] {
    for (int i = 0; i < 200; ++i) {
      if (i % 3 == 0)
        go({.stack_bytes = std::size_t{512 << 10} << (i % 2)}, [&] {
          recurse(300 << 10);
          yield();
          ++ended;
        });
      else
        go([&, i] {
          if (i % 2 == 0) yield();
          ++ended;
        });
    }
  });
  EXPECT_EQ(ended, 200);
}

// Each of some pinned ones stays on its processor, whatever others are stolen.
TEST_P(GoOptionsTest, APinnedOneStaysOnItsProcessor) {
  std::atomic<int> moved{0};
  std::atomic<int> counted{0};
  const int rounds = kSanitized ? 200 : 2000;
  run(GetParam(), [&] {
    WaitGroup group;
    for (int i = 0; i < 4; ++i) {
      group.add(1);
      go([&] {
        Channel<int> answers;
        Join<void> pinned = spawn({.name = "pinned", .pin = true}, [&] {
          const int home = current_processor();
          for (int round = 0; round < rounds; ++round) {
            if (round % 3 == 0) yield();
            answers.send(round);
            if (current_processor() != home) ++moved;
            ++counted;
          }
        });
        for (int round = 0; round < rounds; ++round) EXPECT_EQ(answers.receive(), round);
        pinned.join();
        group.done();
      });
    }
    for (int i = 0; i < 100; ++i)
      go([&] {
        for (int round = 0; round < rounds / 10; ++round) yield();
      });
    group.wait();
  });
  EXPECT_EQ(moved, 0);
  EXPECT_EQ(counted, 4 * rounds);
}

TEST_P(GoOptionsTest, APlainThreadStartsThemToo) {
  std::atomic<bool> pinned_ended{false};
  Options options{.processors = GetParam()};
  Scheduler& scheduler = make(options);
  scheduler.go(
      {.name = "from outside", .pin = true},
      [&] {
        for (int i = 0; i < 10; ++i) yield();
        pinned_ended = true;
      },
      kNoTag);
  scheduler.run([] {});
  EXPECT_TRUE(pinned_ended);
}

INSTANTIATE_TEST_SUITE_P(Processors, GoOptionsTest, testing::Values(1u, 2u, 4u));

}  // namespace
}  // namespace bulkhead::sched
