#include "host/memory_cgroup.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <string>

namespace bulkhead::coordinator {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLimit = 32u << 20;

class MemoryCgroupTest : public ::testing::Test {
 protected:
  void SetUp() override {
    groups_ = WorkerGroups::open(kLimit);
    if (groups_ == nullptr) GTEST_SKIP() << "no writable memory cgroup";
    root_ = own_memory_cgroup().directory + "/bulkhead-" + std::to_string(::getpid());
  }
  // Ends after it was told to, by a byte, and has written to so many bytes.
  static pid_t child(std::size_t bytes, int& tell) {
    int ends[2];
    EXPECT_EQ(::pipe(ends), 0);
    const pid_t pid = ::fork();
    if (pid == 0) {
      char go = 0;
      if (::read(ends[0], &go, 1) != 1) ::_exit(1);
      void* const memory =
          ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (memory == MAP_FAILED) ::_exit(2);
      std::memset(memory, 0x5a, bytes);
      ::_exit(0);
    }
    ::close(ends[0]);
    tell = ends[1];
    return pid;
  }
  static int run_to_end(pid_t pid, int tell) {
    EXPECT_EQ(::write(tell, "!", 1), 1);
    ::close(tell);
    int status = 0;
    EXPECT_EQ(::waitpid(pid, &status, 0), pid);
    return status;
  }

  std::unique_ptr<WorkerGroups> groups_;
  std::string root_;
};

TEST_F(MemoryCgroupTest, TheKernelEndsWhoGoesBeyondTheLimitAndNobodyElse) {
  int large = -1, small = -1;
  const pid_t greedy = child(2 * kLimit, large);
  const pid_t modest = child(1u << 20, small);
  ASSERT_TRUE(groups_->add("1.1", greedy));
  ASSERT_TRUE(groups_->add("2.1", modest));
  EXPECT_FALSE(groups_->struck("1.1"));
  const int status = run_to_end(greedy, large);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  EXPECT_TRUE(groups_->struck("1.1"));
  EXPECT_FALSE(groups_->struck("2.1"));
  EXPECT_EQ(run_to_end(modest, small), 0);
  groups_->remove("1.1");
  EXPECT_FALSE(fs::exists(root_ + "/1.1"));
  EXPECT_FALSE(groups_->struck("1.1"));  // a group that is not there
}

TEST_F(MemoryCgroupTest, NothingIsLeftBehind) {
  int tell = -1;
  const pid_t pid = child(1, tell);
  ASSERT_TRUE(groups_->add("1.1", pid));
  EXPECT_TRUE(fs::exists(root_ + "/1.1"));
  EXPECT_EQ(run_to_end(pid, tell), 0);
  groups_.reset();
  EXPECT_FALSE(fs::exists(root_));
}

TEST_F(MemoryCgroupTest, AProcessThatIsGoneIsInNoGroup) {
  int tell = -1;
  const pid_t pid = child(1, tell);
  EXPECT_EQ(run_to_end(pid, tell), 0);
  EXPECT_FALSE(groups_->add("1.1", pid));
}

TEST_F(MemoryCgroupTest, WhatAKilledCoordinatorLeftIsRemovedByTheNext) {
  int tell = -1;
  const pid_t dead = child(1, tell);
  EXPECT_EQ(run_to_end(dead, tell), 0);  // its number is free now, and seldom taken again at once
  const std::string parent = own_memory_cgroup().directory;
  const std::string left = parent + "/bulkhead-" + std::to_string(dead);
  const std::string foreign = parent + "/bulkhead-" + std::to_string(dead) + "-not-ours";
  ASSERT_EQ(::mkdir(left.c_str(), 0755), 0);
  ASSERT_EQ(::mkdir((left + "/3.1").c_str(), 0755), 0);
  ASSERT_EQ(::mkdir(foreign.c_str(), 0755), 0);
  const auto next = WorkerGroups::open(kLimit);
  EXPECT_FALSE(fs::exists(left));
  EXPECT_TRUE(fs::exists(foreign));
  EXPECT_EQ(::rmdir(foreign.c_str()), 0);
}

}  // namespace
}  // namespace bulkhead::coordinator
