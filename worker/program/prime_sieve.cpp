// prime-sieve: numbers go down a chain of filters, one for each prime found so far, each of which
// lets pass what its prime does not divide. What comes out at the end is the next prime.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <bulkhead/program.hpp>
#include <deque>
#include <vector>

#include "program/one_of.hpp"

namespace bulkhead::program {
namespace {

using Numbers = sched::Channel<std::int64_t>;

class PrimeSieve {
 public:
  static Description describe() {
    return {"prime-sieve",
            "numbers go down a chain of filters, one for each prime",
            false,
            {{"up-to", ParameterType::kInteger, "13", "the last number that is tried", 2, 10'000},
             {"sending", ParameterType::kText, "waits",
              "waits: until the next filter takes a number; tries: drops what it does not take", 0,
              0}}};
  }

  explicit PrimeSieve(const Settings& settings)
      : up_to_(settings.integer("up-to")),
        tries_(one_of(settings, "sending", {"waits", "tries"}) == "tries") {}

  Answer run() {
    std::deque<Numbers> chain(1);
    sched::WaitGroup group;
    group.add();
    sched::go({.name = "numbers"}, [&, &out = chain.back()] {
      for (std::int64_t number = 2; number <= up_to_; ++number) out.send(number);
      out.close();
      group.done();
    });
    std::vector<std::int64_t> primes;
    while (const auto prime = chain.back().receive()) {
      sched::note("{} is prime", *prime);
      primes.push_back(*prime);
      Numbers& in = chain.back();
      chain.emplace_back();
      group.add();
      const std::string name = fmt::format("filter {}", *prime);
      sched::go({.name = name}, [&, &out = chain.back(), divisor = *prime] {
        filter(in, out, divisor);
        group.done();
      });
    }
    group.wait();
    return answer(primes);
  }

  Answer expected() const {
    std::vector<std::int64_t> primes;
    for (std::int64_t number = 2; number <= up_to_; ++number) {
      bool prime = true;
      for (std::int64_t divisor = 2; prime && divisor * divisor <= number; ++divisor)
        prime = number % divisor != 0;
      if (prime) primes.push_back(number);
    }
    return answer(primes);
  }

 private:
  void filter(Numbers& in, Numbers& out, std::int64_t divisor) const {
    while (const auto number = in.receive()) {
      if (*number % divisor == 0) {
        sched::note("{} is divisible by {}", *number, divisor);
      } else if (!tries_) {
        out.send(*number);
        sched::note("{} has passed {}", *number, divisor);
      } else if (!out.try_send(*number)) {
        sched::note("{} has passed {}, and nobody takes it", *number, divisor);
      }
    }
    out.close();
  }

  Answer answer(const std::vector<std::int64_t>& primes) const {
    const std::string list = fmt::format("{}", fmt::join(primes, " "));
    return {list, fmt::format("primes up to {}: {}", up_to_, list)};
  }

  const std::int64_t up_to_;
  const bool tries_;
};

BULKHEAD_NETWORK(PrimeSieve);

}  // namespace
}  // namespace bulkhead::program
