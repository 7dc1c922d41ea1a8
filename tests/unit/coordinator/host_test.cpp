// LocalHost with real children. The launcher is the built `bulkhead`.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <sstream>

#include "host_fixture.hpp"

namespace bulkhead::coordinator {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST_F(HostTest, ReportsTheExitCode) {
  for (const int code : {0, 3, 11, 255}) {
    const auto exited =
        run(shell(static_cast<std::uint32_t>(code), "exit " + std::to_string(code)));
    EXPECT_EQ(exited.exit_code, code);
    EXPECT_EQ(exited.signal, std::nullopt);
  }
}

TEST_F(HostTest, ReportsTheSignal) {
  for (const int number : {SIGSEGV, SIGABRT, SIGKILL, SIGTERM}) {
    const auto exited =
        run(shell(static_cast<std::uint32_t>(number), "kill -" + std::to_string(number) + " $$"));
    EXPECT_EQ(exited.signal, number);
    EXPECT_EQ(exited.exit_code, std::nullopt);
  }
}

TEST_F(HostTest, ReportsWhatTheWorkerUsed) {
  const auto exited = run(shell(1, "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"));
  EXPECT_EQ(exited.exit_code, 0);
  ASSERT_TRUE(exited.usage);
  EXPECT_GT(exited.usage->user_seconds + exited.usage->system_seconds, 0.0);
  EXPECT_GT(exited.usage->minor_faults, 0u);
  EXPECT_GT(exited.usage->peak_rss_bytes, 64.0 * 1024);
}

TEST_F(HostTest, CapturesStdoutApartFromStderr) {
  auto spec = shell(1, "echo out; echo err >&2");
  spec.capture_stdout = true;
  const auto exited = run(std::move(spec));
  EXPECT_EQ(exited.output, "out\n");
  EXPECT_EQ(exited.stderr_tail, "err\n");
}

TEST_F(HostTest, JoinsStdoutToStderrWhenItIsNotCaptured) {
  const auto exited = run(shell(1, "echo out; echo err >&2"));
  EXPECT_EQ(exited.output, "");
  EXPECT_EQ(exited.stderr_tail, "out\nerr\n");
}

TEST_F(HostTest, BoundsFloodsAndStillDrainsThem) {
  auto spec = shell(1, "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2; echo end >&2");
  spec.capture_stdout = true;
  const auto exited = run(std::move(spec));
  EXPECT_EQ(exited.exit_code, 0);
  EXPECT_EQ(exited.output.size(), 1u << 20);
  ASSERT_EQ(exited.stderr_tail.size(), 4096u);
  EXPECT_EQ(exited.stderr_tail.substr(4092), "end\n");
}

TEST_F(HostTest, SaysWhyAProgramCannotBeStartedAndLeavesNoZombie) {
  LaunchSpec missing;
  missing.key = {1, 1};
  missing.executable = file("missing");
  launch(std::move(missing));
  const auto not_found = await<HostLaunchFailed>({1, 1});
  EXPECT_EQ(not_found.error.code, Code::kNotFound);
  EXPECT_THAT(not_found.error.text, HasSubstr(file("missing")));

  write_file("plain", "text");
  LaunchSpec plain;
  plain.key = {2, 1};
  plain.executable = file("plain");
  launch(std::move(plain));
  EXPECT_EQ(await<HostLaunchFailed>({2, 1}).error.code, Code::kPermissionDenied);
  EXPECT_THAT(children_of(launcher_pid(*host_)), IsEmpty());
}

TEST_F(HostTest, RefusesTheSameIncarnationTwice) {
  launch(shell(1, "exec sleep 1000"));
  const auto again = host_->launch(shell(1, "exit 0"));
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Code::kInvalidArgument);
}

TEST_F(HostTest, RefusesACommandLineThatFitsNoPacket) {
  const auto launched = host_->launch(shell(1, std::string(1u << 20, 'x')));
  ASSERT_FALSE(launched);
  EXPECT_EQ(launched.error().code, Code::kTooLarge);
}

// A script that counts the shell's own descriptors with builtins alone: a pipeline or a wildcard
// would open more while it counts.
std::string count_own_fds() {
  return "i=0; n=0; while [ $i -lt 256 ]; do [ -e /proc/$$/fd/$i ] && n=$((n + 1));"
         "i=$((i + 1)); done; echo $n;";
}

