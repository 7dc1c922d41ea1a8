// Who is let in at the listening socket, and what happens when descriptors run out.
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <bulkhead/base/unique_fd.hpp>
#include <cerrno>
#include <string>
#include <vector>

#include "support/raw_socket.hpp"
#include "transport_fixture.hpp"

namespace bulkhead::transport {
namespace {

class GateTest : public TransportTest {
 protected:
  std::unique_ptr<Router> guarded(const Admission& admission) {
    auto router = Router::bind(address(), {}, admission);
    EXPECT_TRUE(router.has_value()) << router.error().text;
    return router ? std::move(*router) : nullptr;
  }

  base::UniqueFd bare() const {
    base::UniqueFd fd = test::connect_raw(directory_ + "/control");
    // What a peer says first may be too late already.
    static_cast<void>(::send(fd.get(), "\xff", 1, MSG_NOSIGNAL));
    return fd;
  }

  // Waits for what a router does first with a connection that it keeps, or for its end.
  static bool is_kept(const base::UniqueFd& fd) {
    char byte = 0;
    return ::recv(fd.get(), &byte, 1, 0) == 1;
  }
};

TEST_F(GateTest, WhoIsNotAdmittedIsTurnedAwayUnread) {
  std::atomic<int> asked{0};
  Admission admission;
  admission.admits = [&](int pid) {
    asked = pid;
    return false;
  };
  auto router = guarded(admission);
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(is_kept(bare()));
  EXPECT_EQ(asked, ::getpid());
  EXPECT_EQ(router->turned_away(), 100u);
}

TEST_F(GateTest, WhoIsAdmittedIsHeard) {
  Admission admission;
  admission.admits = [](int pid) { return pid == ::getpid(); };
  auto router = guarded(admission);
  auto dealer = connected("friend");
  ASSERT_TRUE(dealer->send("hello").has_value());
  EXPECT_EQ(next(*router).value_or(Message{}).bytes, "hello");
  EXPECT_EQ(router->turned_away(), 0u);
}

TEST_F(GateTest, OneProcessKeepsSoManyAndMayReplaceThem) {
  Admission admission;
  admission.per_process = 3;
  auto router = guarded(admission);
  std::vector<base::UniqueFd> open;
  for (int i = 0; i < 3; ++i) {
    open.push_back(bare());
    EXPECT_TRUE(is_kept(open.back())) << i;
  }
  EXPECT_FALSE(is_kept(bare()));
  open.pop_back();
  // The router has to notice the end first.
  const auto deadline = base::Clock::now() + kDeadline;
  bool kept = false;
  while (!kept && base::Clock::now() < deadline) kept = is_kept(bare());
  EXPECT_TRUE(kept);
}

TEST_F(GateTest, AllTogetherKeepSoMany) {
  Admission admission;
  admission.total = 5;
  auto router = guarded(admission);
  std::vector<base::UniqueFd> open;
  for (int i = 0; i < 20; ++i) open.push_back(bare());
  int kept = 0;
  for (const base::UniqueFd& fd : open) kept += is_kept(fd);
  EXPECT_EQ(kept, 5);
  EXPECT_EQ(router->turned_away(), 15u);
}

TEST_F(GateTest, WhoComesBackAfterItsLinkWasCutIsNamed) {
  Options options;
  options.max_message_bytes = 10'000;
  auto router = Router::bind(address(), options, {});
  ASSERT_TRUE(router.has_value());
  auto dealer = connected("careless");  // which knows another limit
  ASSERT_TRUE(dealer->send("hello").has_value());
  ASSERT_TRUE(next(**router).has_value());
  EXPECT_TRUE((*router)->take_returned().empty());
  ASSERT_TRUE(dealer->send(std::string(10'001, 'x')).has_value());
  EXPECT_TRUE((*router)->wait((*router)->returned_fd(), kDeadline).descriptor);
  EXPECT_EQ((*router)->take_returned(), std::vector<int>{::getpid()});
  EXPECT_FALSE((*router)->wait((*router)->returned_fd(), base::Duration(0)).descriptor);
}

TEST_F(GateTest, AFullDescriptorTableAbortsNobody) {
  auto router = guarded({});
  auto dealer = connected("friend");
  ASSERT_TRUE(dealer->send("hello").has_value());
  ASSERT_TRUE(next(*router).has_value());
  constexpr int kPeers = 60;
  std::vector<base::UniqueFd> sockets;
  for (int i = 0; i < kPeers; ++i) {
    sockets.emplace_back(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_TRUE(sockets.back());
  }
  // No number is free below the limit: they are given lowest first.
  const base::UniqueFd probe(::dup(0));
  rlimit usual{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &usual), 0);
  const rlimit full{static_cast<rlim_t>(probe.get()) + 1, usual.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &full), 0);
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  (directory_ + "/control").copy(to.sun_path, sizeof to.sun_path - 1);
  for (const base::UniqueFd& fd : sockets) {
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
  }
  for (const base::UniqueFd& fd : sockets) EXPECT_FALSE(is_kept(fd));
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &usual), 0);
  EXPECT_EQ(router->turned_away(), static_cast<std::uint64_t>(kPeers));
  ASSERT_TRUE(dealer->send("still here").has_value());
  EXPECT_EQ(next(*router).value_or(Message{}).bytes, "still here");
}

TEST_F(GateTest, OtherListenersAcceptAsEver) {
  Admission admission;
  admission.admits = [](int) { return false; };
  auto router = guarded(admission);
  const base::UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un own{};
  own.sun_family = AF_UNIX;
  (directory_ + "/other").copy(own.sun_path, sizeof own.sun_path - 1);
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&own), sizeof own), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  const base::UniqueFd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::connect(client.get(), reinterpret_cast<const sockaddr*>(&own), sizeof own), 0);
  sockaddr_un peer{};
  socklen_t size = sizeof peer;
  const base::UniqueFd accepted(
      ::accept4(listener.get(), reinterpret_cast<sockaddr*>(&peer), &size, SOCK_CLOEXEC));
  ASSERT_TRUE(accepted);
  EXPECT_EQ(peer.sun_family, AF_UNIX);
}

}  // namespace
}  // namespace bulkhead::transport
