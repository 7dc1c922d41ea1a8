// What the suites of the data plane's transports share.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <bulkhead/base/split_mix.hpp>
#include <bulkhead/transport/connection.hpp>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <string_view>
#include <utility>

namespace bulkhead::transport {

inline constexpr std::chrono::seconds kDeadline{60};

// A random one, told when a test fails; BULKHEAD_TEST_SEED=N: the same each time.
inline std::uint64_t test_seed() {
  const char* const given = std::getenv("BULKHEAD_TEST_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
}

// Of a plain thread.
class ThreadWaker final : public Waker {
 public:
  void wake() override {
    const std::lock_guard lock(mutex_);
    told_ = true;
    changed_.notify_one();
  }
  bool wait_until(std::chrono::steady_clock::time_point deadline) {
    std::unique_lock lock(mutex_);
    return changed_.wait_until(lock, deadline, [this] { return told_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool told_ = false;
};

// Until `side` may go on; a failure after the deadline.
inline bool wait_for(Connection& connection, Side side) {
  const auto deadline = std::chrono::steady_clock::now() + kDeadline;
  ThreadWaker waker;
  const auto signal = connection.prepare_to_wait(side, waker);
  if (!signal) return true;
  if (signal->fd < 0) {
    if (waker.wait_until(deadline)) return true;
    if (!connection.cancel_wait(side)) waker.wait_until(deadline + kDeadline);
    ADD_FAILURE() << "nobody told the " << (side == Side::kSender ? "sender" : "receiver");
    return false;
  }
  pollfd file{
      .fd = signal->fd, .events = signal->writable ? short{POLLOUT} : short{POLLIN}, .revents = 0};
  while (std::chrono::steady_clock::now() < deadline)
    if (::poll(&file, 1, 1000) > 0) return true;
  ADD_FAILURE() << "nothing to " << (side == Side::kSender ? "send to" : "receive");
  return false;
}

inline Outcome send_all(Connection& connection, std::string_view bytes) {
  for (;;) {
    const Outcome outcome = connection.send(bytes);
    if (outcome != Outcome::kWait || !wait_for(connection, Side::kSender)) return outcome;
  }
}
inline Outcome flush_all(Connection& connection) {
  for (;;) {
    const Outcome outcome = connection.flush();
    if (outcome != Outcome::kWait || !wait_for(connection, Side::kSender)) return outcome;
  }
}
inline Outcome close_all(Connection& connection) {
  for (;;) {
    const Outcome outcome = connection.close();
    if (outcome != Outcome::kWait || !wait_for(connection, Side::kSender)) return outcome;
  }
}
// kWait only after the deadline.
inline Outcome receive_next(Connection& connection, std::string_view& message) {
  for (;;) {
    const Outcome outcome = connection.receive(message);
    if (outcome != Outcome::kWait || !wait_for(connection, Side::kReceiver)) return outcome;
  }
}

// Message `index` of a stream: its length and its bytes follow from both.
inline std::string message_of(std::uint64_t stream, std::uint64_t index, std::size_t most) {
  std::uint64_t state = base::split_mix(stream * 1'000'003 + index + 1);
  const auto random = [&state] { return base::split_mix(state += base::kSplitMixStep); };
  const std::uint64_t kind = random() % 16;
  std::size_t size = random() % 200;
  if (kind == 0) size = 0;
  if (kind == 1) size = random() % most;
  if (kind == 2) size = random() % 20'000;
  std::string bytes(std::min(size, most), '\0');
  for (std::size_t i = 0; i < bytes.size(); i += 8) {
    const std::uint64_t word = random();
    for (std::size_t j = i; j < std::min(i + 8, bytes.size()); ++j)
      bytes[j] = static_cast<char>(word >> (8 * (j - i)));
  }
  return bytes;
}

// Lets no more descriptors be opened while it lives.
class NoDescriptors {
 public:
  NoDescriptors() {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    rlimit none = before_;
    none.rlim_cur = static_cast<rlim_t>(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    ::close(static_cast<int>(none.rlim_cur));
    // Numbers below may be free: the first that is free is what open() gave.
    ::setrlimit(RLIMIT_NOFILE, &none);
  }
  ~NoDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }
  NoDescriptors(const NoDescriptors&) = delete;
  NoDescriptors& operator=(const NoDescriptors&) = delete;

 private:
  rlimit before_{};
};

class TransportTestBase : public testing::Test {
 protected:
  TransportTestBase() {
    std::string directory = testing::TempDir() + "bulkhead-XXXXXX";
    if (::mkdtemp(directory.data()) == nullptr) std::abort();
    directory_ = directory;
  }
  ~TransportTestBase() override { std::filesystem::remove_all(directory_); }

  struct Pair {
    std::unique_ptr<Connection> connector;
    std::unique_ptr<Connection> acceptor;
  };

  std::unique_ptr<Listener> listen(Kind kind, const ConnectionOptions& options = {},
                                   const std::string& name = "data") {
    auto listener = Listener::listen(kind, directory_, name, options);
    EXPECT_TRUE(listener.has_value()) << listener.error().text;
    return listener ? std::move(*listener) : nullptr;
  }
  std::unique_ptr<Connection> connect_to(Kind kind, const ConnectionOptions& options = {},
                                         const std::string& name = "data") {
    auto connection = connect(kind, directory_, name, options);
    EXPECT_TRUE(connection.has_value()) << connection.error().text;
    return connection ? std::move(*connection) : nullptr;
  }
  static std::unique_ptr<Connection> accept_next(Listener& listener) {
    const auto deadline = std::chrono::steady_clock::now() + kDeadline;
    while (std::chrono::steady_clock::now() < deadline) {
      auto connection = listener.accept();
      if (connection && *connection) return std::move(*connection);
      pollfd file{.fd = listener.fd(), .events = POLLIN, .revents = 0};
      ::poll(&file, 1, 1000);
    }
    ADD_FAILURE() << "nobody has come";
    return nullptr;
  }
  Pair make_pair(Kind kind, const ConnectionOptions& options = {}) {
    const auto listener = listen(kind, options);
    Pair pair;
    pair.connector = connect_to(kind, options);
    pair.acceptor = accept_next(*listener);
    return pair;
  }

  std::string directory_;
};

class TransportTest : public TransportTestBase, public testing::WithParamInterface<Kind> {};

inline std::string kind_name(const testing::TestParamInfo<Kind>& info) {
  std::string name(name_of(info.param));
  std::erase(name, '-');
  return name;
}

}  // namespace bulkhead::transport
