// Peers that are killed at any instant, and peers that scribble over what they share.
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <bulkhead/base/unique_fd.hpp>
#include <csignal>
#include <thread>
#include <vector>

#include "proto/transport/rendezvous.hpp"
#include "proto/transport/ring.hpp"
#include "transport_fixture.hpp"

namespace bulkhead::transport {
namespace {

constexpr int kKills = 1000;
constexpr std::size_t kLongest = 100'000;

// A process that sends, or that reads, until it is killed.
class KilledPeerTest : public TransportTest {
 protected:
  template <class Body>
  static pid_t start(Body body) {
    EXPECT_TRUE(end_threads());  // a child of a process with several is half a process
    const pid_t child = ::fork();
    if (child != 0) return child;
    body();
    ::_exit(0);
  }
  static void kill_and_reap(pid_t child) {
    ::kill(child, SIGKILL);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  }
  // Between nothing and a millisecond, mostly little; not a sleep, which would be an instant of its
  // own kind.
  static void let_pass(std::uint64_t random) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::nanoseconds(random % 300'000);
    while (std::chrono::steady_clock::now() < end) {
    }
  }
};

// Of the writer everything that arrives is whole and in order, and then it is lost: it never
// closes, and nothing else is ever seen.
TEST_P(KilledPeerTest, WhatAKilledWriterHasSentIsWholeAndThenItIsLost) {
  const std::uint64_t seed = test_seed();
  SCOPED_TRACE("BULKHEAD_TEST_SEED=" + std::to_string(seed));
  const auto listener = listen(GetParam());
  std::uint64_t received = 0;
  for (int kill = 0; kill < kKills; ++kill) {
    const std::uint64_t stream = base::split_mix(seed + static_cast<std::uint64_t>(kill));
    const pid_t writer = start([&] {
      auto connection = connect(GetParam(), directory_, "data", {});
      for (std::uint64_t i = 0; connection; ++i) {
        if (send_all(**connection, message_of(stream, i, kLongest)) != Outcome::kDone) return;
        if (i % 3 == 0) flush_all(**connection);
      }
    });
    const auto connection = accept_next(*listener);
    ASSERT_NE(connection, nullptr);
    std::string_view message;
    std::uint64_t next = 0;
    const std::uint64_t before = stream % 50;  // so many before the kill, or as they come
    Outcome outcome = Outcome::kDone;
    bool killed = false;
    while (outcome == Outcome::kDone) {
      if (!killed && next == before) {
        let_pass(stream >> 8);
        kill_and_reap(writer);
        killed = true;
      }
      outcome = receive_next(*connection, message);
      if (outcome == Outcome::kDone) {
        ASSERT_TRUE(message == message_of(stream, next, kLongest)) << "message " << next;
        ++next;
      }
    }
    if (!killed) kill_and_reap(writer);
    ASSERT_EQ(outcome, Outcome::kLost) << "kill " << kill;
    ASSERT_EQ(connection->broken(), "");
    received += next;
  }
  EXPECT_GT(received, static_cast<std::uint64_t>(kKills));
}

TEST_P(KilledPeerTest, WhoSendsToAKilledReaderLearnsThatItIsLost) {
  const std::uint64_t seed = test_seed();
  SCOPED_TRACE("BULKHEAD_TEST_SEED=" + std::to_string(seed));
  const auto listener = listen(GetParam());
  for (int kill = 0; kill < kKills / 4; ++kill) {
    const std::uint64_t stream = base::split_mix(seed + static_cast<std::uint64_t>(kill));
    const pid_t reader = start([&] {
      auto connection = connect(GetParam(), directory_, "data", {});
      std::string_view message;
      while (connection && receive_next(**connection, message) == Outcome::kDone) {
      }
    });
    const auto connection = accept_next(*listener);
    ASSERT_NE(connection, nullptr);
    const std::string bytes(stream % 5000, 'k');
    Outcome outcome = Outcome::kDone;
    for (std::uint64_t i = 0; outcome == Outcome::kDone; ++i) {
      if (i == stream % 100) {
        let_pass(stream >> 8);
        kill_and_reap(reader);
      }
      outcome = send_all(*connection, bytes);
      if (outcome == Outcome::kDone) outcome = flush_all(*connection);
    }
    ASSERT_EQ(outcome, Outcome::kLost) << "kill " << kill;
  }
}

INSTANTIATE_TEST_SUITE_P(Transports, KilledPeerTest,
                         testing::Values(Kind::kUnix, Kind::kShm, Kind::kZmqIpc), kind_name);

// --- a peer that shares memory with us and writes whatever it likes into it
// -----------------------

class ScribblerTest : public TransportTestBase {
 protected:
  static constexpr std::size_t kWindow = 64u << 10;

