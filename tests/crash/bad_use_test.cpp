// Every mistake: one line that says what was wrong and what would be right, the exit code of the
// README, nothing half-written.
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "support/command.hpp"

namespace bulkhead::test {
namespace {

namespace fs = std::filesystem;

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
  refused({"run", "primes", "--worker", "/bin/cat"}, 4, {"/bin/cat", "bulkhead worker"});
  refused({"run", "primes", "--worker", root_}, 4, {root_});
  // Words without end, and a description that is none.
  for (const std::string script :
       {"exec yes", "echo '{\"protocol\": \"much\"}'", "echo '[]'", "head -c 1000000 /dev/zero"}) {
    const std::string chatty = write_file("chatty", "#!/bin/sh\n" + script + "\n");
    chmod(chatty.c_str(), 0700);
    refused({"list", "--worker", chatty}, 4, {"chatty"});
  }
  const std::string other =
      write_file("other", "#!/bin/sh\necho '{\"protocol\": 1, \"build_id\": \"beef\"}'\n");
  chmod(other.c_str(), 0700);
  refused({"run", "primes", "--worker", other}, 4, {"another build", "beef"});
}

TEST_F(BadUseTest, AWorkerThatDiesAtEveryStartIsGivenUp) {
  environment_["BULKHEAD_TEST_DIE"] = "all";
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

// Whatever is printed: a script must not take nothing for a result.
TEST_F(BadUseTest, AFullStandardOutputIsToldOnceAndEndsWithFour) {
  const std::vector<std::string> small{"run", "primes", "--set", "up-to=1000", "--set", "jobs=2"};
  auto with = [&](const char* one, const char* other = nullptr) {
    std::vector<std::string> words = small;
    words.emplace_back(one);
    if (other != nullptr) words.emplace_back(other);
    return words;
  };
  for (const std::vector<std::string>& words : {std::vector<std::string>{"--help"},
                                                {"run", "--help"},
                                                {"--version"},
                                                {"list"},
                                                {"doctor"},
                                                small,
                                                with("--check"),
                                                with("--json", "-")}) {
    const Outcome outcome = finish(start(words, "/dev/full"));
    EXPECT_EQ(outcome.exit_code, 4) << words[0] << outcome.err;
    EXPECT_NE(outcome.err.find("standard output"), std::string::npos) << outcome.err;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  }
}

TEST_F(BadUseTest, ARunDirectoryThatCannotBeIsRefusedWithARemedy) {
  write_file("file", "");
  fs::create_directory(path("open"));
  fs::permissions(path("open"), fs::perms::all);
  for (const std::string& directory : {path("file"), path("missing/deeper"), path("open")}) {
    environment_["BULKHEAD_RUN_DIR"] = directory;
    refused({"run", "primes"}, 4, {directory});
    EXPECT_TRUE(!fs::is_directory(directory) || fs::is_empty(directory));
  }
}

TEST_F(BadUseTest, ValuesThatAreNoneAreRefusedBeforeAnythingStarts) {
  refused({"run", "primes", "--set", "up-to=many"}, 2, {"up-to", "'many'"});
  refused({"run", "primes", "--set", "up-to=1"}, 2, {"up-to", "'1'"});
  refused({"run", "primes", "--set", "up-to"}, 2, {"NAME=VALUE"});
  refused({"run", "primes", "--fault", "segv"}, 2, {"segv@job"});
  refused({"run", "primes", "--fault", "segv@job=x"}, 2, {"'x'"});
  refused({"run", "primes", "--fault", "segv@job=1,times=0"}, 2, {"times", "1"});
  refused({"run", "primes", "--json", path("missing/report.json")}, 4, {"missing"});
  refused({"run", "primes", "--json", root_}, 4, {"directory"});
  refused({"run", "\x1b[31mprimes"}, 2, {"\\x1b[31mprimes"});
  refused({"run"}, 2, {"SCENARIO"});
  refused({}, 2, {"commands"});
  environment_["BULKHEAD_WORKERS"] = "some";
  refused({"run", "primes"}, 2, {"BULKHEAD_WORKERS", "'some'"});
}

}  // namespace
}  // namespace bulkhead::test
