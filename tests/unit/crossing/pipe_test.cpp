// A channel between two processes, both ends of which this test plays, over each transport.
#include "crossing/pipe.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <atomic>
#include <bulkhead/program/net_channel.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <bulkhead/wire/channel_message.hpp>
#include <functional>
#include <mutex>
#include <numeric>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "tests/conformance/transport_fixture.hpp"

namespace bulkhead::crossing {
namespace {

using program::NetChannel;
using testing::HasSubstr;
using transport::Kind;

constexpr std::size_t kMost = 1u << 20;
constexpr std::size_t kCapacities[] = {0, 1, 2, 128};

class PipeTest : public transport::TransportTestBase,
                 public testing::WithParamInterface<std::tuple<Kind, unsigned>> {
 protected:
  struct Ends {
    std::shared_ptr<PipeSender> out;
    std::shared_ptr<PipeReceiver> in;

    void send(std::string_view bytes) const {
      const std::lock_guard lock(out->mutex());
      out->send(bytes, base::SourceSite::current());
    }
    void close() const {
      const std::lock_guard lock(out->mutex());
      out->close();
    }
    // The next value; nothing at the end.
    std::optional<std::string> receive() const {
      const std::lock_guard lock(in->mutex());
      std::string_view bytes;
      if (!in->receive(bytes, base::SourceSite::current())) return std::nullopt;
      return std::string(bytes);
    }
  };

  Pair connections(const transport::ConnectionOptions& options = {}) {
    return make_pair(std::get<0>(GetParam()), options);
  }
  static std::shared_ptr<PipeSender> sender(std::unique_ptr<Connection> connection,
                                            std::size_t capacity, std::size_t most = kMost) {
    return std::make_shared<PipeSender>(Port(std::move(connection)), "lines", capacity, most);
  }
  Ends ends(std::size_t capacity, const transport::ConnectionOptions& options = {}) {
    Pair pair = connections(options);
    return {sender(std::move(pair.connector), capacity),
            std::make_shared<PipeReceiver>(Port(std::move(pair.acceptor)), "lines", capacity)};
  }
  static void run(std::function<void()> main) {
    sched::Options options;
    options.processors = std::get<1>(GetParam());
    sched::Scheduler(options).run(std::move(main));
  }
  // Within run(): until `condition` holds.
  template <class Condition>
  static void await(Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + transport::kDeadline;
    while (!condition()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "waited in vain";
      sched::yield();
    }
  }
  // The goroutine of this name waits for its peer.
  static bool waits(const std::string& name) {
    const auto tasks = sched::Scheduler::current()->tasks();
    return std::any_of(tasks.begin(), tasks.end(), [&](const sched::TaskInfo& task) {
      return task.name == name && task.outside;
    });
  }
  // What PeerLost said of `operation`.
  template <class Operation>
  static std::string loss(Operation operation) {
    try {
      operation();
    } catch (const sched::PeerLost& lost) {
      return lost.what();
    }
    return "(nothing was lost)";
  }
};

std::string pipe_way_name(const testing::TestParamInfo<std::tuple<Kind, unsigned>>& info) {
  std::string name(name_of(std::get<0>(info.param)));
  std::erase(name, '-');
  return name + "_on_" + std::to_string(std::get<1>(info.param));
}

INSTANTIATE_TEST_SUITE_P(Transports, PipeTest,
                         testing::Combine(testing::ValuesIn(transport::kAllKinds),
                                          testing::Values(1u, 2u)),
                         pipe_way_name);

TEST_P(PipeTest, AllValuesComeInTheirOrderAndThenTheEnd) {
  for (const std::size_t capacity : kCapacities) {
    const std::uint64_t seed = transport::test_seed();
    const std::uint64_t count = capacity == 0 ? 300 : 2000;
    const Ends pipe = ends(capacity);
    std::uint64_t bytes = 0;
    run([&] {
      sched::go([&] {
        for (std::uint64_t i = 0; i < count; ++i) pipe.send(transport::message_of(seed, i, 1000));
        pipe.close();
      });
      for (std::uint64_t i = 0; i < count; ++i) {
        const auto value = pipe.receive();
        ASSERT_TRUE(value) << "capacity " << capacity << ", value " << i << ", seed " << seed;
        ASSERT_TRUE(*value == transport::message_of(seed, i, 1000))
            << "capacity " << capacity << ", value " << i << ", seed " << seed;
        bytes += value->size();
      }
      EXPECT_EQ(pipe.receive(), std::nullopt);
      EXPECT_EQ(pipe.receive(), std::nullopt) << "for good";
    });
    EXPECT_EQ(pipe.out->messages(), count);
    EXPECT_EQ(pipe.out->bytes(), bytes);
  }
}

TEST_P(PipeTest, ASenderIsAheadByTheCapacityAndNoFarther) {
  for (const std::size_t capacity : kCapacities) {
    const Ends pipe = ends(capacity);
    const std::size_t count = 3 * capacity + 10;
    std::atomic<std::size_t> sent{0};
    std::atomic<std::size_t> begun{0};  // receives
    run([&] {
      sched::go({.name = "sender"}, [&] {
        for (std::size_t i = 1; i <= count; ++i) {
          pipe.send(std::to_string(i));
          EXPECT_LE(i, capacity + begun) << "capacity " << capacity;
          sent = i;
        }
        pipe.close();
      });
      await([&] { return sent >= capacity && waits("sender"); });
      EXPECT_EQ(sent, capacity);
      for (std::size_t i = 1; i <= count; ++i) {
        ++begun;
        ASSERT_EQ(pipe.receive(), std::to_string(i));
      }
      EXPECT_EQ(pipe.receive(), std::nullopt);
    });
    EXPECT_EQ(sent, count);
  }
}

TEST_P(PipeTest, ASendWithoutABufferReturnsWhenItsValueWasTaken) {
  const Ends pipe = ends(0);
  std::atomic<int> sent{0};
  run([&] {
    sched::go({.name = "sender"}, [&] {
      for (int i = 1; i <= 20; ++i) {
        pipe.send("a value");
        sent = i;
      }
      pipe.close();
    });
    for (int i = 1; i <= 20; ++i) {
      await([&] { return sent == i - 1 && waits("sender"); });
      EXPECT_EQ(pipe.receive(), "a value");
      await([&] { return sent == i; });
    }
    EXPECT_EQ(pipe.receive(), std::nullopt);
  });
}

TEST_P(PipeTest, AReceiverThatWaitsGetsWhatIsSentAlone) {
  const Ends there = ends(16);
  const Ends back = ends(16);
  run([&] {
    sched::go([&] {
      while (const auto value = there.receive()) back.send(*value);
      back.close();
    });
    for (int i = 0; i < 200; ++i) {
      there.send(std::to_string(i));
      ASSERT_EQ(back.receive(), std::to_string(i));
    }
    there.close();
    EXPECT_EQ(back.receive(), std::nullopt);
  });
}

// Credits of one or of half of the capacity, whichever is more; fewer at a time only where the
// receiver has turned to something else.
TEST_P(PipeTest, CreditIsGivenBackWhenItIsHalfOfTheCapacityAtTheLatest) {
  for (const auto& [capacity, least] :
       {std::pair<std::size_t, std::uint64_t>{0, 256}, {1, 256}, {2, 256}, {4, 128}, {128, 4}}) {
    const Ends pipe = ends(capacity);
    run([&] {
      sched::go([&] {
        for (int i = 0; i < 256; ++i) pipe.send("");
        pipe.close();
      });
      for (int i = 0; i < 256; ++i) ASSERT_EQ(pipe.receive(), "");
      EXPECT_EQ(pipe.receive(), std::nullopt);
    });
    EXPECT_GE(pipe.in->messages(), least) << "capacity " << capacity;
    EXPECT_LE(pipe.in->messages(), 256u) << "capacity " << capacity;
    EXPECT_EQ(pipe.in->bytes(), 4 * pipe.in->messages());
  }
}

// As in one memory: whoever sends must not wait for a receiver that waits for something else.
TEST_P(PipeTest, AValueThatWasTakenMakesRoomForOneMore) {
  for (const std::size_t capacity : {std::size_t{1}, std::size_t{4}, std::size_t{128}}) {
    const Ends pipe = ends(capacity);
    std::atomic<std::size_t> sent{0};
    run([&] {
      sched::go({.name = "sender"}, [&] {
        for (std::size_t i = 1; i <= capacity + 3; ++i) {
          pipe.send("a value");
          sent = i;
        }
        pipe.close();
      });
      for (std::size_t taken = 0; taken < 3; ++taken) {
        await([&] { return sent == capacity + taken && waits("sender"); });
        EXPECT_EQ(pipe.receive(), "a value");
        await([&] { return sent > capacity + taken; });
      }
      for (std::size_t i = 0; i < capacity; ++i) EXPECT_EQ(pipe.receive(), "a value");
      EXPECT_EQ(pipe.receive(), std::nullopt);
    });
  }
}

// What it had taken is given back before, or not at all: nothing follows its goodbye.
TEST_P(PipeTest, AReceiverThatEndsEarlyIsNoLossToWhoStillHasCredit) {
  for (std::size_t taken = 0; taken < 8; ++taken) {
    const Ends pipe = ends(16);
    run([&] {
      for (int i = 0; i < 8; ++i) pipe.send("a value");
      for (std::size_t i = 0; i < taken; ++i) EXPECT_EQ(pipe.receive(), "a value");
      const std::lock_guard lock(pipe.in->mutex());
      pipe.in->end();
    });
    run([&] {
      for (int i = 0; i < 8; ++i) pipe.send("another one");
      pipe.close();
    });
  }
}

TEST_P(PipeTest, ValuesBeyondTheWindowWaitForRoomThere) {
  transport::ConnectionOptions options;
  options.window_bytes = 64u << 10;
  const std::uint64_t seed = transport::test_seed();
  const Ends pipe = ends(1000, options);
  run([&] {
    sched::go([&] {
      for (std::uint64_t i = 0; i < 300; ++i) pipe.send(transport::message_of(seed, i, 100'000));
      pipe.close();
    });
    for (std::uint64_t i = 0; i < 300; ++i)
      ASSERT_TRUE(pipe.receive() == transport::message_of(seed, i, 100'000)) << "seed " << seed;
    EXPECT_EQ(pipe.receive(), std::nullopt);
  });
}

TEST_P(PipeTest, AnEndIsSharedByGoroutinesAndNothingIsLostOrDoubled) {
  constexpr int kSharers = 5;
  constexpr int kEach = 100;
  for (const std::size_t capacity : kCapacities) {
    Ends pipe = ends(capacity);
    NetChannel<int> channel("lines", capacity);
    channel.send_into(pipe.out);
    channel.receive_from(pipe.in);
    std::vector<std::vector<int>> got(kSharers);
    run([&] {
      sched::WaitGroup group;
      group.add(kSharers);
      for (int sharer = 0; sharer < kSharers; ++sharer) {
        sched::go([&, sharer] {
          for (int i = 0; i < kEach; ++i) channel.out().send(kEach * sharer + i);
          group.done();
        });
        sched::go([&, sharer] {
          for (const int value : channel.in())
            got[static_cast<std::size_t>(sharer)].push_back(value);
        });
      }
      group.wait();
      channel.sender_ended();
    });
    std::vector<int> all;
    for (const auto& of_one : got) {
      for (int sharer = 0; sharer < kSharers; ++sharer) {
        int last = -1;
        for (const int value : of_one) {
          if (value / kEach != sharer) continue;
          EXPECT_GT(value, last) << "capacity " << capacity;
          last = value;
        }
      }
      all.insert(all.end(), of_one.begin(), of_one.end());
    }
    std::sort(all.begin(), all.end());
    std::vector<int> expected(kSharers * kEach);
    std::iota(expected.begin(), expected.end(), 0);
    EXPECT_EQ(all, expected) << "capacity " << capacity;
  }
}

TEST_P(PipeTest, ASenderThatIsGoneIsALossAndNeverAnEnd) {
  for (int count = 0; count < 20; ++count) {
    Ends pipe = ends(8);
    run([&] {
      sched::go([&] {
        for (int i = 0; i < count; ++i) pipe.send(std::to_string(i));
        pipe.out.reset();
      });
      int taken = 0;
      const std::string said = loss([&] {
        while (const auto value = pipe.receive()) ASSERT_EQ(*value, std::to_string(taken++));
      });
      EXPECT_EQ(said, "peer lost: the other end of channel 'lines' is gone");
      EXPECT_LE(taken, count);
      EXPECT_NE(loss([&] { pipe.receive(); }), "(nothing was lost)") << "for good";
    });
  }
}

TEST_P(PipeTest, AReceiverThatIsGoneIsALossToTheSenderThatWaitsForCredit) {
  for (const std::size_t capacity : kCapacities) {
    Ends pipe = ends(capacity);
    run([&] {
      std::string said;
      sched::WaitGroup group;
      group.add();
      sched::go({.name = "sender"}, [&] {
        said = loss([&] {
          for (;;) pipe.send("a value");
        });
        group.done();
      });
      EXPECT_EQ(pipe.receive(), "a value");  // so the two are there, and it waits for nothing else
      await([&] { return waits("sender"); });
      pipe.in.reset();
      group.wait();
      EXPECT_EQ(said, "peer lost: the other end of channel 'lines' is gone");
      EXPECT_EQ(pipe.out->messages(), std::max<std::size_t>(capacity, 1) + 1);
      EXPECT_NE(loss([&] { pipe.send("one more"); }), "(nothing was lost)") << "for good";
    });
  }
}

// What no correct receiver says.
TEST_P(PipeTest, ACreditThatCannotBeIsALoss) {
  for (const std::size_t capacity : {std::size_t{0}, std::size_t{2}}) {
    const auto most = static_cast<std::uint32_t>(std::max<std::size_t>(capacity, 1));
    for (const std::string& credit :
         {wire::encode_credit(most + 1), wire::encode_credit(0xffffffff), std::string("abc"),
          std::string("abcde"), std::string()}) {
      Pair pair = connections();
      Ends pipe{sender(std::move(pair.connector), capacity), nullptr};
      run([&] {
        Port liar(std::move(pair.acceptor));
        ASSERT_EQ(liar.send(credit), Outcome::kDone);
        ASSERT_EQ(liar.flush(), Outcome::kDone);
        EXPECT_THAT(loss([&] {
                      for (std::size_t i = 0; i < capacity + 1; ++i) pipe.send("a value");
                    }),
                    HasSubstr("peer lost"))
            << "a credit of " << credit.size() << " bytes, capacity " << capacity;
      });
    }
  }
}

TEST_P(PipeTest, ACreditOfTheWholeCapacityIsTaken) {
  Pair pair = connections();
  const Ends pipe{sender(std::move(pair.connector), 2), nullptr};
  run([&] {
    Port peer(std::move(pair.acceptor));
    for (const std::uint32_t credit : {0u, 2u}) {
      ASSERT_EQ(peer.send(wire::encode_credit(credit)), Outcome::kDone);
      ASSERT_EQ(peer.flush(), Outcome::kDone);
    }
    for (int i = 0; i < 4; ++i) pipe.send(std::to_string(i));
    pipe.close();
    std::string_view message;
    for (int i = 0; i < 4; ++i) {
      ASSERT_EQ(peer.receive(message), Outcome::kDone);
      EXPECT_EQ(message, std::to_string(i));
    }
    EXPECT_EQ(peer.receive(message), Outcome::kClosed);
  });
}

TEST_P(PipeTest, AValueThatCannotCrossIsRefusedAndTheNextOneCrosses) {
  Pair pair = connections();
  NetChannel<std::string> channel("lines", 2);
  channel.send_into(sender(std::move(pair.connector), 2, 100));
  channel.receive_from(
      std::make_shared<PipeReceiver>(Port(std::move(pair.acceptor)), "lines", std::size_t{2}));
  EXPECT_EQ(channel.out().capacity(), 2u);
  EXPECT_EQ(channel.in().capacity(), 2u);
  run([&] {
    try {
      channel.out().send(std::string(100, 'x'));  // one byte more for its length
      ADD_FAILURE() << "it was taken";
    } catch (const std::length_error& error) {
      EXPECT_STREQ(error.what(), "a value of 101 bytes on channel 'lines'; at most 100 can cross");
    }
    channel.out().send(std::string(99, 'x'));
    channel.sender_ended();
    EXPECT_EQ(channel.in().receive(), std::string(99, 'x'));
    EXPECT_EQ(channel.in().receive(), std::nullopt);
    channel.receiver_ended();
  });
}

TEST_P(PipeTest, WhatIsNoValueOfTheChannelIsALoss) {
  const Ends pipe = ends(2);
  NetChannel<std::vector<std::uint32_t>> channel("lines", 2);
  channel.receive_from(pipe.in);
  run([&] {
    pipe.send("\x05\x01");  // five numbers, of which there is one
    EXPECT_THAT(loss([&] { channel.in().receive(); }),
                HasSubstr("on channel 'lines' came what is no value of it"));
  });
}

}  // namespace
}  // namespace bulkhead::crossing
