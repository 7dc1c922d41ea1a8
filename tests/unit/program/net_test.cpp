// What a network declares, and its channels within one memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bulkhead/program/net.hpp>
#include <bulkhead/program/network.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <cstdint>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace bulkhead::program {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

void run(unsigned processors, std::function<void()> main) {
  sched::Options options;
  options.processors = processors;
  sched::Scheduler(options).run(std::move(main));
}

void nothing() {}
Answer forty_two() { return {"42", "the answer is 42"}; }

// What build() or check() says against a network.
std::string refusal(const std::function<void(Net&)>& build) {
  Net net;
  try {
    build(net);
    net.check();
  } catch (const std::logic_error& error) {
    return error.what();
  }
  return "(accepted)";
}

TEST(NetTest, ANetworkWithoutAMistakeIsAccepted) {
  EXPECT_EQ(refusal([](Net& net) { net.task("alone").runs(forty_two); }), "(accepted)");
  EXPECT_EQ(refusal([](Net& net) {
              auto& a = net.channel<int>("a", 3);
              auto& b = net.channel<std::string>("b");
              auto first = net.task("first");
              first.sends(a);
              first.receives(b);
              first.runs(nothing);
              auto second = net.task("a");  // channels and tasks have names of their own
              second.receives(a);
              second.sends(b);
              second.runs(forty_two);
            }),
            "(accepted)");
}

TEST(NetTest, ATaskIsRefusedThatHasNoNameOrNoBodyOrTwo) {
  EXPECT_EQ(refusal([](Net& net) {
              net.task("read").runs(nothing);
              net.task("read").runs(forty_two);
            }),
            "the network: two tasks are called 'read'");
  EXPECT_EQ(refusal([](Net& net) { net.task("").runs(forty_two); }),
            "the network: a task has no name");
  EXPECT_EQ(refusal([](Net& net) {
              net.task("read").runs(forty_two);
              net.task("idle");
            }),
            "the network: task 'idle' has no body");
  EXPECT_EQ(refusal([](Net& net) {
              auto task = net.task("read");
              task.runs(nothing);
              task.runs(forty_two);
            }),
            "the network: task 'read' has two bodies");
}

TEST(NetTest, AChannelIsRefusedWhoseEndsOrNameAreNotItsOwn) {
  EXPECT_EQ(refusal([](Net& net) {
              auto task = net.task("both");
              for (int i = 0; i < 2; ++i) {
                auto& channel = net.channel<int>("lines");
                task.sends(channel);
                task.receives(channel);
              }
              task.runs(forty_two);
            }),
            "the network: two channels are called 'lines'");
  EXPECT_EQ(refusal([](Net& net) {
              auto& lines = net.channel<int>("lines");
              net.task("one").sends(lines);
              net.task("two").sends(lines);
            }),
            "the network: two tasks send on channel 'lines'; give each its own");
  EXPECT_EQ(refusal([](Net& net) {
              auto& lines = net.channel<int>("lines");
              net.task("one").receives(lines);
              net.task("two").receives(lines);
            }),
            "the network: two tasks receive from channel 'lines'; give each its own");
  EXPECT_EQ(refusal([](Net& net) {
              auto task = net.task("one");
              task.receives(net.channel<int>("lines"));
              task.runs(forty_two);
            }),
            "the network: no task sends on channel 'lines'");
  EXPECT_EQ(refusal([](Net& net) {
              auto task = net.task("one");
              task.sends(net.channel<int>("lines"));
              task.runs(forty_two);
            }),
            "the network: no task receives from channel 'lines'");
}

TEST(NetTest, OneTaskMustAnswerAndNoOther) {
  EXPECT_EQ(refusal([](Net& net) { net.task("read").runs(nothing); }),
            "the network: 0 tasks return an answer; one must");
  EXPECT_EQ(refusal([](Net&) {}), "the network: 0 tasks return an answer; one must");
  EXPECT_EQ(refusal([](Net& net) {
              net.task("one").runs(forty_two);
              net.task("two").runs(forty_two);
            }),
            "the network: 2 tasks return an answer; one must");
}

// Tasks 0, 1, … of which each pair (i, j) has a channel from i to j.
void connect(Net& net, std::size_t tasks,
             const std::vector<std::pair<std::size_t, std::size_t>>& pairs) {
  std::vector<Net::Task> made;
  for (std::size_t task = 0; task < tasks; ++task) {
    made.push_back(net.task("t" + std::to_string(task)));
    if (task == 0)
      made.back().runs(forty_two);
    else
      made.back().runs(nothing);
  }
  for (const auto& [from, to] : pairs) {
    auto& channel = net.channel<int>(std::to_string(from) + " to " + std::to_string(to));
    made[from].sends(channel);
    made[to].receives(channel);
  }
  net.check();
}

