// The schedule of an open loop.
#include <gtest/gtest.h>

#include <bulkhead/wire/open_loop.hpp>
#include <cstdint>

namespace bulkhead::wire {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr base::TimePoint kOrigin{std::chrono::hours(1)};

TEST(OpenLoopTest, JobsAreDueAtEvenDistancesFromTheOriginOn) {
  const OpenLoop loop(200, kOrigin);
  EXPECT_EQ(loop.due(0), kOrigin);
  EXPECT_EQ(loop.due(1), kOrigin + milliseconds(5));
  EXPECT_EQ(loop.due(200), kOrigin + seconds(1));
  EXPECT_EQ(OpenLoop(1.0 / 60, kOrigin).due(3), kOrigin + std::chrono::minutes(3));
}

TEST(OpenLoopTest, NoErrorAddsUp) {
  const OpenLoop loop(3, kOrigin);
  for (const std::uint64_t job : {3ull, 3'000'000ull, 300'000'000ull}) {
    EXPECT_EQ(loop.due(job), kOrigin + seconds(job / 3)) << job;
  }
}

TEST(OpenLoopTest, NeverGoesBackAndTakesAnyNumber) {
  const OpenLoop loop(1e6, kOrigin);
  base::TimePoint last = kOrigin;
  for (std::uint64_t job = 1; job < 1ull << 63; job *= 2) {
    EXPECT_GE(loop.due(job), last) << job;
    last = loop.due(job);
  }
  EXPECT_GT(OpenLoop(1e-3, kOrigin).due(~0ull), kOrigin);
}

}  // namespace
}  // namespace bulkhead::wire
