#include "sched/run_queue.hpp"

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <thread>

#include "sched/task.hpp"

namespace bulkhead::sched {
namespace {

using namespace std::chrono_literals;

TEST(RunQueueTest, IsFirstInFirstOut) {
  RunQueue queue;
  std::array<Task, 3> tasks;
  for (Task& task : tasks) queue.add(task);
  EXPECT_EQ(queue.alive(), 3u);
  for (Task& task : tasks) EXPECT_EQ(queue.pop(), &task);
}

TEST(RunQueueTest, TimersFireInOrderOfDeadlineThenArrival) {
  RunQueue queue;
  std::array<Task, 5> tasks;
  const base::TimePoint past = base::Clock::now() - 1h;
  const std::array<int, 5> minutes{3, 1, 2, 1, 3};
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    tasks[i].deadline = past + minutes[i] * 1min;
    queue.push_timer(tasks[i]);
  }
  for (std::size_t expected : {1u, 3u, 2u, 0u, 4u}) EXPECT_EQ(queue.pop(), &tasks[expected]);
}

TEST(RunQueueTest, IdleProcessorTakesATimerThatComesEarlier) {
  RunQueue queue;
  Task late, early;
  late.deadline = base::Clock::now() + 1h;
  queue.push_timer(late);
  std::thread processor([&] { EXPECT_EQ(queue.pop(), &early); });
  early.deadline = base::Clock::now() + 1ms;
  queue.push_timer(early);
  processor.join();
}

TEST(RunQueueTest, TheLastRetirementSendsAllProcessorsHome) {
  RunQueue queue;
  Task task, stray;
  queue.add(task);
  EXPECT_EQ(queue.pop(), &task);
  std::thread processor([&] { EXPECT_EQ(queue.pop(), nullptr); });
  queue.retire();
  processor.join();
  // Added after the end: not for this run, but for the next.
  queue.add(stray);
  EXPECT_EQ(queue.pop(), nullptr);
  queue.begin();
  EXPECT_EQ(queue.pop(), &stray);
  queue.retire();
  EXPECT_EQ(queue.alive(), 0u);
}

}  // namespace
}  // namespace bulkhead::sched
