// Ctrl-C and its kin, at every stage of a run: soon over, partial results kept and marked.
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "support/command.hpp"

namespace bulkhead::test {
namespace {

using Json = nlohmann::json;
using Words = std::vector<std::string>;

class InterruptsTest : public CommandTest {
 protected:
  struct Interrupted {
    Outcome outcome;
    double seconds = 0;  // from the signal to the end
    Json report;         // null when none was written
  };

  static Words napper(const std::string& model_name, const Words& more, const char* workers = "2") {
    Words words{"run",      "napper",    "--worker", kTestWorker,   "--model",
                model_name, "--workers", workers,    "--in-flight", "4"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  // Sends `signals` once `reached` holds.
  Interrupted interrupt(Words words, const std::vector<int>& signals,
                        const std::function<bool()>& reached) {
    const std::string file = path("report.json");
    std::remove(file.c_str());
    words.insert(words.end(), {"--json", file});
    const pid_t command = start(words);
    EXPECT_TRUE(eventually(reached));
    const auto begin = std::chrono::steady_clock::now();
    for (const int signal_number : signals) kill(command, signal_number);
    Interrupted result;
    result.outcome = finish(command);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    result.seconds = took.count();
    std::printf("over after %.3f s\n", result.seconds);
    EXPECT_LT(result.seconds, kPromptSeconds);
    EXPECT_TRUE(marked().empty());
    EXPECT_TRUE(run_directories().empty());
    if (std::ifstream report(file); report) result.report = Json::parse(report);
    return result;
  }
  bool has_said(const char* word) const { return said().find(word) != std::string::npos; }
  // Holds once a worker has left the sign.
  std::function<bool()> sign(const char* variable) {
    const std::string file = path(variable);
    std::remove(file.c_str());
    environment_[variable] = file;
    return [file] { return access(file.c_str(), F_OK) == 0; };
  }
  std::function<bool()> workers_there() {
    return [this] { return marked(kTestWorker).size() >= 2; };
  }
};

TEST_F(InterruptsTest, AnInterruptedRunKeepsWhatItHas) {
  for (const std::string name : {"processes", "parallel"}) {
    for (const int signal_number : {SIGINT, SIGTERM}) {
      const Interrupted seen = interrupt(napper(name, {"--set", "count=100000"}), {signal_number},
                                         sign("BULKHEAD_TEST_SLEPT"));
      EXPECT_EQ(seen.outcome.exit_code, signal_number == SIGINT ? 130 : 143) << seen.outcome.err;
      EXPECT_NE(seen.outcome.out.find("INTERRUPTED"), std::string::npos);
      ASSERT_FALSE(seen.report.is_null());
      EXPECT_TRUE(seen.report.at("interrupted"));
      EXPECT_TRUE(model(seen.report, name).at("interrupted"));
      const Json& repetition = model(seen.report, name).at("repetitions")[0];
      EXPECT_FALSE(repetition.at("complete"));
      EXPECT_GT(repetition.at("jobs").at("done"), 0);
    }
  }
}

TEST_F(InterruptsTest, AWorkerThatDoesNotDrainIsTerminated) {
  for (const std::string name : {"processes", "parallel"}) {
    const Interrupted seen =
        interrupt(napper(name, {"--set", "us=1000000000"}), {SIGINT}, sign("BULKHEAD_TEST_BEGUN"));
    EXPECT_EQ(seen.outcome.exit_code, 130) << seen.outcome.err;
  }
}

TEST_F(InterruptsTest, ASecondInterruptKillsAtOnce) {
  // Jobs of 1000 s would hold the drain back until its deadline; a second worker, none begun yet,
  // would be drained at once.
  const Interrupted seen = interrupt(napper("processes", {"--set", "us=1000000000"}, "1"),
                                     {SIGINT, SIGTERM}, sign("BULKHEAD_TEST_BEGUN"));
  EXPECT_EQ(seen.outcome.exit_code, 130) << seen.outcome.err;
  ASSERT_FALSE(seen.report.is_null());
  for (const Json& exit : model(seen.report, "processes").at("exits")) {
    EXPECT_EQ(exit.at("reason"), "interrupted twice") << exit;
  }
}

TEST_F(InterruptsTest, StartUpCanBeInterruptedWhereverItHangs) {
  // A worker that has been launched and never speaks.
  environment_["BULKHEAD_TEST_STALL_MS"] = "1000000";
  for (const std::string name : {"processes", "parallel"}) {
    const Interrupted seen = interrupt(napper(name, {}), {SIGINT}, workers_there());
    EXPECT_EQ(seen.outcome.exit_code, 130) << name << seen.outcome.err;
  }
  environment_.erase("BULKHEAD_TEST_STALL_MS");
  // A program that never is set up.
  for (const std::string name : {"processes", "parallel"}) {
    const Interrupted seen =
        interrupt(napper(name, {"--set", "setup-ms=1000000"}), {SIGTERM}, workers_there());
    EXPECT_EQ(seen.outcome.exit_code, 143) << name << seen.outcome.err;
  }
  // A worker that never describes itself, and does not let itself be asked to end.
  const std::string hangs = write_file("hangs", "#!/bin/sh\ntrap '' INT TERM\nsleep 1000\n");
  chmod(hangs.c_str(), 0700);
  const Interrupted seen = interrupt({"run", "primes", "--worker", hangs}, {SIGINT},
                                     [&] { return !marked("sleep").empty(); });
  EXPECT_EQ(seen.outcome.exit_code, 130) << seen.outcome.err;
  EXPECT_TRUE(seen.report.is_null());
}

TEST_F(InterruptsTest, AnInterruptInTheDrainLosesNothing) {
  environment_["BULKHEAD_LOG"] = "debug";
  int hits = 0;
  for (int run = 0; hits < 3 && run < 100; ++run) {
    const Interrupted seen = interrupt({"run", "napper", "--worker", kTestWorker, "--set",
                                        "count=20", "--model", "processes", "--workers", "16"},
                                       {SIGINT}, [&] { return has_said("draining"); });
    // Too late to be noticed is fine.
    ASSERT_TRUE(seen.outcome.exit_code == 130 || seen.outcome.exit_code == 0) << seen.outcome.err;
    if (seen.outcome.exit_code == 130) ++hits;
    ASSERT_FALSE(seen.report.is_null());
    EXPECT_EQ(model(seen.report, "processes").at("answer").at("checksum"), "210");
    EXPECT_EQ(seen.report.at("interrupted"), seen.outcome.exit_code == 130);
  }
  EXPECT_GE(hits, 3);
}

}  // namespace
}  // namespace bulkhead::test
