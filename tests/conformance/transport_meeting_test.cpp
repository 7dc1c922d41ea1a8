// How the peers of those transports that meet at a socket find one another.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <bulkhead/base/unique_fd.hpp>
#include <vector>

#include "support/raw_socket.hpp"
#include "transport_fixture.hpp"

namespace bulkhead::transport {
namespace {

class MeetingTest : public TransportTest {
 protected:
  base::UniqueFd bare() const { return test::connect_raw(directory_ + "/data"); }
  // Until that many were turned away, in which time nobody comes.
  static void turn_away(Listener& listener, std::uint64_t count) {
    const auto deadline = std::chrono::steady_clock::now() + kDeadline;
    while (listener.turned_away() < count && std::chrono::steady_clock::now() < deadline) {
      const auto nobody = listener.accept();
      ASSERT_TRUE(!nobody || *nobody == nullptr);
    }
    EXPECT_EQ(listener.turned_away(), count);
  }
};

TEST_P(MeetingTest, StrangersAndTheSilentKeepNobodyOut) {
  const auto listener = listen(GetParam());
  std::vector<base::UniqueFd> silent;
  for (int i = 0; i < 200; ++i) silent.push_back(bare());
  const auto hung_up = [&] { bare(); };
  hung_up();
  const base::UniqueFd talker = bare();
  ASSERT_GT(::send(talker.get(), std::string(1000, 'g').data(), 1000, MSG_NOSIGNAL), 0);
  const auto connection = connect_to(GetParam());
  const auto ours = accept_next(*listener);
  ASSERT_NE(ours, nullptr);
  ASSERT_EQ(send_all(*connection, "hello"), Outcome::kDone);
  ASSERT_EQ(flush_all(*connection), Outcome::kDone);
  std::string_view message;
  ASSERT_EQ(receive_next(*ours, message), Outcome::kDone);
  EXPECT_EQ(message, "hello");
  EXPECT_GT(listener->turned_away(), 100u);  // the silent ones are not kept without end
}

TEST_P(MeetingTest, TheFileOfADeadListenerIsReplaced) {
  {
    base::UniqueFd dead(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un at{};
    at.sun_family = AF_UNIX;
    (directory_ + "/data").copy(at.sun_path, sizeof at.sun_path - 1);
    ASSERT_EQ(::bind(dead.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at), 0);
    ASSERT_EQ(::listen(dead.get(), 1), 0);
  }
  ASSERT_TRUE(std::filesystem::exists(directory_ + "/data"));
  auto listener = listen(GetParam());
  const auto connection = connect_to(GetParam());
  EXPECT_NE(accept_next(*listener), nullptr);
  listener.reset();
  EXPECT_FALSE(std::filesystem::exists(directory_ + "/data"));
}

TEST_P(MeetingTest, OtherFilesAreNotReplaced) {
  std::fclose(std::fopen((directory_ + "/data").c_str(), "w"));
  const auto listener = Listener::listen(GetParam(), directory_, "data", {});
  ASSERT_FALSE(listener.has_value());
  EXPECT_EQ(listener.error().code, Code::kInvalidArgument);
  EXPECT_TRUE(std::filesystem::exists(directory_ + "/data"));
}

TEST_P(MeetingTest, OneOfAnotherKindIsTurnedAway) {
  const auto listener = listen(GetParam());
  const Kind other = GetParam() == Kind::kUnix ? Kind::kShm : Kind::kUnix;
  const auto stranger = connect_to(other);
  turn_away(*listener, 1);
  std::string_view message;
  EXPECT_EQ(receive_next(*stranger, message), Outcome::kLost);
}

// A listener that is told of a visitor over and over, and has no descriptor for it, would spin.
TEST_P(MeetingTest, AVisitorWithoutADescriptorIsTurnedAway) {
  const auto listener = listen(GetParam());
  const base::UniqueFd visitor = bare();
  {
    const NoDescriptors none;
    const auto accepted = listener->accept();
    ASSERT_FALSE(accepted.has_value());
    EXPECT_EQ(accepted.error().code, Code::kResourceExhausted);
  }
  char byte = 0;
  EXPECT_EQ(::recv(visitor.get(), &byte, 1, 0), 0);
  EXPECT_EQ(listener->turned_away(), 1u);
  const auto connection = connect_to(GetParam());
  EXPECT_NE(accept_next(*listener), nullptr);
}

INSTANTIATE_TEST_SUITE_P(Transports, MeetingTest,
                         testing::Values(Kind::kUnix, Kind::kShm, Kind::kZmqIpc), kind_name);

}  // namespace
}  // namespace bulkhead::transport
