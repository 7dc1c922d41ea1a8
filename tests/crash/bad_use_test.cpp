// Every mistake: one line that says what was wrong and what would be right, the exit code of the
// README, nothing half-written. And what the command prints when all is well, word for word.
#include <gmock/gmock.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "support/command.hpp"

namespace bulkhead::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

class BadUseTest : public CommandTest {
 protected:
  // One line on standard error with all of `words` in it, nothing on standard output.
  void refused(const std::vector<std::string>& arguments, int code,
               const std::vector<std::string>& words) {
    const Outcome outcome = bulkhead(arguments);
    std::string shown;
    for (const std::string& argument : arguments) shown += argument + " ";
    EXPECT_EQ(outcome.exit_code, code) << shown << outcome.err;
    EXPECT_EQ(outcome.out, "") << shown;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    EXPECT_EQ(outcome.err.rfind("bulkhead: ", 0), 0U) << outcome.err;
    for (const std::string& word : words) {
      EXPECT_NE(outcome.err.find(word), std::string::npos) << word << " in " << outcome.err;
    }
    EXPECT_TRUE(run_directories().empty());
  }
};

TEST_F(BadUseTest, UnknownNamesAreToldWithTheNearestOne) {
  refused({"run", "prims"}, 2, {"'prims'", "'primes'"});
  refused({"rum", "primes"}, 2, {"'rum'", "'run'"});
  refused({"run", "primes", "--model", "parralel"}, 2, {"'parralel'", "'parallel'"});
  refused({"run", "primes", "--set", "up-too=5"}, 2, {"'up-too'", "'up-to'"});
  refused({"run", "primes", "--fault", "sevg@job=1"}, 2, {"'sevg'", "'segv'"});
  refused({"run", "primes", "--wrkers", "2"}, 2, {"--wrkers", "--workers"});
}

TEST_F(BadUseTest, CountsThatCannotBeAreToldWithTheirRange) {
  refused({"run", "primes", "--model", "processes", "--workers", "0"}, 2, {"0", "1"});
  refused({"run", "primes", "--model", "processes", "--workers", "1000000"}, 2, {"1000000"});
  refused({"run", "primes", "--set", "jobs=0"}, 2, {"jobs"});
  refused({"run", "primes", "--timeout", "500"}, 2, {"500ms"});
  refused({"run", "primes", "--model", "processes", "--workers", "2", "--fault",
           "kill@worker=3,after=1s"},
          2, {"3", "2"});
}

TEST_F(BadUseTest, MissingInputsAreRefusedByTheEnvironment) {
  refused({"run", "wordcount", "--input", path("nowhere")}, 4, {"nowhere"});
  refused({"run", "wordcount"}, 2, {"--input"});
  refused({"run", "primes", "--input", root_}, 2, {"primes"});
}

TEST_F(BadUseTest, AWorkerThatIsNoneIsRefused) {
  refused({"run", "primes", "--worker", path("missing")}, 4, {"missing"});
  refused({"run", "primes", "--worker", write_file("plain", "hello")}, 4, {"plain"});
  refused({"run", "primes", "--worker", "/bin/true"}, 4, {"/bin/true", "bulkhead worker"});
  refused({"run", "primes", "--worker", "/bin/false"}, 4, {"/bin/false", "bulkhead worker"});
  const std::string other =
      write_file("other", "#!/bin/sh\necho '{\"protocol\": 1, \"build_id\": \"beef\"}'\n");
  chmod(other.c_str(), 0700);
  refused({"run", "primes", "--worker", other}, 4, {"another build", "beef"});
}

TEST_F(BadUseTest, AWorkerThatDiesAtEveryStartIsGivenUp) {
  environment_["BULKHEAD_TEST_DIE"] = "1";
  for (const std::string name : {"processes", "parallel"}) {
    const Outcome outcome =
        bulkhead({"run", "napper", "--worker", kTestWorker, "--model", name, "--workers", "2"});
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_NE(outcome.err.find("gave up on worker"), std::string::npos) << outcome.err;
    EXPECT_NE(outcome.err.find("SIGABRT"), std::string::npos) << outcome.err;
  }
}

