// SIGKILL at any time, to anybody. Instants are drawn from a seed that every failure prints.
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <random>
#include <set>

#include "support/command.hpp"

namespace bulkhead::test {
namespace {

using Json = nlohmann::json;

constexpr int kKills = kSanitized ? 40 : 200;
constexpr int kKillsOfEachKind = kSanitized ? 5 : 20;

class KillsTest : public CommandTest {
 protected:
  KillsTest() {
    const char* given = std::getenv("BULKHEAD_TEST_SEED");
    seed_ = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
    random_.seed(seed_);
  }
  std::uint64_t draw(std::uint64_t below) { return random_() % below; }
  std::string trace() const { return "BULKHEAD_TEST_SEED=" + std::to_string(seed_); }

  std::vector<std::string> napper(const std::string& count, const std::string& us,
                                  const std::string& workers) {
    // Each run crosses on the next one.
    environment_["BULKHEAD_TRANSPORT"] = kTransports[turn_++ % kTransports.size()];
    return {"run", "napper", "--worker", kTestWorker, "--set", "count=" + count, "--set",
            "us=" + us, "--model", "processes", "--workers", workers, "--in-flight", workers,
            // Chance may strike the same job thrice: that is no verdict on the job here.
            "--max-attempts", "100", "--json", "-"};
  }
  // Not the coordinator, which has the path among its arguments, and neither `--describe` nor the
  // fork server.
  std::vector<pid_t> live_workers() const {
    std::vector<pid_t> real;
    for (const pid_t pid : marked(kTestWorker)) {
      if (is_worker(pid)) real.push_back(pid);
    }
    return real;
  }
  // By its parent: a child of its own that has not reached its exec has the same command line.
  pid_t launcher_of(pid_t command) const {
    for (const pid_t pid : marked("__launcher")) {
      std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
      std::string stat;
      std::getline(file, stat);
      const auto name_end = stat.rfind(')');
      if (name_end == std::string::npos || name_end + 4 >= stat.size()) continue;
      if (std::atoi(stat.c_str() + name_end + 4) == command) return pid;
    }
    return 0;
  }
  bool kill_launcher_of(pid_t command) {
    const pid_t pid = launcher_of(command);
    return pid != 0 && kill_hard(pid);
  }
  // Kills one live worker; 0 when there was none.
  pid_t kill_a_worker() {
    const std::vector<pid_t> real = live_workers();
    if (real.empty()) return 0;
    const pid_t pid = real[draw(real.size())];
    return kill_hard(pid) ? pid : 0;
  }
  // Its path and nothing else; a forked one has wiped the argument of its parent.
  bool is_worker(pid_t pid) const {
    const std::string file = "/proc/" + std::to_string(pid) + "/cmdline";
    std::string text;
    if (FILE* f = std::fopen(file.c_str(), "r")) {
      char buffer[4096];
      text.assign(buffer, std::fread(buffer, 1, sizeof buffer, f));
      std::fclose(f);
    }
    return text.c_str() == kTestWorker &&
           text.find_first_not_of('\0', kTestWorker.size()) == std::string::npos;
  }
  static int killed(const Json& all, const std::vector<std::string>& states) {
    int count = 0;
    for (const Json& exit : model(all, "processes").at("exits")) {
      for (const std::string& state : states) {
        if (exit.at("verdict") == "signalled" && exit.at("signal") == SIGKILL &&
            exit.at("state") == state) {
          ++count;
        }
      }
    }
    return count;
  }

