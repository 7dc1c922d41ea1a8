// primes: counts the primes up to a limit with a segmented sieve. Work without input: every byte of
// it stays in one core's cache, so what a model costs is not hidden by memory or disk.
#include "program/primes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <bulkhead/sched/scheduler.hpp>
#include <cmath>

#include "program/hash.hpp"

namespace bulkhead::program {
namespace {

// Bit i of a segment stands for the odd number first + 2i. 32 KiB fit the smallest common L1 cache.
constexpr std::size_t kSegmentWords = 32 * 1024 / sizeof(std::uint64_t);
constexpr std::uint64_t kSegmentOdds = kSegmentWords * 64;

std::uint64_t square_root(std::uint64_t value) {
  auto root = static_cast<std::uint64_t>(std::sqrt(static_cast<double>(value)));
  while (root * root > value) --root;
  while ((root + 1) * (root + 1) <= value) ++root;
  return root;
}

// The odd primes up to `limit`, which is small (a square root).
std::vector<std::uint32_t> odd_primes(std::uint64_t limit) {
  std::vector<bool> composite(limit + 1);
  std::vector<std::uint32_t> primes;
  for (std::uint64_t n = 3; n <= limit; n += 2) {
    if (composite[n]) continue;
    primes.push_back(static_cast<std::uint32_t>(n));
    for (std::uint64_t m = n * n; m <= limit; m += 2 * n) composite[m] = true;
  }
  return primes;
}

// Adds the primes of a sieved segment of `odds` numbers from `first` on.
void collect(const std::vector<std::uint64_t>& composite, std::uint64_t first, std::uint64_t odds,
             PrimesResult& result) {
  for (std::uint64_t word = 0; word * 64 < odds; ++word) {
    std::uint64_t primes = ~composite[word];
    if (odds - word * 64 < 64) primes &= (std::uint64_t{1} << (odds - word * 64)) - 1;
    result.count += static_cast<std::uint64_t>(std::popcount(primes));
    for (; primes != 0; primes &= primes - 1) {
      const auto bit = static_cast<std::uint64_t>(std::countr_zero(primes));
      result.largest = first + 2 * (word * 64 + bit);
      result.sum += result.largest;
    }
  }
}

}  // namespace

Description Primes::describe() {
  return {
      "primes",
      "count the primes up to a limit with a segmented sieve",
      false,
      {{"up-to", ParameterType::kInteger, "100000000", "the limit, itself included", 2, 1e13},
       {"jobs", ParameterType::kInteger, "400", "into how many jobs the range is cut", 1, 1e6}}};
}

Primes::Primes(const Settings& settings)
    : up_to_(static_cast<std::uint64_t>(settings.integer("up-to"))),
      jobs_(static_cast<std::uint64_t>(settings.integer("jobs"))) {}

// Jobs differ in length by one number at most; with more jobs than numbers some are empty.
void Primes::source(const Emit<Input>& emit) const {
  const std::uint64_t numbers = up_to_ + 1;
  std::uint64_t low = 0;
  for (std::uint64_t job = 0; job < jobs_; ++job) {
    const std::uint64_t high = low + numbers / jobs_ + (job < numbers % jobs_ ? 1 : 0);
    if (!emit({low, high})) return;
    low = high;
  }
}

// Once per process, by whoever comes first: the jobs of a run share them.
const std::vector<std::uint32_t>& Primes::base_primes() const {
  std::call_once(base_once_, [this] { base_ = odd_primes(square_root(up_to_)); });
  return base_;
}

PrimesResult Primes::work(const Input& input) const {
  if (input.low > input.high || input.high > up_to_ + 1)
    throw std::invalid_argument(fmt::format("the range [{}, {}) is not one of numbers up to {}",
                                            input.low, input.high, up_to_));
  PrimesResult result;
  if (input.low <= 2 && input.high > 2) result = {1, 2, 2};
  const std::uint64_t begin = std::max<std::uint64_t>(input.low | 1, 3);
  if (begin >= input.high) return result;

  // For each base prime the next odd multiple to strike, as an index of odds from `begin` on.
  const std::vector<std::uint32_t>& base = base_primes();
  const std::uint64_t root = square_root(input.high - 1);
  const auto used =
      static_cast<std::size_t>(std::upper_bound(base.begin(), base.end(), root) - base.begin());
  std::vector<std::uint64_t> next(used);
  for (std::size_t i = 0; i < used; ++i) {
    const std::uint64_t prime = base[i];
    std::uint64_t multiple = std::max(prime * prime, (begin + prime - 1) / prime * prime);
    if (multiple % 2 == 0) multiple += prime;
    next[i] = (multiple - begin) / 2;
  }

  const std::uint64_t odds = (input.high - begin + 1) / 2;
  std::vector<std::uint64_t> composite(std::min<std::uint64_t>(kSegmentWords, odds / 64 + 1));
  for (std::uint64_t done = 0; done < odds; done += kSegmentOdds) {
    const std::uint64_t end = std::min(odds, done + kSegmentOdds);
    std::fill(composite.begin(), composite.end(), 0);
    for (std::size_t i = 0; i < used; ++i) {
      const std::uint64_t prime = base[i];
      std::uint64_t odd = next[i];
      for (; odd < end; odd += prime) {
        const std::uint64_t at = odd - done;
        composite[at / 64] |= std::uint64_t{1} << (at % 64);
      }
      next[i] = odd;
    }
    collect(composite, begin + 2 * done, end - done, result);
    sched::checkpoint();
  }
  return result;
}

void Primes::Reducer::add(std::uint64_t, const PrimesResult* result) {
  if (result == nullptr) {
    ++missing_;
    return;
  }
  total_.count += result->count;
  total_.sum += result->sum;
  total_.largest = std::max(total_.largest, result->largest);
}

Answer Primes::Reducer::finish() {
  Answer answer;
  answer.checksum = hex16(mix(mix(mix(total_.count) + total_.sum) + total_.largest) + missing_);
  answer.text = fmt::format("primes up to {}: {}\nsum modulo 2^64: {}\nlargest: {}\n", up_to_,
                            total_.count, total_.sum, total_.largest);
  if (missing_ > 0)
    answer.text += fmt::format("jobs missing: {} (their primes are not counted)\n", missing_);
  return answer;
}

BULKHEAD_JOBS_PROGRAM(Primes);

}  // namespace bulkhead::program
