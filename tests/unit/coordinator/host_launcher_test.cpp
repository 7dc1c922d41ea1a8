// What happens to workers when their launcher or their coordinator is killed.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <bulkhead/base/check.hpp>
#include <cstring>
#include <random>

#include "host_fixture.hpp"

namespace bulkhead::coordinator {
namespace {

using ::testing::HasSubstr;

class HostLauncherTest : public HostTest {
 protected:
  // -1, for none, must never reach kill(): it means every process there is.
  pid_t launcher() const {
    const pid_t pid = launcher_pid(*host_);
    BULKHEAD_CHECK(pid > 1, "there is no launcher");
    return pid;
  }
  // Kills the launcher and waits for the one after it.
  void kill_launcher() {
    const pid_t old = launcher();
    ::kill(old, SIGKILL);
    EXPECT_TRUE(becomes_true([&] {
      wait_briefly(10);
      return launcher_pid(*host_) != old;
    }));
  }
  std::vector<pid_t> written_pids(const std::string& name) const {
    std::ifstream input(file(name));
    std::vector<pid_t> pids;
    for (pid_t pid; input >> pid;) pids.push_back(pid);
    return pids;
  }
};

TEST_F(HostLauncherTest, ARunningWorkerOutlivesItsLauncherAndItsExitCodeIsStillRight) {
  launch(shell(1, "while [ ! -e " + file("go") + " ]; do sleep 0.01; done; echo bye; exit 9"));
  const pid_t pid = await<HostLaunched>({1, 1}).pid;
  kill_launcher();
  EXPECT_TRUE(is_alive(pid));
  write_file("go", "");
  const auto exited = await<HostExited>({1, 1});
  EXPECT_EQ(exited.exit_code, 9);
  EXPECT_EQ(exited.stderr_tail, "bye\n");
  ASSERT_TRUE(exited.usage);
  EXPECT_GT(exited.usage->minor_faults, 0u);
}

TEST_F(HostLauncherTest, AnAdoptedWorkersSignalGroupAndStraysAreHandled) {
  launch(shell(1, "sleep 1000 & echo $! > " + file("member") + "; setsid sleep 1000 & echo $! > " +
                      file("stray") + "; wait"));
  const pid_t pid = await<HostLaunched>({1, 1}).pid;
  const pid_t member = read_pid("member");
  const pid_t stray = read_pid("stray");
  kill_launcher();
  host_->signal({1, 1}, SIGSEGV);
  const auto exited = await<HostExited>({1, 1});
  EXPECT_EQ(exited.signal, SIGSEGV);
  EXPECT_GE(exited.strays_killed, 1u);
  EXPECT_TRUE(
      becomes_true([&] { return !is_alive(pid) && !is_alive(member) && !is_alive(stray); }));
}

TEST_F(HostLauncherTest, AnAdoptedGroupCanBeKilled) {
  launch(shell(1, "sleep 1000 & echo $! > " + file("member") + "; wait"));
  await<HostLaunched>({1, 1});
  const pid_t member = read_pid("member");
  kill_launcher();
  host_->kill_group({1, 1});
  EXPECT_EQ(await<HostExited>({1, 1}).signal, SIGKILL);
  EXPECT_TRUE(becomes_true([member] { return !is_alive(member); }));
}

TEST_F(HostLauncherTest, AKillThatTheLauncherDidNotLiveToObeyIsCarriedOut) {
  launch(shell(1, "exec sleep 1000"));
  await<HostLaunched>({1, 1});
  ::kill(launcher(), SIGSTOP);
  host_->kill_group({1, 1});
  kill_launcher();
  EXPECT_EQ(await<HostExited>({1, 1}).signal, SIGKILL);
}

TEST_F(HostLauncherTest, ACauseThatTheLauncherNeverReadIsReadByTheCoordinator) {
  launch(shell(1, "while [ ! -e " + file("go") + " ]; do sleep 0.01; done; kill -ABRT $$"));
  const pid_t pid = await<HostLaunched>({1, 1}).pid;
  ::kill(launcher(), SIGSTOP);
  write_file("go", "");
  ASSERT_TRUE(becomes_true([pid] { return !is_alive(pid); }));
  wait_briefly(0);
  kill_launcher();
  EXPECT_EQ(await<HostExited>({1, 1}).signal, SIGABRT);
}

TEST_F(HostLauncherTest, TheNextLauncherLaunches) {
  for (std::uint32_t worker = 1; worker <= 3; ++worker) {
    kill_launcher();
    EXPECT_EQ(run(shell(worker, "exit 4")).exit_code, 4);
  }
}

TEST_F(HostLauncherTest, ALaunchUnderWayFailsAndRunsNowhere) {
  ::kill(launcher(), SIGSTOP);
  launch(shell(1, "echo $$ >> " + file("pids") + "; exec sleep 1000"));
  kill_launcher();
  EXPECT_EQ(await<HostLaunchFailed>({1, 1}).error.code, Code::kUnavailable);
  EXPECT_TRUE(written_pids("pids").empty());
}

// It may have started the process and died before it could say so; then nothing of it is left.
TEST_F(HostLauncherTest, WheneverTheLauncherDiesALaunchIsOneLiveProcessOrNone) {
  const std::size_t before = count_fds();
  std::mt19937 random(7);
  for (std::uint32_t worker = 0; worker < 60; ++worker) {
    const std::string pids = "pids" + std::to_string(worker);
    launch(shell(worker, "echo $$ >> " + file(pids) + "; exec sleep 1000"));
    const auto until = base::Clock::now() + std::chrono::microseconds(random() % 4000);
    while (base::Clock::now() < until) {
    }
    kill_launcher();
    const auto launched = await_either<HostLaunched, HostLaunchFailed>({worker, 1});
    if (const auto* failed = std::get_if<HostLaunchFailed>(&launched)) {
      EXPECT_EQ(failed->error.code, Code::kUnavailable);
      for (const pid_t pid : written_pids(pids)) EXPECT_FALSE(is_alive(pid));
      // The next launcher works: three in a row that never did would be an error of the machine.
      EXPECT_EQ(run(shell(worker + 1000, "exit 4")).exit_code, 4);
      continue;
    }
    const pid_t pid = std::get<HostLaunched>(launched).pid;
    ASSERT_TRUE(becomes_true([&] { return !written_pids(pids).empty(); }));
    EXPECT_EQ(written_pids(pids), std::vector<pid_t>{pid});
    host_->kill_group({worker, 1});
    EXPECT_EQ(await<HostExited>({worker, 1}).signal, SIGKILL);
  }
  EXPECT_EQ(count_fds(), before);
}

TEST_F(HostLauncherTest, ShutdownEndsAdoptedWorkersToo) {
  launch(shell(1, "exec sleep 1000"));
  await<HostLaunched>({1, 1});
  kill_launcher();
  launch(shell(2, "exec sleep 1000"));
  await<HostLaunched>({2, 1});
  host_->shutdown();
  EXPECT_EQ(await<HostExited>({1, 1}).signal, SIGKILL);
  EXPECT_EQ(await<HostExited>({2, 1}).signal, SIGKILL);
}

TEST_F(HostLauncherTest, ShutdownDoesNotWaitForAStoppedLauncherForEver) {
  launch(shell(1, "exec sleep 1000"));
  const pid_t pid = await<HostLaunched>({1, 1}).pid;
  ::kill(launcher(), SIGSTOP);
  host_->shutdown();
  EXPECT_FALSE(is_alive(pid));
  EXPECT_EQ(await<HostExited>({1, 1}).signal, SIGKILL);
}

TEST_F(HostLauncherTest, TheLauncherIgnoresWhatATerminalSends) {
  const pid_t launcher = launcher_pid(*host_);
  EXPECT_NE(::getpgid(launcher), ::getpgrp());
  EXPECT_EQ(run(shell(1, "exit 0")).exit_code, 0);  // it has set itself up
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGUSR1}) ::kill(launcher, number);
  EXPECT_EQ(run(shell(2, "exit 5")).exit_code, 5);
  EXPECT_EQ(launcher_pid(*host_), launcher);
}

