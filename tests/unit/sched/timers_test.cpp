#include "sched/timers.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

namespace bulkhead::sched {
namespace {

struct Recorded : TimerNode {
  Recorded(std::vector<int>& to, int number)
      : TimerNode{.fire =
                      [](TimerNode& node) {
                        auto& self = static_cast<Recorded&>(node);
                        self.fired->push_back(self.name);
                      }},
        fired(&to),
        name(number) {}
  std::vector<int>* fired;
  int name;
};

TEST(TimersTest, FireInOrderOfDeadlineThenArrival) {
  std::vector<int> fired;
  std::vector<std::unique_ptr<Recorded>> nodes;
  Timers timers;
  EXPECT_EQ(timers.earliest(), Timers::kNever);
  int name = 0;
  for (const std::int64_t deadline : {30, 10, 20, 10, 30}) {
    nodes.push_back(std::make_unique<Recorded>(fired, name++));
    timers.arm(*nodes.back(), deadline);
  }
  EXPECT_EQ(timers.earliest(), 10);
  EXPECT_FALSE(timers.fire(9));
  EXPECT_TRUE(timers.fire(20));
  EXPECT_EQ(fired, (std::vector<int>{1, 3, 2}));
  EXPECT_EQ(timers.earliest(), 30);
  EXPECT_TRUE(timers.disarm(*nodes[0]));
  EXPECT_FALSE(timers.disarm(*nodes[0]));
  EXPECT_FALSE(timers.disarm(*nodes[1])) << "it has fired";
  EXPECT_TRUE(timers.fire(1000));
  EXPECT_EQ(fired, (std::vector<int>{1, 3, 2, 4}));
  timers.arm(*nodes[1], 5);  // again
  EXPECT_TRUE(timers.fire(5));
  EXPECT_EQ(fired.back(), 1);
  EXPECT_EQ(timers.earliest(), Timers::kNever);
}

TEST(TimersTest, AnyMixOfArmingAndDisarmingKeepsTheOrder) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 random(seed);
  constexpr std::size_t kNodes = 300;
  std::vector<int> fired;
  std::vector<std::unique_ptr<Recorded>> nodes;
  for (std::size_t i = 0; i < kNodes; ++i)
    nodes.push_back(std::make_unique<Recorded>(fired, static_cast<int>(i)));
  for (int round = 0; round < 30; ++round) {
    Timers timers;
    std::vector<std::pair<std::int64_t, std::size_t>> expected;
    for (std::size_t i = 0; i < kNodes; ++i) {
      const std::int64_t deadline = random() % 100;
      if (i % 2 == 0)
        timers.arm(*nodes[i], deadline);
      else
        timers.arm_for_good(*nodes[i], deadline);
      expected.push_back({deadline, i});
    }
    for (std::size_t i = 0; i < kNodes; ++i) {
      if (i % 2 != 0 || random() % 3 != 0) continue;
      ASSERT_TRUE(timers.disarm(*nodes[i]));
      std::erase_if(expected, [&](const auto& entry) { return entry.second == i; });
    }
    std::sort(expected.begin(), expected.end());
    fired.clear();
    for (std::int64_t now = 0; now < 100; ++now) timers.fire(now);
    ASSERT_EQ(fired.size(), expected.size());
    for (std::size_t i = 0; i < fired.size(); ++i)
      ASSERT_EQ(fired[i], static_cast<int>(expected[i].second));
  }
}

TEST(TimersDeathTest, ArmedTwiceEndsTheProcess) {
  std::vector<int> fired;
  Recorded node(fired, 0);
  Timers timers;
  timers.arm(node, 1);
  EXPECT_DEATH(timers.arm(node, 2), "armed twice");
}

}  // namespace
}  // namespace bulkhead::sched
