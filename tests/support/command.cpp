#include "support/command.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <bulkhead/base/check.hpp>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

extern char** environ;

namespace bulkhead::test {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

const std::string kTestWorker = BULKHEAD_TEST_WORKER;

namespace {

constexpr const char* kMark = "BULKHEAD_TEST_MARK=";

std::string make_root() {
  std::string root = testing::TempDir() + "bulkhead-XXXXXX";
  if (mkdtemp(root.data()) == nullptr) std::abort();
  return root;
}

std::string slurp(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

bool is_zombie_or_gone(pid_t pid) {
  const std::string stat = slurp("/proc/" + std::to_string(pid) + "/stat");
  const auto end = stat.rfind(')');
  return end == std::string::npos || end + 2 >= stat.size() || stat[end + 2] == 'Z' ||
         stat[end + 2] == 'X';
}

}  // namespace

void let_pass(std::chrono::microseconds time) {
  timespec wait{time.count() / 1'000'000, (time.count() % 1'000'000) * 1000};
  ppoll(nullptr, 0, &wait, nullptr);
}

bool eventually(const std::function<bool()>& condition, std::chrono::seconds deadline) {
  const auto end = Clock::now() + deadline;
  while (!condition()) {
    if (Clock::now() > end) return false;
    let_pass(std::chrono::milliseconds(1));
  }
  return true;
}

CommandTest::CommandTest() : root_(make_root()) {
  environment_["BULKHEAD_RUN_DIR"] = path("runs");
  environment_["BULKHEAD_TEST_MARK"] = root_;
  BULKHEAD_CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0, "prctl: errno {}", errno);
}

CommandTest::~CommandTest() {
  for (const auto& [pid, running] : running_) kill(pid, SIGKILL);
  for (const auto& [pid, running] : running_) waitpid(pid, nullptr, 0);
  EXPECT_TRUE(eventually([&] { return marked().empty(); }))
      << marked().size() << " processes are left behind";
  for (const pid_t pid : marked()) kill(pid, SIGKILL);
  int orphans = 0;
  pid_t reaped = 0;
  while ((reaped = waitpid(-1, nullptr, WNOHANG)) > 0) ++orphans;
  if (!orphans_allowed_) {
    EXPECT_EQ(orphans, 0) << "descendants outlived their command";
  } else if (reaped == 0) {  // one that is just dying: not the next test's
    EXPECT_TRUE(eventually([] {
      while (waitpid(-1, nullptr, WNOHANG) > 0) {
      }
      return errno == ECHILD;
    }));
  }
  fs::remove_all(root_);
}

pid_t CommandTest::start(const std::vector<std::string>& arguments, const std::string& out) {
  std::vector<std::string> words{BULKHEAD_COMMAND};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string text = *variable;
    const std::string name = text.substr(0, text.find('='));
    if (!environment_.contains(name) && name != "BULKHEAD_LOG") variables.push_back(text);
  }
  for (const auto& [name, value] : environment_) variables.push_back(name + "=" + value);
  const auto pointers = [](std::vector<std::string>& texts) {
    std::vector<char*> result;
    for (std::string& text : texts) result.push_back(text.data());
    result.push_back(nullptr);
    return result;
  };
  Running running;
  running.out = out.empty() ? path("out." + std::to_string(started_)) : out;
  running.err = path("err." + std::to_string(started_++));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, running.out.c_str(), O_WRONLY | O_CREAT, 0600);
  posix_spawn_file_actions_addopen(&actions, 2, running.err.c_str(), O_WRONLY | O_CREAT, 0600);
  pid_t pid = -1;
  running.begin = Clock::now();
  const int failed = posix_spawn(&pid, BULKHEAD_COMMAND, &actions, nullptr, pointers(words).data(),
                                 pointers(variables).data());
  posix_spawn_file_actions_destroy(&actions);
  BULKHEAD_CHECK(failed == 0 && pid > 1, "posix_spawn: error {}", failed);
  running_[pid] = running;
  return pid;
}

Outcome CommandTest::finish(pid_t pid) {
  int status = 0;
  const bool ended = eventually([&] { return waitpid(pid, &status, WNOHANG) == pid; });
  EXPECT_TRUE(ended) << "the command hangs";
  if (!ended) {
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
  }
  const Running running = running_[pid];
  running_.erase(pid);
  Outcome outcome;
  outcome.seconds = std::chrono::duration<double>(Clock::now() - running.begin).count();
  outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  outcome.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  if (fs::is_regular_file(running.out)) outcome.out = slurp(running.out);
  outcome.err = slurp(running.err);
  return outcome;
}

Outcome CommandTest::bulkhead(const std::vector<std::string>& arguments) {
  return finish(start(arguments));
}

nlohmann::json CommandTest::report(const Outcome& outcome) {
  auto parsed = nlohmann::json::parse(outcome.out, nullptr, false);
  EXPECT_FALSE(parsed.is_discarded()) << outcome.out << outcome.err;
  return parsed;
}

const nlohmann::json& CommandTest::model(const nlohmann::json& report, const std::string& name) {
  for (const auto& entry : report.at("models")) {
    if (entry.at("model") == name) return entry;
  }
  ADD_FAILURE() << "no model " << name;
  return report;
}

std::vector<pid_t> CommandTest::marked() const { return marked(""); }

std::vector<pid_t> CommandTest::marked(const std::string& word) const {
  std::vector<pid_t> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc", error)) {
    const pid_t pid = std::atoi(entry.path().filename().c_str());
    if (pid <= 0 || pid == getpid()) continue;
    const std::string environment = slurp(entry.path() / "environ");
    if (environment.find(kMark + root_ + '\0') == std::string::npos) continue;
    if (!word.empty() && slurp(entry.path() / "cmdline").find(word) == std::string::npos) continue;
    if (!is_zombie_or_gone(pid)) found.push_back(pid);
  }
  return found;
}

bool CommandTest::kill_hard(pid_t pid) {
  const int fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (fd < 0) return false;
  const auto all = marked();
  const bool ours = std::find(all.begin(), all.end(), pid) != all.end();
  const bool sent = ours && syscall(SYS_pidfd_send_signal, fd, SIGKILL, nullptr, 0) == 0;
  close(fd);
  return sent;
}

std::vector<std::string> CommandTest::run_directories() const {
  std::vector<std::string> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(path("runs"), error)) {
    if (entry.is_directory()) found.push_back(entry.path());
  }
  return found;
}

std::string CommandTest::said() const { return slurp(path("err." + std::to_string(started_ - 1))); }

std::string CommandTest::write_file(const std::string& name, const std::string& content) const {
  const fs::path target = path(name);
  fs::create_directories(target.parent_path());
  std::ofstream(target, std::ios::binary) << content;
  return target;
}

}  // namespace bulkhead::test
