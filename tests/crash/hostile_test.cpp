// Hostile peers at the control socket. They come from outside, from inside (a job that connects
// beside its worker's link) and as workers that were let in. A run must not notice, and the
// coordinator must not grow.
#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "support/command.hpp"
#include "support/stranger.hpp"

namespace bulkhead::test {
namespace {

using Json = nlohmann::json;

constexpr double kMebibyte = 1 << 20;
constexpr double kMayGrow = (kSanitized ? 512 : 64) * kMebibyte;
// A worker and its children keep at most 8 connections; the rest is what comes and goes.
constexpr std::size_t kMayOpen = 16;

// What the coordinator holds.
struct Footprint {
  double peak_bytes = 0;
  double anonymous_bytes = 0;
  std::size_t descriptors = 0;
  unsigned highest_descriptor = 0;
};

std::vector<unsigned> descriptor_numbers(pid_t pid) {
  std::error_code error;
  std::vector<unsigned> numbers;
  for (const auto& entry :
       std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd", error)) {
    numbers.push_back(static_cast<unsigned>(std::stoul(entry.path().filename())));
  }
  return numbers;
}

std::size_t descriptors_of(pid_t pid) { return descriptor_numbers(pid).size(); }

Footprint footprint_of(pid_t pid) {
  Footprint result;
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    std::istringstream words(line);
    std::string name;
    double kibibytes = 0;
    words >> name >> kibibytes;
    if (name == "VmHWM:") result.peak_bytes = kibibytes * 1024;
    if (name == "RssAnon:") result.anonymous_bytes = kibibytes * 1024;
  }
  const std::vector<unsigned> numbers = descriptor_numbers(pid);
  result.descriptors = numbers.size();
  for (const unsigned number : numbers) {
    result.highest_descriptor = std::max(result.highest_descriptor, number);
  }
  return result;
}

class HostileTest : public CommandTest {
 protected:
  static constexpr int kJobs = 400;

  // Starts a run whose second half of jobs waits for release(), and waits until it works.
  pid_t start_run(const std::string& name, const std::string& bad = "no") {
    environment_["BULKHEAD_TEST_BEGUN"] = path("begun");
    environment_["BULKHEAD_TEST_HOLD"] = path("hold");
    // A worker that is replaced joins the data plane between two footprints: here by one
    // descriptor, over ZeroMQ by more than kMayOpen.
    environment_["BULKHEAD_TRANSPORT"] = "unix";
    const pid_t command =
        start({"run", "napper", "--worker", kTestWorker, "--model", name, "--workers", "3",
               "--in-flight", "12", "--set", "count=" + std::to_string(kJobs), "--set", "us=500",
               "--set", "bad=" + bad, "--json", "-"});
    EXPECT_TRUE(eventually([&] { return there("begun"); })) << said();
    return command;
  }
  void release() const { write_file("hold", ""); }
  bool there(const std::string& name) const { return std::filesystem::exists(path(name)); }

  // The right answer, every job once, and nobody ended but worker 2 in its first incarnation, where
  // that is the one who misbehaved: then its end.
  static Json expect_undisturbed(const Outcome& outcome, const std::string& name,
                                 bool worker_2_misbehaved = false) {
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    if (outcome.exit_code != 0) return {};
    const Json all = report(outcome);
    const Json& entry = model(all, name);
    EXPECT_EQ(entry.at("answer").at("checksum"), std::to_string(kJobs * (kJobs + 1) / 2));
    EXPECT_EQ(entry.at("jobs").at("done"), kJobs);
    EXPECT_EQ(entry.at("jobs").at("retried"), 0);
    Json its_end;
    for (const Json& exit : entry.at("exits")) {
      const bool second = worker_2_misbehaved && exit.at("worker") == 2;
      if (second && exit.at("incarnation") == 1) {
        its_end = exit;
      } else if (!second || exit.at("reason") != "the run is over") {  // its replacement came late
        EXPECT_EQ(exit.at("verdict"), "finished") << exit;
      }
    }
    // One that had to be ended for what it did counts like one that crashed.
    const bool ended = its_end.is_object() && its_end.at("verdict") != "finished";
    EXPECT_EQ(entry.at("crashes"), ended ? 1 : 0);
    return its_end;
  }

