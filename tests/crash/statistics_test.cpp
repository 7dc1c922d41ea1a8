// What a report says of the resources that workers used, living and dead, and of a model that is
// compared with itself.
#include <algorithm>
#include <regex>

#include "support/command.hpp"

namespace bulkhead::test {
namespace {

using Json = nlohmann::json;

class StatisticsTest : public CommandTest {};

TEST_F(StatisticsTest, DeadWorkersAreCountedLikeLivingOnes) {
  const Outcome outcome =
      bulkhead({"run", "napper", "--worker", kTestWorker, "--model", "processes", "--workers", "2",
                "--fault", "segv@job=5", "--json", "-"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json all = report(outcome);
  const Json& processes = model(all, "processes");
  const Json& repetition = processes.at("repetitions").at(0);
  std::map<std::string, double> sums;
  double peak = 0;
  double pss = 0;
  int dead = 0;
  for (const Json& exit : processes.at("exits")) {
    ASSERT_TRUE(exit.contains("usage")) << exit;
    const Json& usage = exit.at("usage");
    EXPECT_GT(usage.at("minor_faults"), 0) << exit;
    EXPECT_GT(usage.at("cpu_seconds"), 0) << exit;
    for (const char* name : {"cpu_seconds", "voluntary_switches", "involuntary_switches",
                             "minor_faults", "major_faults"}) {
      sums[name] += usage.at(name).get<double>();
    }
    peak = std::max(peak, usage.at("peak_rss_bytes").get<double>());
    if (exit.at("verdict") == "signalled" && exit.at("signal") == 11) {
      ++dead;
      EXPECT_FALSE(usage.contains("pss_bytes")) << "it did not see the answer: " << exit;
    }
    pss += usage.value("pss_bytes", 0.0);
  }
  EXPECT_EQ(dead, 1);
  // With the coordinator's own on top.
  for (const auto& [name, sum] : sums) EXPECT_GE(repetition.at(name), sum) << name;
  EXPECT_GT(repetition.at("voluntary_switches"), sums["voluntary_switches"]);
  EXPECT_EQ(repetition.at("peak_rss_bytes"), peak);
  EXPECT_GT(pss, 0);
  EXPECT_EQ(repetition.at("pss_bytes"), pss);
  EXPECT_EQ(processes.at("minor_faults").at("median"), repetition.at("minor_faults"));
}

TEST_F(StatisticsTest, AModelIsComparedWithItselfForthAndBack) {
  environment_["BULKHEAD_LOG"] = "info";
  const Outcome outcome =
      bulkhead({"compare", "napper", "--worker", kTestWorker, "--set", "count=4", "--models",
                "sequential,processes", "--workers", "2", "--repeat", "5", "--aa", "--json", "-"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json all = report(outcome);
  ASSERT_EQ(all.at("models").size(), 4U);
  for (std::size_t i = 0; i < 4; ++i) {
    const Json& row = all.at("models")[i];
    EXPECT_EQ(row.at("model"), i < 2 ? "sequential" : "processes");
    EXPECT_EQ(row.value("side", ""), i % 2 == 1 ? "A/A" : "");
    EXPECT_EQ(row.at("repetitions").size(), 5U);
    EXPECT_TRUE(row.at("answer_equal"));
  }
  ASSERT_EQ(all.at("comparisons").size(), 3U);
  EXPECT_EQ(all.at("comparisons")[0].at("upper"), "sequential (A/A)");
  EXPECT_EQ(all.at("comparisons")[0].at("lower"), "sequential");
  EXPECT_EQ(all.at("comparisons")[0].at("repetitions"), 5);
  for (const Json& comparison : all.at("comparisons")) {
    EXPECT_EQ(comparison.at("told_apart"), comparison.at("low") > 1 || comparison.at("high") < 1);
  }

  const std::regex turn("info: (.*), repetition ([0-9]+)");
  std::string turns;
  for (std::sregex_iterator it(outcome.err.begin(), outcome.err.end(), turn), end; it != end;
       ++it) {
    const std::string row = (*it)[1];
    turns += row == "sequential"         ? 'A'
             : row == "sequential (A/A)" ? 'a'
             : row == "processes"        ? 'B'
                                         : 'b';
  }
  EXPECT_EQ(turns, "bBaAAaBbbBaAAaBbbBaAAaBb");  // the warm-up first
}

TEST_F(StatisticsTest, ASettingOfTheSecondSideAloneIsItsOwn) {
  const Outcome outcome =
      bulkhead({"compare", "spinner", "--worker", kTestWorker, "--set", "count=4", "--set",
                "steps=1", "--models", "parallel", "--repeat", "1", "--aa-set", "count=5"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.err, "bulkhead: the answer of parallel (A/B) differs\n");
  EXPECT_NE(outcome.out.find("answer of parallel (A/B)\n  sum 15\n"), std::string::npos)
      << outcome.out;
}

}  // namespace
}  // namespace bulkhead::test
