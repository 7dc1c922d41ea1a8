#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "report/report.hpp"

namespace bulkhead::coordinator {
namespace {

using nlohmann::json;
using testing::HasSubstr;

std::string read_all(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

class ReportJsonTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "/report-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string path(const std::string& name) const { return directory_ + "/" + name; }
  std::size_t files() const {
    std::size_t count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(directory_))
      ++count;
    return count;
  }

 private:
  std::string directory_;
};

// Every field that has presence is there.
v1::RunReport full_report() {
  v1::RunReport report;
  report.set_program("primes");
  report.set_seed(4294967297.0);  // beyond 32 bits
  report.add_command("bulkhead");
  report.mutable_machine()->set_cores(2);
  v1::ModelReport& model = *report.add_models();
  model.set_model("processes");
  model.set_workers(4);
  model.set_processors(2);
  model.set_ran(true);
  model.mutable_answer()->set_checksum("c");
  for (int i = 0; i < 5; ++i) {
    v1::Repetition& repetition = *model.add_repetitions();
    repetition.set_wall_seconds(1 + i);
    repetition.set_pss_bytes(9007199254740993.0);
    repetition.set_service_median_seconds(0.01);
    repetition.set_peak_rss_bytes(2e9);
    repetition.set_complete(true);
    repetition.mutable_jobs()->set_total(5e12);
  }
  model.mutable_cost()->set_encode_seconds(0.1);
  model.set_work_lost_seconds(0.5);
  v1::WorkerExit& exit = *model.add_exits();
  exit.set_verdict("signalled");
  exit.set_signal(11);
  exit.set_exit_code(0);
  exit.set_job(20);
  exit.set_detected_after_seconds(0.1);
  exit.set_recovered_after_seconds(0.2);
  exit.set_blast_radius(0.25);
  Histogram histogram;
  for (int i = 0; i < 10000; ++i) histogram.record(0.01);
  set_percentiles(histogram, *model.mutable_latency_seconds());
  complete_report(report, {histogram}, 7);
  report.add_verdict("words");
  return report;
}

void expect_fields(const json& object, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    EXPECT_TRUE(object.contains(name)) << name << " in " << object.dump(1);
  }
}

void expect_numbers(const json& object, const std::vector<std::string>& names) {
  expect_fields(object, names);
  for (const std::string& name : names) EXPECT_TRUE(object.value(name, json()).is_number()) << name;
}

TEST_F(ReportJsonTest, HasEveryNameOfTheContractAndNumbersAreNumbers) {
  ASSERT_TRUE(write_json(full_report(), path("a.json")));
  const json report = json::parse(read_all(path("a.json")));
  expect_fields(report, {"program", "scenario", "seed", "command", "machine", "models", "verdict"});
  EXPECT_EQ(report["seed"], 4294967297.0);
  ASSERT_TRUE(report["models"].is_array());
  const json& model = report["models"][0];
  expect_fields(model, {"model", "transport", "ran", "reason", "answer", "repetitions", "jobs",
                        "exits", "cost"});
  expect_numbers(model, {"workers", "processors", "crashes", "blast_radius", "work_lost_seconds",
                         "messages", "bytes"});
  expect_fields(model["answer"], {"checksum", "text"});
  for (const char* name :
       {"wall_seconds", "throughput_per_second", "cpu_seconds", "pss_bytes", "startup_seconds",
        "service_seconds", "voluntary_switches", "involuntary_switches", "minor_faults",
        "major_faults", "peak_rss_bytes"}) {
    SCOPED_TRACE(name);
    expect_numbers(model[name], {"median", "low", "high"});
  }
  expect_numbers(model["latency_seconds"], {"p50", "p90", "p99", "p999", "max", "count"});
  expect_numbers(model["service_seconds"], {"p50", "p90", "p99", "p999", "max", "count"});
  expect_numbers(model["jobs"], {"total", "done", "failed", "quarantined", "retried",
                                 "lost_in_flight", "results_lost", "duplicates"});
  EXPECT_EQ(model["jobs"]["total"], 25e12);
  expect_fields(model["exits"][0], {"verdict"});
  expect_numbers(model["exits"][0], {"worker", "incarnation", "signal", "exit_code", "job",
                                     "detected_after_seconds", "recovered_after_seconds"});
}