  static void expect_flat(const Footprint& before, const Footprint& after) {
    EXPECT_LE(after.peak_bytes, before.peak_bytes + kMayGrow);
    EXPECT_LE(after.anonymous_bytes, before.anonymous_bytes + kMayGrow);
    EXPECT_LE(after.descriptors, before.descriptors + kMayOpen);
  }
};

class StrangersTest : public HostileTest, public testing::WithParamInterface<std::string> {};

INSTANTIATE_TEST_SUITE_P(Kinds, StrangersTest, testing::ValuesIn(stranger_kinds()),
                         [](const auto& kind) { return kind.param; });

TEST_P(StrangersTest, FromOutsideAreTurnedAwayAndDisturbNothing) {
  for (const std::string name : {"processes", "parallel"}) {
    const pid_t command = start_run(name);
    ASSERT_EQ(run_directories().size(), 1u);
    const Footprint before = footprint_of(command);
    {
      Stranger stranger(run_directories()[0], "c");
      for (int round = 0; round < 3; ++round) stranger.attack(GetParam());
      EXPECT_GT(stranger.connections(), 0u);
      EXPECT_TRUE(eventually([&] { return stranger.all_cut(); })) << "somebody was let in";
      expect_flat(before, footprint_of(command));
    }
    EXPECT_TRUE(eventually([&] { return descriptors_of(command) <= before.descriptors; }));
    release();
    expect_undisturbed(finish(command), name);
    std::filesystem::remove(path("begun"));
    std::filesystem::remove(path("hold"));
  }
}

TEST_P(StrangersTest, FromInsideAreContained) {
  environment_["BULKHEAD_TEST_STRANGER"] = GetParam();
  environment_["BULKHEAD_TEST_ATTACK"] = path("attack");
  environment_["BULKHEAD_TEST_ATTACKED"] = path("attacked");
  const bool needs_a_death = GetParam() == "DeadIncarnation";
  if (needs_a_death) {
    environment_["BULKHEAD_TEST_RAW"] = "Dies";
    environment_["BULKHEAD_TEST_MISDEED"] = path("misdeed");
  }
  const pid_t command = start_run("processes", "stranger");
  const Footprint before = footprint_of(command);
  write_file("attack", "");
  ASSERT_TRUE(eventually([&] { return there("attacked"); }));
  expect_flat(before, footprint_of(command));
  release();
  expect_undisturbed(finish(command), "processes", needs_a_death);
}

// What a worker that was let in may do to its own link.
struct Misdeed {
  std::string name;
  std::string verdict;  // what becomes of it
  std::string reason;   // a part of the reason stated
};

class WorkersTest : public HostileTest, public testing::WithParamInterface<Misdeed> {};

INSTANTIATE_TEST_SUITE_P(
    Misdeeds, WorkersTest,
    testing::Values(Misdeed{"WrongToken", "finished", ""},  // it then finds the right one
                    Misdeed{"OldVersion", "killed by us", "it speaks protocol 0"},
                    Misdeed{"SecondHello", "killed by us", "protocol error: it sent message 1"},
                    Misdeed{"TruncatedProtobuf", "killed by us", "protocol error: "},
                    Misdeed{"RandomBytes", "killed by us", "protocol error: "},
                    Misdeed{"Nesting", "killed by us", "protocol error: "},
                    Misdeed{"OneGibibyte", "killed by us", "protocol error: its link was cut"},
                    Misdeed{"DataGarbage", "killed by us", "it sent a message of kind 127"},
                    Misdeed{"DataCutProtobuf", "killed by us", "protocol error: it sent "},
                    Misdeed{"DataStrangeResult", "killed by us",
                            "it sent a result of job 1000000, which it does not hold"},
                    Misdeed{"DataEnds", "killed by us", "its data connection ended"}),
    [](const auto& misdeed) { return misdeed.param.name; });

TEST_P(WorkersTest, ThatBreakTheContractEndAloneAndWithTheReason) {
  environment_["BULKHEAD_TEST_RAW"] = GetParam().name;
  environment_["BULKHEAD_TEST_MISDEED"] = path("misdeed");
  const pid_t command = start_run("processes");
  const Footprint before = footprint_of(command);
  EXPECT_TRUE(eventually([&] { return there("misdeed"); })) << said();
  pid_t its_pid = 0;
  std::ifstream(path("misdeed")) >> its_pid;
  EXPECT_GT(its_pid, 1);
  EXPECT_TRUE(GetParam().verdict == "finished" ||
              eventually([&] { return kill(its_pid, 0) != 0; }));
  expect_flat(before, footprint_of(command));
  release();
  const Json its_end = expect_undisturbed(finish(command), "processes", true);
  ASSERT_TRUE(its_end.is_object());
  EXPECT_EQ(its_end.at("verdict"), GetParam().verdict) << its_end;
  EXPECT_NE(its_end.at("reason").get<std::string>().find(GetParam().reason), std::string::npos)
      << its_end;
}

// libzmq's listener for ipc would abort here.
TEST_F(HostileTest, SixtyConnectsWithNoDescriptorLeftAreSurvived) {
  const pid_t command = start_run("processes");
  const Footprint before = footprint_of(command);
  rlimit usual{};
  ASSERT_EQ(prlimit(command, RLIMIT_NOFILE, nullptr, &usual), 0);
  // Every number up to the limit is taken; and a limit so far below that not even a number given up
  // for the moment can be had again (poll() itself would refuse a lower one).
  constexpr rlim_t kFarBelow = 8;
  ASSERT_GT(before.descriptors, kFarBelow);
  for (const rlim_t limit : {rlim_t{before.highest_descriptor} + 1, kFarBelow}) {
    const rlimit none{limit, usual.rlim_max};
    ASSERT_EQ(prlimit(command, RLIMIT_NOFILE, &none, nullptr), 0);
    Stranger stranger(run_directories()[0], "c");
    for (int round = 0; round < 3; ++round) stranger.attack("SixtyConnects");
    EXPECT_GE(stranger.connections(), 180u);
    if (limit != kFarBelow) {
      EXPECT_TRUE(eventually([&] { return stranger.all_cut(); }));
    }
    expect_flat(before, footprint_of(command));
    ASSERT_EQ(prlimit(command, RLIMIT_NOFILE, &usual, nullptr), 0);
    EXPECT_TRUE(eventually([&] { return stranger.all_cut(); }));
  }
  EXPECT_TRUE(eventually([&] { return descriptors_of(command) <= before.descriptors; }));
  release();
  expect_undisturbed(finish(command), "processes");
}

TEST_F(HostileTest, TheSocketIsInADirectoryForItsOwnerAlone) {
  const pid_t command = start_run("processes");
  ASSERT_EQ(run_directories().size(), 1u);
  for (const std::string& directory : run_directories()) {
    EXPECT_EQ(std::filesystem::status(directory).permissions(), std::filesystem::perms::owner_all);
  }
  release();
  expect_undisturbed(finish(command), "processes");
}

}  // namespace
}  // namespace bulkhead::test
