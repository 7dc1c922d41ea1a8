// SIGKILL at any time, to anybody. Instants are drawn from a seed that every failure prints.
#include <signal.h>

#include <algorithm>
#include <cstdlib>
#include <random>
#include <set>

#include "support/command.hpp"

namespace bulkhead::test {
namespace {

using Json = nlohmann::json;

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr int kKills = 40;
constexpr int kKillsOfEachKind = 5;
#else
constexpr int kKills = 200;
constexpr int kKillsOfEachKind = 20;
#endif

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
    return {"run", "napper", "--worker", kTestWorker, "--set", "count=" + count, "--set",
            "us=" + us, "--model", "processes", "--workers", workers, "--in-flight", workers,
            // Chance may strike the same job thrice: that is no verdict on the job here.
            "--max-attempts", "100", "--json", "-"};
  }
  // Kills one live worker; 0 when there was none.
  pid_t kill_a_worker() {
    const auto workers = marked(kTestWorker + std::string(1, '\0'));
    std::vector<pid_t> real;
    for (const pid_t pid : workers) {
      // Not the coordinator, which has the path among its arguments, and not `--describe`.
      if (is_worker(pid)) real.push_back(pid);
    }
    if (real.empty()) return 0;
    const pid_t pid = real[draw(real.size())];
    return kill_hard(pid) ? pid : 0;
  }
  bool is_worker(pid_t pid) const {
    const std::string file = "/proc/" + std::to_string(pid) + "/cmdline";
    std::string text;
    if (FILE* f = std::fopen(file.c_str(), "r")) {
      char buffer[4096];
      text.assign(buffer, std::fread(buffer, 1, sizeof buffer, f));
      std::fclose(f);
    }
    return text == kTestWorker + std::string(1, '\0');
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
};

const std::vector<std::string> kAnyState{"launching", "handshaking", "ready", "draining"};

TEST_F(KillsTest, WorkersKilledAtRandomInstantsNeverSpoilTheAnswer) {
  SCOPED_TRACE(trace());
  int hits = 0;
  for (int run = 0; hits < kKills && run < kKills; ++run) {
    const pid_t command = start(napper("400", "1000", "3"));
    ASSERT_TRUE(eventually([&] {
      const auto found = marked(kTestWorker);
      return std::any_of(found.begin(), found.end(), [&](pid_t pid) { return is_worker(pid); });
    }));
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
  for (int run = 0; hits < kKillsOfEachKind && run < 100; ++run) {
    // Boot has been read; the program's constructor holds the worker back from its hello.
    std::vector<std::string> arguments = napper("20", "1000", "2");
    arguments.insert(arguments.end(), {"--set", "setup-ms=30"});
    const pid_t command = start(arguments);
    ASSERT_TRUE(eventually([&] { return marked(kTestWorker).size() >= 3; }));
    let_pass(std::chrono::microseconds(5'000 + draw(20'000)));
    const int here = kill_a_worker() != 0 ? 1 : 0;
    const Outcome outcome = finish(command);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const Json all = report(outcome);
    EXPECT_EQ(model(all, "processes").at("answer").at("checksum"), "210");
    EXPECT_LE(killed(all, kAnyState), here);
    hits += killed(all, {"handshaking"});
  }
  EXPECT_GE(hits, kKillsOfEachKind);
}

TEST_F(KillsTest, WorkersKilledWhileTheyDrainChangeNothing) {
  SCOPED_TRACE(trace());
  environment_["BULKHEAD_LOG"] = "debug";
  int hits = 0;
  for (int run = 0; hits < kKillsOfEachKind && run < 200; ++run) {
    const pid_t command = start(napper("20", "100", "16"));
    const std::string log = path("err." + std::to_string(run));
    // The first worker to finish says that the others drain, too.
    ASSERT_TRUE(eventually([&] {
      std::string text;
      if (FILE* f = std::fopen(log.c_str(), "r")) {
        char buffer[65536];
        text.assign(buffer, std::fread(buffer, 1, sizeof buffer, f));
        std::fclose(f);
      }
      return text.find("draining") != std::string::npos;
    }));
    for (int i = 0; i < 4; ++i) kill_a_worker();
    const Outcome outcome = finish(command);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const Json all = report(outcome);
    EXPECT_EQ(model(all, "processes").at("answer").at("checksum"), "210");
    hits += killed(all, {"draining"});
  }
  EXPECT_GE(hits, kKillsOfEachKind);
}

TEST_F(KillsTest, AKilledLauncherIsReplacedAndTheRunEndsRight) {
  SCOPED_TRACE(trace());
  for (int run = 0; run < kKillsOfEachKind; ++run) {
    std::vector<std::string> arguments = napper("300", "1000", "3");
    // Replacements are needed after the launcher's death, too.
    arguments.insert(arguments.end(), {"--fault", "segv@job=100", "--fault", "segv@job=250"});
    const pid_t command = start(arguments);
    std::vector<pid_t> launcher;
    ASSERT_TRUE(eventually([&] { return !(launcher = marked("__launcher")).empty(); }));
    let_pass(std::chrono::microseconds(draw(120'000)));
    kill_hard(launcher[0]);
    const Outcome outcome = finish(command);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_EQ(model(report(outcome), "processes").at("answer").at("checksum"), "45150");
  }
}

TEST_F(KillsTest, NothingRemainsOfAKilledCoordinator) {
  SCOPED_TRACE(trace());
  for (int run = 0; run < kKillsOfEachKind; ++run) {
    const pid_t command = start(napper("5000", "1000", "3"));
    let_pass(std::chrono::microseconds(draw(150'000)));
    ASSERT_EQ(kill(command, SIGKILL), 0);
    EXPECT_EQ(finish(command).signal, SIGKILL);
    EXPECT_TRUE(eventually([&] { return marked().empty(); })) << marked().size() << " processes";
  }
  // Killed before its launcher was there, it leaves its directory to the next start.
  EXPECT_EQ(bulkhead({"list"}).exit_code, 0);
  EXPECT_TRUE(run_directories().empty());
}

TEST_F(KillsTest, WhatAKilledCoordinatorAndLauncherLeaveTheNextStartRemoves) {
  SCOPED_TRACE(trace());
  for (int run = 0; run < kKillsOfEachKind / 4; ++run) {
    const pid_t command = start(napper("5000", "1000", "3"));
    ASSERT_TRUE(eventually([&] { return marked(kTestWorker).size() >= 4; }));
    const auto launcher = marked("__launcher");
    ASSERT_EQ(launcher.size(), 1U);
    kill_hard(launcher[0]);
    ASSERT_EQ(kill(command, SIGKILL), 0);
    finish(command);
    EXPECT_TRUE(eventually([&] { return marked().empty(); }));
  }
  EXPECT_EQ(bulkhead({"list"}).exit_code, 0);
  EXPECT_TRUE(run_directories().empty());
}

TEST_F(KillsTest, TwoRunsAtOnceShareNothing) {
  const pid_t one = start(napper("200", "1000", "2"));
  const pid_t other = start(napper("300", "1000", "2"));
  EXPECT_EQ(model(report(finish(one)), "processes").at("answer").at("checksum"), "20100");
  EXPECT_EQ(model(report(finish(other)), "processes").at("answer").at("checksum"), "45150");
}

TEST_F(KillsTest, InterruptedRunsKeepWhatTheyHave) {
  SCOPED_TRACE(trace());
  for (const std::string name : {"processes", "parallel"}) {
    for (const int signal_number : {SIGINT, SIGTERM}) {
      const pid_t command =
          start({"run", "napper", "--worker", kTestWorker, "--set", "count=100000", "--model", name,
                 "--workers", "2", "--in-flight", "4", "--json", path("report.json")});
      ASSERT_TRUE(eventually([&] { return marked(kTestWorker).size() >= 2; }));
      let_pass(std::chrono::microseconds(300'000 + draw(100'000)));
      const auto begin = std::chrono::steady_clock::now();
      kill(command, signal_number);
      const Outcome outcome = finish(command);
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
      RecordProperty(name + std::to_string(signal_number), std::to_string(took.count()));
      EXPECT_EQ(outcome.exit_code, signal_number == SIGINT ? 130 : 143) << outcome.err;
      EXPECT_NE(outcome.out.find("INTERRUPTED"), std::string::npos);
      FILE* f = std::fopen(path("report.json").c_str(), "r");
      ASSERT_NE(f, nullptr);
      const Json all = Json::parse(f);
      std::fclose(f);
      EXPECT_TRUE(all.at("interrupted"));
      EXPECT_TRUE(model(all, name).at("interrupted"));
      EXPECT_FALSE(model(all, name).at("repetitions")[0].at("complete"));
      EXPECT_GT(model(all, name).at("repetitions")[0].at("jobs").at("done"), 0);
    }
  }
}

TEST_F(KillsTest, ASecondInterruptKillsAtOnce) {
  // Jobs of 1000 s would hold the drain back until its deadline.
  const pid_t command = start(napper("4", "1000000000", "2"));
  ASSERT_TRUE(eventually([&] { return marked(kTestWorker).size() >= 3; }));
  let_pass(std::chrono::milliseconds(200));
  kill(command, SIGINT);
  let_pass(std::chrono::milliseconds(20));
  kill(command, SIGINT);
  const Outcome outcome = finish(command);
  EXPECT_EQ(outcome.exit_code, 130) << outcome.err;
  EXPECT_TRUE(marked().empty());
}

}  // namespace
}  // namespace bulkhead::test