TEST(LocalHostTest, SaysThatTheLauncherIsMissing) {
  const auto host = start_local_host("", "/no/such/program");
  ASSERT_FALSE(host);
  EXPECT_THAT(host.error().text, HasSubstr("/no/such/program"));
}

TEST(LocalHostTest, GivesUpOnALauncherThatNeverWorks) {
  auto host = start_local_host("", "/bin/false");
  ASSERT_TRUE(host) << host.error().text;
  Result<void> launched;
  unsigned failed = 0;
  std::uint32_t worker = 0;
  EXPECT_TRUE(becomes_true([&] {
    launched = (*host)->launch(shell(++worker, "exit 0"));
    for (const HostEvent& event : (*host)->take_events())
      failed += std::holds_alternative<HostLaunchFailed>(event);
    return !launched;
  }));
  EXPECT_EQ(launched.error().code, Code::kUnavailable);
  EXPECT_THAT(launched.error().text, HasSubstr("/bin/false"));
  EXPECT_EQ(failed, worker - 1) << "each accepted launch is answered";
}

// A process that plays the coordinator, says which processes it has, and waits to be killed.
class KilledCoordinatorTest : public ::testing::Test {
 protected:
  struct Told {
    pid_t launcher = 0;
    pid_t workers[3] = {};
    char run_directory[200] = {};
  };