TEST(NetTest, EachTaskComesBehindThoseThatSendToIt) {
  Net backwards;
  connect(backwards, 4, {{3, 2}, {2, 1}, {1, 0}});
  EXPECT_THAT(backwards.order(), ElementsAre(3, 2, 1, 0));
  EXPECT_EQ(backwards.circle(), "");
  Net forwards;
  connect(forwards, 3, {{0, 1}, {1, 2}, {0, 2}});
  EXPECT_THAT(forwards.order(), ElementsAre(0, 1, 2));
  Net mixed;
  connect(mixed, 4, {{2, 0}, {0, 3}, {3, 1}, {2, 1}});
  EXPECT_THAT(mixed.order(), ElementsAre(2, 0, 3, 1));
  EXPECT_EQ(mixed.circle(), "");
  Net alone;
  connect(alone, 3, {});
  EXPECT_THAT(alone.order(), ElementsAre(0, 1, 2));
  EXPECT_EQ(alone.circle(), "");
}

TEST(NetTest, ACircleHasNoOrderAndSaysWhoWaitsForWhom) {
  Net two;
  connect(two, 2, {{0, 1}, {1, 0}});
  EXPECT_THAT(two.order(), IsEmpty());
  EXPECT_EQ(two.circle(), "'t0' waits for what 't1' sends, 't1' waits for what 't0' sends");
  Net three;
  connect(three, 3, {{0, 1}, {1, 2}, {2, 0}});
  EXPECT_THAT(three.order(), IsEmpty());
  EXPECT_EQ(three.circle(),
            "'t0' waits for what 't2' sends, 't2' waits for what 't1' sends, "
            "'t1' waits for what 't0' sends");
  Net itself;
  connect(itself, 1, {{0, 0}});
  EXPECT_EQ(itself.circle(), "'t0' waits for what 't0' sends");
}

// Neither the way into it nor what hangs behind it is part of it.
TEST(NetTest, ACircleNamesThoseAloneThatAreInIt) {
  Net net;
  connect(net, 5, {{3, 0}, {4, 3}, {1, 2}, {2, 1}, {1, 3}});
  EXPECT_THAT(net.order(), IsEmpty());
  const std::string circle = net.circle();
  EXPECT_EQ(circle, "'t1' waits for what 't2' sends, 't2' waits for what 't1' sends");
}

class NetRunTest : public testing::TestWithParam<unsigned> {};

INSTANTIATE_TEST_SUITE_P(Processors, NetRunTest, testing::Values(1u, 2u));

// Numbers from one task to the next, which answers with their sum; neither end is closed by hand.
void build_sum(Net& net, std::size_t capacity, int count) {
  auto& numbers = net.channel<int>("numbers", capacity);
  auto sum = net.task("sum");
  sum.runs([&net, in = sum.receives(numbers)] {
    std::int64_t total = 0;
    for (const int number : *in) {
      total += number;
      net.did(1);
    }
    return Answer{std::to_string(total), ""};
  });
  auto count_up = net.task("count");
  count_up.runs([count, out = count_up.sends(numbers)] {
    for (int i = 1; i <= count; ++i) out->send(i);
  });
  net.check();
}

TEST_P(NetRunTest, TheAnswerIsThatOfTheTaskThatGivesOne) {
  for (const std::size_t capacity : {0u, 1u, 16u, 1000u}) {
    Net net;
    build_sum(net, capacity, 100);
    run(GetParam(), [&] { EXPECT_EQ(run_in_memory(net).checksum, "5050") << capacity; });
    EXPECT_EQ(net.take_done(), 100u);
  }
}

TEST_P(NetRunTest, AnEndThatItsTaskHasClosedIsNotClosedAgain) {
  Net net;
  auto& channel = net.channel<int>("numbers", 1);
  auto first = net.task("first");
  first.runs([out = first.sends(channel)] {
    out->send(1);
    out->close();
  });
  auto second = net.task("second");
  second.runs([in = second.receives(channel)] {
    EXPECT_EQ(in->receive(), 1);
    EXPECT_EQ(in->receive(), std::nullopt);
    return forty_two();
  });
  run(GetParam(), [&] { EXPECT_EQ(run_in_memory(net).checksum, "42"); });
}

