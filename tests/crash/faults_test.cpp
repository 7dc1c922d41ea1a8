// Faults by rate and by worker, and the limits that end what neither dies nor goes on. Each kind
// under each model is deploy/fault-matrix, which is a test of its own.
#include <set>

#include "support/command.hpp"

namespace bulkhead::test {
namespace {

using Json = nlohmann::json;

class FaultsTest : public CommandTest {};

Json crashes_of(const Json& model) {
  Json crashes = Json::array();
  for (const Json& exit : model.at("exits")) {
    if (exit.at("verdict") != "finished" && exit.at("verdict") != "killed by us") {
      crashes.push_back(exit);
    }
  }
  return crashes;
}

// The seed draws the same jobs in every model, each is struck once, and each is done once.
TEST_F(FaultsTest, ByRateEveryModelSuffersTheSameAndDoesEveryJobOnce) {
  for (const std::string kind : {"segv", "kill", "throw"}) {
    const Outcome outcome =
        bulkhead({"compare", "primes", "--set", "up-to=5000000", "--set", "jobs=5000", "--fault",
                  kind + "@rate=0.002", "--repeat", "1", "--checkpoint", "5ms", "--json", "-"});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const Json all = report(outcome);
    std::set<double> fired;
    for (const Json& fault : all.at("faults")) fired.insert(fault.at("fired").get<double>());
    ASSERT_EQ(fired.size(), 1u) << kind << all.at("faults");
    EXPECT_GE(*fired.begin(), 3);
    for (const std::string& name : kModels) {
      const Json& one = model(all, name);
      EXPECT_EQ(one.at("jobs").at("done"), 5000) << kind << " " << name;
      EXPECT_EQ(one.at("jobs").at("quarantined"), 0) << kind << " " << name;
      EXPECT_TRUE(one.at("answer_equal")) << kind << " " << name;
      // Two that are struck at one instant die together.
      if (kind == "throw") {
        EXPECT_EQ(one.at("crashes"), 0) << name;
      } else {
        EXPECT_GE(one.at("crashes"), 1) << kind << " " << name;
        EXPECT_LE(one.at("crashes"), *fired.begin()) << kind << " " << name;
      }
    }
  }
}

// Jobs so short that their results gather before they are sent: none of them is lost with its
// worker, not even where no handler runs. (One processor each: a neighbour could be caught between
// the end of its job and the page.)
TEST_F(FaultsTest, AFinishedResultOutlivesItsWorker) {
  for (const std::string kind : {"segv", "kill"}) {
    const Outcome outcome = bulkhead(
        {"run", "primes", "--set", "up-to=3000000", "--set", "jobs=3000", "--model", "processes",
         "--workers", "2", "--processors", "2", "--fault", kind + "@rate=0.005", "--json", "-"});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const Json all = report(outcome);
    const Json& one = model(all, "processes");
    EXPECT_EQ(one.at("jobs").at("done"), 3000) << kind;
    EXPECT_GE(one.at("crashes"), 5) << kind;
    EXPECT_EQ(one.at("jobs").at("results_lost"), 0) << kind;
    EXPECT_EQ(one.at("jobs").at("duplicates"), 0) << kind;
    EXPECT_EQ(one.at("jobs").at("retried"), one.at("jobs").at("lost_in_flight")) << kind;
  }
}

TEST_F(FaultsTest, AJobThatTakesTooLongIsNamedAlsoWhileItSleeps) {
  // 20 jobs of a microsecond, and the one that is struck sleeps for ever, parked or in its slot.
  const Outcome outcome =
      bulkhead({"compare", "primes", "--set", "up-to=100000", "--set", "jobs=20", "--fault",
                "hang@job=7", "--job-timeout", "2s", "--repeat", "1", "--json", "-"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json all = report(outcome);
  for (const std::string& name : kModels) {
    const Json crashes = crashes_of(model(all, name));
    ASSERT_EQ(crashes.size(), 1u) << name;
    EXPECT_EQ(crashes[0].at("verdict"), "hung") << name;
    EXPECT_EQ(crashes[0].at("job"), 7) << name;
    EXPECT_EQ(crashes[0].at("reason"), "job 7 ran for longer than 2s") << name;
    EXPECT_EQ(model(all, name).at("jobs").at("done"), 20) << name;
  }
}

// A job that only waits is in no slot: --stall leaves it alone, --job-timeout does not.
TEST_F(FaultsTest, AParkedJobHasNotStalledButMayBeLate) {
  const std::vector<std::string> napper{"run",     "napper",    "--worker", kTestWorker,
                                        "--set",   "count=2",   "--set",    "us=3000000",
                                        "--model", "concurrent"};
  std::vector<std::string> arguments = napper;
  arguments.insert(arguments.end(), {"--stall", "1s", "--json", "-"});
  const Outcome patient = bulkhead(arguments);
  EXPECT_EQ(patient.exit_code, 0) << patient.err;
  EXPECT_EQ(model(report(patient), "concurrent").at("crashes"), 0);

  arguments = napper;
  arguments.insert(arguments.end(),
                   {"--job-timeout", "200ms", "--max-attempts", "1", "--json", "-"});
  const Outcome strict = bulkhead(arguments);
  EXPECT_EQ(strict.exit_code, 1) << strict.err;
  EXPECT_GE(model(report(strict), "concurrent").at("jobs").at("quarantined"), 1);
}

TEST_F(FaultsTest, EveryKindStrikesAWorkerAtATimeToo) {
  for (const std::string kind : {"abort", "exit", "stack-overflow", "hang"}) {
    const Outcome outcome =
        bulkhead({"run",         "napper",    "--worker",  kTestWorker,
                  "--set",       "count=200", "--set",     "us=20000",
                  "--model",     "processes", "--workers", "2",
                  "--in-flight", "2",         "--fault",   kind + "@worker=2,after=50ms",
                  "--stall",     "2s",        "--json",    "-"});
    ASSERT_EQ(outcome.exit_code, 0) << kind << outcome.err;
    const Json all = report(outcome);
    const Json crashes = crashes_of(model(all, "processes"));
    ASSERT_EQ(crashes.size(), 1u) << kind;
    EXPECT_EQ(crashes[0].at("worker"), 2) << kind;
    EXPECT_EQ(model(all, "processes").at("answer").at("checksum"), "20100") << kind;
  }
}

TEST_F(FaultsTest, AWildPointerIsNoStackOverflow) {
  for (const std::string kind : {"segv", "stack-overflow"}) {
    for (const std::string name : {"parallel", "threads"}) {
      const Outcome outcome = bulkhead({"run", "napper", "--worker", kTestWorker, "--model", name,
                                        "--fault", kind + "@job=3", "--json", "-"});
      ASSERT_EQ(outcome.exit_code, 0) << kind << outcome.err;
      const Json all = report(outcome);
      const Json crashes = crashes_of(model(all, name));
      ASSERT_EQ(crashes.size(), 1u) << kind;
      EXPECT_EQ(crashes[0].at("stack_overflow"), kind == "stack-overflow") << kind << " " << name;
    }
  }
}

}  // namespace
}  // namespace bulkhead::test
