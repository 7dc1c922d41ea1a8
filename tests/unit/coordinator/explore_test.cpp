// The words of `bulkhead explore`, its networks, and what it prints.
#include <gmock/gmock.h>

#include "options_fixture.hpp"
#include "report/report.hpp"

namespace bulkhead::coordinator {
namespace {

using testing::HasSubstr;

TEST_F(OptionsTest, ExploreHasItsDefaults) {
  const auto options = parse({"explore", "bank"});
  ASSERT_TRUE(options) << options.error().text;
  EXPECT_EQ(options->command, Command::kExplore);
  EXPECT_EQ(options->scenario, "bank");
  EXPECT_EQ(options->schedules, 1000u);
  EXPECT_EQ(options->seed, 1u);
  EXPECT_EQ(options->depth, 0u);
  EXPECT_FALSE(options->replay.has_value());
  EXPECT_EQ(options->schedule_timeout, std::chrono::seconds(10));
  EXPECT_EQ(planned(*options, "strategy"), "random from default");
}

TEST_F(OptionsTest, ExploreTakesWhatItIsGiven) {
  set("BULKHEAD_SEED", "7");
  set("BULKHEAD_WORKER", "mine");
  const auto options =
      parse({"explore", "bank", "--schedules", "5", "--strategy=pct:4", "--set", "tellers=2",
             "--schedule-timeout", "2s", "--input", "/", "--json", "-"});
  ASSERT_TRUE(options) << options.error().text;
  EXPECT_EQ(options->schedules, 5u);
  EXPECT_EQ(options->seed, 7u);
  EXPECT_EQ(options->depth, 4u);
  EXPECT_EQ(options->schedule_timeout, std::chrono::seconds(2));
  EXPECT_EQ(options->worker_path, "./mine");
  EXPECT_EQ(options->inputs, std::vector<std::string>{"/"});
  EXPECT_EQ(options->json, "-");
  ASSERT_EQ(options->settings.size(), 1u);
  EXPECT_EQ(options->settings[0].second, "2");

  const auto replay = parse({"explore", "bank", "--replay", "12"});
  ASSERT_TRUE(replay) << "a seed in the environment is no flag: " << replay.error().text;
  EXPECT_EQ(replay->replay, 12u);
  EXPECT_EQ(replay->schedules, 1u);
}

v1::WorkerDescription both_kinds() {
  v1::WorkerDescription description;
  description.add_programs()->set_name("plain");
  description.add_networks()->set_name("bank");
  auto& tellers = *description.mutable_networks(0)->add_parameters();
  tellers.set_name("tellers");
  tellers.set_type(v1::PARAMETER_INTEGER);
  tellers.set_default_value("3");
  return description;
}

TEST(ExploreTest, ItsProgramsAreTheNetworks) {
  Options options;
  const auto message = [&](Command command, const std::string& name) {
    options.command = command;
    options.scenario = name;
    const auto settings = resolve_settings(options, both_kinds());
    return settings ? "tellers=" + settings->at("tellers") : settings.error().text;
  };
  EXPECT_EQ(message(Command::kExplore, "bank"), "tellers=3");
  EXPECT_EQ(message(Command::kExplore, "bnk"),
            "bulkhead: unknown network 'bnk'; did you mean 'bank'? networks: bank\n");
  EXPECT_EQ(message(Command::kExplore, "plain"),
            "bulkhead: 'plain' is a jobs program, which `bulkhead run` runs; networks: bank\n");
  EXPECT_EQ(message(Command::kRun, "bank"),
            "bulkhead: 'bank' is a network without tasks, which `bulkhead explore` runs; programs: "
            "plain\n");
}

v1::ExploreReport searched() {
  v1::ExploreReport report;
  report.set_program("bank");
  v1::PlanEntry& setting = *report.add_settings();
  setting.set_name("locking");
  setting.set_value("opposite");
  setting.set_source("flag");
  *report.add_settings() = setting;
  report.mutable_settings(1)->set_source("default");
  report.set_strategy("random");
  report.set_first_seed(11);
  report.set_schedules_wanted(1000);
  report.set_schedules(200);
  report.set_longest_steps(57);
  report.set_seconds(0.01);
  report.set_schedules_per_second(2000);
  return report;
}

TEST(ExploreTest, WithoutAFailureOneSentenceTellsWhatWasSearched) {
  v1::ExploreReport report = searched();
  EXPECT_EQ(render_explore(report),
            "bank locking=opposite, random\n"
            "no failure in 200 schedules, seeds 11 to 210 (10.0 ms, 2,000 schedules a second; the "
            "longest had 57 steps)\n");
  report.set_strategy("pct:3");
  report.set_pct_steps(50);
  report.set_interrupted(true);
  EXPECT_THAT(render_explore(report), HasSubstr("bank locking=opposite, pct:3 over 50 steps\n"
                                                "INTERRUPTED: no failure in 200 schedules"));
}

TEST(ExploreTest, AFailureAndAReplayAreToldInWordsThatCannotHarmATerminal) {
  v1::ExploreReport report = searched();
  v1::ExploreFailure& failure = *report.mutable_failure();
  report.set_schedules(20);
  failure.set_seed(30);
  failure.set_schedule(20);
  failure.set_kind("panic");
  failure.set_what("signal 6 (Aborted)");
  failure.set_said("one\x1b[2J\ntwo\n");
  failure.set_replay("bulkhead explore bank --replay 30");
  report.add_steps("     1  goroutine 1 runs");
  EXPECT_EQ(
      render_explore(report),
      "bank locking=opposite, random\n"
      "panic: signal 6 (Aborted) in schedule 20 of 1,000, seed 30 (10.0 ms; the longest had 57 "
      "steps)\n"
      "said\n"
      "  one\\x1b[2J\n"
      "  two\n"
      "its last steps\n"
      "       1  goroutine 1 runs\n"
      "all its steps: bulkhead explore bank --replay 30\n");
  report.set_replayed(true);
  report.set_first_seed(30);
  EXPECT_EQ(render_explore(report),
            "bank locking=opposite, random, seed 30\n"
            "     1  goroutine 1 runs\n"
            "panic: signal 6 (Aborted) after 57 steps\n"
            "said\n"
            "  one\\x1b[2J\n"
            "  two\n");
  report.clear_failure();
  EXPECT_THAT(render_explore(report), HasSubstr("runs\nended well after 57 steps\n"));
}

}  // namespace
}  // namespace bulkhead::coordinator
