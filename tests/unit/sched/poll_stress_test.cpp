// Many descriptors, both directions of each, several that wait for the same, with and without
// timeouts: all bytes arrive, wherever it is done.
#include <bulkhead/sched/poll.hpp>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <random>
#include <vector>

#include "descriptors.hpp"
#include "everywhere.hpp"

namespace bulkhead::sched {
namespace {

using namespace std::chrono_literals;
using base::Duration;
using base::UniqueFd;
using Random = std::mt19937_64;

constexpr int kReaders = 2;  // of each end

// Sometimes with a timeout that mostly comes too early, sometimes with one that never does.
template <class Wait>
void wait_somehow(Wait wait, Random& random) {
  const std::uint64_t kind = random() % 4;
  if (kind == 0) {
    while (!wait(std::chrono::microseconds(random() % 40))) yield();
  } else if (kind == 1) {
    EXPECT_TRUE(wait(Duration(24h)));
  } else {
    EXPECT_TRUE(wait(Duration::max()));
  }
}

struct Sum {
  std::atomic<std::uint64_t> bytes{0};
  std::atomic<std::uint64_t> total{0};
  void add(const char* data, ssize_t count) {
    std::uint64_t here = 0;
    for (ssize_t i = 0; i < count; ++i) here += static_cast<unsigned char>(data[i]);
    bytes += static_cast<std::uint64_t>(count);
    total += here;
  }
};

void send_all(const UniqueFd& fd, std::uint64_t bytes, Random random, Sum& sum) {
  char block[3000];
  for (std::uint64_t left = bytes; left > 0;) {
    const std::size_t size = std::min<std::uint64_t>(left, 1 + random() % sizeof block);
    for (std::size_t i = 0; i < size; ++i) block[i] = static_cast<char>(random());
    const ssize_t count = ::send(fd.get(), block, size, MSG_NOSIGNAL);
    if (count > 0) {
      sum.add(block, count);
      left -= static_cast<std::uint64_t>(count);
    } else {
      wait_somehow([&](Duration timeout) { return wait_writable(fd.get(), timeout); }, random);
    }
    if (random() % 8 == 0) yield();
  }
  ::shutdown(fd.get(), SHUT_WR);
}

void receive_all(const UniqueFd& fd, Random random, Sum& sum) {
  char block[3000];
  for (;;) {
    const ssize_t count = ::read(fd.get(), block, 1 + random() % sizeof block);
    if (count == 0) return;
    if (count > 0) {
      sum.add(block, count);
    } else {
      wait_somehow([&](Duration timeout) { return wait_readable(fd.get(), timeout); }, random);
    }
  }
}

using PollStressTest = EverywhereTest;

TEST_P(PollStressTest, EveryByteArrives) {
  const int pairs = threads() ? 2 : 8;
  const std::uint64_t bytes = static_cast<std::uint64_t>(loops()) * 500;
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    std::vector<Ends> ends;
    for (int i = 0; i < pairs; ++i) ends.push_back(make_sockets());
    for (const Ends& pair : ends) {
      make_narrow(pair.in);
      make_narrow(pair.out);
    }
    Sum sent;
    Sum received;
    std::uint64_t number = 0;
    const auto random = [&] { return Random(seed * 1'000 + ++number); };
    run([&] {
      for (const Ends& pair : ends) {
        for (const UniqueFd* end : {&pair.in, &pair.out}) {
          go([&, end, own = random()] { send_all(*end, bytes, own, sent); });
          for (int i = 0; i < kReaders; ++i)
            go([&, end, own = random()] { receive_all(*end, own, received); });
        }
      }
    });
    EXPECT_EQ(sent.bytes, bytes * 2 * ends.size()) << "seed " << seed;
    EXPECT_EQ(received.bytes, sent.bytes) << "seed " << seed;
    EXPECT_EQ(received.total, sent.total) << "seed " << seed;
  }
}

BULKHEAD_EVERYWHERE(PollStressTest);

}  // namespace
}  // namespace bulkhead::sched
