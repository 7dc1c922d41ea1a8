// Workers that die again and again: who is given up, and what the others still do.
#include "support/command.hpp"

namespace bulkhead::test {
namespace {

using Json = nlohmann::json;

class GivingUpTest : public CommandTest {
 protected:
  // Eight jobs kill their worker, once each.
  std::vector<std::string> deadly(const std::string& name, const std::string& restarts) {
    std::vector<std::string> words{"run",       "primes",   "--set",        "up-to=1000000",
                                   "--set",     "jobs=200", "--model",      name,
                                   "--workers", "3",        "--restarts",   restarts,
                                   "--json",    "-",        "--checkpoint", "1ms"};
    // One a worker: with more, a death can use up the faults of two jobs that crash together.
    words.insert(words.end(), {"--processors", name == "processes" ? "3" : "1"});
    for (const char* job : {"10", "20", "30", "40", "50", "60", "70", "80"}) {
      words.insert(words.end(), {"--fault", std::string("segv@job=") + job});
    }
    return words;
  }
};

std::uint32_t restarts_in(const Json& model) {
  std::uint32_t restarts = 0;
  for (const Json& exit : model.at("exits")) {
    if (exit.at("incarnation") > 1) ++restarts;
  }
  return restarts;
}

TEST_F(GivingUpTest, WhenAllAreGivenUpTheRunEndsAndSaysWhy) {
  for (const std::string name : {"processes", "parallel"}) {
    const Outcome outcome = bulkhead(deadly(name, "2/1h"));
    EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
    EXPECT_NE(outcome.err.find("after 2 restarts in 1h (--restarts 2/1h): killed by signal 11"),
              std::string::npos)
        << outcome.err;
    const Json all = report(outcome);
    const Json& one = model(all, name);
    EXPECT_EQ(restarts_in(one), 2u) << name;
    EXPECT_EQ(one.at("given_up").size(), name == "processes" ? 3u : 1u);
    EXPECT_FALSE(one.at("repetitions").at(0).at("complete"));
  }
}

TEST_F(GivingUpTest, WithoutALimitEveryDeathIsFollowedByARestart) {
  const Outcome outcome = bulkhead(deadly("processes", "unlimited"));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json all = report(outcome);
  EXPECT_TRUE(model(all, "processes").at("given_up").empty());
}

// One of three dies once and is not restarted; the two that are left do its jobs too.
TEST_F(GivingUpTest, TheOthersFinishTheJobsAndTheReportNamesWhoIsMissing) {
  const std::vector<std::string> words{
      "run",       "primes",    "--set", "up-to=1000000", "--set",       "jobs=200",   "--model",
      "processes", "--workers", "3",     "--fault",       "segv@job=20", "--restarts", "0/1s"};
  const Outcome outcome = bulkhead(words);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_NE(outcome.out.find("without a restart (--restarts 0/1s): killed by signal 11 (SIGSEGV)"),
            std::string::npos)
      << outcome.out;
  EXPECT_NE(outcome.out.find("not replaced"), std::string::npos) << outcome.out;

  std::vector<std::string> as_json = words;
  as_json.insert(as_json.end(), {"--json", "-"});
  const Json all = report(bulkhead(as_json));
  const Json& processes = model(all, "processes");
  EXPECT_EQ(processes.at("jobs").at("done"), 200);
  ASSERT_EQ(processes.at("given_up").size(), 1u);
  EXPECT_EQ(processes.at("given_up").at(0).at("repetition"), 1);
  EXPECT_NE(
      processes.at("given_up").at(0).at("reason").get<std::string>().find("gave up on worker"),
      std::string::npos);
}

// Never said hello: the run begins without it, with the limit and without.
TEST_F(GivingUpTest, AWorkerThatDiesAtEveryStartIsGivenUpAndTheOthersFinish) {
  environment_["BULKHEAD_TEST_DIE"] = "2";
  for (const std::string limit : {"unlimited", "1/1h"}) {
    const Outcome outcome =
        bulkhead({"run", "napper", "--worker", kTestWorker, "--model", "processes", "--workers",
                  "3", "--restarts", limit, "--json", "-"});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const Json all = report(outcome);
    const Json& processes = model(all, "processes");
    EXPECT_EQ(processes.at("jobs").at("done"), 100);
    ASSERT_EQ(processes.at("given_up").size(), 1u) << limit;
    EXPECT_EQ(processes.at("given_up").at(0).at("worker"), 2) << limit;
    const std::string reason = processes.at("given_up").at(0).at("reason");
    EXPECT_NE(reason.find(limit == "unlimited" ? "after 5 starts" : "after 1 restart in 1h"),
              std::string::npos)
        << reason;
    EXPECT_EQ(restarts_in(processes), limit == "unlimited" ? 4u : 1u);
  }
}

}  // namespace
}  // namespace bulkhead::test
