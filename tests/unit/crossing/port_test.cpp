// Goroutines that talk over each transport, with each other and with a plain thread.
#include "crossing/port.hpp"

#include <algorithm>
#include <atomic>
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/mutex.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <mutex>
#include <thread>
#include <tuple>
#include <vector>

#include "tests/conformance/transport_fixture.hpp"

namespace bulkhead::crossing {
namespace {

using transport::Kind;

class PortTest : public transport::TransportTestBase,
                 public testing::WithParamInterface<std::tuple<Kind, unsigned>> {
 protected:
  struct Ports {
    std::unique_ptr<Port> left;
    std::unique_ptr<Port> right;
  };
  Ports ports(const transport::ConnectionOptions& options = {}) {
    Pair pair = make_pair(std::get<0>(GetParam()), options);
    return {std::make_unique<Port>(std::move(pair.connector)),
            std::make_unique<Port>(std::move(pair.acceptor))};
  }
  static void run(std::function<void()> main) {
    sched::Options options;
    options.processors = std::get<1>(GetParam());
    sched::Scheduler(options).run(std::move(main));
  }
  static void echo(Port& port) {
    std::string_view message;
    while (port.receive(message) == Outcome::kDone) {
      ASSERT_EQ(port.send(message), Outcome::kDone);
      ASSERT_EQ(port.flush(), Outcome::kDone);
    }
    EXPECT_EQ(port.close(), Outcome::kDone);
  }
  static void ask(Port& port, int turns) {
    std::string_view answer;
    for (int turn = 0; turn < turns; ++turn) {
      const std::string question = std::to_string(turn);
      ASSERT_EQ(port.send(question), Outcome::kDone);
      ASSERT_EQ(port.flush(), Outcome::kDone);
      ASSERT_EQ(port.receive(answer), Outcome::kDone);
      ASSERT_EQ(answer, question);
    }
    EXPECT_EQ(port.close(), Outcome::kDone);
    EXPECT_EQ(port.receive(answer), Outcome::kClosed);
  }
};

TEST_P(PortTest, ManyPairsTakeTurns) {
  constexpr int kPairs = 10;
  std::vector<Ports> all(kPairs);
  for (Ports& one : all) one = ports();
  run([&] {
    sched::WaitGroup group;
    for (Ports& one : all) {
      group.add(2);
      sched::go([&] {
        echo(*one.right);
        group.done();
      });
      sched::go([&] {
        ask(*one.left, 300);
        group.done();
      });
    }
    group.wait();
  });
}

TEST_P(PortTest, AGoroutineAndAThreadTakeTurns) {
  const Ports one = ports();
  std::thread thread([&] { echo(*one.right); });
  run([&] { ask(*one.left, 1000); });
  thread.join();
}

TEST_P(PortTest, AFastSenderWaitsForASlowReaderWhileOthersRun) {
  transport::ConnectionOptions options;
  options.window_bytes = 64u << 10;
  const Ports one = ports(options);
  constexpr std::uint64_t kCount = 3000;
  run([&] {
    sched::WaitGroup group;
    group.add(1);
    sched::go([&] {
      for (std::uint64_t i = 0; i < kCount; ++i)
        ASSERT_EQ(one.left->send(transport::message_of(5, i, 100'000)), Outcome::kDone);
      EXPECT_EQ(one.left->close(), Outcome::kDone);
      group.done();
    });
    std::string_view message;
    for (std::uint64_t i = 0; i < kCount; ++i) {
      ASSERT_EQ(one.right->receive(message), Outcome::kDone);
      ASSERT_TRUE(message == transport::message_of(5, i, 100'000)) << i;
      if (i % 10 == 0) sched::yield();
    }
    EXPECT_EQ(one.right->receive(message), Outcome::kClosed);
    group.wait();
  });
}

// It may hold what others wait for: a worker whose results do not fit is not deadlocked.
TEST_P(PortTest, WhoWaitsForRoomKeepsNobodyInADeadlock) {
  if (std::get<0>(GetParam()) == Kind::kInproc) return;  // no worker sends results over that
  std::atomic<bool> deadlock{false};
  for (int round = 0; round < 10; ++round) {
    const Ports one = ports();
    sched::Options options;
    options.processors = std::get<1>(GetParam());
    options.on_deadlock = [&](const std::vector<sched::TaskInfo>&) { deadlock = true; };
    sched::Scheduler scheduler(options);
    sched::Channel<int> all_wait;
    std::thread watcher([&] {
      const auto waits = [&] {
        const auto tasks = scheduler.tasks();
        return tasks.size() == 3 && std::all_of(tasks.begin(), tasks.end(), [](const auto& task) {
                 return task.state == sched::Task::kParked;
               });
      };
      while (!waits()) std::this_thread::yield();
      all_wait.send(0);
    });
    sched::Mutex sending;
    scheduler.run([&] {
      const std::string large(8u << 20, 'r');
      sched::WaitGroup sent;
      sent.add(2);
      const auto send = [&] {
        {
          const std::lock_guard lock(sending);
          EXPECT_EQ(one.left->send(large), Outcome::kDone);
          EXPECT_EQ(one.left->flush(), Outcome::kDone);
        }
        sent.done();
      };
      sched::go(send);
      sched::go(send);
      {
        const sched::ExternalWait external;
        all_wait.receive();
      }
      std::string_view message;
      for (int i = 0; i < 2; ++i) {
        ASSERT_EQ(one.right->receive(message), Outcome::kDone);
        ASSERT_EQ(message.size(), large.size());
      }
      sent.wait();
    });
    watcher.join();
  }
  EXPECT_FALSE(deadlock);
}

TEST_P(PortTest, WhoWaitsIsToldThatThePeerIsLost) {
  for (int round = 0; round < 50; ++round) {
    Ports one = ports();
    run([&] {
      sched::WaitGroup group;
      group.add(2);
      sched::go([&] {
        std::string_view message;
        EXPECT_EQ(one.left->receive(message), Outcome::kLost);
        group.done();
      });
      sched::go([&] {
        const std::string bytes(5000, 'x');
        Outcome outcome = Outcome::kDone;
        while (outcome == Outcome::kDone) outcome = one.left->send(bytes);
        EXPECT_EQ(outcome, Outcome::kLost);
        group.done();
      });
      for (int i = 0; i < round; ++i) sched::yield();
      one.right.reset();
      group.wait();
    });
  }
}

std::string way_name(const testing::TestParamInfo<std::tuple<Kind, unsigned>>& info) {
  std::string name(name_of(std::get<0>(info.param)));
  std::erase(name, '-');
  return name + "_on_" + std::to_string(std::get<1>(info.param));
}

INSTANTIATE_TEST_SUITE_P(Transports, PortTest,
                         testing::Combine(testing::ValuesIn(transport::kAllKinds),
                                          testing::Values(1u, 2u, 4u)),
                         way_name);

// It is given up where it brings nothing, tried again now and then, and comes back.
TEST(PatienceTest, LooksForAsLongAsItPays) {
  Patience patience;
  unsigned before = patience.looks();
  EXPECT_GT(before, 0u);
  while (before > 0) {
    patience.failed();
    const unsigned looks = patience.looks();
    EXPECT_LT(looks, before);
    before = looks;
  }
  int trials = 0;
  for (int wait = 0; wait < 1000; ++wait) {
    const unsigned looks = patience.looks();
    if (looks == 0) continue;
    ++trials;
    patience.failed();
  }
  EXPECT_GT(trials, 10);
  EXPECT_LT(trials, 100);
  patience.succeeded();
  EXPECT_GT(patience.looks(), 500u);
}

}  // namespace
}  // namespace bulkhead::crossing
