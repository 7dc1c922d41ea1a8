// --logs: all that workers print, a file for each incarnation.
#include <signal.h>
#include <sys/resource.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "support/command.hpp"

namespace bulkhead::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

std::string content_of(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

std::size_t count(const std::string& text, const std::string& word) {
  std::size_t found = 0;
  for (auto at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) ++found;
  return found;
}

// What all its workers said.
std::string logs_of(const Json& model) {
  std::string said;
  for (const Json& exit : model.at("exits"))
    if (exit.contains("log")) said += content_of(exit.at("log").get<std::string>());
  return said;
}

class LogsTest : public CommandTest {
 protected:
  std::vector<std::string> napper(const std::string& bad, std::vector<std::string> more) {
    std::vector<std::string> words{"compare",  "napper",     "--worker",  kTestWorker,
                                   "--set",    "bad=" + bad, "--workers", "2",
                                   "--repeat", "1",          "--logs",    path("logs")};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
};

TEST_F(LogsTest, SigquitTellsWhatEachGoroutineDoesAndHarmsNobody) {
  const Outcome outcome = bulkhead(napper("quit", {"--json", "-"}));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json all = report(outcome);
  for (const std::string& name : kModels) {
    const std::string said = logs_of(model(all, name));
    EXPECT_EQ(count(said, ", SIGQUIT:\n"), 1u) << name << said;
    if (name == "threads")
      EXPECT_NE(said.find(" thread runs "), std::string::npos) << said;
    else
      EXPECT_NE(said.find(", waits for the outside\n"), std::string::npos) << said;
    EXPECT_EQ(model(all, name).at("crashes"), 0) << name;
  }
}

// Nobody waits for the one that a job has left behind: the jobs end, and the worker says goodbye.
TEST_F(LogsTest, AGoroutineThatOutlivesAllJobsIsTold) {
  const Outcome outcome = bulkhead(napper("straggler", {"--json", "-"}));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json all = report(outcome);
  for (const std::string& name : kModels) {
    const std::string said = logs_of(model(all, name));
    if (name == "threads") continue;  // what a thread waits for is known to the kernel alone
    EXPECT_NE(said.find("leak: a goroutine has not ended with the run\n"), std::string::npos)
        << name << said;
    EXPECT_NE(said.find(" 'straggler' of job 5: sleeping, sleep, at "), std::string::npos) << said;
    EXPECT_NE(said.find("test_worker.cpp:"), std::string::npos) << said;
  }
}

// 100 jobs of each model, each a line; who printed has a file, and nobody else.
TEST_F(LogsTest, EveryLineOfEveryWorkerIsThereUnderTheNameThatTheReportGives) {
  const Outcome outcome = bulkhead(napper("chatty", {"--json", "-"}));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json all = report(outcome);
  std::set<std::string> named;
  for (const std::string& name : kModels) {
    std::string lines;
    for (const Json& exit : model(all, name).at("exits")) {
      if (!exit.contains("log")) continue;
      const std::string log = exit.at("log");
      EXPECT_EQ(log, path("logs") + "/" + name + "-1-worker-" +
                         std::to_string(exit.at("worker").get<int>()) + ".1.log");
      named.insert(log);
      lines += content_of(log);
    }
    EXPECT_EQ(count(lines, "job "), 100u) << name;
    EXPECT_EQ(count(lines, "\n"), 100u) << name;
  }
  std::set<std::string> there;
  for (const auto& entry : fs::directory_iterator(path("logs"))) there.insert(entry.path());
  EXPECT_EQ(there, named);
}

TEST_F(LogsTest, ACrashedWorkersLogIsWholeAndTheTableSaysWhereItIs) {
  const Outcome outcome = bulkhead(napper("loud", {"--models", "processes"}));
  EXPECT_EQ(outcome.exit_code, 1);
  std::size_t loud = 0;
  for (const auto& entry : fs::directory_iterator(path("logs"))) {
    const std::string log = content_of(entry.path());
    // A replacement that came when the run was over already.
    if (log.ends_with("refused: not expected any more\n")) continue;
    ++loud;
    EXPECT_EQ(log, std::string(1'000'000, 'x') + std::string("\x1b[2Jlast words\n", 15));
    EXPECT_EQ(count(outcome.out, entry.path().string()), 1u) << outcome.out;
  }
  EXPECT_EQ(loud, 3u) << "as often as the job is tried";
}

// With the coordinator dead nobody could write any more: what was printed before is there.
TEST_F(LogsTest, WhatWasPrintedOutlivesTheCoordinator) {
  orphans_allowed_ = true;
  environment_["BULKHEAD_TEST_HOLD"] = path("hold");
  const pid_t pid = start(napper("chatty", {"--models", "parallel"}));
  const std::string log = path("logs/parallel-1-worker-1.1.log");
  EXPECT_TRUE(eventually([&] { return count(content_of(log), "job ") == 100; }));
  EXPECT_TRUE(kill_hard(pid));
  EXPECT_EQ(finish(pid).signal, SIGKILL);
  EXPECT_EQ(count(content_of(log), "\n"), 100u);
}

TEST_F(LogsTest, ALogThatCannotBeWrittenIsToldOnceAndTheRunGoesOn) {
  for (const char* name : {"processes-1-worker-1.1.log", "processes-1-worker-2.1.log"}) {
    fs::create_directories(path("logs/") + name);
  }
  const Outcome outcome = bulkhead(napper("chatty", {"--models", "processes", "--json", "-"}));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(count(outcome.err, "cannot be made: Is a directory"), 1u) << outcome.err;
  const Json all = report(outcome);
  EXPECT_EQ(model(all, "processes").at("jobs").at("done"), 100);
  for (const Json& exit : model(all, "processes").at("exits")) EXPECT_FALSE(exit.contains("log"));
}

// The kernel would end a coordinator whose file grows beyond its limit, were it not told to let be.
TEST_F(LogsTest, ALogBeyondTheLimitOnFilesEndsTheLogAlone) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{512u << 10, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const Outcome outcome = bulkhead(napper("loud", {"--models", "processes"}));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(outcome.signal, 0) << outcome.err;
  EXPECT_EQ(count(outcome.err, "File too large"), 1u) << outcome.err;
}

TEST_F(LogsTest, BothSidesOfAModelHaveTheirOwn) {
  const Outcome outcome = bulkhead(napper("chatty", {"--models", "parallel", "--aa"}));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(count(content_of(path("logs/parallel-1-worker-1.1.log")), "job "), 100u);
  EXPECT_EQ(count(content_of(path("logs/parallel-second-1-worker-1.1.log")), "job "), 100u);
}

TEST_F(LogsTest, APlaceThatCannotBeIsRefusedBeforeAnythingStarts) {
  const std::string file = write_file("file", "");
  for (const std::string& place :
       {file, path("missing/logs"), path("file/logs"), std::string("/proc/logs")}) {
    const Outcome outcome = bulkhead({"run", "primes", "--logs", place});
    EXPECT_EQ(outcome.exit_code, 4) << place;
    EXPECT_EQ(outcome.out, "");
    EXPECT_NE(outcome.err.find(place), std::string::npos) << outcome.err;
    EXPECT_EQ(count(outcome.err, "\n"), 1u) << outcome.err;
  }
  const Outcome planned = bulkhead({"run", "primes", "--logs", path("logs/"), "--check"});
  EXPECT_EQ(planned.exit_code, 0) << planned.err;
  EXPECT_NE(planned.out.find(path("logs")), std::string::npos);
  EXPECT_FALSE(fs::exists(path("logs"))) << "--check makes nothing";
}

}  // namespace
}  // namespace bulkhead::test
