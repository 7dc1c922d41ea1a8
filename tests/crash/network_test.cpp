// Networks whose tasks lie in several workers: one answer under every model and over every
// transport, and what a crash in the middle of them costs.
#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "support/command.hpp"

namespace bulkhead::test {
namespace {

using Json = nlohmann::json;

class NetworkTest : public CommandTest {
 protected:
  // The network with flags that go on every command of it.
  Outcome compare(std::vector<std::string> network, const std::vector<std::string>& flags) {
    network.insert(network.begin(), "compare");
    network.insert(network.end(), {"--json", "-", "--repeat", "1"});
    network.insert(network.end(), flags.begin(), flags.end());
    return bulkhead(network);
  }

  static std::vector<std::string> pingpong(const std::string& rounds) {
    return {"pingpong", "--set", "rounds=" + rounds};
  }
  // Some hundred blocks of real files.
  std::vector<std::string> pipeline() {
    for (int file = 0; file < 20; ++file) {
      std::string text;
      for (int line = 0; line < 50 * file; ++line)
        text += "Line " + std::to_string(line) + " of FILE\n";
      write_file("tree/" + std::to_string(file), text);
    }
    return {"pipeline", "--input", path("tree"), "--set", "block=1KiB"};
  }

  static void expect_one_answer(const Json& all) {
    for (const Json& entry : all.at("models")) {
      EXPECT_TRUE(entry.at("answer_equal"))
          << entry.at("model") << " " << entry.at("transport") << " " << entry.at("reason");
    }
  }
};

TEST_F(NetworkTest, EveryModelAndTransportGivesOneAnswer) {
  for (const std::string workers : {"1", "2", "4"}) {
    for (const std::string route : {"direct", "coordinator"}) {
      const Outcome outcome = compare(
          pipeline(), {"--workers", workers, "--transports", "zmq-ipc,unix,shm", "--route", route});
      ASSERT_EQ(outcome.exit_code, 0) << workers << route << outcome.err;
      const Json all = report(outcome);
      ASSERT_EQ(all.at("models").size(), 7u);
      expect_one_answer(all);
      EXPECT_EQ(all.at("unit"), "blocks");
      for (const Json& entry : all.at("models")) {
        const bool isolated = entry.at("model") == "processes";
        EXPECT_EQ(entry.at("workers"), isolated ? std::stoi(workers) : 1);
        EXPECT_EQ(entry.at("jobs").at("done"), 4);
        // With one worker only how the tasks ended; else each block crosses at least once.
        const double messages = entry.at("messages");
        EXPECT_EQ(messages > 200, isolated && workers != "1") << messages;
      }
    }
  }
}

TEST_F(NetworkTest, TasksThatWaitForOneAnotherDoNotRunOneAfterTheOther) {
  for (const std::string workers : {"1", "2", "4"}) {
    for (const std::string capacity : {"0", "3"}) {
      std::vector<std::string> network = pingpong("200");
      network.insert(network.end(), {"--set", "capacity=" + capacity});
      const Outcome outcome =
          compare(network, {"--workers", workers, "--transports", "zmq-ipc,unix,shm"});
      ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
      const Json all = report(outcome);
      const Json& sequential = all.at("models")[0];
      EXPECT_FALSE(sequential.at("ran"));
      EXPECT_EQ(sequential.at("reason"),
                "sequential runs each task to its end before the next starts, and in pingpong "
                "'ping' waits for what 'pong' sends, 'pong' waits for what 'ping' sends: the first "
                "would block for ever");
      for (std::size_t i = 1; i < all.at("models").size(); ++i) {
        EXPECT_TRUE(all.at("models")[i].at("answer_equal")) << i;
        // A worker without a task would only wait.
        EXPECT_LE(all.at("models")[i].at("workers"), 2);
      }
    }
  }
  const Outcome alone = bulkhead({"run", "pingpong", "--model", "sequential"});
  EXPECT_EQ(alone.exit_code, 2);
  EXPECT_NE(alone.err.find("try --model concurrent"), std::string::npos) << alone.err;
}

TEST_F(NetworkTest, AControlRowCopiesOrEncodesEachValue) {
  const Outcome outcome = compare(
      pipeline(), {"--models", "concurrent,threads,processes", "--transfers", "move,copy,encode"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json all = report(outcome);
  ASSERT_EQ(all.at("models").size(), 7u);
  expect_one_answer(all);
}

// The whole network begins anew, and nobody takes the crash for an end of the values.
TEST_F(NetworkTest, ACrashInATaskIsToldAndTheNetworkBeginsAnew) {
  for (const std::string fault : {"segv", "kill", "exit", "abort", "throw", "stack-overflow"}) {
    const Outcome outcome =
        compare(pipeline(), {"--workers", "4", "--transports", "zmq-ipc,unix,shm", "--fault",
                             fault + "@task=hash,operation=41"});
    ASSERT_EQ(outcome.exit_code, 0) << fault << outcome.err;
    const Json all = report(outcome);
    expect_one_answer(all);
    for (const Json& entry : all.at("models")) {
      const std::string row = fault + " " + entry.at("model").get<std::string>();
      EXPECT_EQ(entry.at("crashes"), fault == "throw" ? 0 : 1) << row;
      EXPECT_EQ(entry.at("jobs").at("retried"), 4) << row;
      EXPECT_EQ(entry.at("jobs").at("lost_in_flight").get<double>() +
                    entry.at("jobs").at("results_lost").get<double>(),
                4)
          << row;
      for (const Json& exit : entry.at("exits")) {
        if (exit.at("verdict") != "signalled" || fault == "kill") continue;
        EXPECT_EQ(exit.at("job"), 2) << row;
        EXPECT_EQ(exit.at("blast_radius"), 1) << row;
      }
    }
    for (const Json& entry : all.at("faults")) EXPECT_EQ(entry.at("fired"), 1) << entry;
  }
}

TEST_F(NetworkTest, ATaskThatAlwaysFailsEndsTheRunByName) {
  const std::array<std::pair<std::string, std::string>, 2> cases{
      {{"segv", "task 'pong' was to blame for 3 deaths: killed by signal 11 (SIGSEGV)"},
       {"throw", "task 'pong' failed: injected fault: throw"}}};
  for (const auto& [fault, reason] : cases) {
    for (const std::string model : {"concurrent", "threads", "processes"}) {
      const Outcome outcome = bulkhead({"run", "pingpong", "--model", model, "--transport", "shm",
                                        "--fault", fault + "@task=pong,operation=9,times=3"});
      EXPECT_EQ(outcome.exit_code, 1) << model << outcome.err;
      EXPECT_NE(outcome.err.find(reason), std::string::npos) << model << outcome.err;
    }
  }
}

// Kills at any moment, from the first message to the last.
TEST_F(NetworkTest, KillsAtRandomMomentsCostTimeAndNothingElse) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const int runs = kSanitized ? 2 : 6;
  for (int run = 0; run < runs; ++run) {
    for (const std::string& transport : kTransports) {
      std::vector<std::string> flags{"--models",    "processes", "--workers", "2",
                                     "--transport", transport,   "--timeout", "100s"};
      int kills = 0;
      for (; kills < 4; ++kills) {
        const auto after = std::uniform_int_distribution<int>(0, 40'000)(random);
        flags.insert(flags.end(), {"--fault", "kill@worker=" + std::to_string(1 + kills % 2) +
                                                  ",after=" + std::to_string(after) + "us"});
      }
      const bool balls = run % 2 == 0;
      const Outcome outcome = compare(balls ? pingpong("20000") : pipeline(), flags);
      // 5: the run was over before its last kill.
      ASSERT_TRUE(outcome.exit_code == 0 || outcome.exit_code == 5) << transport << outcome.err;
      const Json all = report(outcome);
      expect_one_answer(all);
      if (balls) {
        EXPECT_EQ(all.at("models")[0].at("answer").at("text"),
                  "20000 rounds with 64 bytes, sum 400000000");
      }
    }
  }
}

TEST_F(NetworkTest, WhatDoesNotSuitIsRefusedInOneLine) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> mistakes{
      {{"pingpong", "--fault", "segv@task=pnog"},
       "--fault: 'segv@task=pnog': pingpong has no task 'pnog'; did you mean 'pong'? tasks: ping, "
       "pong"},
      {{"pingpong", "--fault", "segv@job=1"},
       "--fault: 'segv@job=1': pingpong has tasks, not jobs; write segv@task=ping"},
      {{"pingpong", "--fault", "segv@rate=0.1"}, "pingpong has tasks, not jobs"},
      {{"primes", "--fault", "segv@task=hash"},
       "--fault: 'segv@task=hash': primes has jobs, not tasks; write segv@job=20"},
      {{"primes", "--route", "coordinator"}, "--route: primes has no channels; leave it out"},
      {{"pingpong", "--route", "direkt"},
       "--route: unknown route 'direkt'; did you mean 'direct'?"},
      {{"pingpong", "--rate", "10/s"}, "--rate: pingpong is a network, which has no jobs"},
      {{"bank"}, "'bank' is a network without tasks, which `bulkhead explore` runs"}};
  for (const auto& [words, message] : mistakes) {
    std::vector<std::string> arguments = words;
    arguments.insert(arguments.begin(), "run");
    const Outcome outcome = bulkhead(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << message << outcome.err;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    EXPECT_NE(outcome.err.find(message), std::string::npos) << message << "\n" << outcome.err;
  }
  const Outcome balls = bulkhead({"run", "pingpong", "--set", "balls=3"});
  EXPECT_EQ(balls.exit_code, 1);
  EXPECT_NE(balls.err.find("balls must be at most capacity + 1"), std::string::npos) << balls.err;
}

}  // namespace
}  // namespace bulkhead::test
