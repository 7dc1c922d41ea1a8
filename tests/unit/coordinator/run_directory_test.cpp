#include "host/run_directory.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace bulkhead::coordinator {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class RunDirectoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "bulkhead-run-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
    base_ = root_ + "/base";
    ::setenv("BULKHEAD_RUN_DIR", base_.c_str(), 1);
  }
  void TearDown() override {
    ::unsetenv("BULKHEAD_RUN_DIR");
    EXPECT_TRUE(remove_tree(root_));
  }

  static mode_t mode_of(const std::string& path) {
    struct stat status {};
    EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
    return status.st_mode & 0777;
  }
  static void write(const std::string& path) { std::ofstream(path) << "x"; }

  std::string root_;
  std::string base_;
};

TEST_F(RunDirectoryTest, IsPrivateUniqueAndRemovedAtTheEnd) {
  std::string first_path;
  {
    auto first = RunDirectory::create();
    ASSERT_TRUE(first) << first.error().text;
    auto second = RunDirectory::create();
    ASSERT_TRUE(second) << second.error().text;
    first_path = first->path();
    EXPECT_NE(first->path(), second->path());
    EXPECT_THAT(first->path(), HasSubstr(base_ + "/run-"));
    EXPECT_EQ(mode_of(base_), 0700u);
    EXPECT_EQ(mode_of(first->path()), 0700u);
    write(first->path() + "/left-over");
  }
  EXPECT_FALSE(fs::exists(first_path));
  EXPECT_TRUE(fs::is_empty(base_));
}

TEST_F(RunDirectoryTest, MovesItsOwnership) {
  auto made = RunDirectory::create();
  ASSERT_TRUE(made);
  const std::string path = made->path();
  {
    const RunDirectory taken = std::move(*made);
    EXPECT_EQ(taken.path(), path);
    EXPECT_TRUE(fs::exists(path));
  }
  EXPECT_FALSE(fs::exists(path));
}

TEST_F(RunDirectoryTest, SweepsTheDirectoryOfAKilledRunButNotOfALiveOne) {
  auto live = RunDirectory::create();
  ASSERT_TRUE(live);
  int ready[2];
  ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto run = RunDirectory::create();
    const std::string path = run ? run->path() : "";
    if (::write(ready[1], path.data(), path.size()) < 0) ::_exit(1);
    for (;;) ::pause();
  }
  char buffer[4096];
  const ssize_t size = ::read(ready[0], buffer, sizeof buffer);
  ::kill(child, SIGKILL);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  ::close(ready[0]);
  ::close(ready[1]);
  ASSERT_GT(size, 0);
  const std::string dead(buffer, static_cast<std::size_t>(size));
  EXPECT_TRUE(fs::exists(dead));

  auto next = RunDirectory::create();
  ASSERT_TRUE(next);
  EXPECT_FALSE(fs::exists(dead));
  EXPECT_TRUE(fs::exists(live->path()));
}

TEST_F(RunDirectoryTest, SweepsARunThatDiedBeforeItHadALockAndLeavesOtherNamesAlone) {
  ASSERT_EQ(::mkdir(base_.c_str(), 0700), 0);
  fs::create_directory(base_ + "/run-half");
  fs::create_directory(base_ + "/other");
  auto run = RunDirectory::create();
  ASSERT_TRUE(run);
  EXPECT_FALSE(fs::exists(base_ + "/run-half"));
  EXPECT_TRUE(fs::exists(base_ + "/other"));
}

TEST_F(RunDirectoryTest, RefusesABaseThatOthersCanEnter) {
  ASSERT_EQ(::mkdir(base_.c_str(), 0700), 0);
  ASSERT_EQ(::chmod(base_.c_str(), 0755), 0);
  const auto run = RunDirectory::create();
  ASSERT_FALSE(run);
  EXPECT_EQ(run.error().code, Code::kPermissionDenied);
  EXPECT_THAT(run.error().text, HasSubstr("chmod 700 '" + base_ + "'"));
}

TEST_F(RunDirectoryTest, RefusesABaseThatIsALinkOrAFile) {
  fs::create_directory(root_ + "/elsewhere");
  ::chmod((root_ + "/elsewhere").c_str(), 0700);
  fs::create_directory_symlink(root_ + "/elsewhere", base_);
  const auto linked = RunDirectory::create();
  ASSERT_FALSE(linked);
  EXPECT_EQ(linked.error().code, Code::kPermissionDenied);
  EXPECT_THAT(linked.error().text, HasSubstr("remove it, or set BULKHEAD_RUN_DIR"));
  EXPECT_TRUE(fs::is_empty(root_ + "/elsewhere"));

  fs::remove(base_);
  write(base_);
  const auto file = RunDirectory::create();
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().code, Code::kPermissionDenied);
}

TEST_F(RunDirectoryTest, RefusesABaseOfAnotherUser) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a directory away";
  ASSERT_EQ(::mkdir(base_.c_str(), 0700), 0);
  ASSERT_EQ(::chown(base_.c_str(), 12345, 12345), 0);
  const auto run = RunDirectory::create();
  ASSERT_FALSE(run);
  EXPECT_EQ(run.error().code, Code::kPermissionDenied);
  EXPECT_THAT(run.error().text, HasSubstr("belongs to user 12345"));
}

TEST_F(RunDirectoryTest, SaysWhichDirectoryIsMissing) {
  ::setenv("BULKHEAD_RUN_DIR", (root_ + "/no/such").c_str(), 1);
  const auto run = RunDirectory::create();
  ASSERT_FALSE(run);
  EXPECT_EQ(run.error().code, Code::kNotFound);
  EXPECT_THAT(run.error().text, HasSubstr(root_ + "/no/such"));
}

TEST_F(RunDirectoryTest, RemoveTreeNeverFollowsALink) {
  fs::create_directories(root_ + "/tree/a/b/c");
  write(root_ + "/tree/a/b/c/file");
  write(root_ + "/kept");
  fs::create_directory(root_ + "/kept-folder");
  write(root_ + "/kept-folder/file");
  fs::create_symlink(root_ + "/kept", root_ + "/tree/link");
  fs::create_directory_symlink(root_ + "/kept-folder", root_ + "/tree/a/folder-link");
  ::chmod((root_ + "/tree/a/b").c_str(), 0);
  EXPECT_TRUE(remove_tree(root_ + "/tree"));
  EXPECT_FALSE(fs::exists(root_ + "/tree"));
  EXPECT_TRUE(fs::exists(root_ + "/kept"));
  EXPECT_TRUE(fs::exists(root_ + "/kept-folder/file"));
}

TEST_F(RunDirectoryTest, RemoveTreeRefusesALinkAndAFileAndAcceptsWhatIsGone) {
  fs::create_directory(root_ + "/target");
  fs::create_directory_symlink(root_ + "/target", root_ + "/link");
  write(root_ + "/file");
  EXPECT_FALSE(remove_tree(root_ + "/link"));
  EXPECT_FALSE(remove_tree(root_ + "/file"));
  EXPECT_TRUE(remove_tree(root_ + "/gone"));
  EXPECT_TRUE(fs::exists(root_ + "/target"));
  EXPECT_TRUE(fs::exists(root_ + "/file"));
}

}  // namespace
}  // namespace bulkhead::coordinator
