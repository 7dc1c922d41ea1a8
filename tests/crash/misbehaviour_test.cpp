// Programs that behave badly in ways that no injected fault does.
#include <regex>

#include "support/command.hpp"

namespace bulkhead::test {
namespace {

using Json = nlohmann::json;

class MisbehaviourTest : public CommandTest {};

TEST_F(MisbehaviourTest, AStackThatOverflowsAndAnAbortAreBlamedOnTheirJob) {
  for (const std::string bad : {"deep", "abort"}) {
    const Outcome outcome =
        bulkhead({"compare", "napper", "--worker", kTestWorker, "--set", "bad=" + bad, "--workers",
                  "2", "--repeat", "1", "--json", "-"});
    EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
    const Json all = report(outcome);
    for (const std::string& name : kModels) {
      const Json& entry = model(all, name);
      EXPECT_EQ(entry.at("crashes"), 3) << bad << " " << name;
      EXPECT_EQ(entry.at("jobs").at("done"), 99) << bad << " " << name;
      for (const Json& exit : entry.at("exits")) {
        if (exit.at("verdict") != "signalled") continue;
        EXPECT_EQ(exit.at("signal"), bad == "deep" ? 11 : 6) << bad << " " << name;
        EXPECT_EQ(exit.at("job"), 5) << bad << " " << name;
      }
    }
  }
}

// With who it was, how large its stack is, and how to get more.
TEST_F(MisbehaviourTest, AnOverflowOfAStackIsToldAsOne) {
  const std::vector<std::string> models = {"concurrent", "processes", "threads"};
  const Outcome outcome =
      bulkhead({"compare", "napper", "--worker", kTestWorker, "--set", "bad=deep-child",
                "--workers", "2", "--models", "concurrent,processes,threads", "--max-attempts", "1",
                "--repeat", "1", "--json", "-"});
  EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
  const Json all = report(outcome);
  for (const std::string& name : models) {
    const Json& entry = model(all, name);
    ASSERT_EQ(entry.at("crashes"), 1) << name;
    for (const Json& exit : entry.at("exits")) {
      if (exit.at("verdict") != "signalled") continue;
      EXPECT_EQ(exit.at("stack_overflow"), true) << name;
      EXPECT_EQ(exit.at("job"), 5) << name;
      const std::string reason = exit.at("reason");
      const std::regex told(name == "threads"
                                ? "a thread overflowed its stack of [0-9]+ KiB; 'ulimit -s' .*"
                                : "goroutine [0-9]+ 'parser' overflowed its stack of [0-9]+ KiB; "
                                  "go\\(\\{\\.stack_bytes = …\\}, …\\) gives more");
      EXPECT_TRUE(std::regex_match(reason, told)) << name << ": " << reason;
    }
    const std::string note = entry.at("jobs").at("notes").at(0).at("reason");
    EXPECT_NE(note.find(" overflowed its stack of "), std::string::npos) << note;
  }
}

// On a thread without a slot; under `threads` on that of a job that is told to be blocked.
TEST_F(MisbehaviourTest, ACrashInABlockingCallIsBlamedOnTheJobThatMadeIt) {
  const Outcome outcome =
      bulkhead({"compare", "napper", "--worker", kTestWorker, "--set", "bad=blocking", "--workers",
                "2", "--repeat", "1", "--json", "-"});
  EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
  const Json all = report(outcome);
  for (const std::string& name : kModels) {
    const Json& entry = model(all, name);
    EXPECT_EQ(entry.at("crashes"), 3) << name;
    EXPECT_EQ(entry.at("jobs").at("done"), 99) << name;
    for (const Json& exit : entry.at("exits")) {
      if (exit.at("verdict") != "signalled") continue;
      EXPECT_EQ(exit.at("signal"), 11) << name;
      EXPECT_EQ(exit.at("job"), 5) << name;
    }
  }
}

// Of many runs, since it takes two processors that take up jobs at the same moment.
TEST_F(MisbehaviourTest, AJobIsBlamedThoughItsNeighbourWasNotYetCountedAsStarted) {
  for (int run = 0; run < (kSanitized ? 5 : 25); ++run) {
    const Outcome outcome =
        bulkhead({"run", "napper", "--worker", kTestWorker, "--model", "parallel", "--processors",
                  "4", "--fault", "segv@job=20,times=99", "--json", "-"});
    ASSERT_EQ(outcome.exit_code, 1) << outcome.err;
    const Json all = report(outcome);
    EXPECT_EQ(model(all, "parallel").at("crashes"), 3);
    EXPECT_EQ(model(all, "parallel").at("jobs").at("done"), 99);
  }
}

// It holds no slot while it waits, so only the worker's own scheduler can tell.
TEST_F(MisbehaviourTest, AJobThatNothingCanWakeIsNamed) {
  const Outcome outcome = bulkhead(
      {"compare", "napper", "--worker", kTestWorker, "--set", "bad=stuck", "--workers", "2",
       "--models", "sequential,concurrent,parallel,processes", "--repeat", "1", "--json", "-"});
  EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
  const Json all = report(outcome);
  for (const std::string name : {"sequential", "concurrent", "parallel", "processes"}) {
    const Json& entry = model(all, name);
    EXPECT_EQ(entry.at("crashes"), 3) << name;
    EXPECT_EQ(entry.at("jobs").at("done"), 99) << name;
    EXPECT_EQ(entry.at("jobs").at("quarantined"), 1) << name;
    for (const Json& exit : entry.at("exits")) {
      if (exit.at("verdict") != "deadlock") continue;
      EXPECT_EQ(exit.at("job"), 5) << name;
      const std::string said = exit.at("stderr_tail");
      EXPECT_NE(said.find("of job 5: parked, channel receive"), std::string::npos) << said;
    }
  }
}

// More than the coordinator keeps in memory, and a worker's crash in the middle of it.
TEST_F(MisbehaviourTest, LargeResultsAreKeptWhateverDies) {
  const Outcome outcome =
      bulkhead({"compare", "heavy", "--worker", kTestWorker, "--set", "bytes=5000000", "--set",
                "count=20", "--models", "parallel,processes", "--workers", "2", "--fault",
                "segv@job=15", "--repeat", "1", "--json", "-"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json all = report(outcome);
  for (const std::string name : {"parallel", "processes"}) {
    EXPECT_EQ(model(all, name).at("crashes"), 1) << name;
    EXPECT_EQ(model(all, name).at("jobs").at("done"), 20) << name;
    EXPECT_TRUE(model(all, name).at("answer_equal")) << name;
  }
}

TEST_F(MisbehaviourTest, AResultTooLargeToCrossFailsItsJobAndNothingElse) {
  const Outcome outcome =
      bulkhead({"run", "heavy", "--worker", kTestWorker, "--set", "bytes=70000000", "--set",
                "count=2", "--model", "processes", "--workers", "2", "--json", "-"});
  EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
  const Json all = report(outcome);
  const Json& processes = model(all, "processes");
  EXPECT_EQ(processes.at("crashes"), 0);
  EXPECT_EQ(processes.at("jobs").at("failed"), 2);
  for (const Json& note : processes.at("jobs").at("notes")) {
    EXPECT_NE(note.at("reason").get<std::string>().find("can cross"), std::string::npos) << note;
  }
}

// In shared memory nothing has to cross: the value is kept and used, only never safe.
TEST_F(MisbehaviourTest, AResultTooLargeToCrossIsNoTroubleInSharedMemory) {
  const Outcome outcome =
      bulkhead({"run", "heavy", "--worker", kTestWorker, "--set", "bytes=70000000", "--set",
                "count=3", "--model", "parallel", "--checkpoint", "1ms", "--json", "-"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json all = report(outcome);
  const Json& parallel = model(all, "parallel");
  EXPECT_EQ(parallel.at("jobs").at("done"), 3);
  const std::uint64_t sum = 70'000'000ull * ('a' * 1 + 'b' * 2 + 'c' * 3);
  EXPECT_EQ(parallel.at("answer").at("checksum"), std::to_string(sum));
}

// What the README's first example shows, on a tree of our own.
TEST_F(MisbehaviourTest, ACrashInWordcountChangesNoWord) {
  std::uint64_t words = 0;
  for (int i = 0; i < 60; ++i) {
    std::string text;
    for (int w = 0; w < 500; ++w, ++words) text += "w" + std::to_string(w % (i + 1)) + "\n";
    write_file("tree/d" + std::to_string(i % 7) + "/f" + std::to_string(i), text);
  }
  const Outcome outcome =
      bulkhead({"compare", "wordcount", "--input", path("tree"), "--set", "chunk=1KiB", "--fault",
                "segv@job=20", "--workers", "4", "--repeat", "1", "--json", "-"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json all = report(outcome);
  for (const std::string& name : kModels) {
    const Json& entry = model(all, name);
    EXPECT_EQ(entry.at("crashes"), 1) << name;
    EXPECT_TRUE(entry.at("answer_equal")) << name;
    EXPECT_EQ(entry.at("jobs").at("done"), entry.at("jobs").at("total")) << name;
    EXPECT_EQ(entry.at("jobs").at("retried"), entry.at("jobs").at("lost_in_flight").get<double>() +
                                                  entry.at("jobs").at("results_lost").get<double>())
        << name;
    const std::string text = entry.at("answer").at("text");
    EXPECT_NE(text.find("words: " + std::to_string(words) + "\n"), std::string::npos) << text;
    for (const Json& exit : entry.at("exits")) {
      if (exit.at("verdict") != "signalled") continue;
      EXPECT_EQ(exit.at("signal"), 11) << name;
      EXPECT_EQ(exit.at("job"), 20) << name;
    }
  }
}

}  // namespace
}  // namespace bulkhead::test