TEST_F(ReportJsonTest, APercentileThatTooFewJobsSupportIsAbsentAndTheCountSaysWhy) {
  v1::RunReport report;
  v1::ModelReport& model = *report.add_models();
  Histogram histogram;
  for (int i = 0; i < 400; ++i) histogram.record(0.01);
  set_percentiles(histogram, *model.mutable_service_seconds());
  ASSERT_TRUE(write_json(report, path("few.json")));
  const json service = json::parse(read_all(path("few.json")))["models"][0]["service_seconds"];
  expect_numbers(service, {"p50", "p90", "max"});
  EXPECT_EQ(service["count"], 400);
  EXPECT_FALSE(service.contains("p99"));
  EXPECT_FALSE(service.contains("p999"));
}

TEST_F(ReportJsonTest, WhatIsAbsentIsNotPrintedAndWhatIsZeroIs) {
  v1::RunReport report;
  report.add_models()->set_model("parallel");
  report.mutable_models(0)->add_exits()->set_verdict("lost");
  ASSERT_TRUE(write_json(report, path("a.json")));
  const json model = json::parse(read_all(path("a.json")))["models"][0];
  EXPECT_FALSE(model.contains("blast_radius"));
  EXPECT_FALSE(model.contains("wall_seconds"));
  EXPECT_FALSE(model["exits"][0].contains("signal"));
  EXPECT_EQ(model["crashes"], 0);
  EXPECT_EQ(model["ran"], false);
  EXPECT_TRUE(model["repetitions"].is_array());
}

TEST_F(ReportJsonTest, BytesThatAreNotTextBecomeVisible) {
  v1::RunReport report;
  report.set_program("a\xff\x1b[31m");
  report.add_command("b\xfe");
  ASSERT_TRUE(write_json(report, path("a.json")));
  const json read = json::parse(read_all(path("a.json")));
  EXPECT_EQ(read["program"], "a\\xff\\x1b[31m");
  EXPECT_EQ(read["command"][0], "b\\xfe");
}

TEST_F(ReportJsonTest, ValuesThatAreNotNumbersNeverReachTheFile) {
  v1::RunReport report;
  v1::ModelReport& model = *report.add_models();
  model.set_messages(std::numeric_limits<double>::quiet_NaN());
  model.set_blast_radius(std::numeric_limits<double>::infinity());
#ifdef NDEBUG
  ASSERT_TRUE(write_json(report, path("a.json")));
  const json read = json::parse(read_all(path("a.json")))["models"][0];
  EXPECT_EQ(read["messages"], 0);
  EXPECT_FALSE(read.contains("blast_radius"));
#else
  EXPECT_DEATH(static_cast<void>(write_json(report, path("a.json"))), "2 values");
#endif
}

TEST_F(ReportJsonTest, EstimatesSkipValuesThatAreNotNumbers) {
  v1::RunReport report;
  v1::ModelReport& model = *report.add_models();
  model.set_ran(true);
  for (const double wall : {1.0, std::numeric_limits<double>::infinity(), 3.0}) {
    v1::Repetition& repetition = *model.add_repetitions();
    repetition.set_wall_seconds(wall);
    repetition.set_complete(true);
  }
  complete_report(report, {}, 1);
  EXPECT_EQ(report.models(0).wall_seconds().median(), 2);
}

TEST_F(ReportJsonTest, ReplacesAFileAndKeepsItsModeAndLinks) {
  std::ofstream(path("a.json")) << "old";
  ASSERT_EQ(::chmod(path("a.json").c_str(), 0640), 0);
  ASSERT_EQ(::symlink("a.json", path("link").c_str()), 0);
  ASSERT_TRUE(write_json(full_report(), path("link")));
  EXPECT_TRUE(json::accept(read_all(path("a.json"))));
  struct stat status {};
  ASSERT_EQ(::lstat(path("link").c_str(), &status), 0);
  EXPECT_TRUE(S_ISLNK(status.st_mode));
  ASSERT_EQ(::stat(path("a.json").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777u, 0640u);
  EXPECT_EQ(files(), 2u);
}

TEST_F(ReportJsonTest, ErrorsNameThePathAndLeaveNothingBehind) {
  const auto missing = write_json(full_report(), path("none/a.json"));
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::kNotFound);
  EXPECT_THAT(missing.error().text, HasSubstr(path("none/a.json")));
  EXPECT_THAT(missing.error().text, HasSubstr("No such file or directory"));

  const auto folder = write_json(full_report(), path(""));
  ASSERT_FALSE(folder);
  EXPECT_EQ(folder.error().code, Code::kInvalidArgument);

  std::ofstream(path("file")) << "x";
  const auto under_file = write_json(full_report(), path("file/a.json"));
  ASSERT_FALSE(under_file);
  EXPECT_EQ(under_file.error().code, Code::kNotFound);
  EXPECT_EQ(read_all(path("file")), "x");
  EXPECT_EQ(files(), 1u);
}

