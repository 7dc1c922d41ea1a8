// --rate: jobs are due at their times, and latency counts from then, whatever happens to workers.
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "support/command.hpp"

namespace bulkhead::test {
namespace {

using Json = nlohmann::json;
using Clock = std::chrono::steady_clock;

bool is_stopped(pid_t pid) {
  std::ostringstream text;
  text << std::ifstream("/proc/" + std::to_string(pid) + "/stat").rdbuf();
  const std::string stat = text.str();
  const auto name_end = stat.rfind(')');
  return name_end != std::string::npos && stat.compare(name_end, 3, ") T") == 0;
}

class RateTest : public CommandTest {
 protected:
  // 500 jobs over 5 s; the workers stand still for 2 s of them. Jobs that were due meanwhile could
  // not even start, and a measure that begins with their start would not see it.
  void stop_workers_of(const std::string& name) {
    environment_["BULKHEAD_TEST_BEGUN"] = path("begun");
    const pid_t pid = start({"run", "napper", "--worker", kTestWorker, "--set", "count=500",
                             "--rate", "100/s", "--model", name, "--workers", "2", "--json", "-"});
    ASSERT_TRUE(eventually([&] { return std::filesystem::exists(path("begun")); }));
    const std::vector<pid_t> workers = marked("test-worker");
    std::vector<pid_t> stopped;
    for (const pid_t worker : workers) {
      if (worker != pid && kill(worker, SIGSTOP) == 0) stopped.push_back(worker);
    }
    ASSERT_TRUE(
        eventually([&] { return std::all_of(stopped.begin(), stopped.end(), is_stopped); }));
    const auto begin = Clock::now();
    EXPECT_TRUE(eventually([&] { return Clock::now() - begin >= std::chrono::seconds(2); }));
    const double pause = std::chrono::duration<double>(Clock::now() - begin).count();
    for (const pid_t worker : stopped) kill(worker, SIGCONT);
    const Outcome outcome = finish(pid);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const Json all = report(outcome);
    const Json& latency = model(all, name).at("latency_seconds");
    EXPECT_EQ(latency.at("count"), 500);
    // One was due at most 10 ms after they had stopped.
    EXPECT_GE(latency.at("max").get<double>(), pause - 0.02);
    // 200 were due while they stood still; had the test come late, a third of them is enough.
    EXPECT_GE(latency.at("p90").get<double>(), 0.3);
  }
};

TEST_F(RateTest, EveryJobThatIsDoneHasItsLatencyInEveryModel) {
  const Outcome outcome = bulkhead({"compare", "primes", "--set", "up-to=200000", "--set",
                                    "jobs=100", "--rate", "1000/s", "--workers", "2", "--repeat",
                                    "2", "--fault", "segv@job=20", "--json", "-"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json all = report(outcome);
  EXPECT_EQ(all.at("rate_per_second"), 1000);
  EXPECT_EQ(all.at("comparisons").at(0).at("measure"), "latency_median_seconds");
  for (const std::string& name : kModels) {
    const Json& one = model(all, name);
    EXPECT_TRUE(one.at("answer_equal")) << name;
    EXPECT_EQ(one.at("crashes"), 2) << name;
    const Json& latency = one.at("latency_seconds");
    EXPECT_EQ(latency.at("count"), 200) << name;
    EXPECT_GT(latency.at("p50").get<double>(), 0) << name;
    EXPECT_GE(latency.at("max").get<double>(), latency.at("p90").get<double>()) << name;
    EXPECT_FALSE(latency.contains("p99")) << "2 of 200 lie beyond";
    for (const Json& repetition : one.at("repetitions")) {
      EXPECT_GT(repetition.at("latency_median_seconds").get<double>(), 0) << name;
    }
    for (const Json& exit : one.at("exits")) {
      if (name == "processes" || !exit.contains("recovered_after_seconds")) continue;
      EXPECT_GE(latency.at("max").get<double>(), exit.at("recovered_after_seconds").get<double>())
          << name << ": job 20 was due before it crashed, and had its result after the recovery";
    }
  }
}

// The last of 60 jobs is due after 590 ms, so no run is over before.
TEST_F(RateTest, NoModelRunsAheadOfTheRate) {
  const Outcome outcome =
      bulkhead({"compare", "primes", "--set", "up-to=60000", "--set", "jobs=60", "--rate", "100/s",
                "--workers", "2", "--repeat", "1", "--json", "-"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json all = report(outcome);
  for (const std::string& name : kModels) {
    EXPECT_GE(model(all, name).at("wall_seconds").at("median").get<double>(), 0.59) << name;
    EXPECT_FALSE(model(all, name).contains("speedup")) << "the rate settles the wall";
  }
}

TEST_F(RateTest, AClosedLoopHasNoLatency) {
  const Outcome outcome = bulkhead({"run", "primes", "--set", "up-to=60000", "--json", "-"});
  const Json all = report(outcome);
  EXPECT_FALSE(all.contains("rate_per_second"));
  EXPECT_FALSE(model(all, "parallel").contains("latency_seconds"));
}

TEST_F(RateTest, WorkersThatStandStillShowInTheLatenciesOfProcesses) {
  stop_workers_of("processes");
}
TEST_F(RateTest, AWorkerThatStandsStillShowsInTheLatenciesOfParallel) {
  stop_workers_of("parallel");
}
TEST_F(RateTest, AWorkerThatStandsStillShowsInTheLatenciesOfSequential) {
  stop_workers_of("sequential");
}

// A rate of one job in a minute: the second is far away, and nobody waits for it.
TEST_F(RateTest, AnInterruptWaitsForNoJobThatIsNotDue) {
  for (const std::string name : {"processes", "threads"}) {
    environment_["BULKHEAD_TEST_SLEPT"] = path("slept-" + name);
    const pid_t pid = start({"run", "napper", "--worker", kTestWorker, "--rate", "1/min", "--model",
                             name, "--workers", "2", "--json", "-"});
    ASSERT_TRUE(eventually([&] { return std::filesystem::exists(path("slept-" + name)); }));
    ASSERT_EQ(kill(pid, SIGINT), 0);
    const Outcome outcome = finish(pid);
    EXPECT_EQ(outcome.exit_code, 130) << outcome.err;
    EXPECT_LT(outcome.seconds, 45) << "less than a minute";
  }
}

}  // namespace
}  // namespace bulkhead::test