  struct Shared {
    std::unique_ptr<Connection> ours;
    RingMemory memory;
    base::UniqueFd socket;
    base::UniqueFd theirs;  // eventfd on which we are woken
    base::UniqueFd mine;
  };

  base::UniqueFd offer(const std::vector<int>& descriptors, std::uint32_t window = kWindow) const {
    auto socket = meet({.directory = directory_, .name = "data"},
                       {.kind = Kind::kShm, .token = {}, .window_bytes = window}, descriptors);
    EXPECT_TRUE(socket.has_value());
    return socket ? std::move(*socket) : base::UniqueFd();
  }
  static ConnectionOptions limited_to(std::size_t message_bytes) {
    ConnectionOptions options;
    options.max_message_bytes = message_bytes;
    return options;
  }
  static base::UniqueFd event() { return base::UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }
  Shared share(Listener& listener) {
    Shared shared;
    auto memory = RingMemory::create(2, kWindow);
    EXPECT_TRUE(memory.has_value());
    shared.memory = std::move(*memory);
    shared.mine = event();
    shared.theirs = event();
    shared.socket = offer({shared.memory.memfd(), shared.mine.get(), shared.theirs.get()});
    shared.ours = accept_next(listener);
    return shared;
  }
};

TEST_F(ScribblerTest, APositionThatCannotBeIsTheEnd) {
  const auto listener = listen(Kind::kShm);
  for (const std::uint64_t position : {kWindow + 1, ~std::uint64_t{0}, std::uint64_t{1} << 63}) {
    Shared shared = share(*listener);
    ASSERT_NE(shared.ours, nullptr);
    shared.memory.control(0).written = position;
    std::string_view message;
    EXPECT_EQ(receive_next(*shared.ours, message), Outcome::kLost);
    EXPECT_NE(shared.ours->broken(), "");
    EXPECT_EQ(shared.ours->send("x"), Outcome::kLost);

    Shared other = share(*listener);
    other.memory.control(1).taken = position;
    const std::string bytes(1000, 'w');
    Outcome outcome = Outcome::kDone;
    for (int i = 0; outcome == Outcome::kDone && i < 1000; ++i)
      outcome = send_all(*other.ours, bytes);
    EXPECT_EQ(outcome, Outcome::kLost);
    EXPECT_NE(other.ours->broken(), "");
  }
}

TEST_F(ScribblerTest, ALengthThatCannotBeIsTheEnd) {
  const auto listener = listen(Kind::kShm, limited_to(1000));
  Shared shared = share(*listener);
  ASSERT_NE(shared.ours, nullptr);
  const char header[] = {'\xe9', '\x03', 0, 0};  // 1001
  std::memcpy(shared.memory.bytes(0), header, sizeof header);
  shared.memory.control(0).written = sizeof header;
  std::string_view message;
  EXPECT_EQ(receive_next(*shared.ours, message), Outcome::kLost);
  EXPECT_NE(shared.ours->broken().find("1001"), std::string::npos) << shared.ours->broken();
}

TEST_F(ScribblerTest, NothingComesAfterALoss) {
  const auto listener = listen(Kind::kShm);
  Shared shared = share(*listener);
  ASSERT_NE(shared.ours, nullptr);
  shared.socket.reset();
  std::string_view message;
  EXPECT_EQ(receive_next(*shared.ours, message), Outcome::kLost);
  const char late[] = {1, 0, 0, 0, 'x'};
  std::memcpy(shared.memory.bytes(0), late, sizeof late);
  shared.memory.control(0).written = sizeof late;
  EXPECT_EQ(shared.ours->receive(message), Outcome::kLost);
}

// Whatever it writes and whenever: we get messages or a loss, within our own memory.
TEST_F(ScribblerTest, NoScribblingHangsOrHarmsTheOther) {
  const std::uint64_t seed = test_seed();
  SCOPED_TRACE("BULKHEAD_TEST_SEED=" + std::to_string(seed));
  const auto listener = listen(Kind::kShm, limited_to(50'000));
  std::uint64_t state = seed;
  const auto random = [&state] { return base::split_mix(state += base::kSplitMixStep); };
  for (int round = 0; round < 200; ++round) {
    Shared shared = share(*listener);
    ASSERT_NE(shared.ours, nullptr);
    std::thread reads([&] {
      std::string_view message;
      std::size_t sum = 0;
      while (receive_next(*shared.ours, message) == Outcome::kDone)
        for (const char byte : message) sum += static_cast<unsigned char>(byte);
      EXPECT_GE(sum, 0u);
    });
    std::thread sends([&] {
      const std::string bytes(700, 's');
      while (send_all(*shared.ours, bytes) == Outcome::kDone)
        if (flush_all(*shared.ours) != Outcome::kDone) break;
    });
    RingControl& in = shared.memory.control(0);
    RingControl& out = shared.memory.control(1);
    // Atomic as the other side's accesses are, that this be no race but what a peer may do.
    const auto scribble = [&](std::uint64_t choice) {
      const std::uint64_t value = random() % 3 == 0 ? random() : random() % 70'000;
      switch (choice % 6) {
        case 0:
          in.written = in.written + value % 5000;
          break;
        case 1:
          out.taken = out.taken + value % 5000;
          break;
        case 2:
          out.writer_sleeps = static_cast<std::uint32_t>(value);
          break;
        case 3:
          in.reader_sleeps = static_cast<std::uint32_t>(value % 2);
          break;
        case 4:
          if (value % 16 == 0) (value % 32 == 0 ? in.written : out.taken) = value;
          break;
        default:
          ::eventfd_write(shared.theirs.get(), 1);
      }
    };
    for (int i = 0; i < 300; ++i) scribble(random());
    // Lengths of zero, and then whatever: before anybody has been told.
    shared.socket.reset();
    reads.join();
    sends.join();
  }
}

TEST_F(ScribblerTest, MemoryThatCouldShrinkOrIsNoneIsRefused) {
  const auto listener = listen(Kind::kShm);
  const std::size_t bytes = 2 * (4096 + kWindow);
  const auto memfd = [&](std::size_t size, int seals) {
    base::UniqueFd fd(::memfd_create("offer", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(size)), 0);
    EXPECT_EQ(::fcntl(fd.get(), F_ADD_SEALS, seals), 0);
    return fd;
  };
  const int all = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  const base::UniqueFd mine = event();
  const base::UniqueFd theirs = event();
  const base::UniqueFd good = memfd(bytes, all);
  const base::UniqueFd blocks(::eventfd(0, EFD_CLOEXEC));
  const base::UniqueFd file(::open("/dev/null", O_RDWR | O_CLOEXEC));
  std::vector<base::UniqueFd> bad;
  bad.push_back(memfd(bytes, F_SEAL_GROW | F_SEAL_SEAL));
  bad.push_back(memfd(bytes, F_SEAL_SHRINK | F_SEAL_GROW));
  bad.push_back(memfd(bytes - 4096, all));
  bad.push_back(memfd(bytes + 4096, all));
  bad.emplace_back(::open("/dev/null", O_RDWR | O_CLOEXEC));
  std::vector<base::UniqueFd> sockets;
  for (const base::UniqueFd& fd : bad)
    sockets.push_back(offer({fd.get(), mine.get(), theirs.get()}));
  sockets.push_back(offer({good.get(), mine.get()}));
  sockets.push_back(offer({}));
  sockets.push_back(offer({good.get(), mine.get(), theirs.get(), mine.get()}));
  sockets.push_back(offer({good.get(), blocks.get(), theirs.get()}));
  sockets.push_back(offer({good.get(), theirs.get(), file.get()}));
  sockets.push_back(offer({good.get(), mine.get(), theirs.get()}, 0));
  sockets.push_back(offer({good.get(), mine.get(), theirs.get()}, ~0u));
  const auto deadline = std::chrono::steady_clock::now() + kDeadline;
  while (listener->turned_away() < sockets.size() && std::chrono::steady_clock::now() < deadline) {
    const auto nobody = listener->accept();
    ASSERT_TRUE(nobody.has_value()) << nobody.error().text;
    ASSERT_EQ(nobody->get(), nullptr);
  }
  EXPECT_EQ(listener->turned_away(), sockets.size());
  Shared shared = share(*listener);
  EXPECT_NE(shared.ours, nullptr);
}

}  // namespace
}  // namespace bulkhead::transport
