// What can go wrong with the inboxes of zmq-ipc: files beside the listener's, at which anybody who
// may enter the directory can knock.
#include <sys/socket.h>

#include <algorithm>
#include <bulkhead/base/unique_fd.hpp>
#include <vector>

#include "support/raw_socket.hpp"
#include "transport_fixture.hpp"

namespace bulkhead::transport {
namespace {

class ZmqInboxTest : public TransportTestBase {
 protected:
  std::vector<std::string> inboxes() const {
    std::vector<std::string> paths;
    for (const auto& entry : std::filesystem::directory_iterator(directory_))
      if (entry.path().filename().string().starts_with("zmq-")) paths.push_back(entry.path());
    return paths;
  }
  static void exchange(Connection& from, Connection& to, const std::string& bytes) {
    ASSERT_EQ(send_all(from, bytes), Outcome::kDone);
    ASSERT_EQ(flush_all(from), Outcome::kDone);
    std::string_view message;
    ASSERT_EQ(receive_next(to, message), Outcome::kDone);
    EXPECT_EQ(message, bytes);
  }
};

TEST_F(ZmqInboxTest, NobodyElseComesInOnceThePeerIsThere) {
  const auto listener = listen(Kind::kZmqIpc);
  const auto mine = connect_to(Kind::kZmqIpc);
  const auto theirs = accept_next(*listener);
  exchange(*mine, *theirs, "there");
  exchange(*theirs, *mine, "and back");
  ASSERT_EQ(inboxes().size(), 2u);
  const std::string garbage(1000, 'g');
  for (int i = 0; i < 500; ++i) {
    for (const std::string& inbox : inboxes()) {
      const base::UniqueFd stranger = test::connect_raw(inbox);
      ::send(stranger.get(), garbage.data(), garbage.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    }
  }
  exchange(*mine, *theirs, "there again");
  exchange(*theirs, *mine, "and back again");
}

// It has taken the peer's place: that connection is lost, on both sides, and no other.
TEST_F(ZmqInboxTest, WhoeverComesBeforeThePeerCostsTheConnection) {
  const auto listener = listen(Kind::kZmqIpc);
  const auto other = connect_to(Kind::kZmqIpc);
  const auto others_peer = accept_next(*listener);
  exchange(*other, *others_peer, "before");  // its inboxes have their guests
  exchange(*others_peer, *other, "before");
  const std::vector<std::string> before = inboxes();
  auto mine = connect_to(Kind::kZmqIpc);
  for (const std::string& inbox : inboxes()) {
    if (std::find(before.begin(), before.end(), inbox) != before.end()) continue;
    const base::UniqueFd stranger = test::connect_raw(inbox);
    ::send(stranger.get(), "nonsense", 8, MSG_NOSIGNAL);
  }
  std::string_view message;
  EXPECT_EQ(receive_next(*mine, message), Outcome::kLost);
  mine.reset();
  const auto theirs = accept_next(*listener);
  EXPECT_EQ(receive_next(*theirs, message), Outcome::kLost);
  exchange(*other, *others_peer, "after");
}

TEST_F(ZmqInboxTest, NoFileIsLeft) {
  {
    const auto listener = listen(Kind::kZmqIpc);
    const auto mine = connect_to(Kind::kZmqIpc);
    const auto theirs = accept_next(*listener);
    exchange(*mine, *theirs, "a message");
    const auto unheard = connect_to(Kind::kZmqIpc);
    EXPECT_EQ(inboxes().size(), 3u);
  }
  EXPECT_TRUE(inboxes().empty());
  const auto nobody = connect(Kind::kZmqIpc, directory_, "nobody", {});
  EXPECT_FALSE(nobody.has_value());
  EXPECT_TRUE(inboxes().empty());
}

}  // namespace
}  // namespace bulkhead::transport
