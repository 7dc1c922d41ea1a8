#include "program/primes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <thread>

#include "tests/support/run_program.hpp"

namespace bulkhead::program {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

Answer answer_of(std::uint64_t up_to, std::uint64_t jobs) {
  return test::run_program("primes",
                           {{"up-to", std::to_string(up_to)}, {"jobs", std::to_string(jobs)}});
}

TEST(PrimesTest, KnownCountsOfPrimesUpToPowersOfTen) {
  const std::uint64_t known[] = {4, 25, 168, 1229, 9592, 78498, 664579, 5761455};
  std::uint64_t up_to = 10;
  for (const std::uint64_t count : known) {
    EXPECT_THAT(answer_of(up_to, 400).text, StartsWith("primes up to " + std::to_string(up_to) +
                                                       ": " + std::to_string(count) + "\n"));
    up_to *= 10;
  }
}

TEST(PrimesTest, SumAndLargestOfTheFirstThousandAreRight) {
  EXPECT_EQ(answer_of(1000, 7).text,
            "primes up to 1000: 168\nsum modulo 2^64: 76127\nlargest: 997\n");
}

// Against trial division, at every small limit and number of jobs.
TEST(PrimesTest, EveryWayToCutASmallRangeGivesTheSame) {
  std::uint64_t count = 0;
  std::uint64_t sum = 0;
  std::uint64_t largest = 0;
  for (std::uint64_t n = 2; n <= 130; ++n) {
    bool prime = true;
    for (std::uint64_t d = 2; d < n; ++d) prime = prime && n % d != 0;
    if (prime) {
      ++count;
      sum += n;
      largest = n;
    }
    for (const std::uint64_t jobs : {1U, 2U, 3U, 7U, 64U, 131U, 1000U})
      ASSERT_THAT(answer_of(n, jobs).text, HasSubstr(": " + std::to_string(count) +
                                                     "\nsum modulo 2^64: " + std::to_string(sum) +
                                                     "\nlargest: " + std::to_string(largest)))
          << n << " in " << jobs;
  }
}

TEST(PrimesTest, RandomCutsOfALargeRangeAddUp) {
  const std::uint64_t limit = 3'000'000;  // several segments
  const Primes primes(
      Settings(Primes::describe(), {{"up-to", std::to_string(limit)}, {"jobs", "1"}}, {}));
  const PrimesResult whole = primes.work({0, limit + 1});
  EXPECT_EQ(whole.count, 216816U);
  std::mt19937_64 random(7);
  for (int round = 0; round < 20; ++round) {
    PrimesResult total;
    for (std::uint64_t low = 0; low <= limit;) {
      const std::uint64_t high = std::min(limit + 1, low + random() % 700'000);
      const PrimesResult part = primes.work({low, high});
      total.count += part.count;
      total.sum += part.sum;
      total.largest = std::max(total.largest, part.largest);
      low = high;
    }
    EXPECT_EQ(total.count, whole.count);
    EXPECT_EQ(total.sum, whole.sum);
    EXPECT_EQ(total.largest, whole.largest);
  }
}

TEST(PrimesTest, ManyThreadsMayComeFirst) {
  const Primes primes(Settings(Primes::describe(), {{"up-to", "1000000"}}, {}));
  std::vector<std::uint64_t> counts(4);
  std::vector<std::thread> threads;
  for (std::uint64_t& count : counts)
    threads.emplace_back([&primes, &count] { count = primes.work({0, 1'000'001}).count; });
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(counts, testing::Each(78498U));
}

TEST(PrimesTest, AnswersDifferWhenAJobIsMissing) {
  const auto primes = test::make_program("primes", {{"up-to", "1000"}, {"jobs", "10"}});
  const Answer whole = test::run_program(*primes);
  const Answer gapped = test::run_program(*primes, {3});
  EXPECT_NE(whole.checksum, gapped.checksum);
  EXPECT_THAT(gapped.text, HasSubstr("jobs missing: 1"));
  EXPECT_EQ(whole.checksum, answer_of(1000, 99).checksum);
}

TEST(PrimesTest, ARangeBeyondTheLimitIsRefused) {
  const Primes primes(Settings(Primes::describe(), {{"up-to", "100"}}, {}));
  EXPECT_THROW(primes.work({0, 1000}), std::invalid_argument);
  EXPECT_THROW(primes.work({50, 20}), std::invalid_argument);
}

}  // namespace
}  // namespace bulkhead::program
