// A million messages leave no more behind than a hundred thousand: on either side.
#include <sys/wait.h>

#include <csignal>
#include <cstring>
#include <fstream>
#include <optional>
#include <thread>

#include "transport_fixture.hpp"

namespace bulkhead::transport {
namespace {

#if defined(BULKHEAD_ASAN) || defined(BULKHEAD_TSAN)
constexpr std::uint64_t kMessages = 30'000;
constexpr std::int64_t kGrowthKib = 128 << 10;  // a sanitizer keeps what was freed
#else
constexpr std::uint64_t kMessages = 1'000'000;
constexpr std::int64_t kGrowthKib = 256;  // the C library's and the kernel's rounding
#endif
constexpr std::size_t kBytes = 1024;

std::int64_t resident_kib() {
  std::int64_t total = 0;
  std::int64_t resident = 0;
  std::ifstream("/proc/self/statm") >> total >> resident;
  return resident * ::sysconf(_SC_PAGESIZE) / 1024;
}

// Growth over the last nine tenths.
class Growth {
 public:
  void passes(std::uint64_t message) {
    if (message == kMessages / 10) early_ = resident_kib();
  }
  std::int64_t kib() const { return resident_kib() - early_; }

 private:
  std::int64_t early_ = 0;
};

// Sends them all, then as the last one by how much it has grown.
Outcome send_million(Connection& connection) {
  Growth growth;
  std::string bytes(kBytes, '\0');
  for (std::uint64_t i = 0; i < kMessages; ++i) {
    growth.passes(i);
    std::memcpy(bytes.data(), &i, sizeof i);
    if (const Outcome sent = send_all(connection, bytes); sent != Outcome::kDone) return sent;
  }
  const Outcome told = send_all(connection, std::to_string(growth.kib()));
  return told == Outcome::kDone ? close_all(connection) : told;
}

// What the sender has told; nothing after a failure.
std::optional<std::int64_t> receive_million(Connection& connection) {
  Growth growth;
  std::string_view message;
  for (std::uint64_t i = 0; i < kMessages; ++i) {
    growth.passes(i);
    std::uint64_t index = 0;
    if (receive_next(connection, message) != Outcome::kDone || message.size() != kBytes)
      return std::nullopt;
    std::memcpy(&index, message.data(), sizeof index);
    if (index != i) return std::nullopt;
  }
  EXPECT_LE(growth.kib(), kGrowthKib) << "KiB, of the receiver";
  if (receive_next(connection, message) != Outcome::kDone) return std::nullopt;
  const std::string told(message);
  EXPECT_EQ(receive_next(connection, message), Outcome::kClosed);
  return std::stoll(told);
}

using TransportMemoryTest = TransportTest;

TEST_P(TransportMemoryTest, StaysAsItIsOverAMillionMessages) {
  const auto listener = listen(GetParam());
  pid_t child = -1;
  std::thread thread;
  const auto send = [&] {
    const auto connection = connect_to(GetParam());
    return connection != nullptr && send_million(*connection) == Outcome::kDone;
  };
  if (GetParam() == Kind::kInproc) {
    thread = std::thread([&] { EXPECT_TRUE(send()); });
  } else {
    EXPECT_TRUE(end_threads());
    child = ::fork();
    if (child == 0) {
      const bool sent = send();
      ::_exit(sent && end_threads() ? 0 : 1);
    }
  }
  const auto connection = accept_next(*listener);
  if (connection != nullptr) {
    const auto senders_growth = receive_million(*connection);
    EXPECT_TRUE(senders_growth.has_value());
    EXPECT_LE(senders_growth.value_or(0), kGrowthKib) << "KiB, of the sender";
  }
  if (thread.joinable()) thread.join();
  if (child < 0) return;
  if (HasFailure()) ::kill(child, SIGKILL);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

INSTANTIATE_TEST_SUITE_P(Transports, TransportMemoryTest, testing::ValuesIn(kAllKinds), kind_name);

}  // namespace
}  // namespace bulkhead::transport
