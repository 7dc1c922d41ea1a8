// What workers print, in files of their own.
#include <signal.h>
#include <sys/resource.h>

#include "host/log_file.hpp"
#include "host_fixture.hpp"

namespace bulkhead::coordinator {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

std::string content_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

class LogTest : public HostTest {
 protected:
  std::string path(const std::string& name) const { return directory_ + "/" + name; }
  LaunchSpec logged(std::uint32_t worker, const std::string& script) {
    LaunchSpec spec = shell(worker, script);
    spec.log = path(std::to_string(worker) + ".log");
    return spec;
  }
};

TEST_F(LogTest, HasEveryByteInItsOrderOfBothStreams) {
  const auto exited =
      run(logged(1,
                 "i=0; while [ $i -lt 20000 ]; do echo \"line $i\"; echo \"error $i\" >&2; "
                 "i=$((i+1)); done; printf '\\033[2J\\377\\000end'"));
  EXPECT_EQ(exited.log, path("1.log"));
  std::string expected;
  for (int i = 0; i < 20000; ++i) {
    expected += "line " + std::to_string(i) + "\nerror " + std::to_string(i) + "\n";
  }
  expected += std::string("\033[2J\377\000end", 9);
  EXPECT_TRUE(content_of(path("1.log")) == expected);
  EXPECT_EQ(exited.stderr_tail, expected.substr(expected.size() - exited.stderr_tail.size()));
}

TEST_F(LogTest, IsThereWhileTheWorkerRuns) {
  launch(logged(1, "echo first; read -r never <&3"));
  EXPECT_TRUE(becomes_true([&] {
    wait_briefly(10);
    return content_of(path("1.log")) == "first\n";
  }));
  host_->kill_group({1, 1});
  EXPECT_EQ(await<HostExited>({1, 1}).log, path("1.log"));
}

TEST_F(LogTest, WhoPrintsNothingHasNoneAndAnEarlierOneIsGone) {
  std::ofstream(path("1.log")) << "of an earlier run";
  EXPECT_EQ(run(logged(1, "exit 0")).log, std::nullopt);
  EXPECT_FALSE(fs::exists(path("1.log")));
}

TEST_F(LogTest, AnEarlierOneIsReplaced) {
  std::ofstream(path("1.log")) << "of an earlier run, and longer";
  EXPECT_EQ(run(logged(1, "echo new")).log, path("1.log"));
  EXPECT_EQ(content_of(path("1.log")), "new\n");
}

TEST_F(LogTest, WithoutAPlaceForItTheWorkerRunsOn) {
  auto spec = logged(1, "echo something; exit 3");
  spec.log = path("missing/1.log");
  const auto exited = run(std::move(spec));
  EXPECT_EQ(exited.exit_code, 3);
  EXPECT_EQ(exited.log, std::nullopt);
  EXPECT_EQ(exited.stderr_tail, "something\n");
}

TEST_F(LogTest, AFullDiskIsToldOnceAndWhatWasWrittenStays) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  ASSERT_NE(signal(SIGXFSZ, SIG_IGN), SIG_ERR);
  const rlimit small{1000, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  LogFile log(path("full.log"));
  const auto first = log.append(std::string(1500, 'x'));
  const auto second = log.append("more");
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, SIG_DFL);
  ASSERT_FALSE(first);
  EXPECT_THAT(first.error().text, HasSubstr("full.log' cannot be written: File too large"));
  EXPECT_TRUE(second) << "once is enough";
  EXPECT_TRUE(log.append("more"));
  EXPECT_EQ(content_of(path("full.log")), std::string(1000, 'x'));
  EXPECT_EQ(log.path(), path("full.log"));
}

TEST_F(LogTest, WritesThroughNoLinkAndWaitsForNoFifo) {
  std::ofstream(path("precious")) << "mine";
  LogFile linked(path("link.log"));
  fs::create_symlink(path("precious"), path("link.log"));
  EXPECT_FALSE(linked.append("theirs"));
  EXPECT_EQ(content_of(path("precious")), "mine");
  LogFile fifo(path("fifo.log"));
  ASSERT_EQ(mkfifo(path("fifo.log").c_str(), 0600), 0);
  EXPECT_FALSE(fifo.append("to nobody"));
}

}  // namespace
}  // namespace bulkhead::coordinator
