// The built-in programs under the real command: one answer in every model, and the files that a
// program writes.
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "support/command.hpp"

namespace bulkhead::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

std::string content(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

class ProgramsTest : public CommandTest {
 protected:
  // The stock worker, with a line in `log` of the arguments of each start by exec.
  std::string worker_that_logs(const std::string& log) const {
    const std::string worker =
        write_file("worker", "#!/bin/sh\necho \"$*\" >> '" + log +
                                 "'\nexec '" BULKHEAD_BINARY_DIR "/bin/bulkhead-worker' \"$@\"\n");
    EXPECT_EQ(::chmod(worker.c_str(), 0700), 0);
    return worker;
  }
  static std::vector<std::string> mandelbrot(const std::vector<std::string>& more) {
    std::vector<std::string> words{"run", "mandelbrot", "--set", "size=300", "--set", "rows=7"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  static std::string plan_value(const Json& report, const std::string& name) {
    for (const Json& entry : report.at("plan")) {
      if (entry.at("name") == name) return entry.at("value");
    }
    return "";
  }
};

TEST_F(ProgramsTest, EveryModelComputesTheSameRequests) {
  const Outcome outcome = bulkhead({"compare", "requests", "--set", "count=60", "--set", "wait=1ms",
                                    "--repeat", "1", "--fault", "segv@job=20", "--json", "-"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json all = report(outcome);
  EXPECT_GE(all.at("models").size(), 4U);
  for (const Json& entry : all.at("models")) {
    EXPECT_TRUE(entry.at("answer_equal")) << entry.at("model");
    EXPECT_EQ(entry.at("crashes"), 1) << entry.at("model");
    EXPECT_EQ(entry.at("jobs").at("done"), 60) << entry.at("model");
    const std::string text = entry.at("answer").at("text");
    EXPECT_NE(text.find("requests answered: 60\n"), std::string::npos) << text;
  }
  EXPECT_NE(plan_value(all, "calibration").find("iterations/s"), std::string::npos);
}

TEST_F(ProgramsTest, OnlyAProgramThatComputesForAStatedTimeIsCalibrated) {
  const std::string log = path("asked");
  const std::string worker = worker_that_logs(log);
  const std::vector<std::string> common{"--worker", worker, "--model", "parallel"};
  const auto asked = [&](std::vector<std::string> words) {
    fs::remove(log);
    words.insert(words.end(), common.begin(), common.end());
    const Outcome outcome = bulkhead(words);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return content(log);
  };
  EXPECT_EQ(asked({"run", "primes", "--set", "up-to=1000"}), "--describe\n__fork-server\n");
  EXPECT_EQ(asked({"run", "requests", "--set", "count=3"}),
            "--describe\n--calibrate\n__fork-server\n");
  EXPECT_EQ(asked({"run", "requests", "--check"}), "--describe\n");
}

TEST_F(ProgramsTest, TheExecutableIsLoadedOnceForAllWorkersUnlessTheUserWantsItEachTime) {
  const std::string log = path("asked");
  const std::string worker = worker_that_logs(log);
  const auto asked = [&](const std::string& launch) {
    fs::remove(log);
    const Outcome outcome = bulkhead({"run", "primes", "--worker", worker, "--model", "processes",
                                      "--workers", "3", "--set", "up-to=3000000", "--repeat", "2",
                                      "--launch", launch, "--fault", "segv@job=5", "--json", "-"});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_EQ(model(report(outcome), "processes").at("crashes"), 2);
    return content(log);
  };
  EXPECT_EQ(asked("fork"), "--describe\n__fork-server\n");
  // Two runs of three workers, and one replaced in each if it comes before the run's end.
  const std::string each_time = asked("exec");
  const std::string described = "--describe\n";
  ASSERT_EQ(each_time.substr(0, described.size()), described);
  const std::string starts = each_time.substr(described.size());
  EXPECT_EQ(starts, std::string(starts.size(), '\n'));
  EXPECT_GE(starts.size(), 6U);
  EXPECT_LE(starts.size(), 8U);
}

TEST_F(ProgramsTest, AWorkerThatCannotCalibrateIsRefused) {
  for (const std::string answer :
       {"echo '{}'", "echo nonsense", "exit 3", "echo '{\"iterations_per_second\": -5}'"}) {
    const std::string worker = write_file(
        "worker", "#!/bin/sh\nif [ \"$1\" = --calibrate ]; then " + answer +
                      "; exit; fi\nexec '" BULKHEAD_BINARY_DIR "/bin/bulkhead-worker' \"$@\"\n");
    ASSERT_EQ(::chmod(worker.c_str(), 0700), 0);
    const Outcome outcome = bulkhead({"run", "requests", "--worker", worker});
    EXPECT_EQ(outcome.exit_code, 4) << answer;
    EXPECT_NE(outcome.err.find("calibrat"), std::string::npos) << outcome.err;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  }
}

TEST_F(ProgramsTest, EveryModelDrawsTheSameBytes) {
  const Outcome together =
      bulkhead({"compare", "mandelbrot", "--set", "size=300", "--set", "rows=7", "--set",
                "out=" + path("all.png"), "--repeat", "1", "--json", "-"});
  ASSERT_EQ(together.exit_code, 0) << together.err;
  const std::string bytes = content(path("all.png"));
  ASSERT_EQ(bytes.substr(0, 4), "\x89PNG");
  const Json all = report(together);
  EXPECT_GE(all.at("models").size(), 4U);
  for (const Json& entry : all.at("models")) {
    const std::string name = entry.at("model");
    EXPECT_TRUE(entry.at("answer_equal")) << name;
    const std::string file = path(name + ".png");
    // The crash of the worker that draws leaves nothing of its own behind.
    const Outcome alone =
        bulkhead(mandelbrot({"--model", name, "--set", "out=" + file, "--fault", "segv@job=9"}));
    EXPECT_EQ(alone.exit_code, 0) << alone.err;
    EXPECT_EQ(content(file), bytes) << name;
  }
}

TEST_F(ProgramsTest, AFileIsReplacedInOneStepAndKeepsItsModeAndItsLink) {
  const std::string file = write_file("old.png", "old");
  ASSERT_EQ(::chmod(file.c_str(), 0640), 0);
  fs::create_directory(path("other"));
  fs::create_symlink(file, path("other/link.png"));
  const Outcome outcome = bulkhead(mandelbrot({"--set", "out=" + path("other/link.png")}));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.err, "");
  EXPECT_TRUE(fs::is_symlink(path("other/link.png")));
  EXPECT_EQ(content(file).substr(0, 4), "\x89PNG");
  EXPECT_EQ(fs::status(file).permissions(), static_cast<fs::perms>(0640));
}

TEST_F(ProgramsTest, AFileThatCouldNeverBeWrittenIsRefusedBeforeTheRun) {
  fs::create_directory(path("folder"));
  for (const std::string target : {"missing/image.png", "folder", "folder/"}) {
    const Outcome outcome = bulkhead(mandelbrot({"--set", "out=" + path(target)}));
    EXPECT_EQ(outcome.exit_code, 4) << target;
    EXPECT_EQ(outcome.out, "") << target;
    EXPECT_EQ(outcome.err.rfind("bulkhead: --set out: cannot write to ", 0), 0U) << outcome.err;
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  }
  // Nobody may write to /proc, whoever he is.
  const Outcome outcome = bulkhead(mandelbrot({"--set", "out=/proc/image.png"}));
  EXPECT_EQ(outcome.exit_code, 4) << outcome.err;
  EXPECT_EQ(outcome.out, "");
}

TEST_F(ProgramsTest, WithoutOneWholeAnswerTheOldFileStays) {
  const std::string file = write_file("image.png", "old");
  const Outcome quarantined =
      bulkhead(mandelbrot({"--set", "out=" + file, "--fault", "segv@job=9,times=99"}));
  EXPECT_EQ(quarantined.exit_code, 1) << quarantined.err;
  EXPECT_EQ(content(file), "old");
  const Outcome late = bulkhead({"run", "mandelbrot", "--set", "iterations=1000000", "--set",
                                 "out=" + file, "--timeout", "100ms"});
  EXPECT_EQ(late.exit_code, 1) << late.err;
  EXPECT_EQ(content(file), "old");
}

TEST_F(ProgramsTest, AFullDiskUnderTheFileLeavesTheOldOne) {
  const std::string disk = path("disk");
  fs::create_directory(disk);
  if (mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=16k") != 0) {
    GTEST_SKIP() << "needs the right to mount a small file system (root): " << strerror(errno);
  }
  std::ofstream(disk + "/image.png") << "old";
  std::ofstream(disk + "/filler", std::ios::binary) << std::string(64 * 1024, 'x');
  const Outcome outcome = bulkhead(mandelbrot({"--set", "out=" + disk + "/image.png"}));
  const std::string kept = content(disk + "/image.png");
  const auto entries = std::distance(fs::directory_iterator(disk), fs::directory_iterator());
  umount(disk.c_str());
  EXPECT_EQ(outcome.exit_code, 4) << outcome.err;
  EXPECT_NE(outcome.err.find("image.png"), std::string::npos) << outcome.err;
  EXPECT_EQ(kept, "old");
  EXPECT_EQ(entries, 2);
}

}  // namespace
}  // namespace bulkhead::test
