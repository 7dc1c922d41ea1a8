// The comparison of two models on walls that a machine really gave: recorded_walls.txt is what
// `tests/bench/aa BUILD` measured on two cores with a load average of 10. A line is a command:
// equal sides, or a second side that computes 10 % more, then the seconds of first and second side
// in turn.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "report/statistics.hpp"

namespace bulkhead::coordinator {
namespace {

struct Counts {
  int commands = 0;
  int told = 0;
  int told_slower = 0;
};

Counts judge(const std::string& wanted) {
  std::ifstream file(BULKHEAD_SOURCE_DIR "/tests/unit/coordinator/recorded_walls.txt");
  Counts counts;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string kind;
    words >> kind;
    if (kind != wanted) continue;
    std::vector<double> first;
    std::vector<double> second;
    for (double one = 0, two = 0; words >> one >> two;) {
      first.push_back(one);
      second.push_back(two);
    }
    EXPECT_EQ(second.size(), 30u);
    const auto ratio = paired_ratio(second, first);
    if (!ratio || !ratio->interval) {
      ADD_FAILURE() << "no interval: " << line;
      continue;
    }
    ++counts.commands;
    counts.told += told_apart(*ratio);
    counts.told_slower += ratio->interval->low > 1;
  }
  return counts;
}

TEST(RecordedWallsTest, EqualSidesCannotBeToldApartInEighteenOfTwenty) {
  const Counts counts = judge("same");
  EXPECT_EQ(counts.commands, 20);
  EXPECT_LE(counts.told, 2);
}

TEST(RecordedWallsTest, ATenthSlowerIsToldInEighteenOfTwenty) {
  const Counts counts = judge("slower");
  EXPECT_EQ(counts.commands, 20);
  EXPECT_GE(counts.told_slower, 18);
}

}  // namespace
}  // namespace bulkhead::coordinator
