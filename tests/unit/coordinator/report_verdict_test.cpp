#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "report/report.hpp"

namespace bulkhead::coordinator {
namespace {

using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

v1::ModelReport& add_model(v1::RunReport& report, const std::string& name,
                           const std::vector<double>& walls) {
  v1::ModelReport& model = *report.add_models();
  model.set_model(name);
  model.set_processors(2);
  model.set_ran(true);
  model.mutable_answer()->set_checksum("a");
  for (const double wall : walls) {
    v1::Repetition& repetition = *model.add_repetitions();
    repetition.set_wall_seconds(wall);
    repetition.set_complete(true);
    repetition.set_checksum("a");
    repetition.mutable_jobs()->set_total(400);
  }
  return model;
}

v1::WorkerExit& add_exit(v1::ModelReport& model, const std::string& verdict,
                         const std::string& state) {
  v1::WorkerExit& exit = *model.add_exits();
  exit.set_verdict(verdict);
  exit.set_state(state);
  return exit;
}

std::string words(v1::RunReport& report) {
  complete_report(report, {}, 1);
  std::string text;
  for (const std::string& sentence : report.verdict()) text += sentence + "\n";
  return text;
}

TEST(VerdictTest, TheSameTimesCannotBeToldApart) {
  v1::RunReport report;
  add_model(report, "parallel", {1.00, 1.02, 0.98, 1.01, 0.99});
  add_model(report, "processes", {1.01, 0.99, 1.00, 0.98, 1.02});
  EXPECT_THAT(words(report), AllOf(HasSubstr("cannot be told apart"), Not(HasSubstr("cost time"))));
}

// Walls that say one thing and latencies that say another: the rate settles the walls.
TEST(VerdictTest, AnOpenLoopIsJudgedByItsLatencies) {
  const std::vector<double> same{1.00, 1.02, 0.98, 1.01, 0.99, 1.00};
  const std::vector<double> longer{2.00, 2.02, 1.98, 2.01, 1.99, 2.00};
  for (const bool latency_differs : {true, false}) {
    v1::RunReport report;
    report.set_rate_per_second(100);
    v1::ModelReport& shared = add_model(report, "parallel", same);
    v1::ModelReport& isolated = add_model(report, "processes", latency_differs ? same : longer);
    for (int i = 0; i < 6; ++i) {
      const auto at = static_cast<std::size_t>(i);
      shared.mutable_repetitions(i)->set_latency_median_seconds(0.01 * same[at]);
      isolated.mutable_repetitions(i)->set_latency_median_seconds(
          0.01 * (latency_differs ? longer[at] : same[5 - at]));
    }
    const std::string text = words(report);
    EXPECT_EQ(report.comparisons(0).measure(), "latency_median_seconds");
    EXPECT_THAT(text, Not(HasSubstr("as long as")));
    if (latency_differs) {
      EXPECT_THAT(text,
                  HasSubstr("Isolation cost latency: the median latency of processes was 2.000 "
                            "times that of parallel (95 % interval"));
    } else {
      EXPECT_THAT(text, HasSubstr("The median latencies of processes and parallel cannot be told "
                                  "apart (ratio 1."));
    }
    EXPECT_FALSE(report.models(0).has_speedup());
  }
}

TEST(VerdictTest, AnOpenLoopOfOneRepetitionGivesItsRatioAndNoVerdict) {
  v1::RunReport report;
  report.set_rate_per_second(100);
  add_model(report, "parallel", {1.0}).mutable_repetitions(0)->set_latency_median_seconds(0.01);
  add_model(report, "processes", {1.0}).mutable_repetitions(0)->set_latency_median_seconds(0.015);
  EXPECT_THAT(words(report),
              HasSubstr("The median latency of processes was 1.500 times that of parallel in 1 "
                        "repetition; a verdict needs 5 repetitions."));
}

TEST(VerdictTest, WhatCannotBeToldApartSaysHowManyRepetitionsWouldTell) {
  v1::RunReport report;
  add_model(report, "parallel", {1.0, 1.2, 0.9, 1.1, 1.0, 1.3});
  add_model(report, "processes", {1.1, 0.9, 1.2, 1.0, 1.3, 1.0});
  EXPECT_THAT(words(report), ContainsRegex("A difference of 5 %|To tell a difference of 5 % takes "
                                           "about [0-9]+ repetitions"));
  ASSERT_EQ(report.comparisons_size(), 1);
  EXPECT_GT(report.comparisons(0).repetitions_for_five_percent(), 6);
  for (v1::ModelReport& model : *report.mutable_models()) {
    for (v1::Repetition& repetition : *model.mutable_repetitions()) repetition.set_wall_seconds(1);
  }
  EXPECT_THAT(words(report), HasSubstr("A difference of 5 % would most likely have been told."));
}

TEST(VerdictTest, TheSameModelTwiceIsHeldAgainstItself) {
  v1::RunReport report;
  add_model(report, "parallel", {1.00, 1.02, 0.98, 1.01, 0.99});
  add_model(report, "parallel", {1.01, 0.99, 1.00, 0.98, 1.02}).set_side("A/A");
  EXPECT_THAT(words(report),
              AllOf(HasSubstr("wall times of parallel (A/A) and parallel cannot be told apart"),
                    HasSubstr("Both rows gave the same answer."),
                    Not(HasSubstr("No isolated model was asked for"))));
  ASSERT_EQ(report.comparisons_size(), 1);
  EXPECT_TRUE(report.comparisons(0).has_told_apart());
  EXPECT_FALSE(report.comparisons(0).told_apart());
  for (v1::Repetition& repetition : *report.mutable_models(1)->mutable_repetitions()) {
    repetition.set_wall_seconds(2);
  }
  EXPECT_THAT(words(report),
              AllOf(HasSubstr("parallel (A/A) took"), HasSubstr("though the two are the same"),
                    Not(HasSubstr("cannot be told apart"))));
  EXPECT_TRUE(report.comparisons(0).told_apart());
}

TEST(VerdictTest, AnotherSettingOfTheSecondSideIsNoSurprise) {
  v1::RunReport report;
  add_model(report, "parallel", {1, 1, 1, 1, 1});
  add_model(report, "parallel", {2, 2, 2, 2, 2}).set_side("A/B");
  EXPECT_THAT(words(report), AllOf(HasSubstr("parallel (A/B) took 2.000 times as long as parallel "
                                             "(95 % interval 2.000 to 2.000)."),
                                   Not(HasSubstr("the same: chance"))));
}

TEST(VerdictTest, TheSecondSideIsNeverTheBaselineNorAPriceOfIsolation) {
  v1::RunReport report;
  add_model(report, "parallel", {1, 1, 1, 1, 1});
  add_model(report, "parallel", {1, 1, 1, 1, 1}).set_side("A/A");
  add_model(report, "processes", {2, 2, 2, 2, 2});
  add_model(report, "processes", {2, 2, 2, 2, 2}).set_side("A/A");
  EXPECT_THAT(
      words(report),
      AllOf(HasSubstr("Isolation cost time: processes took 2.000 times as long as parallel ("),
            Not(HasSubstr("processes (A/A) took"))));
  EXPECT_EQ(report.comparisons_size(), 3);
}

TEST(VerdictTest, SeveralComparisonsSayHowOftenChanceAloneTellsOneApart) {
  v1::RunReport report;
  add_model(report, "parallel", {1, 1, 1, 1, 1});
  add_model(report, "processes", {1, 1, 1, 1, 1});
  EXPECT_THAT(words(report), Not(HasSubstr("comparisons with 95 % each")));
  add_model(report, "processes", {1, 1, 1, 1, 1}).set_side("A/A");
  EXPECT_THAT(words(report),
              HasSubstr("These are 2 comparisons with 95 % each: if nothing differed anywhere, up "
                        "to 10 % of such reports would still tell some pair apart."));
}

TEST(VerdictTest, FewerThanFiveRepetitionsInCommonAreNoVerdictOnTheSameModelEither) {
  v1::RunReport report;
  add_model(report, "parallel", {1, 1, 1, 1, 1});
  v1::ModelReport& twin = add_model(report, "parallel", {2, 2, 2, 2, 2});
  twin.set_side("A/A");
  twin.mutable_repetitions(3)->set_complete(false);
  EXPECT_THAT(words(report),
              AllOf(HasSubstr("in 4 repetitions; a verdict needs 5 repetitions."),
                    Not(HasSubstr("told apart")), Not(HasSubstr("the same: chance"))));
  EXPECT_FALSE(report.comparisons(0).has_told_apart());
}

TEST(VerdictTest, ADifferenceNeedsAnIntervalThatExcludesOne) {
  v1::RunReport report;
  add_model(report, "parallel", {1, 1, 1, 1, 1});
  add_model(report, "processes", {2, 2, 2, 2, 2});
  EXPECT_THAT(words(report), HasSubstr("Isolation cost time: processes took 2.000 times"));
}

TEST(VerdictTest, AFasterIsolatedModelCostNoTime) {
  v1::RunReport report;
  add_model(report, "parallel", {2, 2, 2, 2, 2});
  add_model(report, "processes", {1, 1, 1, 1, 1});
  EXPECT_THAT(words(report), HasSubstr("Isolation cost no time"));
}

TEST(VerdictTest, FourRepetitionsGiveARatioAndNoVerdict) {
  v1::RunReport report;
  add_model(report, "parallel", {1, 1, 1, 1});
  add_model(report, "processes", {2, 2, 2, 2});
  const std::string text = words(report);
  EXPECT_THAT(text,
              HasSubstr("2.000 times as long as parallel in 4 repetitions; a verdict needs 5"));
  EXPECT_THAT(text, AllOf(Not(HasSubstr("cost time")), Not(HasSubstr("told apart"))));
  EXPECT_FALSE(report.models(0).wall_seconds().has_low());
}

TEST(VerdictTest, OtherProcessorCountsAreNotThePriceOfIsolation) {
  v1::RunReport report;
  add_model(report, "sequential", {2, 2, 2, 2, 2}).set_processors(1);
  add_model(report, "processes", {1, 1, 1, 1, 1});
  EXPECT_THAT(words(report), AllOf(HasSubstr("not the price of isolation alone"),
                                   Not(HasSubstr("Isolation cost"))));
}

TEST(VerdictTest, MissingSidesOfAComparisonAreNamed) {
  v1::RunReport alone;
  add_model(alone, "processes", {1});
  EXPECT_EQ(words(alone), "");
  v1::RunReport shared;
  add_model(shared, "sequential", {1});
  add_model(shared, "parallel", {1});
  EXPECT_THAT(words(shared), HasSubstr("No isolated model was asked for"));
  v1::RunReport absent;
  add_model(absent, "parallel", {1});
  v1::ModelReport& model = add_model(absent, "processes", {});
  model.set_ran(false);
  model.clear_answer();
  EXPECT_THAT(words(absent), HasSubstr("processes did not run, so what isolation costs"));
  v1::RunReport unfinished;
  add_model(unfinished, "parallel", {});
  add_model(unfinished, "processes", {1});
  EXPECT_THAT(words(unfinished), HasSubstr("No shared-memory model completed a repetition"));
}

TEST(VerdictTest, KillsOfTheShutdownLadderAreNoCrashes) {
  v1::RunReport report;
  v1::ModelReport& model = add_model(report, "processes", {1});
  add_exit(model, "finished", "exited");
  add_exit(model, "killed by us", "draining");
  complete_report(report, {}, 1);
  EXPECT_EQ(report.models(0).crashes(), 0u);
  add_exit(*report.mutable_models(0), "killed by us", "ready");
  add_exit(*report.mutable_models(0), "exited", "draining").set_exit_code(0);
  add_exit(*report.mutable_models(0), "lost", "ready");
  complete_report(report, {}, 1);
  EXPECT_EQ(report.models(0).crashes(), 3u);
}

TEST(VerdictTest, CrashesOnOneSideOnlyAreSaidToBeThat) {
  v1::RunReport report;
  v1::ModelReport& parallel = add_model(report, "parallel", {1});
  add_model(report, "processes", {1});
  add_exit(parallel, "signalled", "ready").set_blast_radius(1);
  report.mutable_models(0)->mutable_repetitions(0)->mutable_jobs()->set_lost_in_flight(7);
  EXPECT_THAT(words(report), HasSubstr("The crash in parallel took everything at risk, 7 jobs. "
                                       "No isolated model crashed"));
}

TEST(VerdictTest, ACrashThatTookNothingIsSaidToHaveTakenNothing) {
  v1::RunReport report;
  add_exit(add_model(report, "processes", {1}), "signalled", "handshaking");
  EXPECT_THAT(words(report), HasSubstr("The crash in processes took nothing."));
}

TEST(VerdictTest, MeansAndMediansAreOverTheCrashesThatHaveThem) {
  v1::RunReport report;
  v1::ModelReport& model = add_model(report, "processes", {1, 1});
  for (const double value : {0.25, 0.75}) {
    v1::WorkerExit& exit = add_exit(model, "signalled", "ready");
    exit.set_blast_radius(value);
    exit.set_detected_after_seconds(value);
  }
  add_exit(model, "lost", "ready");
  complete_report(report, {}, 1);
  EXPECT_EQ(report.models(0).blast_radius(), 0.5);
  EXPECT_EQ(report.models(0).detected_after_seconds(), 0.5);
  EXPECT_FALSE(report.models(0).has_recovered_after_seconds());
}

TEST(VerdictTest, AnswersAreComparedAcrossModelsAndRepetitions) {
  v1::RunReport report;
  add_model(report, "sequential", {1, 1});
  add_model(report, "parallel", {1, 1});
  EXPECT_THAT(words(report), HasSubstr("Both models gave the same answer."));
  report.mutable_models(1)->mutable_repetitions(1)->set_checksum("b");
  EXPECT_THAT(words(report), HasSubstr("The answers differ: parallel"));
  EXPECT_TRUE(report.models(0).answer_equal());
  EXPECT_FALSE(report.models(1).answer_equal());
  report.mutable_models()->DeleteSubrange(0, 1);
  EXPECT_THAT(words(report), HasSubstr("Not every repetition of parallel gave the same answer."));
}

TEST(VerdictTest, FaultsThatNeverFiredAreNamedWithTheNumberOfJobs) {
  v1::RunReport report;
  add_model(report, "parallel", {1, 1});
  v1::FaultReport& fault = *report.add_faults();
  fault.set_text("segv@job=999");
  fault.set_model("parallel");
  fault.set_planned(1);
  EXPECT_THAT(words(report),
              HasSubstr("The fault segv@job=999 never fired in parallel: there were 400 jobs."));
  report.mutable_faults(0)->set_fired(1);
  EXPECT_THAT(words(report), Not(HasSubstr("never fired")));
}

TEST(VerdictTest, SpeedUpIsOverSequentialAndAbsentWithoutIt) {
  v1::RunReport report;
  add_model(report, "parallel", {1});
  complete_report(report, {}, 1);
  EXPECT_FALSE(report.models(0).has_speedup());
  add_model(report, "sequential", {3});
  complete_report(report, {}, 1);
  EXPECT_EQ(report.models(0).speedup(), 3);
  EXPECT_EQ(report.models(1).speedup(), 1);
}

// Rows of parallel, its controls, and one that is isolated.
v1::RunReport with_controls(double copy, double encode, double isolated) {
  v1::RunReport report;
  add_model(report, "parallel", std::vector<double>(5, 1.0)).set_transport("memory");
  add_model(report, "parallel", std::vector<double>(5, copy)).set_transport("copy");
  add_model(report, "parallel", std::vector<double>(5, encode)).set_transport("encode");
  add_model(report, "processes", std::vector<double>(5, isolated)).set_transport("shm");
  complete_report(report, {}, 1);
  return report;
}

TEST(VerdictTest, ControlsSplitThePriceIntoEncodingAndTheBoundary) {
  const auto sentences = [](const v1::RunReport& report) {
    return std::vector<std::string>(report.verdict().begin(), report.verdict().end());
  };
  EXPECT_THAT(sentences(with_controls(1.25, 1.5, 3.0)),
              testing::Contains(HasSubstr(
                  "Of the 2.00 s more, encoding and decoding each value explains 500 ms "
                  "(parallel/encode), where copying it takes 250 ms (parallel/copy); 1.50 s are "
                  "the boundary itself: system calls, wake-ups, address spaces.")));
  EXPECT_THAT(sentences(with_controls(1.25, 9.0, 3.0)),
              testing::Contains(HasSubstr("explains 2.00 s (parallel/encode), where copying it "
                                          "takes 250 ms (parallel/copy), so nothing is left")));
  EXPECT_THAT(sentences(with_controls(1.25, 1.5, 0.9)),
              testing::Each(Not(HasSubstr("more, encoding"))));
}

}  // namespace
}  // namespace bulkhead::coordinator
