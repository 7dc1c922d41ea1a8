// A worker in another language, written by proto/README.md: it joins runs and does jobs, over the
// control socket alone and on the data plane, and its death is one like any other.
#include <nlohmann/json.hpp>

#include "support/command.hpp"

namespace bulkhead::test {
namespace {

using Json = nlohmann::json;

class PythonTest : public CommandTest {
 protected:
  Outcome run(const std::string& transport, const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments{
        "run", "squares", "--worker",   kPythonWorker, "--model", "processes", "--workers",
        "2",   "--set",   "count=2000", "--transport", transport, "--json",    "-"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return bulkhead(arguments);
  }
  static constexpr const char* kPythonWorker = BULKHEAD_PYTHON_WORKER;
  static constexpr const char* kSum = "2664667000";
};

TEST_F(PythonTest, ItDoesJobsOnTheDataPlane) {
  const Outcome outcome = run("unix");
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json entry = model(report(outcome), "processes");
  EXPECT_EQ(entry.at("answer").at("checksum"), kSum);
  EXPECT_EQ(entry.at("jobs").at("done"), 2000);
  EXPECT_EQ(outcome.err, "");
}

TEST_F(PythonTest, OverOthersItDoesThemOnTheControlSocketAndThatIsSaid) {
  for (const std::string transport : {"zmq-ipc", "shm"}) {
    const Outcome outcome = run(transport);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_EQ(model(report(outcome), "processes").at("answer").at("checksum"), kSum);
    EXPECT_NE(outcome.err.find("has not joined the data plane: its jobs cross on the control "
                               "socket"),
              std::string::npos)
        << outcome.err;
  }
}

TEST_F(PythonTest, ItsDeathTakesNothingButWhatItHeld) {
  for (const std::string& transport : kTransports) {
    const Outcome outcome = run(transport, {"--fault", "kill@job=50", "--fault", "throw@job=70"});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const Json all = report(outcome);
    const Json& entry = model(all, "processes");
    EXPECT_EQ(entry.at("answer").at("checksum"), kSum) << transport;
    EXPECT_EQ(entry.at("jobs").at("done"), 2000) << transport;
    EXPECT_EQ(entry.at("crashes"), 1) << transport;
    for (const Json& fault : all.at("faults")) EXPECT_EQ(fault.at("fired"), 1) << fault;
  }
}

}  // namespace
}  // namespace bulkhead::test