TEST_P(NetRunTest, GoroutinesOfATaskShareItsEnds) {
  Net net;
  auto& channel = net.channel<int>("numbers");
  auto first = net.task("first");
  first.runs([out = first.sends(channel)] {
    sched::WaitGroup group;
    for (int i = 0; i < 10; ++i) {
      group.add();
      sched::go([&, i] {
        for (int j = 0; j < 10; ++j) out->send(10 * i + j);
        group.done();
      });
    }
    group.wait();
  });
  auto second = net.task("second");
  second.runs([in = second.receives(channel)] {
    std::vector<int> got;
    for (const int number : *in) got.push_back(number);
    std::sort(got.begin(), got.end());
    std::vector<int> all(100);
    for (int i = 0; i < 100; ++i) all[static_cast<std::size_t>(i)] = i;
    EXPECT_EQ(got, all);
    return forty_two();
  });
  run(GetParam(), [&] { run_in_memory(net); });
}

// Cannot be copied.
struct Parcel {
  std::string label;
  std::vector<std::uint32_t> weights;
  Parcel() = default;
  Parcel(std::string l, std::vector<std::uint32_t> w)
      : label(std::move(l)), weights(std::move(w)) {}
  Parcel(Parcel&&) = default;
  Parcel& operator=(Parcel&&) = default;
  Parcel(const Parcel&) = delete;
  Parcel& operator=(const Parcel&) = delete;
  BULKHEAD_FIELDS(label, weights)
};

TEST_P(NetRunTest, WhatIsCopiedOrEncodedOnTheWayArrivesAsItWas) {
  for (const Transfer transfer : {Transfer::kMove, Transfer::kCopy, Transfer::kEncode}) {
    NetChannel<std::vector<std::string>> texts("texts", 2);
    NetChannel<Parcel> parcels("parcels", 2);
    texts.join_in_memory(transfer);
    parcels.join_in_memory(transfer);
    EXPECT_EQ(texts.out().capacity(), 2u);
    EXPECT_EQ(texts.in().capacity(), 2u);
    run(GetParam(), [&] {
      sched::go([&] {
        for (std::uint32_t i = 0; i < 100; ++i) {
          texts.out().send({"text", std::string(i, '\0'), std::to_string(i)});
          parcels.out().send(Parcel(std::to_string(i), {i, i * i}));
        }
        texts.sender_ended();
        parcels.sender_ended();
      });
      for (std::uint32_t i = 0; i < 100; ++i) {
        EXPECT_EQ(texts.in().receive().value(),
                  (std::vector<std::string>{"text", std::string(i, '\0'), std::to_string(i)}));
        const auto parcel = parcels.in().receive();
        ASSERT_TRUE(parcel);
        EXPECT_EQ(parcel->label, std::to_string(i));
        EXPECT_THAT(parcel->weights, ElementsAre(i, i * i));
      }
      EXPECT_EQ(texts.in().receive(), std::nullopt);
      EXPECT_FALSE(parcels.in().receive());
    });
  }
}

TEST(NetChannelTest, ACopyIsNotWhatWasSentAndAMoveIs) {
  for (const Transfer transfer : {Transfer::kMove, Transfer::kCopy, Transfer::kEncode}) {
    NetChannel<std::vector<int>> channel("numbers", 1);
    channel.join_in_memory(transfer);
    run(1, [&] {
      std::vector<int> sent{1, 2, 3};
      const int* const where = sent.data();
      channel.out().send(std::move(sent));
      const auto got = channel.in().receive();
      ASSERT_TRUE(got);
      EXPECT_THAT(*got, ElementsAre(1, 2, 3));
      EXPECT_EQ(got->data() == where, transfer == Transfer::kMove);
    });
  }
}

TEST(NetChannelTest, AStoreHoldsWhateverIsSentAndKeepsNobodyWaiting) {
  constexpr int kCount = 10'000;
  NetChannel<int> channel("numbers", 0);
  channel.join_by_store();
  EXPECT_EQ(channel.out().capacity(), 0u) << "as declared";
  run(1, [&] {
    for (int i = 0; i < kCount; ++i) channel.out().send(i);
    channel.sender_ended();
    for (int i = 0; i < kCount; ++i) ASSERT_EQ(channel.in().receive(), i);
    EXPECT_EQ(channel.in().receive(), std::nullopt);
    EXPECT_EQ(channel.in().receive(), std::nullopt);
  });
}