TEST_F(ReportJsonTest, AFullDiskIsExhaustionOfResources) {
  const auto written = write_json(full_report(), "/dev/full");
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, Code::kResourceExhausted);
  EXPECT_THAT(written.error().text, HasSubstr("/dev/full"));
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/full"));
}

TEST_F(ReportJsonTest, AFileSizeLimitLeavesTheOldFileAsItWas) {
  std::ofstream(path("a.json")) << "old";
  // In a child: the limit is the process's.
  EXPECT_EXIT(
      {
        std::signal(SIGXFSZ, SIG_IGN);
        rlimit limit{};
        limit.rlim_cur = limit.rlim_max = 10;
        ::setrlimit(RLIMIT_FSIZE, &limit);
        const auto written = write_json(full_report(), path("a.json"));
        std::_Exit(!written && written.error().code == Code::kResourceExhausted ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
  EXPECT_EQ(read_all(path("a.json")), "old");
  EXPECT_EQ(files(), 1u);
}

TEST_F(ReportJsonTest, ADirectoryWithoutPermissionIsRefused) {
  ASSERT_EQ(::chmod(path("").c_str(), 0500), 0);
  // Root may write anywhere: somebody else tries.
  const bool root = ::geteuid() == 0;
  if (root) {
    ASSERT_EQ(::seteuid(65534), 0);
  }
  const auto written = write_json(full_report(), path("a.json"));
  if (root) {
    ASSERT_EQ(::seteuid(0), 0);
  }
  ASSERT_EQ(::chmod(path("").c_str(), 0700), 0);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, Code::kPermissionDenied);
}

TEST_F(ReportJsonTest, APipeIsWrittenInPlace) {
  ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
  std::string read;
  std::thread reader([&] { read = read_all(path("pipe")); });
  const auto written = write_json(full_report(), path("pipe"));
  reader.join();
  EXPECT_TRUE(written);
  EXPECT_TRUE(json::accept(read));
  EXPECT_TRUE(std::filesystem::is_fifo(path("pipe")));
}

TEST_F(ReportJsonTest, StandardOutputGetsTheWholeTextAndAReaderThatLeftIsNoError) {
  const std::string file = path("out.json");
  EXPECT_EXIT(
      {
        const int fd = ::open(file.c_str(), O_WRONLY | O_CREAT, 0600);
        ::dup2(fd, STDOUT_FILENO);
        std::_Exit(write_json(full_report(), "-") ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
  EXPECT_TRUE(json::accept(read_all(file)));
  EXPECT_EXIT(
      {
        std::signal(SIGPIPE, SIG_IGN);
        int ends[2];
        if (::pipe(ends) != 0) std::_Exit(2);
        ::close(ends[0]);
        ::dup2(ends[1], STDOUT_FILENO);
        std::_Exit(write_json(full_report(), "-") ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

TEST_F(ReportJsonTest, TheMachineIsDescribed) {
  const v1::Machine machine = describe_machine("mprotect");
  EXPECT_THAT(machine.kernel(), HasSubstr("Linux"));
  EXPECT_FALSE(machine.cpu().empty());
  EXPECT_GE(machine.cores(), 1u);
  EXPECT_GT(machine.memory_bytes(), 1e6);
  EXPECT_FALSE(machine.build().empty());
  EXPECT_THAT(machine.libraries(), HasSubstr("protobuf 3"));
  EXPECT_EQ(machine.stack_guard(), "mprotect");
}

}  // namespace
}  // namespace bulkhead::coordinator
