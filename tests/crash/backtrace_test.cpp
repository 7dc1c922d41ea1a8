// What the report tells of where a worker crashed.
#include <cstdlib>

#include "support/command.hpp"

namespace bulkhead::test {
namespace {

using Json = nlohmann::json;

class BacktraceTest : public CommandTest {
 protected:
  // The napper with one bad job that is tried once.
  Json run_bad(const std::string& bad, const std::string& model_name) {
    const Outcome outcome =
        bulkhead({"run", "napper", "--worker", kTestWorker, "--set", "bad=" + bad, "--model",
                  model_name, "--max-attempts", "1", "--json", "-"});
    EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
    return model(report(outcome), model_name);
  }
};

// Of the first crash in a model: the functions, innermost first.
std::vector<std::string> functions_of(const Json& model) {
  std::vector<std::string> functions;
  for (const Json& exit : model.at("exits")) {
    if (exit.at("verdict") != "signalled") continue;
    EXPECT_EQ(exit.at("backtrace_note"), "");
    EXPECT_LE(exit.at("backtrace").size(), 32u);
    for (const Json& frame : exit.at("backtrace")) {
      functions.push_back(frame.at("symbol"));
      EXPECT_TRUE(frame.at("address").get<std::string>().starts_with("0x")) << frame;
    }
    break;
  }
  return functions;
}

std::string joined(const std::vector<std::string>& functions) {
  std::string text;
  for (const std::string& function : functions) text += function + "\n";
  return text;
}

// These functions in this order; others may stand between and around them.
testing::AssertionResult in_order(const std::vector<std::string>& functions,
                                  const std::vector<std::string>& wanted) {
  auto next = wanted.begin();
  for (const std::string& function : functions) {
    if (next != wanted.end() && function.find(*next) != std::string::npos) ++next;
  }
  if (next == wanted.end()) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "no " << *next << " in its place in\n" << joined(functions);
}

TEST_F(BacktraceTest, ABugThreeFunctionsDeepIsNamedWithItsCallersInEveryModel) {
  for (const std::string& name : kModels) {
    const Json entry = run_bad("null", name);
    const std::vector<std::string> functions = functions_of(entry);
    ASSERT_FALSE(functions.empty()) << name;
    EXPECT_NE(functions[0].find("innermost(int volatile*)"), std::string::npos) << functions[0];
    EXPECT_TRUE(in_order(functions, {"innermost", "middle", "outermost", "Napper>::work"}));
    for (const Json& exit : entry.at("exits")) {
      if (exit.at("verdict") != "signalled") continue;
      const Json& frame = exit.at("backtrace").at(0);
      EXPECT_NE(frame.at("source").get<std::string>().find("buggy.cpp:"), std::string::npos);
      EXPECT_NE(frame.at("module").get<std::string>().find("test-worker"), std::string::npos);
      EXPECT_LT(frame.at("offset").get<double>(), 200) << frame;  // in a small function
    }
  }
}

// The walk begins in libc, which keeps no frame pointers.
TEST_F(BacktraceTest, AnAbortIsFollowedThroughTheCLibraryToItsCaller) {
  EXPECT_TRUE(in_order(functions_of(run_bad("abort", "concurrent")), {"abort", "Napper>::work"}));
}

TEST_F(BacktraceTest, AnOverflowOfAStackShowsTheRecursion) {
  for (const std::string name : {"parallel", "threads"}) {
    EXPECT_TRUE(in_order(functions_of(run_bad("deep", name)), {"fall", "fall", "fall"})) << name;
  }
}

TEST_F(BacktraceTest, AThreadThatTheJobStartedItselfIsFollowedToo) {
  EXPECT_TRUE(
      in_order(functions_of(run_bad("thread", "parallel")), {"innermost", "middle", "outermost"}));
}

TEST_F(BacktraceTest, ACallOfNothingIsFollowedToItsCaller) {
  EXPECT_TRUE(
      in_order(functions_of(run_bad("nothing", "parallel")), {"call_nothing", "Napper>::work"}));
}

TEST_F(BacktraceTest, AnInjectedFaultNamesTheProgramThatItStruck) {
  for (const std::string kind : {"segv", "abort", "stack-overflow"}) {
    const Outcome outcome =
        bulkhead({"compare", "primes", "--set", "up-to=100000", "--set", "jobs=20", "--fault",
                  kind + "@job=7", "--repeat", "1", "--json", "-"});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    const Json all = report(outcome);
    for (const std::string& name : kModels) {
      const std::vector<std::string> functions = functions_of(model(all, name));
      ASSERT_FALSE(functions.empty()) << kind << " " << name;
      if (kind == "stack-overflow") {
        EXPECT_TRUE(in_order(functions, {"fall", "fall"})) << name;
      } else {
        EXPECT_TRUE(in_order(functions, {"FaultStriker::fire", "Primes>::work"})) << name;
      }
    }
  }
}

TEST_F(BacktraceTest, PeopleSeeEachBacktraceOnceAndWithoutTheWorkersOwnFunctions) {
  const Outcome outcome = bulkhead({"compare", "napper", "--worker", kTestWorker, "--set",
                                    "bad=null", "--repeat", "1", "--max-attempts", "2"});
  EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
  const std::size_t first = outcome.out.find("    0  bulkhead::test::innermost  buggy.cpp:");
  ASSERT_NE(first, std::string::npos) << outcome.out;
  EXPECT_EQ(outcome.out.find("    0  ", first + 1), std::string::npos) << outcome.out;
  EXPECT_NE(outcome.out.find("  bulkhead::test::outermost  buggy.cpp:"), std::string::npos);
  EXPECT_EQ(outcome.out.find("JobRunner::run"), std::string::npos) << outcome.out;
}

TEST_F(BacktraceTest, ASignalFromOutsideTellsNothingOfWhere) {
  const Outcome outcome = bulkhead({"run", "napper", "--worker", kTestWorker, "--set", "us=20000",
                                    "--fault", "segv@worker=1,after=20ms", "--json", "-"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json all = report(outcome);
  EXPECT_EQ(model(all, "parallel").at("crashes"), 1);
  for (const Json& exit : model(all, "parallel").at("exits")) {
    if (exit.at("verdict") != "signalled") continue;
    EXPECT_TRUE(exit.at("backtrace").empty()) << exit;
    const std::string note = exit.at("backtrace_note");
    // TSan runs a handler of SIGSEGV at once, also in the middle of its own work, and dies of it.
    EXPECT_TRUE(note.find("sent by a process") != std::string::npos ||
                (kThreadSanitizer && note.find("left no record") != std::string::npos))
        << exit;
  }
}

TEST_F(BacktraceTest, ACrashWithoutARecordSaysThatItHasNone) {
  const Json entry = run_bad("unhandled", "parallel");
  EXPECT_EQ(entry.at("crashes"), 1);
  for (const Json& exit : entry.at("exits")) {
    if (exit.at("verdict") != "signalled") continue;
    EXPECT_EQ(exit.at("signal"), 11);
    EXPECT_TRUE(exit.at("backtrace").empty()) << exit;
    EXPECT_EQ(exit.at("backtrace_note"),
              "the worker's crash handler left no record: nothing tells where");
  }
}

// The seed of a round that fails is in its message; BULKHEAD_TEST_SEED of the test starts there.
TEST_F(BacktraceTest, ACrashPageFullOfLiesHarmsNobody) {
  const char* const from = std::getenv("BULKHEAD_TEST_SEED");
  const int first = from == nullptr ? 1 : std::atoi(from);
  for (int seed = first; seed < first + (kSanitized ? 4 : 16); ++seed) {
    environment_["BULKHEAD_TEST_SEED"] = std::to_string(seed);
    const Json entry = run_bad("lies", seed % 2 == 0 ? "parallel" : "processes");
    EXPECT_EQ(entry.at("crashes"), 1) << "seed " << seed;
    EXPECT_EQ(entry.at("jobs").at("done"), 99) << "seed " << seed;
  }
}

}  // namespace
}  // namespace bulkhead::test
