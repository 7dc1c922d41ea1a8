// Channels by way of the coordinator, both ends of which this test plays.
#include "relay.hpp"

#include <gmock/gmock.h>
#include <poll.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <vector>

namespace bulkhead::coordinator {
namespace {

using transport::Outcome;
using wire::ChannelJoin;

constexpr auto kDeadline = std::chrono::seconds(30);

class RelayTest : public testing::TestWithParam<transport::Kind> {
 protected:
  // A worker's end of a channel.
  class End {
   public:
    End(RelayTest& test, std::unique_ptr<transport::Connection> connection)
        : test_(test), connection_(std::move(connection)) {}
    // Until the bytes have left, which may need the relay to take some.
    void say(std::string_view bytes) {
      test_.until([&] { return connection_->send(bytes) != Outcome::kWait; });
      test_.until([&] { return connection_->flush() != Outcome::kWait; });
    }
    // Whether there was room. Not all of it may have left yet.
    bool try_say(std::string_view bytes) {
      const bool room = connection_->send(bytes) == Outcome::kDone;
      flush();
      return room;
    }
    void flush() { connection_->flush(); }
    void close() {
      test_.until([&] { return connection_->close() == Outcome::kDone; });
    }
    // What has come; "(nothing)", "(closed)" or "(lost)".
    std::string look() {
      std::string_view bytes;
      switch (connection_->receive(bytes)) {
        case Outcome::kDone:
          return std::string(bytes);
        case Outcome::kWait:
          transport::prepare_to_wait(*connection_, transport::Side::kReceiver);
          return "(nothing)";
        case Outcome::kClosed:
          return "(closed)";
        default:
          return "(lost)";
      }
    }
    std::string next() {
      std::string seen = "(nothing)";
      test_.until([&] {
        seen = look();
        return seen != "(nothing)";
      });
      return seen;
    }

   private:
    RelayTest& test_;
    std::unique_ptr<transport::Connection> connection_;
  };

  void SetUp() override {
    std::string pattern = testing::TempDir() + "relay-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    auto relay = Relay::open(GetParam(), directory_, "channels", "token of the run");
    ASSERT_TRUE(relay.has_value()) << relay.error().text;
    relay_ = std::move(*relay);
  }
  void TearDown() override {
    relay_.reset();
    std::filesystem::remove_all(directory_);
  }

  End connect() {
    transport::ConnectionOptions options;
    options.token = "token of the run";
    auto connection = transport::connect(GetParam(), directory_, "channels", options);
    EXPECT_TRUE(connection.has_value()) << connection.error().text;
    return End(*this, std::move(*connection));
  }
  End join(const ChannelJoin& join) {
    End end = connect();
    end.say(wire::encode(join));
    return end;
  }
  End sender(std::uint32_t channel = 0, std::uint32_t attempt = 1) {
    return join({.attempt = attempt, .channel = channel, .sends = true});
  }
  End receiver(std::uint32_t channel = 0, std::uint32_t attempt = 1) {
    return join({.attempt = attempt, .channel = channel, .sends = false});
  }