TEST_F(BadUseTest, AFullDiskUnderTheReportLeavesNothingHalfWritten) {
  const std::vector<std::string> run{"run", "primes", "--set", "up-to=1000", "--set", "jobs=2"};
  auto with_json = [&](const std::string& target) {
    std::vector<std::string> arguments = run;
    arguments.insert(arguments.end(), {"--json", target});
    return bulkhead(arguments);
  };
  const Outcome full = with_json("/dev/full");
  EXPECT_EQ(full.exit_code, 4);
  EXPECT_NE(full.err.find("/dev/full"), std::string::npos) << full.err;

  const std::string disk = path("disk");
  fs::create_directory(disk);
  if (mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=16k") != 0) {
    GTEST_SKIP() << "needs the right to mount a small file system (root): " << strerror(errno);
  }
  std::ofstream(disk + "/report.json") << "old";
  {
    std::ofstream filler(disk + "/filler", std::ios::binary);
    filler << std::string(64 * 1024, 'x');
  }
  const Outcome outcome = with_json(disk + "/report.json");
  std::ifstream kept(disk + "/report.json");
  std::string content;
  kept >> content;
  kept.close();
  const auto entries = std::distance(fs::directory_iterator(disk), fs::directory_iterator());
  umount(disk.c_str());
  EXPECT_EQ(outcome.exit_code, 4) << outcome.err;
  EXPECT_EQ(content, "old");
  EXPECT_EQ(entries, 2);
}

TEST_F(BadUseTest, LongRunDirectoriesWork) {
  for (const std::size_t length : {90U, 107U, 108U, 200U}) {
    std::string directory = root_ + "/";
    directory += std::string(length - directory.size(), 'd');
    environment_["BULKHEAD_RUN_DIR"] = directory;
    const Outcome outcome =
        bulkhead({"run", "primes", "--set", "up-to=100000", "--model", "processes"});
    EXPECT_EQ(outcome.exit_code, 0) << length << outcome.err;
  }
}

TEST_F(BadUseTest, ATimeoutEndsTheRunAndSaysHowFarItCame) {
  const Outcome outcome = bulkhead(
      {"run", "napper", "--worker", kTestWorker, "--set", "us=1000000000", "--timeout", "300ms"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_NE(outcome.err.find("--timeout"), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.err.find("0 of"), std::string::npos) << outcome.err;
}

TEST_F(BadUseTest, ThePlanIsShownAndNothingIsStarted) {
  environment_["BULKHEAD_WORKERS"] = "7";
  const Outcome outcome = bulkhead({"compare", "primes", "--check", "--seed", "5"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, testing::ContainsRegex("workers +7 +environment"));
  EXPECT_NE(outcome.out.find("100000000"), std::string::npos) << outcome.out;
}

// Golden: the words that a user meets first. BULKHEAD_UPDATE_GOLDEN=1 writes them anew.
TEST_F(BadUseTest, HelpAndListReadAsTheyDid) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> pages{
      {"cli_help", {"--help"}},
      {"cli_run_help", {"run", "--help"}},
      {"cli_compare_help", {"compare", "--help"}},
      {"cli_version", {"--version"}},
      {"cli_list", {"list"}}};
  for (const auto& [name, arguments] : pages) {
    const Outcome outcome = bulkhead(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    const std::string file = std::string(BULKHEAD_SOURCE_DIR) + "/tests/golden/" + name + ".txt";
    if (std::getenv("BULKHEAD_UPDATE_GOLDEN") != nullptr) std::ofstream(file) << outcome.out;
    std::ostringstream golden;
    golden << std::ifstream(file).rdbuf();
    EXPECT_EQ(outcome.out, golden.str()) << file;
  }
}

// The names are a contract: design, README and scripts rely on them.
TEST_F(BadUseTest, TheReportHasItsContractedNames) {
  const Outcome outcome =
      bulkhead({"compare", "primes", "--set", "up-to=1000000", "--models", "parallel,processes",
                "--repeat", "5", "--fault", "segv@job=3", "--json", "-"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json all = report(outcome);
  for (const char* name :
       {"program", "scenario", "seed", "command", "machine", "models", "verdict"}) {
    EXPECT_TRUE(all.contains(name)) << name;
  }
  for (const Json& entry : all.at("models")) {
    for (const char* name : {"model",
                             "workers",
                             "processors",
                             "transport",
                             "ran",
                             "reason",
                             "answer",
                             "repetitions",
                             "wall_seconds",
                             "throughput_per_second",
                             "cpu_seconds",
                             "pss_bytes",
                             "startup_seconds",
                             "service_seconds",
                             "jobs",
                             "crashes",
                             "exits",
                             "blast_radius",
                             "work_lost_seconds",
                             "messages",
                             "bytes"}) {
      EXPECT_TRUE(entry.contains(name)) << name;
    }
    for (const char* name : {"median", "low", "high"}) {
      EXPECT_TRUE(entry.at("wall_seconds").at(name).is_number()) << name;
    }
    for (const char* name : {"total", "done", "failed", "quarantined", "retried", "lost_in_flight",
                             "results_lost", "duplicates"}) {
      EXPECT_TRUE(entry.at("jobs").at(name).is_number()) << name;
    }
    for (const Json& exit : entry.at("exits")) {
      EXPECT_TRUE(exit.at("worker").is_number() && exit.at("incarnation").is_number() &&
                  exit.at("verdict").is_string());
    }
  }
}

}  // namespace
}  // namespace bulkhead::test