TEST_F(HostTest, TheChildHasExactlyTheDescriptorsFromZeroToFour) {
  int lifeline[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, lifeline), 0);
  const base::UniqueFd ours(lifeline[0]);
  const base::UniqueFd page(::memfd_create("page", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(page.get(), 4096), 0);
  const base::UniqueFd inheritable(::open("/dev/null", O_RDONLY));  // not close-on-exec
  auto spec =
      shell(1, count_own_fds() +
                   "readlink /proc/$$/fd/0;"
                   "readlink /proc/$$/fd/3; readlink /proc/$$/fd/4; read line <&3; echo $line");
  spec.capture_stdout = true;
  spec.lifeline = base::UniqueFd(lifeline[1]);
  spec.crash_page = page.get();
  ASSERT_EQ(::write(ours.get(), "hello\n", 6), 6);
  const auto exited = run(std::move(spec));
  EXPECT_THAT(exited.output, HasSubstr("5\n/dev/null\nsocket:"));
  EXPECT_THAT(exited.output, HasSubstr("memfd:page"));
  EXPECT_THAT(exited.output, HasSubstr("hello\n"));
}

TEST_F(HostTest, WithoutACrashPageDescriptorFourIsClosed) {
  auto spec = shell(1, count_own_fds());
  spec.capture_stdout = true;
  EXPECT_EQ(run(std::move(spec)).output, "4\n");
}

TEST_F(HostTest, TheLifelineEndsWhenTheWorkerIsDead) {
  int lifeline[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, lifeline), 0);
  const base::UniqueFd ours(lifeline[0]);
  auto spec = shell(1, "exit 0");
  spec.lifeline = base::UniqueFd(lifeline[1]);
  run(std::move(spec));
  char byte;
  EXPECT_EQ(::recv(ours.get(), &byte, 1, MSG_DONTWAIT), 0);
}

TEST_F(HostTest, TheChildLeadsItsOwnSessionWithDefaultSignals) {
  auto spec =
      shell(1, "cut -d' ' -f1,5,6 /proc/$$/stat; grep -E 'Sig(Blk|Ign)' /proc/$$/status | cut -f2");
  spec.capture_stdout = true;
  launch(std::move(spec));
  const pid_t pid = await<HostLaunched>({1, 1}).pid;
  const auto exited = await<HostExited>({1, 1});
  std::istringstream words(exited.output);
  pid_t self = 0, group = 0, session = 0;
  std::string blocked, ignored;
  words >> self >> group >> session >> blocked >> ignored;
  EXPECT_EQ(self, pid);
  EXPECT_EQ(group, pid);
  EXPECT_EQ(session, pid);
  EXPECT_EQ(blocked, std::string(16, '0'));
  // 32 and 33 are glibc's own.
  EXPECT_EQ(std::stoull(ignored, nullptr, 16) & 0x7fffffff, 0u);
}

TEST_F(HostTest, SignalsTheWorkerAlone) {
  launch(
      shell(1, "trap 'exit 7' TERM; echo > " + file("ready") + "; while :; do sleep 0.01; done"));
  await<HostLaunched>({1, 1});
  ASSERT_TRUE(becomes_true([&] { return exists("ready"); }));
  host_->signal({1, 1}, SIGTERM);
  EXPECT_EQ(await<HostExited>({1, 1}).exit_code, 7);
  host_->signal({1, 1}, SIGTERM);  // gone: nothing happens
  host_->kill_group({1, 1});
}

TEST_F(HostTest, KillsTheGroup) {
  launch(shell(1, "sleep 1000 & echo $! > " + file("pid") + "; wait"));
  await<HostLaunched>({1, 1});
  const pid_t other = read_pid("pid");
  host_->kill_group({1, 1});
  EXPECT_EQ(await<HostExited>({1, 1}).signal, SIGKILL);
  EXPECT_TRUE(becomes_true([other] { return !is_alive(other); }));
}

TEST_F(HostTest, AKillAskedForBeforeTheLaunchIsAnsweredIsNotLost) {
  launch(shell(1, "exec sleep 1000"));
  host_->kill_group({1, 1});
  await<HostLaunched>({1, 1});
  EXPECT_EQ(await<HostExited>({1, 1}).signal, SIGKILL);
}

