// Rows of many goroutines joined by channels without buffers: a ring, a sieve, a tree.
#include <array>
#include <bulkhead/base/check.hpp>
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/scheduler.hpp>

#include "bench/rows.hpp"

namespace bulkhead::bench {
namespace {

using Numbers = sched::Channel<int>;

// A number goes round, one less at each member; who sees 0 says so. The other members stay parked,
// so the channels are left to them.
std::vector<Figure> ring() {
  constexpr std::size_t kMembers = 503;
  constexpr int kPasses = 1'000'000;
  auto& links = *new std::array<Numbers, kMembers>;
  auto& ended = *new sched::Channel<bool>;
  for (std::size_t member = 0; member < kMembers; ++member) {
    sched::go([&in = links[member], &out = links[(member + 1) % kMembers], &ended] {
      for (;;) {
        const int number = *in.receive();
        if (number == 0) {
          ended.send(true);
          return;
        }
        out.send(number - 1);
      }
    });
  }
  const double ns = time_ns([&] {
    links[0].send(kPasses);
    keep(ended.receive());
  });
  return {{"ring503", "", ns / kPasses, "ns/pass"}};
}

// How often a number crosses a channel until the sieve has given `primes` of them.
std::uint64_t sieve_hops(std::size_t primes) {
  std::vector<int> found;
  std::uint64_t hops = 0;
  for (int number = 2; found.size() < primes; ++number) {
    ++hops;
    bool passes = true;
    for (const int prime : found) {
      passes = number % prime != 0;
      if (!passes) break;
      ++hops;
    }
    if (passes) found.push_back(number);
  }
  return hops;
}

// A filter for each prime, one behind the other. Filters and channels are left behind, still at it.
std::vector<Figure> sieve() {
  constexpr std::size_t kPrimes = 2000;
  int prime = 0;
  const double ns = time_ns([&] {
    auto* channel = new Numbers;
    sched::go([channel] {
      for (int number = 2;; ++number) channel->send(number);
    });
    for (std::size_t i = 0; i < kPrimes; ++i) {
      prime = *channel->receive();
      auto* const next = new Numbers;
      sched::go([channel, next, divisor = prime] {
        for (;;) {
          const int number = *channel->receive();
          if (number % divisor != 0) next->send(number);
        }
      });
      channel = next;
    }
  });
  BULKHEAD_CHECK(prime == 17'389, "prime {} is not {}", kPrimes, prime);
  return {{"sieve", "primes=2000", ns / 1e9, "s"},
          {"sieve_hop", "primes=2000", ns / static_cast<double>(sieve_hops(kPrimes)), "ns/hop"}};
}

using Sums = sched::Channel<std::uint64_t>;

// Ten children a node; a leaf sends its number up, a node the sum of what it gets.
void grow(Sums& up, std::uint64_t number, std::uint64_t leaves) {
  if (leaves == 1) {
    up.send(number);
    return;
  }
  constexpr std::uint64_t kChildren = 10;
  const std::uint64_t share = leaves / kChildren;
  Sums sums;
  for (std::uint64_t child = 0; child < kChildren; ++child) {
    sched::go([&sums, first = number + child * share, share] { grow(sums, first, share); });
  }
  std::uint64_t sum = 0;
  for (std::uint64_t child = 0; child < kChildren; ++child) sum += *sums.receive();
  up.send(sum);
}

std::vector<Figure> skynet() {
  constexpr std::uint64_t kLeaves = 1'000'000;
  Sums result;
  std::uint64_t sum = 0;
  const double ns = time_ns([&] {
    sched::go([&] { grow(result, 0, kLeaves); });
    sum = *result.receive();
  });
  BULKHEAD_CHECK(sum == 499'999'500'000, "the sum is not {}", sum);
  return {{"skynet", "n=1000000", ns / 1e9, "s"}};
}

}  // namespace

const std::vector<Row>& network_rows() {
  static const std::vector<Row> kRows{{"ring503", ring}, {"sieve", sieve}, {"skynet", skynet}};
  return kRows;
}

}  // namespace bulkhead::bench