  void SetUp() override {
    std::string name = ::testing::TempDir() + "bulkhead-dead-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
    // Whatever the dead coordinator leaves behind becomes a child of this process, and is seen.
    ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
  }
  void TearDown() override {
    EXPECT_TRUE(becomes_true([] {
      const auto left = children_of(::getpid());
      return std::none_of(left.begin(), left.end(), is_alive);
    }));
    for (const pid_t pid : children_of(::getpid())) {
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
    }
    EXPECT_TRUE(remove_tree(root_));
  }

  [[noreturn]] void play_coordinator(int answer, bool kill_first_launcher) {
    ::setenv("BULKHEAD_RUN_DIR", (root_ + "/base").c_str(), 1);
    auto run = RunDirectory::create();
    if (!run) ::_exit(1);
    auto host = start_local_host(run->path(), kLauncher);
    if (!host) ::_exit(2);
    Told told;
    std::strncpy(told.run_directory, run->path().c_str(), sizeof told.run_directory - 1);
    std::ofstream(run->path() + "/file") << "x";
    const auto launch = [&](std::uint32_t worker) {
      // What an adopted worker has put into a session of its own nobody is left to find.
      const std::string stray = kill_first_launcher ? "" : "setsid sleep 1000 & ";
      if (!(*host)->launch(shell(worker, stray + "sleep 1000 & exec sleep 1000"))) ::_exit(3);
      while (told.workers[worker] == 0)
        for (const HostEvent& event : (*host)->take_events())
          if (const auto* launched = std::get_if<HostLaunched>(&event))
            told.workers[worker] = launched->pid;
    };
    launch(0);
    launch(1);
    if (kill_first_launcher) {
      const pid_t old = launcher_pid(**host);
      BULKHEAD_CHECK(old > 1);
      ::kill(old, SIGKILL);
      while (launcher_pid(**host) == old) (*host)->take_events();
    }
    launch(2);
    told.launcher = launcher_pid(**host);
    if (::write(answer, &told, sizeof told) != sizeof told) ::_exit(4);
    for (;;) ::pause();
  }

  void kill_coordinator_and_look(bool kill_first_launcher) {
    int answer[2];
    ASSERT_EQ(::pipe2(answer, O_CLOEXEC), 0);
    const pid_t coordinator = ::fork();
    ASSERT_GE(coordinator, 0);
    if (coordinator == 0) play_coordinator(answer[1], kill_first_launcher);
    ::close(answer[1]);
    Told told;
    ASSERT_EQ(::read(answer[0], &told, sizeof told), static_cast<ssize_t>(sizeof told));
    ::close(answer[0]);
    EXPECT_TRUE(std::filesystem::exists(told.run_directory));
    ::kill(coordinator, SIGKILL);
    ASSERT_EQ(::waitpid(coordinator, nullptr, 0), coordinator);
    EXPECT_TRUE(becomes_true([&] { return !is_alive(told.launcher); }));
    for (const pid_t worker : told.workers)
      EXPECT_TRUE(becomes_true([&] { return !is_alive(worker) && !group_lives(worker); }));
    EXPECT_TRUE(becomes_true([&] { return !std::filesystem::exists(told.run_directory); }));
  }

  static bool group_lives(pid_t leader) {
    for (const Process& process : list_processes())
      if (process.group == leader && process.alive) return true;
    return false;
  }

  std::string root_;
};

TEST_F(KilledCoordinatorTest, NothingOfItsRunRemains) { kill_coordinator_and_look(false); }

TEST_F(KilledCoordinatorTest, NothingRemainsAlsoWhenAnEarlierLauncherHadDied) {
  kill_coordinator_and_look(true);
}

}  // namespace
}  // namespace bulkhead::coordinator