TEST_F(HostTest, TheGroupDiesWithItsLeader) {
  launch(shell(1, "sleep 1000 & echo $! > " + file("pid") + "; kill -9 $$"));
  const auto exited = await<HostExited>({1, 1});
  EXPECT_EQ(exited.signal, SIGKILL);
  EXPECT_EQ(exited.strays_killed, 1u);
  const pid_t other = read_pid("pid");
  EXPECT_TRUE(becomes_true([other] { return !is_alive(other); }));
}

TEST_F(HostTest, AStrayThatLeftTheSessionIsSweptToo) {
  launch(shell(1, "setsid sh -c 'sleep 1000 & echo $! > " + file("inner") + "; echo $$ > " +
                      file("pid") + "; wait' & while [ ! -s " + file("pid") +
                      " ]; do sleep 0.01; done; kill -9 $$"));
  const auto exited = await<HostExited>({1, 1});
  EXPECT_EQ(exited.signal, SIGKILL);
  const pid_t stray = read_pid("pid");
  const pid_t inner = read_pid("inner");
  EXPECT_TRUE(becomes_true([&] { return !is_alive(stray) && !is_alive(inner); }));
  EXPECT_TRUE(becomes_true([&] { return children_of(launcher_pid(*host_)).empty(); }));
}

TEST_F(HostTest, MeasuresTheMemoryOfALiveWorkerOnly) {
  launch(shell(1, "exec sleep 1000"));
  await<HostLaunched>({1, 1});
  const auto bytes = host_->pss_bytes({1, 1});
  ASSERT_TRUE(bytes);
  EXPECT_GT(*bytes, 0.0);
  EXPECT_EQ(host_->pss_bytes({2, 1}), std::nullopt);
}

TEST_F(HostTest, OutputThatAGroupMemberHoldsOpenIsDelivered) {
  auto spec = shell(1, "sleep 1000 & echo done");
  spec.capture_stdout = true;
  const auto exited = run(std::move(spec));
  EXPECT_EQ(exited.exit_code, 0);
  EXPECT_EQ(exited.output, "done\n");
}

TEST_F(HostTest, ShutdownLeavesNoChildAndStillTellsEveryEnd) {
  for (std::uint32_t worker = 1; worker <= 4; ++worker)
    launch(shell(worker, "trap '' TERM; sleep 1000 & wait"));
  for (std::uint32_t worker = 1; worker <= 4; ++worker) await<HostLaunched>({worker, 1});
  host_->shutdown();
  EXPECT_THAT(children_of(::getpid()), IsEmpty());
  for (std::uint32_t worker = 1; worker <= 4; ++worker)
    EXPECT_EQ(await<HostExited>({worker, 1}).signal, SIGKILL);
  EXPECT_FALSE(host_->launch(shell(9, "exit 0")));
  host_->shutdown();
}

TEST_F(HostTest, ShutdownRightAfterALaunchAnswersIt) {
  launch(shell(1, "exec sleep 1000"));
  host_->shutdown();
  int launched = 0, ended = 0;
  for (const HostEvent& event : host_->take_events()) {
    launched += std::holds_alternative<HostLaunched>(event);
    ended += !std::holds_alternative<HostLaunched>(event);
  }
  EXPECT_LE(launched, 1);
  EXPECT_EQ(ended, 1);
}

TEST_F(HostTest, TwoHundredLaunchesAndKillsLeakNoDescriptor) {
  run(shell(1000, "exit 0"));
  const std::size_t before = count_fds();
  std::mt19937 random(20240607);
  for (std::uint32_t worker = 0; worker < 200; ++worker) {
    launch(shell(worker, "exec sleep 1000"));
    // From at once to some milliseconds later: before the fork, in the set-up, in the program.
    const int rounds = static_cast<int>(random() % 4);
    if (rounds == 3) await<HostLaunched>({worker, 1});
    for (int i = 0; i < rounds; ++i) wait_briefly(static_cast<int>(random() % 3));
    host_->kill_group({worker, 1});
    ASSERT_EQ(await<HostExited>({worker, 1}).signal, SIGKILL) << "worker " << worker;
  }
  EXPECT_EQ(count_fds(), before);
  EXPECT_TRUE(becomes_true([&] { return children_of(launcher_pid(*host_)).empty(); }));
}

}  // namespace
}  // namespace bulkhead::coordinator
