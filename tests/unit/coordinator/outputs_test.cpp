// Files that a program writes: which settings name one, and how they come to their place.
#include "outputs.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "report/write_file.hpp"

namespace bulkhead::coordinator {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class OutputsTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "/outputs-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { fs::remove_all(directory_); }

  std::string path(const std::string& name) const { return directory_ + "/" + name; }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(path(name), std::ios::binary) << text;
    return path(name);
  }
  static std::string content(const std::string& path) {
    std::ostringstream text;
    text << std::ifstream(path, std::ios::binary).rdbuf();
    return text.str();
  }
  std::size_t files() const {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(directory_), fs::directory_iterator()));
  }

  std::string directory_;
};

TEST_F(OutputsTest, OnlySettingsThatNameAFileToWriteAreOutputs) {
  v1::ProgramDescription program;
  for (const auto& [name, type] : {std::pair("image", v1::PARAMETER_OUTPUT),
                                   {"map", v1::PARAMETER_OUTPUT},
                                   {"title", v1::PARAMETER_TEXT}}) {
    program.add_parameters()->set_name(name);
    program.mutable_parameters()->rbegin()->set_type(type);
  }
  const SettingValues settings{{"image", "a.png"}, {"map", ""}, {"title", "b"}};
  EXPECT_EQ(outputs_of(program, settings), std::set<std::string>{"image"});
}

TEST_F(OutputsTest, APlaceThatCouldNeverBeWrittenIsRefusedByTheEnvironment) {
  write("file", "");
  for (const auto& [target, words] : {std::pair(path("missing/a"), "create its directory first"),
                                      {path("file/a"), "create its directory first"},
                                      {directory_, "name a file in it"},
                                      {std::string("/proc/a"), "cannot write to '/proc/a'"},
                                      {std::string(5000, 'x'), "name another file"}}) {
    const auto checked = check_outputs({"image"}, {{"image", target}});
    ASSERT_FALSE(checked) << target;
    EXPECT_EQ(checked.error().code, kExitEnvironment);
    EXPECT_THAT(checked.error().text, testing::StartsWith("bulkhead: --set image: cannot "));
    EXPECT_THAT(checked.error().text, HasSubstr(words));
  }
  EXPECT_TRUE(check_outputs({"image"}, {{"image", path("new")}}));
  EXPECT_TRUE(check_outputs({"image"}, {{"image", path("file")}}));
  EXPECT_TRUE(check_outputs({"image"}, {{"image", "/dev/null"}}));
  EXPECT_EQ(files(), 1U);
}

TEST_F(OutputsTest, ADirectoryWithoutPermissionIsRefused) {
  ASSERT_EQ(::chmod(directory_.c_str(), 0500), 0);
  // Root may write anywhere: somebody else tries.
  const bool root = ::geteuid() == 0;
  if (root) {
    ASSERT_EQ(::seteuid(65534), 0);
  }
  const auto checked = check_outputs({"image"}, {{"image", path("new")}});
  if (root) {
    ASSERT_EQ(::seteuid(0), 0);
  }
  ASSERT_EQ(::chmod(directory_.c_str(), 0700), 0);
  ASSERT_FALSE(checked);
  EXPECT_THAT(checked.error().text, HasSubstr("Permission denied"));
}

TEST_F(OutputsTest, TheFirstCompleteRunsFileIsKeptAndPutInPlace) {
  OutputFiles outputs;
  outputs.take({{"image", write("first", "one")}});
  outputs.take({{"image", write("second", "two")}});
  EXPECT_FALSE(fs::exists(path("second")));
  ASSERT_TRUE(outputs.place({"image"}, {{"image", path("target")}}));
  EXPECT_EQ(content(path("target")), "one");
  EXPECT_EQ(files(), 2U);
}

TEST_F(OutputsTest, AFileThatWasNotWrittenIsTold) {
  OutputFiles outputs;
  for (int i = 0; i < 2; ++i) {
    const auto placed = outputs.place({"image"}, {{"image", path("target")}});
    ASSERT_FALSE(placed);
    EXPECT_EQ(placed.error().code, kExitUnfinished);
    EXPECT_THAT(placed.error().text, HasSubstr("--set image"));
    outputs.take({{"image", path("never written")}});
  }
  EXPECT_EQ(files(), 0U);
}

TEST_F(OutputsTest, WhatIsNoRegularFileIsNeverCopied) {
  write("secret", "secret");
  fs::create_symlink(path("secret"), path("link"));
  ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
  fs::create_directory(path("folder"));
  for (const char* name : {"link", "pipe", "folder"}) {
    OutputFiles outputs;
    outputs.take({{"image", path(name)}});
    const auto placed = outputs.place({"image"}, {{"image", path("target")}});
    ASSERT_FALSE(placed) << name;
    EXPECT_EQ(placed.error().code, kExitEnvironment) << name;
    EXPECT_FALSE(fs::exists(path("target"))) << name;
  }
}

// /dev/shm is another file system than the tests' own directory on most machines; where it is the
// same, the copy still has to be whole.
TEST_F(OutputsTest, ALargeFileCrossesFileSystemsWhole) {
  std::string text;
  for (int i = 0; text.size() < 3'000'000; ++i) text += std::to_string(i);
  std::string other = "/dev/shm/outputs-XXXXXX";
  if (::mkdtemp(other.data()) == nullptr) GTEST_SKIP() << "no /dev/shm to write to";
  const std::string target = other + "/target";
  const auto copied = copy_file(write("large", text), target);
  const std::string arrived = content(target);
  fs::remove_all(other);
  ASSERT_TRUE(copied) << copied.error().text;
  EXPECT_EQ(arrived, text);
}

}  // namespace
}  // namespace bulkhead::coordinator
