// The probes on this machine, checked against what the kernel says in another way; the renderings.
#include "cli/doctor.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <nlohmann/json.hpp>

namespace bulkhead::coordinator {
namespace {

// Probes make a run directory: ours is private, so that tests run side by side.
class DoctorTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/doctor-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    if (const char* old = std::getenv("BULKHEAD_RUN_DIR")) old_ = old;
    setenv("BULKHEAD_RUN_DIR", directory_.c_str(), 1);
  }
  void TearDown() override {
    if (old_) setenv("BULKHEAD_RUN_DIR", old_->c_str(), 1);
    if (!old_) unsetenv("BULKHEAD_RUN_DIR");
    std::filesystem::remove_all(directory_);
  }

  std::string directory_;
  std::optional<std::string> old_;
};

TEST_F(DoctorTest, GivesEveryCapabilityOnceAndInOrder) {
  std::vector<std::string> names;
  for (const Capability& capability : probe_machine()) {
    names.push_back(capability.name);
    EXPECT_FALSE(capability.reason.empty()) << capability.name;
    EXPECT_EQ(capability.remedy.empty(), capability.present) << capability.name;
  }
  EXPECT_EQ(names, capability_names());
}

TEST_F(DoctorTest, WhatBulkheadNeedsIsHereOrTheTestsCouldNotRun) {
  for (const Capability& capability : probe_machine()) {
    EXPECT_TRUE(capability.present || !capability.needed)
        << capability.name << ": " << capability.reason;
  }
}

TEST_F(DoctorTest, LeavesNoChildAndNoDirectoryBehind) {
  (void)probe_machine();
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
  for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
    EXPECT_NE(entry.path().filename().string().rfind("run-", 0), 0u) << entry.path();
  }
}

TEST_F(DoctorTest, ARunDirectoryThatCannotBeMadeIsTold) {
  setenv("BULKHEAD_RUN_DIR", "/proc/no-such-directory", 1);
  const auto capabilities = probe_machine();
  const Capability& disk = capabilities.back();
  EXPECT_EQ(disk.name, "disk");
  EXPECT_FALSE(disk.present);
  EXPECT_THAT(disk.reason, testing::HasSubstr("/proc/no-such-directory"));
  EXPECT_EQ(disk.remedy, "set BULKHEAD_RUN_DIR to a directory of yours with room in it");
}

TEST(DoctorRenderTest, TextIsAlignedAndTellsReasonAndRemedy) {
  const std::vector<Capability> capabilities{
      {"pidfd", true, true, "seen", ""}, {"memory-cgroup", false, false, "no\nroom", "be root"}};
  EXPECT_EQ(render_doctor(capabilities, false),
            "pidfd          yes  seen\n"
            "memory-cgroup  no   no\\x0aroom\n"
            "                    remedy: be root\n"
            "bulkhead runs here\n");
}

TEST(DoctorRenderTest, AMissingNeedIsLoud) {
  EXPECT_EQ(render_doctor({{"pidfd", false, true, "refused", "ask"}}, false),
            "pidfd  NO   refused\n"
            "            remedy: ask\n"
            "bulkhead does not run here; it needs: pidfd\n");
}

TEST(DoctorRenderTest, JsonSurvivesQuotesAndBadBytes) {
  const std::string text = render_doctor({{"a", true, false, "say \"x\\y\" \xff\n", ""}}, true);
  const auto json = nlohmann::json::parse(text);
  ASSERT_EQ(json.size(), 1u);
  EXPECT_EQ(json[0]["name"], "a");
  EXPECT_EQ(json[0]["present"], true);
  EXPECT_EQ(json[0]["needed"], false);
  EXPECT_EQ(json[0]["reason"], "say \"x\\y\" \\xff\\x0a");
  EXPECT_EQ(json[0]["remedy"], "");
}

TEST(DoctorRenderTest, NoCapabilitiesAreAnEmptyArray) {
  EXPECT_EQ(nlohmann::json::parse(render_doctor({}, true)).size(), 0u);
}

}  // namespace
}  // namespace bulkhead::coordinator
