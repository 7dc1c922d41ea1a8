// A fork server and the workers that it forks; this process stands for the launcher.
#include "host/fork_server.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <bulkhead/wire/crash_page.hpp>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "host_fixture.hpp"

namespace bulkhead::coordinator {
namespace {

using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr int kExitCoordinatorGone = 75;
const std::string kTestWorker = BULKHEAD_TEST_WORKER;

class ForkServerTest : public ::testing::Test {
 protected:
  struct Worker {
    pid_t pid = 0;
    base::UniqueFd lifeline;
    base::UniqueFd err;
  };

  void SetUp() override {
    ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    hang_up_ = base::UniqueFd(ends[0]);
    far_end_ = base::UniqueFd(ends[1]);
    auto page = wire::CrashPageMapping::create();
    ASSERT_TRUE(page);
    page_ = std::move(*page);
    server_.emplace(hang_up_.get());
  }
  void TearDown() override {
    server_.reset();
    EXPECT_TRUE(becomes_true([] {
      while (::waitpid(-1, nullptr, WNOHANG) > 0) {
      }
      return children_of(::getpid()).empty();
    }));
    ::prctl(PR_SET_CHILD_SUBREAPER, 0);
  }

  // Nothing where the executable serves no forks.
  std::optional<Spawned> spawn(Worker& worker, const std::string& executable = kTestWorker) {
    int lifeline[2], err[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, lifeline), 0);
    EXPECT_EQ(::pipe2(err, O_CLOEXEC), 0);
    worker.lifeline = base::UniqueFd(lifeline[0]);
    worker.err = base::UniqueFd(err[0]);
    const base::UniqueFd its_lifeline(lifeline[1]), its_err(err[1]);
    SpawnRequest request;
    request.executable = executable;
    request.lifeline = its_lifeline.get();
    request.out = request.err = its_err.get();
    request.crash_page = page_.fd();
    const auto spawned = server_->spawn(request);
    if (spawned) worker.pid = spawned->pid;
    return spawned;
  }
  static int exit_code(pid_t pid) {
    int status = 0;
    EXPECT_TRUE(becomes_true([&] { return ::waitpid(pid, &status, WNOHANG) == pid; }));
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  static std::string read_all(const base::UniqueFd& fd) {
    std::string text;
    char buffer[4096];
    for (ssize_t size; (size = ::read(fd.get(), buffer, sizeof buffer)) > 0;)
      text.append(buffer, static_cast<std::size_t>(size));
    return text;
  }
  static std::set<std::string> descriptors_of(pid_t pid) {
    std::set<std::string> names;
    for (const auto& entry :
         std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd"))
      names.insert(entry.path().filename());
    return names;
  }

  base::UniqueFd hang_up_, far_end_;
  wire::CrashPageMapping page_;
  std::optional<ForkServer> server_;
};

TEST_F(ForkServerTest, AWorkerIsTheCallersChildWithASessionAndDescriptorsOfItsOwn) {
  Worker worker;
  const auto spawned = spawn(worker);
  ASSERT_TRUE(spawned);
  ASSERT_EQ(spawned->error_number, 0);
  EXPECT_EQ(::getsid(worker.pid), worker.pid);
  EXPECT_TRUE(becomes_true([&] {
    const std::vector<pid_t> children = children_of(::getpid());
    return std::count(children.begin(), children.end(), worker.pid) == 1;
  }));
  // It waits for its boot message now.
  EXPECT_TRUE(becomes_true([&] { return descriptors_of(worker.pid).size() == 5; }));
  EXPECT_THAT(descriptors_of(worker.pid), UnorderedElementsAre("0", "1", "2", "3", "4"));
  EXPECT_EQ(std::filesystem::read_symlink("/proc/" + std::to_string(worker.pid) + "/exe"),
            std::filesystem::canonical(kTestWorker));
  worker.lifeline.reset();
  EXPECT_EQ(exit_code(worker.pid), kExitCoordinatorGone);
}

TEST_F(ForkServerTest, WorkersOfOneServerAreApart) {
  std::vector<Worker> workers(8);
  std::set<pid_t> pids;
  for (Worker& worker : workers) {
    const auto spawned = spawn(worker);
    ASSERT_TRUE(spawned);
    ASSERT_EQ(spawned->error_number, 0);
    pids.insert(worker.pid);
  }
  EXPECT_EQ(pids.size(), workers.size());
  // What is no boot message: said on the standard error of the one that read it.
  ASSERT_EQ(::send(workers[3].lifeline.get(), "\xff\xff\xff\xff", 4, MSG_NOSIGNAL), 4);
  EXPECT_NE(exit_code(workers[3].pid), kExitCoordinatorGone);
  EXPECT_THAT(read_all(workers[3].err), ::testing::HasSubstr("boot message"));
  for (std::size_t i = 0; i < workers.size(); ++i) {
    if (i == 3) continue;
    workers[i].lifeline.reset();
    EXPECT_EQ(exit_code(workers[i].pid), kExitCoordinatorGone);
    EXPECT_THAT(read_all(workers[i].err), IsEmpty());
  }
}

TEST_F(ForkServerTest, WhatServesNoForksIsSaidEachTime) {
  ::setenv("BULKHEAD_TEST_THREAD", "1", 1);
  for (const std::string& executable :
       {std::string("/bin/true"), std::string("/nonexistent/worker"), kTestWorker}) {
    for (int i = 0; i < 2; ++i) {
      Worker worker;
      EXPECT_FALSE(spawn(worker, executable)) << executable;
    }
  }
  ::unsetenv("BULKHEAD_TEST_THREAD");
}

TEST_F(ForkServerTest, AWorkerThatDiesBeforeItAnswersIsStartedInAnotherWay) {
  ::setenv("BULKHEAD_TEST_DIE_IN_FORK", "1", 1);
  pid_t server = -1;
  for (int i = 0; i < 3; ++i) {
    Worker worker;
    EXPECT_FALSE(spawn(worker));
    EXPECT_TRUE(i == 0 || server == server_->pid());  // it stays, and is asked again
    server = server_->pid();
    EXPECT_GT(server, 1);
  }
  ::kill(server, SIGKILL);
  Worker worker;
  EXPECT_FALSE(spawn(worker));
  EXPECT_EQ(server_->pid(), server) << "it was asked once more";
  ::unsetenv("BULKHEAD_TEST_DIE_IN_FORK");
}

TEST_F(ForkServerTest, AKilledServerIsStartedAgainAndItsWorkersStay) {
  Worker first, second;
  ASSERT_TRUE(spawn(first));
  const pid_t server = server_->pid();
  ::kill(server, SIGKILL);
  // All of its threads: the last one closes its socket.
  EXPECT_TRUE(becomes_true([&] { return child_by_pid(server, Collect::kPeek).pid == server; }));
  const auto spawned = spawn(second);
  ASSERT_TRUE(spawned);
  EXPECT_EQ(spawned->error_number, 0);
  EXPECT_NE(server_->pid(), server);
  EXPECT_TRUE(is_alive(first.pid));
  for (Worker* worker : {&first, &second}) {
    worker->lifeline.reset();
    EXPECT_EQ(exit_code(worker->pid), kExitCoordinatorGone);
  }
}

TEST_F(ForkServerTest, AServerThatDoesNotAnswerIsGivenUpWhenTheOtherEndHangsUp) {
  Worker first, second;
  ASSERT_TRUE(spawn(first));
  const pid_t server = server_->pid();
  ASSERT_EQ(::kill(server, SIGSTOP), 0);
  far_end_.reset();
  const auto spawned = spawn(second);
  ASSERT_TRUE(spawned);
  EXPECT_EQ(spawned->error_number, EOWNERDEAD);
  EXPECT_EQ(server_->pid(), -1);
  EXPECT_TRUE(becomes_true([&] { return !is_alive(server); }));
}

}  // namespace
}  // namespace bulkhead::coordinator