  std::uint64_t seed_ = 0;
  std::mt19937_64 random_;
  std::size_t turn_ = 0;
};

const std::vector<std::string> kAnyState{"launching", "handshaking", "ready", "draining"};

TEST_F(KillsTest, WorkersKilledAtRandomInstantsNeverSpoilTheAnswer) {
  SCOPED_TRACE(trace());
  int hits = 0;
  for (int run = 0; hits < kKills && run < kKills; ++run) {
    const pid_t command = start(napper("400", "1000", "3"));
    ASSERT_TRUE(eventually([&] { return !live_workers().empty(); }));
    std::set<pid_t> struck;
    for (int i = 0; i < 6; ++i) {
      let_pass(std::chrono::microseconds(draw(25'000)));
      if (const pid_t pid = kill_a_worker(); pid != 0) struck.insert(pid);
    }
    const Outcome outcome = finish(command);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const Json all = report(outcome);
    EXPECT_EQ(model(all, "processes").at("answer").at("checksum"), "80200");
    EXPECT_EQ(model(all, "processes").at("jobs").at("done"), 400);
    // The run knows each death. A worker may have ended by itself while it was being struck.
    const int here = killed(all, kAnyState);
    EXPECT_LE(here, static_cast<int>(struck.size()));
    hits += here;
  }
  EXPECT_GE(hits, kKills);
}

TEST_F(KillsTest, WorkersKilledInStartUpAreReplaced) {
  SCOPED_TRACE(trace());
  environment_["BULKHEAD_TEST_STALL_MS"] = "30";
  int hits = 0;
  for (int run = 0; hits < kKillsOfEachKind && run < 100; ++run) {
    const pid_t command = start(napper("20", "1000", "2"));
    int here = 0;
    ASSERT_TRUE(eventually([&] { return kill_a_worker() != 0; }));
    ++here;
    const Outcome outcome = finish(command);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const Json all = report(outcome);
    EXPECT_EQ(model(all, "processes").at("answer").at("checksum"), "210");
    EXPECT_LE(killed(all, kAnyState), here);
    hits += killed(all, {"launching", "handshaking"});
  }
  EXPECT_GE(hits, kKillsOfEachKind);
}

TEST_F(KillsTest, WorkersKilledInTheHandshakeAreReplaced) {
  SCOPED_TRACE(trace());
  int hits = 0;
  std::uint64_t held_back_ms = 30;
  for (int run = 0; hits < kKillsOfEachKind && run < 100; ++run) {
    // Boot has been read; the program's constructor holds the worker back from its hello.
    std::vector<std::string> arguments = napper("20", "1000", "2");
    arguments.insert(arguments.end(), {"--set", "setup-ms=" + std::to_string(held_back_ms)});
    const pid_t command = start(arguments);
    ASSERT_TRUE(eventually([&] { return marked(kTestWorker).size() >= 3; }));
    let_pass(std::chrono::microseconds(5'000 + draw(held_back_ms * 1000 * 2 / 3)));
    const int here = kill_a_worker() != 0 ? 1 : 0;
    const Outcome outcome = finish(command);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const Json all = report(outcome);
    EXPECT_EQ(model(all, "processes").at("answer").at("checksum"), "210");
    EXPECT_LE(killed(all, kAnyState), here);
    const int now = killed(all, {"handshaking"});
    hits += now;
    if (now == 0 && held_back_ms < 2000) held_back_ms *= 2;  // a busy machine is late for it
  }
  EXPECT_GE(hits, kKillsOfEachKind);
}

TEST_F(KillsTest, WorkersKilledWhileTheyDrainChangeNothing) {
  SCOPED_TRACE(trace());
  environment_["BULKHEAD_LOG"] = "debug";
  int hits = 0;
  std::uint64_t nap_us = 100;
  for (int run = 0; hits < kKillsOfEachKind && run < 200; ++run) {
    const pid_t command = start(napper("20", std::to_string(nap_us), "16"));
    // The first worker to finish says that the others drain, too.
    ASSERT_TRUE(eventually([&] { return said().find("draining") != std::string::npos; }));
    for (int i = 0; i < 4; ++i) kill_a_worker();
    const Outcome outcome = finish(command);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const Json all = report(outcome);
    EXPECT_EQ(model(all, "processes").at("answer").at("checksum"), "210");
    const int now = killed(all, {"draining"});
    hits += now;
    if (now == 0 && nap_us < 100'000) nap_us *= 2;  // a busy machine is late for it
  }
  EXPECT_GE(hits, kKillsOfEachKind);
}

TEST_F(KillsTest, AKilledLauncherIsReplacedAndTheRunEndsRight) {
  SCOPED_TRACE(trace());
  int hits = 0;
  for (int run = 0; hits < kKillsOfEachKind && run < 3 * kKillsOfEachKind; ++run) {
    std::vector<std::string> arguments = napper("300", "1000", "3");
    // Replacements are needed after the launcher's death, too.
    arguments.insert(arguments.end(), {"--fault", "segv@job=100", "--fault", "segv@job=250"});
    const pid_t command = start(arguments);
    ASSERT_TRUE(eventually([&] { return launcher_of(command) != 0; }));
    let_pass(std::chrono::microseconds(draw(120'000)));
    hits += kill_launcher_of(command) ? 1 : 0;
    const Outcome outcome = finish(command);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_EQ(model(report(outcome), "processes").at("answer").at("checksum"), "45150");
  }
  EXPECT_GE(hits, kKillsOfEachKind);
}

TEST_F(KillsTest, LaunchersAndWorkersKilledInTheSameRunDoNotSpoilTheAnswer) {
  SCOPED_TRACE(trace());
  int hits = 0;
  for (int run = 0; hits < kKillsOfEachKind && run < 3 * kKillsOfEachKind; ++run) {
    const pid_t command = start(napper("400", "1000", "3"));
    ASSERT_TRUE(eventually([&] { return !live_workers().empty(); }));
    for (int i = 0; i < 4; ++i) {
      let_pass(std::chrono::microseconds(draw(25'000)));
      kill_a_worker();
      // Twice: a third launcher that dies before it has worked is the last.
      if (i % 2 == 1) hits += kill_launcher_of(command) ? 1 : 0;
    }
    const Outcome outcome = finish(command);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_EQ(model(report(outcome), "processes").at("answer").at("checksum"), "80200");
  }
  EXPECT_GE(hits, kKillsOfEachKind);
}

TEST_F(KillsTest, AKilledForkServerIsReplacedAndTheRunEndsRight) {
  SCOPED_TRACE(trace());
  int hits = 0;
  for (int run = 0; hits < kKillsOfEachKind && run < 3 * kKillsOfEachKind; ++run) {
    std::vector<std::string> arguments = napper("300", "1000", "3");
    for (const char* job : {"100", "150", "200", "250"}) {
      arguments.insert(arguments.end(), {"--fault", std::string("segv@job=") + job});
    }
    const pid_t command = start(arguments);
    ASSERT_TRUE(eventually([&] { return !marked("__fork-server").empty(); }));
    for (int i = 0; i < 4; ++i) {
      let_pass(std::chrono::microseconds(draw(40'000)));
      for (const pid_t pid : marked("__fork-server")) hits += kill_hard(pid) ? 1 : 0;
    }
    const Outcome outcome = finish(command);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_EQ(model(report(outcome), "processes").at("answer").at("checksum"), "45150");
  }
  EXPECT_GE(hits, kKillsOfEachKind);
}

TEST_F(KillsTest, NothingRemainsOfAKilledCoordinator) {
  SCOPED_TRACE(trace());
  orphans_allowed_ = true;  // the launcher, which cleans up
  double longest = 0;
  for (int run = 0; run < kKillsOfEachKind; ++run) {
    const pid_t command = start(napper("5000", "1000", "3"));
    let_pass(std::chrono::microseconds(draw(150'000)));
    const bool has_workers = !live_workers().empty();
    ASSERT_EQ(kill(command, SIGKILL), 0);
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_EQ(finish(command).signal, SIGKILL);
    EXPECT_TRUE(eventually([&] { return marked().empty(); })) << marked().size() << " processes";
    // A launcher that has launched knows the directory, and removes it.
    if (has_workers) {
      EXPECT_TRUE(run_directories().empty()) << "run " << run;
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    longest = std::max(longest, took.count());
    if (!has_workers) bulkhead({"list"});
  }
  RecordProperty("longest_seconds", std::to_string(longest));
  EXPECT_LT(longest, kPromptSeconds);
  // Killed before its launcher was there, it leaves its directory to the next start.
  EXPECT_EQ(bulkhead({"list"}).exit_code, 0);
  EXPECT_TRUE(run_directories().empty());
}

TEST_F(KillsTest, WhatAKilledCoordinatorAndLauncherLeaveTheNextStartRemoves) {
  SCOPED_TRACE(trace());
  orphans_allowed_ = true;  // workers, which end with their lifeline
  for (int run = 0; run < kKillsOfEachKind; ++run) {
    const pid_t command = start(napper("5000", "1000", "3"));
    ASSERT_TRUE(eventually([&] { return !live_workers().empty(); }));
    let_pass(std::chrono::microseconds(draw(50'000)));
    // Stopped, it can't start a new launcher in between, which would tidy up after it.
    ASSERT_EQ(kill(command, SIGSTOP), 0);
    ASSERT_TRUE(eventually([&] {
      std::ifstream file("/proc/" + std::to_string(command) + "/stat");
      std::string stat;
      std::getline(file, stat);
      return stat.find(") T ") != std::string::npos;
    }));
    ASSERT_TRUE(kill_launcher_of(command));
    ASSERT_EQ(kill(command, SIGKILL), 0);
    finish(command);
    EXPECT_TRUE(eventually([&] { return marked().empty(); }));
    EXPECT_EQ(run_directories().size(), 1U);
    EXPECT_EQ(bulkhead({"list"}).exit_code, 0);
    EXPECT_TRUE(run_directories().empty());
  }
}

TEST_F(KillsTest, AWorkerKilledWhileItDescribesItselfIsAskedAgain) {
  // The first kills itself, as a stranger would; the next does as it is told.
  const std::string once = write_file(
      "once", "#!/bin/sh\nif [ ! -e " + path("killed") + " ]; then : >" + path("killed") +
                  "; kill -9 $$; fi\nexec " + kTestWorker + " \"$@\"\n");
  chmod(once.c_str(), 0700);
  const Outcome outcome = bulkhead({"run", "napper", "--worker", once, "--json", "-"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const std::string always = write_file("always", "#!/bin/sh\nkill -9 $$\n");
  chmod(always.c_str(), 0700);
  const Outcome refused = bulkhead({"run", "napper", "--worker", always});
  EXPECT_EQ(refused.exit_code, 4);
  EXPECT_NE(refused.err.find("signal 9"), std::string::npos) << refused.err;
}

TEST_F(KillsTest, TwoRunsAtOnceShareNothing) {
  const pid_t one = start(napper("200", "1000", "2"));
  const pid_t other = start(napper("300", "1000", "2"));
  EXPECT_EQ(model(report(finish(one)), "processes").at("answer").at("checksum"), "20100");
  EXPECT_EQ(model(report(finish(other)), "processes").at("answer").at("checksum"), "45150");
}

}  // namespace
}  // namespace bulkhead::test
