#include "sched/queues.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <thread>
#include <vector>

namespace bulkhead::sched {
namespace {

std::unique_ptr<Task[]> some_tasks(std::size_t count) {
  auto tasks = std::make_unique<Task[]>(count);
  for (std::size_t i = 0; i < count; ++i) tasks[i].id = i;
  return tasks;
}

TEST(ReadyQueueTest, IsFirstInFirstOutAndRefusesWhatDoesNotFit) {
  const auto tasks = some_tasks(kQueueSlots + 1);
  for (const bool shared : {false, true}) {
    ReadyQueue queue;
    for (int time = 0; time < 3; ++time) {  // also around the end of the slots
      EXPECT_EQ(queue.pop(shared), nullptr);
      for (std::size_t i = 0; i < kQueueSlots; ++i) ASSERT_TRUE(queue.push(tasks[i]));
      EXPECT_FALSE(queue.push(tasks[kQueueSlots]));
      EXPECT_EQ(queue.size(), kQueueSlots);
      for (std::size_t i = 0; i < kQueueSlots; ++i) ASSERT_EQ(queue.pop(shared), &tasks[i]);
      EXPECT_EQ(queue.take(), nullptr);
      ASSERT_TRUE(queue.push(tasks[0]));
      EXPECT_EQ(queue.take(), &tasks[0]);
    }
  }
}

TEST(FreshQueueTest, TheOwnerTakesTheOldestOfAFewAndTheYoungestOfMany) {
  const auto tasks = some_tasks(kQueueSlots + 1);
  for (const bool shared : {false, true}) {
    FreshQueue queue;
    EXPECT_EQ(queue.pop(shared), nullptr);
    EXPECT_EQ(queue.take(), nullptr);
    for (int time = 0; time < 3; ++time) {
      for (std::size_t i = 0; i < kQueueSlots; ++i) ASSERT_TRUE(queue.push(tasks[i]));
      EXPECT_FALSE(queue.push(tasks[kQueueSlots]));
      EXPECT_EQ(queue.take(), &tasks[0]);
      EXPECT_EQ(queue.pop(shared), &tasks[kQueueSlots - 1]);
      EXPECT_EQ(queue.take(), &tasks[1]);
      EXPECT_EQ(queue.size(), kQueueSlots - 3);
      std::size_t youngest = kQueueSlots - 1;
      while (queue.size() >= FreshQueue::kMany) ASSERT_EQ(queue.pop(shared), &tasks[--youngest]);
      for (std::size_t i = 2; i < youngest; ++i) ASSERT_EQ(queue.pop(shared), &tasks[i]);
      EXPECT_EQ(queue.pop(shared), nullptr);
    }
  }
}

// The owner pushes and pops, others take: each task comes out once.
template <class Queue>
void each_comes_out_once() {
  constexpr std::size_t kTasks = 200'000;
  constexpr int kTakers = 2;
  const auto tasks = some_tasks(kTasks);
  std::vector<std::atomic<int>> seen(kTasks);
  const auto count = [&](Task* task) {
    if (task != nullptr) ++seen[task->id];
    return task != nullptr;
  };
  Queue queue;
  std::atomic<bool> done{false};
  std::vector<std::thread> takers;
  for (int i = 0; i < kTakers; ++i) {
    takers.emplace_back([&] {
      while (!done)
        if (!count(queue.take())) std::this_thread::yield();
    });
  }
  for (std::size_t next = 0; next < kTasks;) {
    for (int i = 0; i < 5 && next < kTasks; ++i)
      if (queue.push(tasks[next])) ++next;
    for (int i = 0; i < 3; ++i) count(queue.pop(true));
  }
  while (queue.size() > 0) count(queue.pop(true));
  done = true;
  for (std::thread& taker : takers) taker.join();
  EXPECT_EQ(queue.size(), 0u);
  EXPECT_TRUE(std::all_of(seen.begin(), seen.end(), [](const auto& times) { return times == 1; }));
}

TEST(ReadyQueueTest, EachComesOutOnceWhateverOthersTake) { each_comes_out_once<ReadyQueue>(); }
TEST(FreshQueueTest, EachComesOutOnceWhateverOthersTake) { each_comes_out_once<FreshQueue>(); }

TEST(InjectorTest, IsFirstInFirstOutAndGivesAtMostWhatIsAskedFor) {
  const auto tasks = some_tasks(5);
  Injector injector;
  EXPECT_EQ(injector.pop(3).count, 0u);
  injector.push(tasks[0]);
  TaskList list;
  for (std::size_t i = 1; i < 5; ++i) list.push_back(tasks[i]);
  injector.push(list);
  EXPECT_EQ(list.count, 0u);
  EXPECT_EQ(injector.size(), 5u);
  list = injector.pop(3);
  EXPECT_EQ(injector.size(), 2u);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(list.pop_front(), &tasks[i]);
  EXPECT_EQ(list.pop_front(), nullptr);
  list = injector.pop(3);
  EXPECT_EQ(list.count, 2u);
  EXPECT_EQ(list.first, &tasks[3]);
}

}  // namespace
}  // namespace bulkhead::sched
