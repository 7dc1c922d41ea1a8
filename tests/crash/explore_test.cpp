// `bulkhead explore`: what is found, told, replayed and refused; a user's own networks.
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <regex>

#include "support/command.hpp"

namespace bulkhead::test {
namespace {

using Json = nlohmann::json;

class ExploreCommandTest : public CommandTest {
 protected:
  Outcome explore(const std::string& network, std::vector<std::string> flags) {
    flags.insert(flags.begin(), {"explore", network});
    return bulkhead(flags);
  }
  // A user's own network; `bad` is what it does.
  Outcome odd(const std::string& bad, std::vector<std::string> flags = {}) {
    flags.insert(flags.end(), {"--worker", kTestWorker, "--set", "bad=" + bad});
    return explore("odd", flags);
  }
  Json odd_report(const std::string& bad, std::vector<std::string> flags = {}) {
    flags.insert(flags.end(), {"--json", "-"});
    const Outcome outcome = odd(bad, flags);
    EXPECT_EQ(outcome.exit_code, 1) << bad << outcome.err;
    EXPECT_EQ(outcome.err, "") << bad;
    return Json::parse(outcome.out, nullptr, false);
  }

  static bool has(const std::string& text, const std::string& words) {
    return text.find(words) != std::string::npos;
  }
};

TEST_F(ExploreCommandTest, ARightNetworkEndsWellInAllSchedules) {
  for (const std::string network : {"bank", "dining-philosophers", "prime-sieve"}) {
    for (const std::string strategy : {"random", "pct:3"}) {
      const Outcome outcome = explore(network, {"--schedules", "200", "--strategy", strategy});
      EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
      EXPECT_EQ(outcome.err, "");
      EXPECT_TRUE(has(outcome.out, "no failure in 200 schedules, seeds 1 to 200")) << outcome.out;
    }
  }
}

TEST_F(ExploreCommandTest, AFailureIsToldWithTheCommandThatReplaysIt) {
  for (const std::string strategy : {"random", "pct:3"}) {
    const std::vector<std::string> what{"--set", "locking=opposite", "--strategy", strategy};
    const Outcome found = explore("bank", what);
    ASSERT_EQ(found.exit_code, 1) << found.out << found.err;
    EXPECT_EQ(found.err, "");
    std::smatch match;
    ASSERT_TRUE(std::regex_search(
        found.out, match, std::regex("deadlock in schedule ([0-9,]+) of 1,000, seed ([0-9]+) ")))
        << found.out;
    EXPECT_EQ(match[1], match[2]);
    EXPECT_TRUE(has(found.out, "parked, mutex")) << found.out;
    EXPECT_TRUE(has(found.out, "its last steps\n")) << found.out;
    const std::string seed = match[2];
    EXPECT_TRUE(has(found.out, std::string("all its steps: ") + BULKHEAD_COMMAND +
                                   " explore bank --set locking=opposite" +
                                   (strategy == "random" ? "" : " --strategy " + strategy) +
                                   " --replay " + seed + "\n"))
        << found.out;

    std::vector<std::string> again = what;
    again.insert(again.end(), {"--replay", seed});
    const Outcome replayed = explore("bank", again);
    EXPECT_EQ(replayed.exit_code, 1);
    EXPECT_TRUE(std::regex_search(replayed.out, std::regex("\n +1  goroutine 1 runs\n")));
    EXPECT_TRUE(std::regex_search(replayed.out,
                                  std::regex("\n +· teller [0-9] has locked account [0-9]\n")))
        << replayed.out;
    EXPECT_TRUE(std::regex_search(replayed.out, std::regex("\ndeadlock after [0-9]+ steps\n")))
        << replayed.out;
    EXPECT_EQ(explore("bank", again).out, replayed.out) << "the same seed, byte by byte";
  }
}

TEST_F(ExploreCommandTest, AHundredSeedsAreTheSameRunTwice) {
  for (int seed = 1; seed <= (kSanitized ? 10 : 100); ++seed) {
    const std::vector<std::string> flags{"--replay", std::to_string(seed), "--strategy",
                                         seed % 2 == 0 ? "random" : "pct:2"};
    const Outcome one = explore("prime-sieve", flags);
    ASSERT_EQ(one.exit_code, 0) << one.out << one.err;
    EXPECT_TRUE(std::regex_search(one.out, std::regex("\nended well after [0-9]+ steps\n$")));
    EXPECT_EQ(one.out, explore("prime-sieve", flags).out) << "seed " << seed;
  }
}

TEST_F(ExploreCommandTest, WrongAnswersAreToldWithTheRightOne) {
  const Outcome lost = explore("bank", {"--set", "locking=none"});
  EXPECT_EQ(lost.exit_code, 1) << lost.err;
  EXPECT_TRUE(has(lost.out, "wrong answer in schedule ")) << lost.out;
  EXPECT_TRUE(has(lost.out, "expected: total 300 in accounts of ")) << lost.out;
  const Outcome dropped = explore("prime-sieve", {"--set", "sending=tries"});
  EXPECT_EQ(dropped.exit_code, 1) << dropped.err;
  EXPECT_TRUE(has(dropped.out, "expected: primes up to 13: 2 3 5 7 11 13\n")) << dropped.out;
}

TEST_F(ExploreCommandTest, TheReportInJsonHasItsNames) {
  const std::string file = path("report.json");
  const Outcome outcome = explore("dining-philosophers", {"--set", "order=naive", "--strategy",
                                                          "pct:3", "--seed", "10", "--json", file});
  ASSERT_EQ(outcome.exit_code, 1) << outcome.err;
  const Json report = Json::parse(std::ifstream(file));
  EXPECT_EQ(report["program"], "dining-philosophers");
  EXPECT_EQ(report["strategy"], "pct:3");
  EXPECT_EQ(report["first_seed"], 10);
  EXPECT_EQ(report["schedules_wanted"], 1000);
  EXPECT_EQ(report["failure"]["schedule"], report["schedules"]);
  EXPECT_EQ(report["failure"]["seed"].get<double>(), report["schedules"].get<double>() + 9);
  EXPECT_EQ(report["failure"]["kind"], "deadlock");
  EXPECT_GT(report["pct_steps"], 10);
  EXPECT_GE(report["longest_steps"], report["steps"].size() / 2);
  EXPECT_GT(report["seconds"], 0);
  EXPECT_FALSE(report["replayed"]);
  EXPECT_TRUE(std::any_of(report["settings"].begin(), report["settings"].end(), [](const Json& s) {
    return s["name"] == "order" && s["value"] == "naive" && s["source"] == "flag";
  })) << report["settings"];

  const Outcome well = explore("bank", {"--schedules", "5", "--json", "-"});
  ASSERT_EQ(well.exit_code, 0) << well.err;
  const Json clean = Json::parse(well.out);
  EXPECT_EQ(clean["schedules"], 5);
  EXPECT_FALSE(clean.contains("failure")) << clean;
  EXPECT_FALSE(clean.contains("pct_steps"));
}

TEST_F(ExploreCommandTest, EveryBadEndOfAUsersNetworkIsToldAsWhatItIs) {
  const std::vector<std::array<std::string, 4>> ends{
      {"throw", "panic", "signal 6 (Aborted)", "nobody catches it"},
      {"check", "failed check", "signal 6 (Aborted)", "it is 42"},
      {"kill", "signal", "signal 9 (Killed)", ""},
      {"exit", "exit", "exit code 3", ""},
      {"left", "deadlock", "deadlock", "parked, channel receive"},
      {"wrong", "wrong answer", "wrong answer", "the answer is 41\nexpected: the answer is 42"}};
  for (const auto& [bad, kind, what, said] : ends) {
    const Json report = odd_report(bad);
    ASSERT_TRUE(report["failure"].is_object()) << bad;
    EXPECT_EQ(report["failure"]["kind"], kind) << bad;
    EXPECT_EQ(report["failure"]["what"], what) << bad;
    EXPECT_TRUE(has(report["failure"]["said"], said)) << report;
    EXPECT_FALSE(report["steps"].empty()) << bad;
    const std::string seed = std::to_string(report["failure"]["seed"].get<int>());
    const Json again = odd_report(bad, {"--replay", seed});
    EXPECT_EQ(again["failure"]["what"], what) << bad;
    EXPECT_EQ(again["failure"]["said"], report["failure"]["said"]) << bad;
    EXPECT_TRUE(has(report["failure"]["replay"], " --worker " + kTestWorker + " --replay " + seed))
        << report;
  }
}

TEST_F(ExploreCommandTest, AScheduleWithoutEndIsEnded) {
  const Json report = odd_report("hang", {"--schedule-timeout", "300ms"});
  EXPECT_EQ(report["failure"]["kind"], "no end");
  EXPECT_EQ(report["failure"]["what"], "no end within 0.3 s");
}

TEST_F(ExploreCommandTest, WhatANetworkPrintsIsNoPartOfTheReport) {
  const Outcome outcome = odd("loud", {"--json", "-", "--schedules", "3"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
  EXPECT_EQ(Json::parse(outcome.out)["schedules"], 3);
}

TEST_F(ExploreCommandTest, OfAVeryLongScheduleTheFirstAndTheLastStepsAreShown) {
  const Outcome outcome = odd("long", {"--replay", "1"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.out.substr(0, 1000) << outcome.err;
  EXPECT_TRUE(std::regex_search(outcome.out, std::regex("\n +1  goroutine 1 runs\n")));
  EXPECT_TRUE(std::regex_search(outcome.out, std::regex("\n +… [0-9]+ more …\n")));
  EXPECT_TRUE(std::regex_search(outcome.out, std::regex("ended well after 20,[0-9]+ steps\n$")));
}

TEST_F(ExploreCommandTest, AProgramThatDependsOnMoreThanItsScheduleIsToldSo) {
  environment_["BULKHEAD_TEST_HOLD"] = path("hold");
  const Json report = odd_report("other");
  EXPECT_EQ(report["failure"]["what"], "exit code 4");
  EXPECT_TRUE(has(report["failure"]["said"], "run again, did not end like this")) << report;
}

TEST_F(ExploreCommandTest, MistakesAreRefusedInOneLine) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> mistakes{
      {{"bnk"}, "unknown network 'bnk'; did you mean 'bank'? networks: bank, "},
      {{"primes"}, "'primes' is a jobs program, which `bulkhead run` runs; networks: bank, "},
      {{"bank", "--set", "locks=no"}, "bank has no setting 'locks'; "},
      {{"bank", "--set", "tellers=0"}, "--set tellers: '0' is out of range; write 1 to 1000"},
      {{"bank", "--set", "locking=hopeful"},
       "setting 'locking' is 'hopeful': it must be ordered or opposite or none"},
      {{"bank", "--input", "/"}, "bank reads no input"},
      {{"odd", "--worker", kTestWorker, "--set", "bad=refused"},
       "this network takes no 'refused'"}};
  for (const auto& [words, message] : mistakes) {
    std::vector<std::string> arguments = words;
    arguments.insert(arguments.begin(), "explore");
    const Outcome outcome = bulkhead(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << message << outcome.err;
    EXPECT_EQ(outcome.out, "") << message;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    EXPECT_TRUE(has(outcome.err, message)) << outcome.err;
  }
  const Outcome run = bulkhead({"run", "bank"});
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_TRUE(
      has(run.err, "'bank' is a network without tasks, which `bulkhead explore` runs; programs: "))
      << run.err;
}

TEST_F(ExploreCommandTest, AWorkerWithThreadsOrWithoutSenseIsRefused) {
  environment_["BULKHEAD_TEST_THREAD"] = "1";
  const Outcome threads = odd("no");
  EXPECT_EQ(threads.exit_code, 2) << threads.out;
  EXPECT_TRUE(has(threads.err, "has started a thread before worker_main()")) << threads.err;

  for (const std::string words : {"{}", "not JSON", "{\"schedules\": 1, \"seconds\": -1}"}) {
    const std::string liar =
        write_file("liar", "#!/bin/sh\n[ \"$1\" = --describe ] && exec '" + kTestWorker +
                               "' --describe\necho '" + words + "'\n");
    chmod(liar.c_str(), 0700);
    const Outcome outcome = explore("odd", {"--worker", liar});
    EXPECT_EQ(outcome.exit_code, 4) << outcome.out;
    EXPECT_TRUE(has(outcome.err, "in words that make no sense")) << outcome.err;
  }
}

TEST_F(ExploreCommandTest, AnInterruptTellsHowFarItCameAndLeavesNothing) {
  environment_["BULKHEAD_TEST_BEGUN"] = path("begun");
  const pid_t pid = start({"explore", "odd", "--worker", kTestWorker, "--set", "bad=hang",
                           "--schedule-timeout", "1h", "--strategy", "random"});
  EXPECT_TRUE(eventually([&] { return std::ifstream(path("begun")).good(); })) << said();
  kill(pid, SIGINT);
  const Outcome outcome = finish(pid);
  EXPECT_EQ(outcome.exit_code, 130) << outcome.err;
  EXPECT_TRUE(has(outcome.out, "INTERRUPTED")) << outcome.out;
  EXPECT_EQ(outcome.err, "");
}

}  // namespace
}  // namespace bulkhead::test
