// What every transport of the data plane promises: see connection.hpp.
#include <sys/socket.h>
#include <sys/time.h>

#include <atomic>
#include <csignal>
#include <thread>
#include <vector>

#include "transport_fixture.hpp"

namespace bulkhead::transport {
namespace {

constexpr std::size_t kMost = 300'000;  // more than a window

void send_stream(Connection& connection, std::uint64_t stream, std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) {
    ASSERT_EQ(send_all(connection, message_of(stream, i, kMost)), Outcome::kDone);
    if (i % 7 == 0) {
      ASSERT_EQ(flush_all(connection), Outcome::kDone);
    }
  }
  ASSERT_EQ(flush_all(connection), Outcome::kDone);
}

void receive_stream(Connection& connection, std::uint64_t stream, std::uint64_t count) {
  std::string_view message;
  for (std::uint64_t i = 0; i < count; ++i) {
    ASSERT_EQ(receive_next(connection, message), Outcome::kDone) << i;
    ASSERT_TRUE(message == message_of(stream, i, kMost)) << "message " << i;
  }
}

TEST_P(TransportTest, MessagesArriveInOrderEachWholeAndOnceBothWaysAtOnce) {
  const std::uint64_t seed = test_seed();
  SCOPED_TRACE("BULKHEAD_TEST_SEED=" + std::to_string(seed));
  constexpr std::uint64_t kCount = 3000;
  const Pair pair = make_pair(GetParam());
  std::thread sends([&] {
    send_stream(*pair.acceptor, seed + 1, kCount);
    EXPECT_EQ(close_all(*pair.acceptor), Outcome::kDone);
  });
  std::thread echoes([&] { receive_stream(*pair.acceptor, seed, kCount); });
  std::thread receives([&] {
    receive_stream(*pair.connector, seed + 1, kCount);
    std::string_view message;
    EXPECT_EQ(receive_next(*pair.connector, message), Outcome::kClosed);
  });
  send_stream(*pair.connector, seed, kCount);
  sends.join();
  receives.join();
  echoes.join();
}

TEST_P(TransportTest, OneThatAnswersAndOneThatWaitsTakeTurns) {
  const Pair pair = make_pair(GetParam());
  constexpr std::uint32_t kTurns = 5000;
  std::thread echo([&] {
    std::string_view message;
    while (receive_next(*pair.acceptor, message) == Outcome::kDone) {
      ASSERT_EQ(send_all(*pair.acceptor, message), Outcome::kDone);
      ASSERT_EQ(flush_all(*pair.acceptor), Outcome::kDone);
    }
  });
  for (std::uint32_t turn = 0; turn < kTurns; ++turn) {
    const std::string question = std::to_string(turn);
    ASSERT_EQ(send_all(*pair.connector, question), Outcome::kDone);
    ASSERT_EQ(flush_all(*pair.connector), Outcome::kDone);
    std::string_view answer;
    ASSERT_EQ(receive_next(*pair.connector, answer), Outcome::kDone);
    ASSERT_EQ(answer, question);
  }
  EXPECT_EQ(close_all(*pair.connector), Outcome::kDone);
  echo.join();
}

TEST_P(TransportTest, FromNoByteToTheMostThatMayBe) {
  ConnectionOptions options;
  options.max_message_bytes = 1'000'003;
  const Pair pair = make_pair(GetParam(), options);
  const std::vector<std::size_t> sizes{0, 1, 0, 3, 4, 4095, 65'535, 65'536, 1'000'003, 0, 64};
  std::thread sends([&] {
    for (const std::size_t size : sizes)
      ASSERT_EQ(send_all(*pair.connector, std::string(size, 'x')), Outcome::kDone);
    EXPECT_EQ(pair.connector->send(std::string(1'000'004, 'y')), Outcome::kTooLarge);
    EXPECT_EQ(close_all(*pair.connector), Outcome::kDone);
  });
  std::string_view message;
  for (const std::size_t size : sizes) {
    ASSERT_EQ(receive_next(*pair.acceptor, message), Outcome::kDone);
    EXPECT_EQ(message.size(), size);
    EXPECT_EQ(message.find_first_not_of('x'), std::string_view::npos);
  }
  EXPECT_EQ(receive_next(*pair.acceptor, message), Outcome::kClosed);
  EXPECT_EQ(receive_next(*pair.acceptor, message), Outcome::kClosed);
  sends.join();
}

TEST_P(TransportTest, WhoeverSendsToAPeerThatDoesNotReadWaits) {
  ConnectionOptions options;
  options.window_bytes = 100'000;
  const Pair pair = make_pair(GetParam(), options);
  // What the kernel holds of a socket's bytes comes on top.
  constexpr std::size_t kBound = 4u << 20;
  const std::string bytes(1000, 'b');
  std::size_t sent = 0;
  while (sent * bytes.size() < kBound && pair.connector->send(bytes) == Outcome::kDone) ++sent;
  EXPECT_LT(sent * bytes.size(), kBound);
  EXPECT_GE(sent * bytes.size(), options.window_bytes / 2);
  // One that is larger than what is left may begin to leave: then it is the last.
  const std::string large(500'000, 'l');
  const bool begun = pair.connector->send(large) == Outcome::kDone;
  EXPECT_EQ(pair.connector->send(large), Outcome::kWait);
  std::string_view message;
  std::thread flushes([&] { EXPECT_EQ(flush_all(*pair.connector), Outcome::kDone); });
  for (std::size_t i = 0; i < sent; ++i) {
    ASSERT_EQ(receive_next(*pair.acceptor, message), Outcome::kDone);
    ASSERT_EQ(message, bytes);
  }
  if (begun) {
    ASSERT_EQ(receive_next(*pair.acceptor, message), Outcome::kDone);
    EXPECT_EQ(message, large);
  }
  flushes.join();
  EXPECT_EQ(pair.acceptor->receive(message), Outcome::kWait);
}

TEST_P(TransportTest, ACloseHasEverythingBeforeItAndLeavesTheOtherWayOpen) {
  const Pair pair = make_pair(GetParam());
  ASSERT_EQ(send_all(*pair.connector, "first"), Outcome::kDone);
  ASSERT_EQ(close_all(*pair.connector), Outcome::kDone);
  ASSERT_EQ(close_all(*pair.connector), Outcome::kDone);
  std::string_view message;
  EXPECT_EQ(receive_next(*pair.acceptor, message), Outcome::kDone);
  EXPECT_EQ(message, "first");
  EXPECT_EQ(receive_next(*pair.acceptor, message), Outcome::kClosed);
  ASSERT_EQ(send_all(*pair.acceptor, "still"), Outcome::kDone);
  ASSERT_EQ(close_all(*pair.acceptor), Outcome::kDone);
  EXPECT_EQ(receive_next(*pair.connector, message), Outcome::kDone);
  EXPECT_EQ(message, "still");
  EXPECT_EQ(receive_next(*pair.connector, message), Outcome::kClosed);
}

TEST_P(TransportTest, AClosedPeerThatIsGoneHasClosed) {
  Pair pair = make_pair(GetParam());
  ASSERT_EQ(send_all(*pair.connector, "last"), Outcome::kDone);
  ASSERT_EQ(close_all(*pair.connector), Outcome::kDone);
  pair.connector.reset();
  std::string_view message;
  EXPECT_EQ(receive_next(*pair.acceptor, message), Outcome::kDone);
  EXPECT_EQ(message, "last");
  EXPECT_EQ(receive_next(*pair.acceptor, message), Outcome::kClosed);
}

TEST_P(TransportTest, APeerThatIsGoneWithoutACloseIsLostAfterWhatItFlushed) {
  for (const bool connector_goes : {true, false}) {
    Pair pair = make_pair(GetParam());
    auto& goes = connector_goes ? pair.connector : pair.acceptor;
    auto& stays = connector_goes ? pair.acceptor : pair.connector;
    ASSERT_EQ(send_all(*goes, "flushed"), Outcome::kDone);
    ASSERT_EQ(flush_all(*goes), Outcome::kDone);
    goes.reset();
    std::string_view message;
    EXPECT_EQ(receive_next(*stays, message), Outcome::kDone);
    EXPECT_EQ(message, "flushed");
    EXPECT_EQ(receive_next(*stays, message), Outcome::kLost);
    EXPECT_EQ(receive_next(*stays, message), Outcome::kLost);
    EXPECT_EQ(stays->broken(), "");
    EXPECT_EQ(stays->send("to nobody"), Outcome::kLost);
    EXPECT_EQ(stays->flush(), Outcome::kLost);
    EXPECT_EQ(stays->close(), Outcome::kLost);
  }
}

TEST_P(TransportTest, WhoWaitsIsToldOfTheEnd) {
  for (const Side side : {Side::kReceiver, Side::kSender}) {
    Pair pair = make_pair(GetParam());
    std::atomic<bool> waits{false};
    std::thread waiting([&] {
      std::string_view message;
      if (side == Side::kReceiver) {
        waits = true;
        EXPECT_EQ(receive_next(*pair.acceptor, message), Outcome::kLost);
        return;
      }
      const std::string bytes(10'000, 's');
      Outcome outcome = Outcome::kDone;
      while (outcome == Outcome::kDone) outcome = pair.acceptor->send(bytes);
      waits = true;
      while (outcome == Outcome::kDone || outcome == Outcome::kWait)
        outcome = send_all(*pair.acceptor, bytes);
      EXPECT_EQ(outcome, Outcome::kLost);
    });
    while (!waits) std::this_thread::yield();
    pair.connector.reset();
    waiting.join();
  }
}

// The default action of SIGPIPE would end this process.
// Even where the reader is behind by a full window, and the sender gone when it comes to the rest.
TEST_P(TransportTest, WhatWasSentBeforeACloseArrivesHoweverSlowTheReader) {
  const auto listener = listen(GetParam());
  for (std::uint64_t round = 0; round < 100; ++round) {
    auto sender = connect_to(GetParam());
    const auto reader = accept_next(*listener);
    const std::uint64_t count = 3 * round;
    std::thread thread([&] {
      const std::string bytes(10'000, 's');
      for (std::uint64_t i = 0; i < count; ++i) ASSERT_EQ(send_all(*sender, bytes), Outcome::kDone);
      EXPECT_EQ(close_all(*sender), Outcome::kDone);
      sender.reset();
    });
    std::string_view message;
    for (std::uint64_t i = 0; i < count; ++i) {
      if (i % 5 == 0) std::this_thread::yield();
      EXPECT_EQ(receive_next(*reader, message), Outcome::kDone) << i << " of " << count;
    }
    EXPECT_EQ(receive_next(*reader, message), Outcome::kClosed) << count;
    thread.join();
    if (HasFailure()) break;
  }
}

TEST_P(TransportTest, SendingToWhoIsGoneRaisesNoSignal) {
  ASSERT_EQ(std::signal(SIGPIPE, SIG_DFL), SIG_DFL);
  Pair pair = make_pair(GetParam());
  pair.acceptor.reset();
  Outcome outcome = Outcome::kDone;
  const std::string bytes(10'000, 'p');
  for (int i = 0; i < 1000 && outcome != Outcome::kLost; ++i) {
    outcome = send_all(*pair.connector, bytes);
    if (outcome != Outcome::kLost) outcome = flush_all(*pair.connector);
  }
  EXPECT_EQ(outcome, Outcome::kLost);
}

TEST_P(TransportTest, SignalsOnlyInterrupt) {
  static std::atomic<int> signals{0};
  struct sigaction action {};
  struct sigaction before {};
  action.sa_handler = [](int) { ++signals; };  // without SA_RESTART
  ASSERT_EQ(::sigaction(SIGALRM, &action, &before), 0);
  itimerval often{.it_interval = {.tv_sec = 0, .tv_usec = 500},
                  .it_value = {.tv_sec = 0, .tv_usec = 500}};
  ASSERT_EQ(::setitimer(ITIMER_REAL, &often, nullptr), 0);
  {
    const Pair pair = make_pair(GetParam());
    std::thread sends([&] { send_stream(*pair.connector, 11, 2000); });
    receive_stream(*pair.acceptor, 11, 2000);
    sends.join();
    while (signals < 3) std::this_thread::yield();
  }
  often = {};
  ::setitimer(ITIMER_REAL, &often, nullptr);
  ::sigaction(SIGALRM, &before, nullptr);
}

TEST_P(TransportTest, ManyPeersEachWithAConnectionOfItsOwn) {
  constexpr std::size_t kPeers = 256;
  ConnectionOptions options;
  options.window_bytes = 64u << 10;
  const auto listener = listen(GetParam(), options);
  std::vector<Pair> pairs(kPeers);
  for (Pair& pair : pairs) {
    pair.connector = connect_to(GetParam(), options);
    pair.acceptor = accept_next(*listener);
    ASSERT_TRUE(pair.connector && pair.acceptor);
  }
  for (std::size_t i = 0; i < kPeers; ++i) {
    ASSERT_EQ(send_all(*pairs[i].connector, "to " + std::to_string(i)), Outcome::kDone);
    ASSERT_EQ(flush_all(*pairs[i].connector), Outcome::kDone);
    ASSERT_EQ(send_all(*pairs[i].acceptor, "from " + std::to_string(i)), Outcome::kDone);
    ASSERT_EQ(flush_all(*pairs[i].acceptor), Outcome::kDone);
  }
  std::string_view message;
  for (std::size_t i = kPeers; i-- > 0;) {
    ASSERT_EQ(receive_next(*pairs[i].acceptor, message), Outcome::kDone);
    EXPECT_EQ(message, "to " + std::to_string(i));
    ASSERT_EQ(receive_next(*pairs[i].connector, message), Outcome::kDone);
    EXPECT_EQ(message, "from " + std::to_string(i));
  }
}

TEST_P(TransportTest, ANewIncarnationGetsAConnectionOfItsOwn) {
  const auto listener = listen(GetParam());
  for (int incarnation = 0; incarnation < 20; ++incarnation) {
    auto peer = connect_to(GetParam());
    const auto ours = accept_next(*listener);
    ASSERT_EQ(send_all(*peer, std::to_string(incarnation)), Outcome::kDone);
    ASSERT_EQ(flush_all(*peer), Outcome::kDone);
    std::string_view message;
    ASSERT_EQ(receive_next(*ours, message), Outcome::kDone);
    EXPECT_EQ(message, std::to_string(incarnation));
    peer.reset();
    EXPECT_EQ(receive_next(*ours, message), Outcome::kLost);
  }
}

TEST_P(TransportTest, WhatWasSentBeforeItIsAcceptedArrives) {
  const auto listener = listen(GetParam());
  const auto early = connect_to(GetParam());
  ASSERT_EQ(send_all(*early, "early"), Outcome::kDone);
  std::unique_ptr<Connection> ours;
  if (early->flush() == Outcome::kWait) {
    EXPECT_EQ(GetParam(), Kind::kZmqIpc);
    ours = accept_next(*listener);
    ASSERT_EQ(flush_all(*early), Outcome::kDone);
  } else {
    ours = accept_next(*listener);
  }
  std::string_view message;
  ASSERT_EQ(receive_next(*ours, message), Outcome::kDone);
  EXPECT_EQ(message, "early");
}

TEST_P(TransportTest, WithoutTheTokenNobodyGetsIn) {
  ConnectionOptions options;
  options.token = "the right one";
  const auto listener = listen(GetParam(), options);
  for (const char* const token : {"", "the wrong one", "the right on", "the right one."}) {
    ConnectionOptions wrong;
    wrong.token = token;
    auto stranger = connect(GetParam(), directory_, "data", wrong);
    const auto accepted = listener->accept();
    ASSERT_TRUE(accepted.has_value());
    EXPECT_EQ(accepted->get(), nullptr);
    if (!stranger) continue;
    std::string_view message;
    EXPECT_EQ(receive_next(**stranger, message), Outcome::kLost);
  }
  EXPECT_EQ(listener->turned_away(), 4u);
  const auto friendly = connect_to(GetParam(), options);
  EXPECT_NE(accept_next(*listener), nullptr);
}

TEST_P(TransportTest, NobodyListensIsUnavailable) {
  auto nobody = connect(GetParam(), directory_, "nobody", {});
  ASSERT_FALSE(nobody.has_value());
  EXPECT_EQ(nobody.error().code, Code::kUnavailable) << nobody.error().text;
  EXPECT_NE(nobody.error().text.find("nobody"), std::string::npos);
}

TEST_P(TransportTest, TwoCannotListenAtOnePlaceButOneAfterTheOther) {
  auto first = listen(GetParam());
  const auto second = Listener::listen(GetParam(), directory_, "data", {});
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code, Code::kInvalidArgument);
  EXPECT_NE(second.error().text.find("data"), std::string::npos);
  {
    const auto connection = connect_to(GetParam());  // the first is as it was
    EXPECT_NE(accept_next(*first), nullptr);
  }
  first.reset();
  EXPECT_NE(listen(GetParam()), nullptr);
}

TEST_P(TransportTest, APathOfAnyLength) {
  directory_ += '/' + std::string(200, 'd');
  std::filesystem::create_directory(directory_);
  const auto listener = listen(GetParam());
  const auto connection = connect_to(GetParam());
  EXPECT_NE(accept_next(*listener), nullptr);
}

TEST_P(TransportTest, OptionsThatCanCarryNothingAreRefused) {
  std::vector<ConnectionOptions> wrongs(5);
  wrongs[0].max_message_bytes = 0;
  wrongs[1].max_message_bytes = std::size_t{1} << 31;
  wrongs[2].window_bytes = 0;
  wrongs[3].window_bytes = std::size_t{1} << 40;
  wrongs[4].token = std::string(65, 't');
  for (const ConnectionOptions& wrong : wrongs) {
    const auto listener = Listener::listen(GetParam(), directory_, "data", wrong);
    ASSERT_FALSE(listener.has_value());
    EXPECT_EQ(listener.error().code, Code::kInvalidArgument);
    const auto connection = connect(GetParam(), directory_, "data", wrong);
    ASSERT_FALSE(connection.has_value());
    EXPECT_EQ(connection.error().code, Code::kInvalidArgument);
  }
}

TEST_P(TransportTest, WithoutDescriptorsOneIsRefusedAndTheOthersGoOn) {
  const auto listener = listen(GetParam());
  const auto served = connect_to(GetParam());
  const auto ours = accept_next(*listener);
  const auto exchange = [&](const std::string& bytes) {
    ASSERT_EQ(send_all(*served, bytes), Outcome::kDone);
    ASSERT_EQ(flush_all(*served), Outcome::kDone);
    std::string_view message;
    ASSERT_EQ(receive_next(*ours, message), Outcome::kDone);
    EXPECT_EQ(message, bytes);
  };
  exchange("begins");
  {
    const NoDescriptors none;
    const auto refused = connect(GetParam(), directory_, "data", {});
    EXPECT_FALSE(refused.has_value());
    const Code code = refused ? Code::kInternal : refused.error().code;
    EXPECT_EQ(code, Code::kResourceExhausted);
    exchange("goes on");
  }
  const auto later = connect_to(GetParam());
  EXPECT_NE(accept_next(*listener), nullptr);
}

INSTANTIATE_TEST_SUITE_P(Transports, TransportTest, testing::ValuesIn(kAllKinds), kind_name);

}  // namespace
}  // namespace bulkhead::transport
