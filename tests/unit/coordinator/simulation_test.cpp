// Thousands of runs in virtual time, each driven by one seed. A failure prints its seed;
// BULKHEAD_SEED_ONLY=N in the environment runs that one alone.
#include "simulation.hpp"

#include <gtest/gtest.h>

#include <bulkhead/base/sanitizers.hpp>
#include <cstdlib>

namespace bulkhead::coordinator {
namespace {

#if defined(BULKHEAD_ASAN) || defined(BULKHEAD_TSAN)
constexpr std::uint64_t kSeeds = 400;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr std::uint64_t kSeeds = 400;
#else
constexpr std::uint64_t kSeeds = 20000;
#endif
#else
constexpr std::uint64_t kSeeds = 20000;
#endif

std::optional<std::uint64_t> only_seed() {
  const char* text = std::getenv("BULKHEAD_SEED_ONLY");
  if (text == nullptr || *text == '\0') return {};
  return std::strtoull(text, nullptr, 10);
}

TEST(SimulationTest, EveryRunEndsRightWhateverDies) {
  const auto only = only_seed();
  std::uint64_t answered = 0;
  std::uint64_t crashes = 0;
  std::uint64_t late = 0;
  int failures = 0;
  for (std::uint64_t seed = only.value_or(1); seed <= only.value_or(kSeeds); ++seed) {
    Simulation simulation(seed);
    const std::string violation = simulation.run();
    EXPECT_EQ(violation, "") << "BULKHEAD_SEED_ONLY=" << seed;
    if (!violation.empty() && ++failures == 10) break;
    answered += simulation.answered() ? 1 : 0;
    crashes += simulation.crashes();
    late += simulation.late_messages();
  }
  RecordProperty("answered", std::to_string(answered));
  RecordProperty("crashes", std::to_string(crashes));
  RecordProperty("late_messages", std::to_string(late));
  if (only || failures > 0) return;
  // The simulation must not become harmless, nor hopeless.
  EXPECT_GT(answered, kSeeds * 9 / 10);
  EXPECT_GT(crashes, kSeeds);
  EXPECT_GT(late, kSeeds / 20);
}

TEST(SimulationTest, TheSameSeedIsTheSameRun) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    Simulation one(seed);
    Simulation two(seed);
    EXPECT_EQ(one.run(), two.run());
    EXPECT_EQ(one.crashes(), two.crashes()) << seed;
    EXPECT_EQ(one.late_messages(), two.late_messages()) << seed;
  }
}

}  // namespace
}  // namespace bulkhead::coordinator