  // As the coordinator's loop does: takes what is there, and waits for more.
  void until(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + kDeadline;
    while (!condition()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "waited in vain";
      pollfd waits{.fd = relay_->fd(), .events = POLLIN, .revents = 0};
      if (!relay_->pending()) poll(&waits, 1, 1);
      relay_->take();
    }
  }
  bool at_rest() {
    pollfd waits{.fd = relay_->fd(), .events = POLLIN, .revents = 0};
    return !relay_->pending() && poll(&waits, 1, 0) == 0;
  }
  static std::string filling(std::size_t i) { return std::to_string(i) + std::string(10'000, '.'); }
  // Sends until there is no room anywhere on the way; how many messages. As neither of these
  // transports has threads, what the relay does not take at once it does not take later.
  std::size_t fill(End& from) {
    constexpr std::size_t kMost = 5000;  // 50 MB: as if the relay held all that comes
    std::size_t count = 0;
    for (int in_vain = 0; in_vain < 10 && count < kMost; ++in_vain) {
      while (count < kMost && from.try_say(filling(count))) {
        ++count;
        in_vain = 0;
      }
      relay_->take();
    }
    EXPECT_LT(count, kMost);
    return count;
  }
  // Until there is nothing that the relay could do.
  void let_rest() {
    until([&] { return at_rest(); });
  }

  std::string directory_;
  std::unique_ptr<Relay> relay_;
};

INSTANTIATE_TEST_SUITE_P(Kinds, RelayTest,
                         testing::Values(transport::Kind::kUnix, transport::Kind::kShm),
                         [](const auto& kind) { return std::string(name_of(kind.param)); });

std::string value(int i) {
  return "value " + std::to_string(i) + std::string(static_cast<std::size_t>(i % 500), 'x');
}

TEST_P(RelayTest, MessagesGoBothWaysInTheirOrder) {
  End from = sender();
  End to = receiver();
  constexpr int kCount = 5000;
  int heard = 0;
  int credits = 0;
  for (int i = 0; i < kCount; ++i) {
    from.say(value(i));
    for (std::string seen = to.look(); seen != "(nothing)"; seen = to.look()) {
      ASSERT_EQ(seen, value(heard++));
      to.say(std::to_string(heard));
    }
    for (std::string seen = from.look(); seen != "(nothing)"; seen = from.look())
      ASSERT_EQ(seen, std::to_string(++credits));
  }
  while (heard < kCount) {
    ASSERT_EQ(to.next(), value(heard++));
    to.say(std::to_string(heard));
  }
  while (credits < kCount) ASSERT_EQ(from.next(), std::to_string(++credits));
}

TEST_P(RelayTest, WhatOneEndSaysBeforeTheOtherHasComeWaitsForIt) {
  End from = sender();
  for (int i = 0; i < 10; ++i) from.say(value(i));
  let_rest();
  End to = receiver();
  for (int i = 0; i < 10; ++i) EXPECT_EQ(to.next(), value(i));
  // The other way round.
  End first = receiver(1);
  first.say("credit");
  let_rest();
  EXPECT_EQ(sender(1).next(), "credit");
}

TEST_P(RelayTest, LargeMessagesGoThroughWhole) {
  End from = sender();
  End to = receiver();
  for (int i = 0; i < 8; ++i) {
    const std::string large(3'000'000, static_cast<char>('a' + i));
    ASSERT_TRUE(from.try_say(large));
    std::string seen;
    until([&] {
      from.flush();
      seen = to.look();
      return seen != "(nothing)";
    });
    ASSERT_TRUE(seen == large) << i;
  }
}

TEST_P(RelayTest, AnEndThatDoesNotReadKeepsItsSenderWaitingAndNobodyElse) {
  End from = sender();
  End to = receiver();
  End other_from = sender(1);
  End other_to = receiver(1);
  const std::size_t count = fill(from);
  EXPECT_GT(count, 10u);
  for (int i = 0; i < 100; ++i) {
    other_from.say(value(i));
    ASSERT_EQ(other_to.next(), value(i));
  }
  EXPECT_FALSE(from.try_say(filling(count))) << "there is still no room";
  // The other direction is open.
  to.say("credit");
  EXPECT_EQ(from.next(), "credit");
  for (std::size_t i = 0; i < count; ++i) {
    std::string seen;
    until([&] {
      from.flush();
      seen = to.look();
      return seen != "(nothing)";
    });
    ASSERT_EQ(seen, filling(i));
  }
  from.say("the last");
  EXPECT_EQ(to.next(), "the last");
}

TEST_P(RelayTest, ACloseComesAfterTheLastMessageAndTheOtherWayStaysOpen) {
  End from = sender();
  End to = receiver();
  for (int i = 0; i < 100; ++i) from.say(value(i));
  from.close();
  for (int i = 0; i < 100; ++i) EXPECT_EQ(to.next(), value(i));
  EXPECT_EQ(to.next(), "(closed)");
  to.say("credit");
  EXPECT_EQ(from.next(), "credit");
  to.close();
  EXPECT_EQ(from.next(), "(closed)");
}

TEST_P(RelayTest, ACloseBeforeTheOtherEndHasComeWaitsForIt) {
  End from = sender();
  from.say("the only one");
  from.close();
  let_rest();
  End to = receiver();
  EXPECT_EQ(to.next(), "the only one");
  EXPECT_EQ(to.next(), "(closed)");
}

// Its worker has ended in good order before the reader has read.
TEST_P(RelayTest, WhoLeavesAfterTheCloseTakesNothingAlong) {
  End to = receiver();
  {
    End from = sender();
    for (int i = 0; i < 100; ++i) from.say(value(i));
    from.close();
  }
  for (int i = 0; i < 100; ++i) EXPECT_EQ(to.next(), value(i));
  EXPECT_EQ(to.next(), "(closed)");
}

// Else the coordinator's loop would turn and turn.
TEST_P(RelayTest, ItRestsWhereNothingCanBeHandedOn) {
  End early = sender(1);
  early.say("a value");
  early.say("another one");
  let_rest();
  early.say("a third one");
  let_rest();
  End from = sender();
  End to = receiver();
  fill(from);
  let_rest();
}

TEST_P(RelayTest, ItRestsWhereBothEndsHaveClosedAndAlsoWhenTheyHaveLeft) {
  {
    End from = sender();
    End to = receiver();
    from.say("a value");
    from.close();
    EXPECT_EQ(to.next(), "a value");
    EXPECT_EQ(to.next(), "(closed)");
    let_rest();
    to.close();
    EXPECT_EQ(from.next(), "(closed)");
    let_rest();
  }
  let_rest();
}

TEST_P(RelayTest, AnEndThatIsLostIsALossToTheOther) {
  {
    End to = receiver();
    {
      End from = sender();
      from.say("a value");
      EXPECT_EQ(to.next(), "a value");
    }
    EXPECT_EQ(to.next(), "(lost)");
  }
  End from = sender(1);
  {
    End to = receiver(1);
    from.say("a value");
    EXPECT_EQ(to.next(), "a value");
  }
  EXPECT_EQ(from.next(), "(lost)");
  let_rest();
  // Nobody else minds.
  End other_from = sender(2);
  End other_to = receiver(2);
  other_from.say("a value");
  EXPECT_EQ(other_to.next(), "a value");
}

TEST_P(RelayTest, AReceiverThatDiesUnreadIsALossToTheSenderThatWaitsForRoom) {
  End from = sender();
  {
    End to = receiver();
    fill(from);
  }
  EXPECT_EQ(from.next(), "(lost)");
}

TEST_P(RelayTest, EndsOfAnotherAttemptOrChannelAreNotJoined) {
  End from = sender(7, 1);
  from.say("of channel 7, attempt 1");
  End later = receiver(7, 2);
  End beside = receiver(8, 1);
  End again = sender(7, 1);  // two that send are no pair
  again.say("of nobody");
  let_rest();
  EXPECT_EQ(later.look(), "(nothing)");
  EXPECT_EQ(beside.look(), "(nothing)");
  EXPECT_EQ(again.look(), "(nothing)");
  End to = receiver(7, 1);
  EXPECT_EQ(to.next(), "of channel 7, attempt 1");
  // Each finds its own.
  End later_from = sender(7, 2);
  later_from.say("of channel 7, attempt 2");
  EXPECT_EQ(later.next(), "of channel 7, attempt 2");
  End beside_from = sender(8, 1);
  beside_from.say("of channel 8");
  EXPECT_EQ(beside.next(), "of channel 8");
  let_rest();
  EXPECT_EQ(to.look(), "(nothing)");
  EXPECT_EQ(from.look(), "(nothing)");
}

TEST_P(RelayTest, AFirstMessageThatJoinsNothingDropsItsSender) {
  End from = sender();
  const std::string whole = wire::encode(ChannelJoin{.attempt = 1, .channel = 0, .sends = false});
  for (const std::string& first : {std::string(), std::string("\x7f"), whole + "x", whole.substr(1),
                                   std::string(200'000, '\5')}) {
    End stranger = connect();
    stranger.say(first);
    stranger.say("and more");
    EXPECT_EQ(stranger.next(), "(lost)") << first.size() << " bytes";
  }
  {
    End silent = connect();
    silent.close();
    EXPECT_EQ(silent.next(), "(lost)");
  }
  End to = receiver();
  from.say("a value");
  EXPECT_EQ(to.next(), "a value");
  let_rest();
}

TEST_P(RelayTest, AStrangerWithoutTheTokenIsTurnedAway) {
  transport::ConnectionOptions options;
  options.token = "another token";
  auto connection = transport::connect(GetParam(), directory_, "channels", options);
  if (!connection) return;  // told at once
  End stranger(*this, std::move(*connection));
  stranger.try_say(wire::encode(ChannelJoin{.attempt = 1, .channel = 0, .sends = true}));
  EXPECT_EQ(stranger.next(), "(lost)");
}

TEST_P(RelayTest, ManyChannelsAtOnceKeepTheirMessagesApart) {
  constexpr std::uint32_t kChannels = 50;
  std::vector<End> senders;
  std::vector<End> receivers;
  for (std::uint32_t channel = 0; channel < kChannels; ++channel) {
    senders.push_back(sender(channel));
    receivers.push_back(receiver(kChannels - 1 - channel));
    relay_->take();
  }
  for (int i = 0; i < 50; ++i) {
    for (std::uint32_t channel = 0; channel < kChannels; ++channel)
      senders[channel].say(std::to_string(channel) + " " + value(i));
  }
  for (End& from : senders) from.close();
  for (std::uint32_t channel = 0; channel < kChannels; ++channel) {
    End& to = receivers[kChannels - 1 - channel];
    for (int i = 0; i < 50; ++i) ASSERT_EQ(to.next(), std::to_string(channel) + " " + value(i));
    EXPECT_EQ(to.next(), "(closed)");
  }
}

TEST_P(RelayTest, ManyEndsThatComeAtOnceAreAllLetIn) {
  std::vector<End> ends;
  for (std::uint32_t channel = 0; channel < 100; ++channel) {
    ends.push_back(sender(channel));
    ends.push_back(receiver(channel));
  }
  for (std::uint32_t channel = 0; channel < 100; ++channel) {
    ends[2 * channel].say("a value");
    ASSERT_EQ(ends[2 * channel + 1].next(), "a value") << channel;
  }
}

}  // namespace
}  // namespace bulkhead::coordinator
