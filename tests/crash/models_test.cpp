// The same answer in every model, and what isolation does to one crash.
#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "support/command.hpp"

namespace bulkhead::test {
namespace {

using Json = nlohmann::json;

class ModelsTest : public CommandTest {};

TEST_F(ModelsTest, EveryModelGivesTheSameAnswerOnPrimes) {
  const Outcome outcome = bulkhead({"compare", "primes", "--set", "up-to=1000000", "--set",
                                    "jobs=50", "--repeat", "1", "--json", "-"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json all = report(outcome);
  for (const std::string& name : kModels) {
    EXPECT_TRUE(model(all, name).at("answer_equal")) << name;
    EXPECT_NE(model(all, name).at("answer").at("text").get<std::string>().find("78498"),
              std::string::npos);
  }
}

TEST_F(ModelsTest, EveryModelCountsTheWordsThatAreThere) {
  std::uint64_t words = 0;
  for (int i = 0; i < 40; ++i) {
    std::string text;
    for (int w = 0; w < 50 * i; ++w) {
      text += "w" + std::to_string(w % 17) + (w % 3 == 0 ? "\n" : w % 3 == 1 ? "\t\v " : " ");
      ++words;
    }
    write_file("tree/d" + std::to_string(i % 5) + "/f" + std::to_string(i), text);
  }
  write_file("tree/long", std::string(10000, 'z'));
  ++words;
  const Outcome outcome =
      bulkhead({"compare", "wordcount", "--input", path("tree"), "--set", "chunk=256B", "--repeat",
                "1", "--workers", "3", "--json", "-"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json all = report(outcome);
  for (const std::string& name : kModels) {
    EXPECT_TRUE(model(all, name).at("answer_equal")) << name;
    const std::string text = model(all, name).at("answer").at("text");
    EXPECT_NE(text.find("words: " + std::to_string(words) + "\n"), std::string::npos) << text;
    EXPECT_NE(text.find("files: 41\n"), std::string::npos) << text;
  }
}

// The kernel's own count, while every job that may be in flight is.
TEST_F(ModelsTest, ThreadsAreKernelThreadsOneEachJobOrAPool) {
  struct Case {
    std::vector<std::string> flags;
    int threads;
  };
  for (const Case& wanted : {Case{{"--in-flight", "60"}, 40}, Case{{"--in-flight", "25"}, 25},
                             Case{{"--threads", "7"}, 7}}) {
    std::vector<std::string> arguments{"run",      "napper", "--worker",    kTestWorker, "--set",
                                       "count=40", "--set",  "us=60000000", "--model",   "threads"};
    arguments.insert(arguments.end(), wanted.flags.begin(), wanted.flags.end());
    const pid_t command = start(arguments);
    int seen = 0;
    const auto count_jobs = [&] {
      for (const pid_t pid : marked("test-worker")) {
        seen = 0;
        for (const auto& task : std::filesystem::directory_iterator(
                 "/proc/" + std::to_string(pid) + "/task", std::filesystem::directory_options{})) {
          std::ifstream name(task.path() / "comm");
          std::string text;
          std::getline(name, text);
          if (text.starts_with("job-")) ++seen;
        }
      }
      return seen == wanted.threads;
    };
    EXPECT_TRUE(eventually([&] {
      try {
        return count_jobs();
      } catch (const std::filesystem::filesystem_error&) {
        return false;  // a process that has just gone
      }
    })) << "threads of jobs: "
        << seen << ", wanted " << wanted.threads;
    kill(command, SIGINT);
    kill(command, SIGINT);
    EXPECT_EQ(finish(command).exit_code, 130);
  }
}

// Few in flight: no worker has room for all the jobs.
TEST_F(ModelsTest, AnAnswerThatDependsOnTheModelIsToldAndEndsWithOne) {
  const Outcome outcome =
      bulkhead({"compare", "napper", "--worker", kTestWorker, "--set", "bad=count-here", "--models",
                "parallel,processes", "--workers", "2", "--in-flight", "4", "--repeat", "1"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.err, "bulkhead: the answer of processes differs\n");
  EXPECT_NE(outcome.out.find("DIFFERS"), std::string::npos) << outcome.out;
}

TEST_F(ModelsTest, HowLongOneProcessorRanAloneIsTold) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer makes each operation long";
  const std::vector<std::string> command{"run",      "napper",   "--worker",  kTestWorker, "--set",
                                         "bad=talk", "--set",    "count=10",  "--set",     "us=0",
                                         "--model",  "parallel", "--workers", "2"};
  std::vector<std::string> json = command;
  json.insert(json.end(), {"--json", "-"});
  const Outcome outcome = bulkhead(json);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_GT(model(report(outcome), "parallel").at("alone_seconds").at("median"), 0);
  const Outcome shown = bulkhead(command);
  EXPECT_NE(shown.out.find("ran on one processor alone for"), std::string::npos) << shown.out;
}

// One segv in four workers: exact where it must be, a median where chance has a part. A worker
// between two jobs has nothing at risk; jobs of 50 ms make that rare on a busy machine too.
TEST_F(ModelsTest, ACrashTakesOneWorkerOfFourAndIsBlamedExactly) {
  std::vector<double> radius;
  for (int i = 0; i < 5; ++i) {
    const Outcome outcome = bulkhead({"run", "napper", "--worker", kTestWorker, "--set", "us=50000",
                                      "--set", "count=24", "--model", "processes", "--workers", "4",
                                      "--in-flight", "4", "--fault", "segv@job=10", "--json", "-"});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const Json all = report(outcome);
    const Json& processes = model(all, "processes");
    EXPECT_EQ(processes.at("answer").at("checksum"), "300");
    EXPECT_EQ(processes.at("crashes"), 1);
    EXPECT_EQ(processes.at("jobs").at("done"), 24);
    EXPECT_EQ(processes.at("jobs").at("retried"),
              processes.at("jobs").at("lost_in_flight").get<double>() +
                  processes.at("jobs").at("results_lost").get<double>());
    for (const Json& exit : processes.at("exits")) {
      if (exit.at("verdict") != "signalled") continue;
      EXPECT_EQ(exit.at("signal"), 11);
      EXPECT_EQ(exit.at("job"), 10);
      EXPECT_EQ(exit.at("fault_address"), "0x0");
      EXPECT_TRUE(exit.at("suspects").empty());
      EXPECT_GT(exit.at("detected_after_seconds"), 0);
      // Absent where the run ended before the replacement was there.
      if (exit.contains("recovered_after_seconds")) {
        EXPECT_GT(exit.at("recovered_after_seconds"), 0);
      }
    }
    radius.push_back(processes.at("blast_radius"));
  }
  std::sort(radius.begin(), radius.end());
  EXPECT_LE(radius[2], 0.35);
}

TEST_F(ModelsTest, ACrashOfTheSharedWorkerTakesAllAtRiskAndTheRunGoesOnFromWhatIsSafe) {
  for (const std::string name : {"sequential", "concurrent", "parallel", "threads"}) {
    // Sequential: 40 jobs of 10 ms; the crash in job 30 comes after checkpoints of every 20 ms.
    const Outcome outcome =
        bulkhead({"run", "napper", "--worker", kTestWorker, "--set", "us=10000", "--set",
                  "count=40", "--model", name, "--in-flight", "2", "--checkpoint", "20ms",
                  "--fault", "segv@job=30", "--json", "-"});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const Json all = report(outcome);
    const Json& shared = model(all, name);
    EXPECT_EQ(shared.at("answer").at("checksum"), "820");
    EXPECT_EQ(shared.at("crashes"), 1);
    EXPECT_EQ(shared.at("blast_radius"), 1);
    EXPECT_EQ(shared.at("jobs").at("retried"),
              shared.at("jobs").at("lost_in_flight").get<double>() +
                  shared.at("jobs").at("results_lost").get<double>());
    EXPECT_LT(shared.at("jobs").at("retried"), 30) << "nothing was safe: " << name;
  }
}

TEST_F(ModelsTest, APoisonJobIsQuarantinedAndNoNeighbourIsBlamed) {
  const Outcome outcome =
      bulkhead({"compare", "napper", "--worker", kTestWorker, "--fault", "segv@job=20,times=99",
                "--workers", "3", "--repeat", "1", "--json", "-"});
  EXPECT_EQ(outcome.exit_code, 1);
  const Json all = report(outcome);
  for (const std::string& name : kModels) {
    const Json& entry = model(all, name);
    EXPECT_EQ(entry.at("crashes"), 3) << name;
    EXPECT_EQ(entry.at("jobs").at("done"), 99) << name;
    EXPECT_EQ(entry.at("jobs").at("quarantined"), 1) << name;
    ASSERT_EQ(entry.at("jobs").at("notes").size(), 1U) << name;
    EXPECT_EQ(entry.at("jobs").at("notes")[0].at("job"), 20) << name;
    EXPECT_EQ(entry.at("jobs").at("notes")[0].at("blames"), 3) << name;
    for (const Json& exit : entry.at("exits")) {
      EXPECT_TRUE(exit.at("suspects").empty()) << name;
      if (exit.at("verdict") == "signalled") {
        EXPECT_EQ(exit.at("job"), 20) << name;
      }
    }
  }
}

TEST_F(ModelsTest, AJobThatKillsItsWorkerWithoutATraceIsFoundAmongTheSuspects) {
  const Outcome outcome =
      bulkhead({"compare", "napper", "--worker", kTestWorker, "--fault", "kill@job=20,times=99",
                "--workers", "2", "--repeat", "1", "--json", "-"});
  EXPECT_EQ(outcome.exit_code, 1);
  const Json all = report(outcome);
  for (const std::string& name : kModels) {
    EXPECT_EQ(model(all, name).at("jobs").at("done"), 99) << name;
    ASSERT_EQ(model(all, name).at("jobs").at("notes").size(), 1U) << name;
    EXPECT_EQ(model(all, name).at("jobs").at("notes")[0].at("job"), 20) << name;
  }
}

TEST_F(ModelsTest, AThrownExceptionIsRetriedAndThenFailsTheJobAlone) {
  const Outcome once = bulkhead({"compare", "napper", "--worker", kTestWorker, "--fault",
                                 "throw@job=7,times=2", "--repeat", "1", "--json", "-"});
  EXPECT_EQ(once.exit_code, 0) << once.err;
  const Json retried = report(once);
  for (const std::string& name : kModels) {
    EXPECT_EQ(model(retried, name).at("jobs").at("retried"), 2) << name;
    EXPECT_EQ(model(retried, name).at("crashes"), 0) << name;
  }
  const Outcome always = bulkhead({"compare", "napper", "--worker", kTestWorker, "--set",
                                   "bad=throw", "--repeat", "1", "--json", "-"});
  EXPECT_EQ(always.exit_code, 1);
  const Json failed = report(always);
  for (const std::string& name : kModels) {
    EXPECT_EQ(model(failed, name).at("jobs").at("done"), 99) << name;
    EXPECT_EQ(model(failed, name).at("jobs").at("failed"), 1) << name;
    const Json& note = model(failed, name).at("jobs").at("notes")[0];
    EXPECT_EQ(note.at("reason"), "job says \\x1b[31mno\\xff") << name;
  }
}

TEST_F(ModelsTest, AFaultAtAWorkerStrikesThatWorker) {
  for (const std::string kind : {"segv", "kill", "throw"}) {
    const Outcome outcome =
        bulkhead({"compare", "napper", "--worker", kTestWorker, "--set", "count=300", "--workers",
                  "2", "--in-flight", "2", "--fault", kind + "@worker=2,after=20ms", "--models",
                  "concurrent,processes", "--repeat", "1", "--json", "-"});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const Json all = report(outcome);
    for (const std::string name : {"concurrent", "processes"}) {
      EXPECT_EQ(model(all, name).at("crashes"), kind == "throw" ? 0 : 1) << kind << " " << name;
      EXPECT_EQ(model(all, name).at("jobs").at("done"), 300) << kind << " " << name;
    }
  }
}

TEST_F(ModelsTest, AFaultThatNeverFiredIsSaidAndEndsWithFive) {
  const Outcome outcome =
      bulkhead({"run", "napper", "--worker", kTestWorker, "--fault", "segv@job=1000"});
  EXPECT_EQ(outcome.exit_code, 5);
  EXPECT_NE(outcome.out.find("never fired in parallel: there were 100 jobs"), std::string::npos)
      << outcome.out;
}

TEST_F(ModelsTest, ExitWithCodeZeroInMidJobIsACrash) {
  const Outcome outcome = bulkhead({"compare", "napper", "--worker", kTestWorker, "--set",
                                    "bad=exit", "--repeat", "1", "--json", "-"});
  EXPECT_EQ(outcome.exit_code, 1);
  const Json all = report(outcome);
  for (const std::string& name : kModels) {
    EXPECT_EQ(model(all, name).at("jobs").at("done"), 99) << name;
    EXPECT_EQ(model(all, name).at("jobs").at("quarantined"), 1) << name;
    EXPECT_EQ(model(all, name).at("crashes"), 3) << name;
  }
}

TEST_F(ModelsTest, ASourceOrReduceStepThatFailsEndsTheRunWithItsReason) {
  for (const std::string step : {"source", "reduce"}) {
    const Outcome outcome = bulkhead({"compare", "napper", "--worker", kTestWorker, "--set",
                                      "bad=" + step, "--repeat", "1", "--json", "-"});
    EXPECT_EQ(outcome.exit_code, 1) << step;
    const Json all = report(outcome);
    for (const std::string& name : kModels) {
      EXPECT_NE(model(all, name).at("reason").get<std::string>().find("has had enough"),
                std::string::npos)
          << name;
    }
  }
}

TEST_F(ModelsTest, WhatAJobLeftRunningDiesWithItsWorker) {
  const Outcome outcome = bulkhead({"run", "napper", "--worker", kTestWorker, "--set", "bad=fork",
                                    "--model", "processes", "--workers", "2"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_TRUE(marked("sleep").empty());
}

TEST_F(ModelsTest, LastWordsOfAWorkerAreKeptBoundedAndHarmless) {
  const Outcome outcome = bulkhead({"run", "napper", "--worker", kTestWorker, "--set", "bad=loud",
                                    "--model", "processes", "--workers", "2", "--json", "-"});
  EXPECT_EQ(outcome.exit_code, 1);
  const Json all = report(outcome);
  for (const Json& exit : model(all, "processes").at("exits")) {
    if (exit.at("verdict") != "signalled") continue;
    const std::string tail = exit.at("stderr_tail");
    EXPECT_NE(tail.find("\\x1b[2Jlast words"), std::string::npos);
    EXPECT_LE(tail.size(), 5000U);
  }
  EXPECT_EQ(outcome.err.find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace bulkhead::test