TEST(NetChannelTest, ANetworkOfStoresRunsOneTaskAfterTheOther) {
  Net net;
  build_sum(net, 0, 1000);
  for (const auto& channel : net.channels()) channel->join_by_store();
  run(1, [&] {
    std::optional<Answer> answer;
    for (const std::size_t task : net.order()) {
      auto given = net.run_task(task);
      EXPECT_EQ(given.has_value(), net.tasks()[task].answers);
      if (given) answer = std::move(given);
    }
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->checksum, "500500");
  });
}

TEST(NetChannelTest, WhatATaskThrowsLeavesItsRun) {
  Net net;
  net.task("bad").runs([]() -> Answer { throw std::runtime_error("out of words"); });
  EXPECT_THROW(
      {
        try {
          net.run_task(0);
        } catch (const std::runtime_error& error) {
          EXPECT_STREQ(error.what(), "out of words");
          throw;
        }
      },
      std::runtime_error);
}

// However the ends are joined; the hook at a receive comes also before the one that finds the end.
TEST(NetChannelTest, HooksAreCalledBeforeEachOperation) {
  for (const bool stored : {false, true}) {
    NetChannel<int> channel("numbers", 8);
    if (stored)
      channel.join_by_store();
    else
      channel.join_in_memory(Transfer::kMove);
    std::vector<std::string> steps;
    channel.before_each_send([&] { steps.push_back("hook of send"); });
    channel.before_each_receive([&] { steps.push_back("hook of receive"); });
    EXPECT_EQ(channel.out().capacity(), 8u);
    EXPECT_EQ(channel.in().capacity(), 8u);
    run(1, [&] {
      channel.out().send(1);
      channel.out().send(2);
      steps.push_back("sent");
      EXPECT_EQ(channel.in().receive(), 1);
      channel.out().close();
      channel.sender_ended();  // closed already
      EXPECT_EQ(channel.in().receive(), 2);
      EXPECT_EQ(channel.in().receive(), std::nullopt);
    });
    EXPECT_THAT(steps, ElementsAre("hook of send", "hook of send", "sent", "hook of receive",
                                   "hook of receive", "hook of receive"));
  }
}

TEST(NetChannelTest, WhatAHookThrowsLeavesTheOperationAndNothingWasDone) {
  NetChannel<int> channel("numbers", 2);
  channel.join_in_memory(Transfer::kMove);
  bool strikes = false;
  const auto hook = [&] {
    if (strikes) throw std::domain_error("planned");
  };
  channel.before_each_send(hook);
  channel.before_each_receive(hook);
  run(1, [&] {
    channel.out().send(1);
    strikes = true;
    EXPECT_THROW(channel.out().send(2), std::domain_error);
    EXPECT_THROW(channel.in().receive(), std::domain_error);
    strikes = false;
    channel.out().send(3);
    EXPECT_EQ(channel.in().receive(), 1);
    EXPECT_EQ(channel.in().receive(), 3);
  });
}

TEST(NetDoneTest, WorkIsCountedByAnyThreadAndTakenOnce) {
  Net net;
  EXPECT_EQ(net.take_done(), 0u);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&net] {
      for (int j = 0; j < 1000; ++j) net.did(3);
    });
  }
  std::uint64_t taken = 0;
  for (int i = 0; i < 100; ++i) taken += net.take_done();
  for (std::thread& thread : threads) thread.join();
  taken += net.take_done();
  EXPECT_EQ(taken, 12'000u);
  EXPECT_EQ(net.take_done(), 0u);
}

TEST(NetNetworkTest, AnObjectThatBuildsTasksRunsThemInOneMemory) {
  struct Sum {
    explicit Sum(const Settings&) {}
    void build(Net& net) { build_sum(net, 4, 10); }
  };
  static_assert(NetworkAdapter<Sum>::kHasTasks);
  const Settings settings({.name = "sum", .summary = "", .parameters = {}}, {}, {});
  NetworkAdapter<Sum> network(settings);
  EXPECT_FALSE(network.expected());
  run(1, [&] {
    EXPECT_EQ(network.run().checksum, "55");
    EXPECT_EQ(network.run().checksum, "55");
  });
}

TEST(NetNetworkTest, AnObjectThatBuildsAMistakeIsToldSo) {
  struct Mistaken {
    explicit Mistaken(const Settings&) {}
    void build(Net& net) { net.task("read").runs(nothing); }
  };
  const Settings settings({.name = "mistaken", .summary = "", .parameters = {}}, {}, {});
  NetworkAdapter<Mistaken> network(settings);
  Net net;
  EXPECT_THROW(network.build(net), std::logic_error);
}

}  // namespace
}  // namespace bulkhead::program
