// Peers that speak ZeroMQ but not our contract, through libzmq itself.
#include <sys/socket.h>
#include <sys/un.h>

#include <bulkhead/base/unique_fd.hpp>
#include <zmq.hpp>

#include "transport_fixture.hpp"

namespace bulkhead::transport {
namespace {

class HostilePeerTest : public TransportTest {
 protected:
  std::string endpoint() const { return "ipc://" + directory_ + "/control"; }

  // A raw socket with the options of a careless program.
  zmq::socket_t raw(zmq::socket_type type, const std::string& identity = {}) {
    zmq::socket_t socket(context_, type);
    socket.set(zmq::sockopt::linger, 0);
    socket.set(zmq::sockopt::sndtimeo, kPatienceMs);
    socket.set(zmq::sockopt::rcvtimeo, kPatienceMs);
    if (!identity.empty()) socket.set(zmq::sockopt::routing_id, identity);
    return socket;
  }
  static void send(zmq::socket_t& socket, const std::vector<std::string>& frames) {
    for (std::size_t i = 0; i < frames.size(); ++i) {
      const auto flags = i + 1 < frames.size() ? zmq::send_flags::sndmore : zmq::send_flags::none;
      ASSERT_TRUE(socket.send(zmq::buffer(frames[i]), flags).has_value());
    }
  }

  static constexpr int kPatienceMs = 60'000;
  zmq::context_t context_;
};

TEST_F(HostilePeerTest, MessagesOfTooManyFramesAreDroppedAndCounted) {
  auto router = bound();
  auto peer = raw(zmq::socket_type::dealer, "raw");
  peer.connect(endpoint());
  send(peer, {"two", "payloads"});  // three frames at the router
  send(peer, {"a", "b", "c", "d", "e"});
  send(peer, {"good"});
  const auto message = next(*router);
  ASSERT_TRUE(message.has_value());
  EXPECT_EQ(message->bytes, "good");
  EXPECT_EQ(message->peer, "raw");
  EXPECT_EQ(router->malformed(), 2u);
}

TEST_F(HostilePeerTest, ADealerDropsMessagesOfSeveralFrames) {
  auto peer = raw(zmq::socket_type::router);
  peer.bind(endpoint());
  auto dealer = connected("us");
  ASSERT_TRUE(dealer->send("hello").has_value());
  zmq::message_t frame;
  ASSERT_TRUE(peer.recv(frame).has_value());
  ASSERT_TRUE(peer.recv(frame).has_value());
  send(peer, {"us", "two", "payloads"});
  send(peer, {"us", "good"});
  EXPECT_EQ(next(*dealer).value_or(Message{}).bytes, "good");
}

TEST_F(HostilePeerTest, APeerWithoutAnIdentityIsNotHeard) {
  auto router = bound();
  auto anonymous = raw(zmq::socket_type::dealer);
  anonymous.connect(endpoint());
  send(anonymous, {"who am I"});
  const auto deadline = base::Clock::now() + kDeadline;
  while (router->malformed() == 0 && base::Clock::now() < deadline) {
    router->wait(-1, std::chrono::seconds(1));
    ASSERT_FALSE(router->receive().has_value());
  }
  EXPECT_EQ(router->malformed(), 1u);
}

TEST_F(HostilePeerTest, AFloodOfMalformedMessagesDoesNotHoldTheCaller) {
  auto router = bound();
  auto peer = raw(zmq::socket_type::dealer, "flood");
  peer.connect(endpoint());
  constexpr int kFlood = 1000;
  for (int i = 0; i < kFlood; ++i) send(peer, {"two", "payloads"});
  send(peer, {"good"});
  EXPECT_EQ(next(*router).value_or(Message{}).bytes, "good");
  EXPECT_EQ(router->malformed(), static_cast<std::uint64_t>(kFlood));
}

TEST_F(HostilePeerTest, AnOversizedMessageCostsItsSenderTheLinkAndNobodyElse) {
  Options options;
  options.max_message_bytes = 10'000;
  auto router = bound(options);
  auto neighbour = connected("neighbour", options);
  ASSERT_TRUE(neighbour->send("hello").has_value());
  ASSERT_EQ(next(*router).value_or(Message{}).peer, "neighbour");

  auto peer = raw(zmq::socket_type::dealer, "oversized");
  zmq::socket_t monitor = raw(zmq::socket_type::pair);
  ASSERT_EQ(zmq_socket_monitor(peer.handle(), "inproc://monitor", ZMQ_EVENT_DISCONNECTED), 0);
  monitor.connect("inproc://monitor");
  peer.connect(endpoint());
  send(peer, {"hello"});
  ASSERT_EQ(next(*router).value_or(Message{}).peer, "oversized");

  send(peer, {std::string(10'001, 'x')});
  zmq::message_t event;
  ASSERT_TRUE(monitor.recv(event).has_value()) << "the link was not cut";

  // The neighbour's link has seen nothing of it, in either direction.
  ASSERT_TRUE(neighbour->send("still here").has_value());
  std::optional<Message> message;
  do {
    message = next(*router);
    ASSERT_TRUE(message.has_value());
    EXPECT_LE(message->bytes.size(), 10'000u);
  } while (message->peer != "neighbour");
  EXPECT_EQ(message->bytes, "still here");
  ASSERT_TRUE(router->send("neighbour", "and so are we").has_value());
  EXPECT_EQ(next(*neighbour).value_or(Message{}).bytes, "and so are we");
  EXPECT_EQ(zmq_socket_monitor(peer.handle(), nullptr, 0), 0);
}

TEST_F(HostilePeerTest, ASecondPeerOfOneIdentityTakesNothingOver) {
  auto router = bound();
  auto first = connected("same");
  ASSERT_TRUE(first->send("first").has_value());
  ASSERT_EQ(next(*router).value_or(Message{}).bytes, "first");
  auto thief = connected("same");
  ASSERT_TRUE(thief->send("thief").has_value());
  // The first still gets what is addressed to it.
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(router->send("same", std::to_string(i)).has_value());
    ASSERT_EQ(next(*first).value_or(Message{}).bytes, std::to_string(i));
    EXPECT_FALSE(thief->receive().has_value());
    EXPECT_FALSE(router->receive().has_value());
  }
}

TEST_F(HostilePeerTest, BytesThatAreNotZeroMqLeaveTheOthersAlone) {
  auto router = bound();
  auto neighbour = connected("neighbour");
  ASSERT_TRUE(neighbour->send("hello").has_value());
  ASSERT_TRUE(next(*router).has_value());

  base::UniqueFd garbage(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un socket_address{};
  socket_address.sun_family = AF_UNIX;
  (directory_ + "/control").copy(socket_address.sun_path, sizeof socket_address.sun_path - 1);
  ASSERT_EQ(::connect(garbage.get(), reinterpret_cast<const sockaddr*>(&socket_address),
                      sizeof socket_address),
            0);
  const std::string text = "GET / HTTP/1.0\r\n\r\n" + std::string(4096, '\xee');
  // The router may close at any byte of it.
  static_cast<void>(::send(garbage.get(), text.data(), text.size(), MSG_NOSIGNAL));

  // libzmq takes these bytes for version 1 of its protocol, and may deliver a frame of them under
  // an identity of them: no identity that anybody has, which is for the caller to see.
  ASSERT_TRUE(neighbour->send("still here").has_value());
  std::optional<Message> message;
  do {
    message = next(*router);
    ASSERT_TRUE(message.has_value());
  } while (message->peer != "neighbour");
  EXPECT_EQ(message->bytes, "still here");
}

}  // namespace
}  // namespace bulkhead::transport
