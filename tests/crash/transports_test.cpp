// What jobs cross on changes nothing but the price.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "support/command.hpp"

namespace bulkhead::test {
namespace {

using Json = nlohmann::json;

class TransportsTest : public CommandTest {
 protected:
  static const Json& row(const Json& report, const std::string& transport) {
    for (const Json& entry : report.at("models")) {
      if (entry.at("transport") == transport) return entry;
    }
    ADD_FAILURE() << "no row of " << transport;
    return report;
  }
};

TEST_F(TransportsTest, EachHasItsRowAndTheSameAnswer) {
  const Outcome outcome = bulkhead({"compare", "primes", "--set", "up-to=1000000", "--set",
                                    "jobs=50", "--models", "parallel,processes", "--transports",
                                    "zmq-ipc,unix,shm", "--repeat", "1", "--json", "-"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json all = report(outcome);
  ASSERT_EQ(all.at("models").size(), 4u);
  EXPECT_EQ(all.at("models")[0].at("transport"), "memory");
  for (const std::string& transport : kTransports) {
    const Json& entry = row(all, transport);
    EXPECT_EQ(entry.at("model"), "processes");
    EXPECT_TRUE(entry.at("answer_equal")) << transport;
    // A job and its result each, and what else there is to say.
    EXPECT_GE(entry.at("messages").get<double>(), 100) << transport;
  }
  const Outcome shown = bulkhead({"compare", "primes", "--set", "up-to=1000000", "--models",
                                  "processes", "--transports", "shm,unix", "--repeat", "1"});
  ASSERT_EQ(shown.exit_code, 0) << shown.err;
  EXPECT_NE(shown.out.find("processes/shm"), std::string::npos) << shown.out;
  EXPECT_NE(shown.out.find("processes/unix"), std::string::npos);
}

TEST_F(TransportsTest, AFaultCostsTheSameOnEach) {
  const Outcome outcome = bulkhead(
      {"compare",  "napper",    "--worker",     kTestWorker,        "--set",     "count=60",
       "--models", "processes", "--transports", "zmq-ipc,unix,shm", "--workers", "2",
       "--repeat", "1",         "--fault",      "segv@job=20",      "--fault",   "throw@job=30",
       "--json",   "-"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json all = report(outcome);
  for (const std::string& transport : kTransports) {
    const Json& entry = row(all, transport);
    EXPECT_EQ(entry.at("crashes"), 1) << transport;
    EXPECT_EQ(entry.at("jobs").at("done"), 60) << transport;
    EXPECT_EQ(entry.at("jobs").at("duplicates"), 0) << transport;
    EXPECT_EQ(entry.at("answer").at("checksum"), "1830") << transport;
  }
  ASSERT_EQ(all.at("faults").size(), 6u);
  for (const Json& fault : all.at("faults")) {
    EXPECT_EQ(fault.at("fired"), 1) << fault;
    EXPECT_EQ(fault.at("model"), "processes");
    EXPECT_TRUE(fault.contains("transport")) << fault;
  }
}

// The controls of the shared-memory models, in every one of them.
TEST_F(TransportsTest, ATransferIsARowOfItsOwnAndChangesNoAnswer) {
  const Outcome outcome =
      bulkhead({"compare", "primes", "--set", "up-to=1000000", "--set", "jobs=50", "--models",
                "sequential,concurrent,parallel,threads,processes", "--transfers",
                "move,copy,encode", "--repeat", "1", "--json", "-"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json all = report(outcome);
  std::map<std::string, int> rows;
  for (const Json& entry : all.at("models")) {
    EXPECT_TRUE(entry.at("answer_equal")) << entry.at("model");
    ++rows[entry.at("transport")];
  }
  EXPECT_EQ(rows, (std::map<std::string, int>{
                      {"memory", 4}, {"copy", 4}, {"encode", 4}, {"zmq-ipc", 1}}));
}

// Each many times as large as what is under way at once.
TEST_F(TransportsTest, LargeResultsCrossWhole) {
  for (const std::string& transport : kTransports) {
    const Outcome outcome =
        bulkhead({"compare", "heavy", "--worker", kTestWorker, "--models", "sequential,processes",
                  "--set", "count=12", "--set", "bytes=5000000", "--transport", transport,
                  "--workers", "3", "--repeat", "1", "--json", "-"});
    ASSERT_EQ(outcome.exit_code, 0) << transport << outcome.err;
    const Json all = report(outcome);
    EXPECT_TRUE(row(all, transport).at("answer_equal")) << transport;
    EXPECT_GE(row(all, transport).at("bytes").get<double>(), 120e6) << transport;
  }
}

// Each worker has room for one job: a request that is lost, or waits for company, stops it.
TEST_F(TransportsTest, OneJobAtATimeGoesOn) {
  for (const std::string& transport : kTransports) {
    const Outcome outcome =
        bulkhead({"run", "napper", "--worker", kTestWorker, "--model", "processes", "--transport",
                  transport, "--workers", "3", "--in-flight", "3", "--set", "count=300", "--set",
                  "us=100", "--json", "-"});
    ASSERT_EQ(outcome.exit_code, 0) << transport << outcome.err;
    EXPECT_EQ(row(report(outcome), transport).at("answer").at("checksum"), "45150");
  }
}

// The parts of what a message cost add up to the whole, of jobs and of a network's values.
TEST_F(TransportsTest, WhatAMessageCostsIsToldByPart) {
  const std::vector<std::vector<std::string>> programs{
      {"primes", "--set", "up-to=3000000", "--set", "jobs=3000"},
      {"pingpong", "--set", "rounds=2000"},
      {"pingpong", "--set", "rounds=2000", "--set", "capacity=8", "--set", "balls=8"}};
  for (std::vector<std::string> arguments : programs) {
    arguments.insert(arguments.begin(), "compare");
    arguments.insert(arguments.end(),
                     {"--models", "parallel,processes", "--transports", "zmq-ipc,unix,shm",
                      "--workers", "2", "--repeat", "1", "--json", "-"});
    const Outcome outcome = bulkhead(arguments);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const Json all = report(outcome);
    EXPECT_FALSE(all.at("models")[0].contains("cost"));
    for (const std::string& transport : kTransports) {
      const Json& cost = row(all, transport).at("cost");
      EXPECT_GT(cost.at("samples").get<double>(), 20) << transport;
      EXPECT_GE(cost.at("crossed").get<double>(), 4000) << transport;
      double sum = 0;
      for (const std::string part :
           {"encode", "copy", "system_call", "wake_up", "queueing", "decode"}) {
        const double seconds = cost.at(part + "_seconds");
        EXPECT_GE(seconds, 0) << part;
        sum += seconds;
      }
      const double whole = cost.at("whole_seconds");
      EXPECT_GT(whole, 0) << transport;
      EXPECT_NEAR(sum + cost.at("rest_seconds").get<double>(), whole, whole * 1e-6) << transport;
      EXPECT_GT(cost.at("processor_share").get<double>(), 0) << transport;
      EXPECT_LE(cost.at("processor_share").get<double>(), 1) << transport;
    }
    arguments.insert(arguments.end(), {"--cost", "off"});
    const Json without = report(bulkhead(arguments));
    for (const Json& entry : without.at("models")) EXPECT_FALSE(entry.contains("cost"));
  }
}

}  // namespace
}  // namespace bulkhead::test
