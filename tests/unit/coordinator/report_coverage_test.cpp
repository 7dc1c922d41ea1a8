// How often the comparison of two models is right, on noise as machines make it: outliers on one
// side, spells of slowness, drift, heavy tails. All of it is drawn from a fixed seed.
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <random>
#include <string>
#include <vector>

#include "report/statistics.hpp"

namespace bulkhead::coordinator {
namespace {

constexpr std::uint64_t kSeed = 20240923;
constexpr int kTrials = 2000;

class Noise {
 public:
  explicit Noise(std::uint64_t seed) : generator_(seed) {}

  double uniform() { return static_cast<double>(generator_() >> 11) * 0x1.0p-53; }
  double normal() {
    const double radius = std::sqrt(-2 * std::log(1 - uniform()));
    return radius * std::cos(2 * std::numbers::pi * uniform());
  }
  double exponential(double mean) { return -mean * std::log(1 - uniform()); }

 private:
  std::mt19937_64 generator_;
};

enum class Kind { kEven, kOutliers, kSpells, kDrift, kHeavyTails };

const char* name_of(Kind kind) {
  switch (kind) {
    case Kind::kEven:
      return "even";
    case Kind::kOutliers:
      return "outliers";
    case Kind::kSpells:
      return "spells";
    case Kind::kDrift:
      return "drift";
    case Kind::kHeavyTails:
      return "heavy tails";
  }
  return "";
}

struct Walls {
  std::vector<double> first;
  std::vector<double> second;
};

// Two sides interleaved as compare does it, A B B A A B …; the second `slower` times as slow.
Walls measure(Noise& noise, Kind kind, int repetitions, double slower) {
  Walls walls;
  double drift = 0;
  double spell = 0;
  const double slope = (noise.uniform() - 0.5) * 0.04;
  for (int i = 0; i < 2 * repetitions; ++i) {
    double log_wall = 0.02 * noise.normal();
    if (kind == Kind::kOutliers && noise.uniform() < 0.15) log_wall += noise.exponential(0.2);
    if (kind == Kind::kSpells) {
      if (noise.uniform() < 0.1) log_wall += noise.exponential(0.2);
      if (noise.uniform() < (spell > 0 ? 0.25 : 0.1)) {
        spell = spell > 0 ? 0 : std::log(1.2 + 0.4 * noise.uniform());
      }
      log_wall += spell;
    }
    if (kind == Kind::kDrift) {
      drift = 0.8 * drift + 0.05 * noise.normal();
      log_wall += drift + slope * i;
    }
    if (kind == Kind::kHeavyTails) {  // Student's with 2 degrees of freedom: no variance
      log_wall += 0.03 * noise.normal() / std::sqrt(noise.exponential(1));
    }
    const bool second = i % 4 == 1 || i % 4 == 2;
    (second ? walls.second : walls.first).push_back(std::exp(log_wall) * (second ? slower : 1));
  }
  return walls;
}

// Of kTrials, how many say that the second side is slower, and how many that the two differ.
struct Told {
  int slower = 0;
  int differ = 0;
};
Told tell(Kind kind, int repetitions, double slower) {
  Noise noise(kSeed);
  Told told;
  for (int trial = 0; trial < kTrials; ++trial) {
    const Walls walls = measure(noise, kind, repetitions, slower);
    const auto ratio = paired_ratio(walls.second, walls.first);
    EXPECT_TRUE(ratio && ratio->interval);
    told.differ += told_apart(*ratio);
    told.slower += ratio->interval->low > 1;
  }
  return told;
}

constexpr Kind kKinds[] = {Kind::kEven, Kind::kOutliers, Kind::kSpells, Kind::kDrift,
                           Kind::kHeavyTails};

TEST(CoverageTest, TheSameModelTwiceIsToldApartAtMostAboutOnceInTwenty) {
  for (const Kind kind : kKinds) {
    for (const int repetitions : {5, 6, 7, 10, 20}) {
      // 5 %, and 3 standard errors of that many trials: 6.5 %. Neighbours in a drift are not quite
      // independent.
      const int allowed = kTrials * (kind == Kind::kDrift ? 75 : 65) / 1000;
      EXPECT_LE(tell(kind, repetitions, 1).differ, allowed)
          << name_of(kind) << ", " << repetitions << " repetitions, seed " << kSeed;
    }
  }
}

// 18 of 20 is 90 %; a method that never tells anything would pass the test above.
TEST(CoverageTest, ATenthSlowerIsToldByTwentyRepetitionsInNearlyEveryTry) {
  for (const Kind kind : kKinds) {
    EXPECT_GE(tell(kind, 20, 1.1).slower, kTrials * 95 / 100)
        << name_of(kind) << ", seed " << kSeed;
  }
}

TEST(CoverageTest, ATenthSlowerIsToldByFiveRepetitionsWhereTheNoiseIsEven) {
  EXPECT_GE(tell(Kind::kEven, 5, 1.1).slower, kTrials * 95 / 100) << "seed " << kSeed;
}

TEST(CoverageTest, TheRepetitionsThatAreSaidToTellFivePercentDoSo) {
  Noise noise(kSeed);
  std::vector<double> needed;
  for (int trial = 0; trial < 200; ++trial) {
    const Walls walls = measure(noise, Kind::kHeavyTails, 20, 1);
    const auto ratio = paired_ratio(walls.second, walls.first);
    ASSERT_TRUE(ratio);
    needed.push_back(repetitions_to_tell(*ratio, 0.05).value_or(0));
  }
  const int typical = static_cast<int>(std::lround(median(needed)));
  const double told = tell(Kind::kHeavyTails, typical, 1.05).slower;
  EXPECT_NEAR(told / kTrials, 0.8, 0.1) << typical << " repetitions, seed " << kSeed;
}

}  // namespace
}  // namespace bulkhead::coordinator
