#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <bulkhead/base/unique_fd.hpp>
#include <thread>

#include "transport_fixture.hpp"

namespace bulkhead::transport {
namespace {

TEST_F(TransportTest, ARequestIsAnsweredToTheOneWhoAsked) {
  auto router = bound();
  auto first = connected("one");
  auto second = connected("two");
  ASSERT_TRUE(first->send("question of one").has_value());
  ASSERT_TRUE(second->send("question of two").has_value());
  for (int i = 0; i < 2; ++i) {
    auto question = next(*router);
    ASSERT_TRUE(question.has_value());
    EXPECT_EQ(question->bytes, "question of " + question->peer);
    ASSERT_TRUE(router->send(question->peer, "answer to " + question->peer).has_value());
  }
  EXPECT_EQ(next(*first).value_or(Message{}).bytes, "answer to one");
  EXPECT_EQ(next(*second).value_or(Message{}).bytes, "answer to two");
  EXPECT_FALSE(first->receive().has_value());
}

TEST_F(TransportTest, AMessageSentBeforeAnybodyListensIsDelivered) {
  auto dealer = connected("early");
  ASSERT_TRUE(dealer->send("hello").has_value());
  auto router = bound();
  EXPECT_EQ(next(*router).value_or(Message{}).bytes, "hello");
}

TEST_F(TransportTest, MessagesOfEverySizeArriveWholeAndInOrder) {
  auto router = bound();
  auto dealer = connected("sizes");
  const std::size_t sizes[] = {0, 1, 33, 34, 255, 256, 257, 8192, 100'000, 5'000'000};
  for (const std::size_t size : sizes) {
    ASSERT_TRUE(dealer->send(std::string(size, 'x')).has_value());
  }
  for (const std::size_t size : sizes) {
    auto message = next(*router);
    ASSERT_TRUE(message.has_value());
    EXPECT_EQ(message->bytes, std::string(size, 'x'));
    ASSERT_TRUE(router->send(message->peer, std::move(message->bytes)).has_value());
  }
  for (const std::size_t size : sizes) {
    auto message = next(*dealer);
    ASSERT_TRUE(message.has_value());
    EXPECT_EQ(message->bytes.size(), size);
  }
}

TEST_F(TransportTest, IdentitiesMayHoldAnyByteButABeginningZero) {
  auto router = bound();
  const std::string identity = std::string("B\0\xff\n", 4) + std::string(251, '\0');
  ASSERT_EQ(identity.size(), 255u);
  auto dealer = connected(identity);
  ASSERT_TRUE(dealer->send("x").has_value());
  EXPECT_EQ(next(*router).value_or(Message{}).peer, identity);

  for (const std::string& bad : {std::string(), std::string(1, '\0'), std::string(256, 'x')}) {
    auto refused = Dealer::connect(address(), bad, {});
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, Code::kInvalidArgument);
  }
}

TEST_F(TransportTest, SendingToAnUnknownPeerIsUnavailable) {
  auto router = bound();
  auto sent = router->send("nobody", "x");
  ASSERT_FALSE(sent.has_value());
  EXPECT_EQ(sent.error().code, Code::kUnavailable);
  // The socket is not left in the middle of a message.
  auto dealer = connected("somebody");
  ASSERT_TRUE(dealer->send("hello").has_value());
  ASSERT_TRUE(next(*router).has_value());
  ASSERT_TRUE(router->send("somebody", "reply").has_value());
  EXPECT_EQ(next(*dealer).value_or(Message{}).bytes, "reply");
}

TEST_F(TransportTest, APeerThatLeftBecomesUnavailable) {
  auto router = bound();
  auto dealer = connected("leaver");
  ASSERT_TRUE(dealer->send("hello").has_value());
  ASSERT_TRUE(next(*router).has_value());
  dealer.reset();
  const auto deadline = base::Clock::now() + kDeadline;
  bool unavailable = false;
  while (!unavailable && base::Clock::now() < deadline) {
    auto sent = router->send("leaver", "x");
    unavailable = !sent && sent.error().code == Code::kUnavailable;
    // Lets libzmq handle the disconnect.
    router->wait(-1, std::chrono::milliseconds(1));
    router->receive();
  }
  EXPECT_TRUE(unavailable);
}

TEST_F(TransportTest, TheSenderRefusesAMessageBeyondTheLimit) {
  Options options;
  options.max_message_bytes = 2000;
  auto router = bound(options);
  auto dealer = connected("large", options);
  auto refused = dealer->send(std::string(2001, 'x'));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, Code::kTooLarge);
  ASSERT_TRUE(dealer->send(std::string(2000, 'x')).has_value());
  auto message = next(*router);
  ASSERT_TRUE(message.has_value());
  EXPECT_EQ(message->bytes.size(), 2000u);
  auto also_refused = router->send("large", std::string(2001, 'x'));
  ASSERT_FALSE(also_refused.has_value());
  EXPECT_EQ(also_refused.error().code, Code::kTooLarge);
}

TEST_F(TransportTest, AFullQueueIsResourceExhausted) {
  Options options;
  options.queue_messages = 4;
  auto router = bound(options);
  auto dealer = connected("deaf", options);
  ASSERT_TRUE(dealer->send("hello").has_value());
  ASSERT_TRUE(next(*router).has_value());
  // The dealer never reads. Both queues and the socket's buffer hold far less than this.
  const std::string large(100'000, 'x');
  Result<void> sent;
  for (int i = 0; sent && i < 10'000; ++i) sent = router->send("deaf", large);
  ASSERT_FALSE(sent.has_value());
  EXPECT_EQ(sent.error().code, Code::kResourceExhausted);
  // Nobody else is held up.
  auto other = connected("other", options);
  ASSERT_TRUE(other->send("hello").has_value());
  EXPECT_EQ(next(*router).value_or(Message{}).peer, "other");
  EXPECT_TRUE(router->send("other", large).has_value());
  EXPECT_EQ(next(*other).value_or(Message{}).bytes, large);
}

TEST_F(TransportTest, ADealersQueueIsBoundedToo) {
  Options options;
  options.queue_messages = 4;
  auto dealer = connected("alone", options);
  Result<void> sent;
  for (int i = 0; sent && i < 100; ++i) sent = dealer->send("x");
  ASSERT_FALSE(sent.has_value());
  EXPECT_EQ(sent.error().code, Code::kResourceExhausted);
  for (const std::size_t size : {3u, 3000u}) {
    std::string kept(size, 'y');
    ASSERT_FALSE(dealer->send(std::move(kept)).has_value());
    EXPECT_EQ(kept, std::string(size, 'y')) << "what was refused can be sent again";
  }
}

TEST_F(TransportTest, ASecondBindToOnePathIsRefusedAndTheFirstLivesOn) {
  auto router = bound();
  auto second = Router::bind(address(), {});
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code, Code::kInvalidArgument);
  auto dealer = connected("loyal");
  ASSERT_TRUE(dealer->send("hello").has_value());
  EXPECT_EQ(next(*router).value_or(Message{}).peer, "loyal");
}

TEST_F(TransportTest, ADirectoryThatIsMissingIsNotFound) {
  const Address nowhere{directory_ + "/missing", "control"};
  auto router = Router::bind(nowhere, {});
  ASSERT_FALSE(router.has_value());
  EXPECT_EQ(router.error().code, Code::kNotFound);
  auto dealer = Dealer::connect(nowhere, "x", {});
  ASSERT_FALSE(dealer.has_value());
  EXPECT_EQ(dealer.error().code, Code::kNotFound);
}

TEST_F(TransportTest, ANameThatIsNoFileNameIsRefused) {
  for (const std::string& name : {std::string(), std::string(".."), std::string("a/b"),
                                  std::string("a\0b", 3), std::string(108, 'n')}) {
    auto router = Router::bind({directory_, name}, {});
    ASSERT_FALSE(router.has_value()) << name;
    EXPECT_EQ(router.error().code, Code::kInvalidArgument);
  }
}

class LongPathTest : public TransportTest, public testing::WithParamInterface<std::size_t> {};

TEST_P(LongPathTest, BindAndConnectWork) {
  std::string path = directory_;
  while (path.size() + 1 < GetParam()) {
    path += "/" + std::string(std::min<std::size_t>(GetParam() - path.size() - 1, 100), 'd');
  }
  ASSERT_EQ(path.size(), GetParam());
  std::filesystem::create_directories(path);
  {
    auto router = Router::bind({path, "control"}, {});
    ASSERT_TRUE(router.has_value()) << router.error().text;
    EXPECT_TRUE(std::filesystem::exists(path + "/control"));
    auto dealer = Dealer::connect({path, "control"}, "far", {});
    ASSERT_TRUE(dealer.has_value()) << dealer.error().text;
    ASSERT_TRUE((*dealer)->send("hello").has_value());
    EXPECT_EQ(next(**router).value_or(Message{}).bytes, "hello");
    ASSERT_TRUE((*router)->send("far", "reply").has_value());
    EXPECT_EQ(next(**dealer).value_or(Message{}).bytes, "reply");
  }
  EXPECT_FALSE(std::filesystem::exists(path + "/control"));
}
// With "/control": 99 is the longest plain path, 100 the first that is not.
INSTANTIATE_TEST_SUITE_P(OfAnyLength, LongPathTest,
                         testing::Values(60, 99, 100, 107, 108, 200, 900));

TEST_F(TransportTest, NoSocketFileIsLeftAfterTheRouter) {
  auto router = bound();
  EXPECT_TRUE(std::filesystem::exists(directory_ + "/control"));
  router.reset();
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
  EXPECT_NE(bound(), nullptr) << "the path is free again";
}

TEST_F(TransportTest, ARouterLeavesAFileThatIsNotItsOwn) {
  auto router = bound();
  std::filesystem::remove(directory_ + "/control");
  auto successor = bound();
  router.reset();
  EXPECT_TRUE(std::filesystem::exists(directory_ + "/control"));
}

TEST_F(TransportTest, EndingNeverWaitsForMessagesThatNobodyTakes) {
  auto router = bound();
  auto dealer = connected("unheard");
  ASSERT_TRUE(dealer->send("hello").has_value());
  ASSERT_TRUE(next(*router).has_value());
  for (int i = 0; i < 1000; ++i) {
    if (!router->send("unheard", std::string(10'000, 'x'))) break;
  }
  auto alone = Dealer::connect({directory_, "nobody"}, "alone", {});
  ASSERT_TRUE(alone.has_value());
  ASSERT_TRUE((*alone)->send("never delivered").has_value());
  // A test that hangs here fails by ctest's time limit.
  router.reset();
  alone->reset();
  dealer.reset();
}

TEST_F(TransportTest, WaitWakesForAnotherDescriptorAndForItsEnd) {
  auto router = bound();
  auto dealer = connected("waiter");
  base::UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  int pipe_ends[2];
  ASSERT_EQ(::pipe2(pipe_ends, O_CLOEXEC), 0);
  base::UniqueFd read_end(pipe_ends[0]);
  base::UniqueFd write_end(pipe_ends[1]);

  const Readiness nothing = router->wait(event.get(), base::Duration::zero());
  EXPECT_FALSE(nothing.messages);
  EXPECT_FALSE(nothing.descriptor);

  ASSERT_EQ(::eventfd_write(event.get(), 1), 0);
  EXPECT_TRUE(router->wait(event.get(), base::Duration(-1)).descriptor);
  Dealer::Wait ready = dealer->wait({-1, read_end.get(), event.get()}, base::Duration(-1));
  EXPECT_FALSE(ready.messages);
  EXPECT_EQ(ready.descriptors, (std::vector<bool>{false, false, true}));

  write_end.reset();
  EXPECT_TRUE(router->wait(read_end.get(), base::Duration(-1)).descriptor);
  ready = dealer->wait({read_end.get()}, base::Duration(-1));
  EXPECT_EQ(ready.descriptors, (std::vector<bool>{true}));
}

TEST_F(TransportTest, WaitSeesAMessageThatArrivedDuringASend) {
  // The descriptor of a libzmq socket is edge-triggered, and a send may consume the edge.
  auto router = bound();
  auto dealer = connected("busy");
  ASSERT_TRUE(dealer->send("hello").has_value());
  ASSERT_TRUE(next(*router).has_value());
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(router->send("busy", "ping").has_value());
    ASSERT_TRUE(dealer->send("pong").has_value());
    ASSERT_TRUE(next(*dealer).has_value());
    ASSERT_TRUE(dealer->send("second").has_value());
    ASSERT_TRUE(next(*router).has_value());
    ASSERT_TRUE(next(*router).has_value());
  }
}

std::atomic<int> signals_seen{0};

TEST_F(TransportTest, ASignalEndsTheWaitWithNothingReady) {
  struct sigaction action {};
  struct sigaction before {};
  action.sa_handler = [](int) { signals_seen.fetch_add(1); };  // no SA_RESTART
  ASSERT_EQ(::sigaction(SIGUSR1, &action, &before), 0);
  signals_seen = 0;
  auto router = bound();
  const pthread_t waiter = ::pthread_self();
  std::atomic<bool> ended{false};
  // Repeated, because a signal before the wait has begun ends nothing.
  std::thread sender([&] {
    while (!ended) {
      ::pthread_kill(waiter, SIGUSR1);
      std::this_thread::yield();
    }
  });
  const Readiness ready = router->wait(-1, kDeadline);
  ended = true;
  sender.join();
  ::sigaction(SIGUSR1, &before, nullptr);
  EXPECT_GT(signals_seen.load(), 0);
  EXPECT_FALSE(ready.messages);
  EXPECT_FALSE(ready.descriptor);
}

TEST_F(TransportTest, SignalsDoNotDisturbSendAndReceive) {
  struct sigaction action {};
  struct sigaction before {};
  action.sa_handler = [](int) { signals_seen.fetch_add(1); };
  ASSERT_EQ(::sigaction(SIGUSR1, &action, &before), 0);
  auto router = bound();
  auto dealer = connected("steady");
  const pthread_t worker = ::pthread_self();
  std::atomic<bool> ended{false};
  std::thread sender([&] {
    while (!ended) {
      ::pthread_kill(worker, SIGUSR1);
      std::this_thread::yield();
    }
  });
  int received = 0;
  for (int i = 0; i < 500; ++i) {
    if (!dealer->send(std::to_string(i))) break;
    auto message = next(*router);
    if (!message || message->bytes != std::to_string(i)) break;
    ++received;
  }
  ended = true;
  sender.join();
  ::sigaction(SIGUSR1, &before, nullptr);
  EXPECT_EQ(received, 500);
}

TEST_F(TransportTest, ImpossibleOptionsAreRefused) {
  Options options;
  options.queue_messages = 0;  // libzmq would take it for "without a bound"
  auto router = Router::bind(address(), options);
  ASSERT_FALSE(router.has_value());
  EXPECT_EQ(router.error().code, Code::kInvalidArgument);
}

}  // namespace
}  // namespace bulkhead::transport
