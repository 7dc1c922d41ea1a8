// Runs the real command as a user would, in a world of its own: private run directory, and a mark
// in the environment by which every process that it left behind is found.
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <bulkhead/base/sanitizers.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace bulkhead::test {

struct Outcome {
  int exit_code = -1;  // -1: killed by `signal`
  int signal = 0;
  std::string out;
  std::string err;
  double seconds = 0;
};

#if defined(BULKHEAD_TSAN) || defined(BULKHEAD_ASAN)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

#if defined(BULKHEAD_TSAN)
inline constexpr bool kThreadSanitizer = true;
#else
inline constexpr bool kThreadSanitizer = false;
#endif

// Deadlines are there to end a hang, not to measure.
inline constexpr auto kDeadline = std::chrono::seconds(120);
// Where the time itself is promised (2 s), with room for a busy machine.
inline constexpr double kPromptSeconds = kSanitized ? 60 : 10;

// Asks again and again until `condition` holds; false after the deadline.
bool eventually(const std::function<bool()>& condition, std::chrono::seconds deadline = kDeadline);
// Lets a chosen instant come; for faults at random times, never to wait for something.
void let_pass(std::chrono::microseconds time);

// Between the processes of one machine.
inline const std::vector<std::string> kTransports{"zmq-ipc", "unix", "shm"};

class CommandTest : public testing::Test {
 protected:
  CommandTest();
  ~CommandTest() override;  // nothing of ours is left, or the test fails; then it is removed

  // `bulkhead ARGUMENTS…`, to its end.
  Outcome bulkhead(const std::vector<std::string>& arguments);
  // Started only; finish() with its pid. Several at once are fine. Standard output goes to `out`
  // where that is a path.
  pid_t start(const std::vector<std::string>& arguments, const std::string& out = "");
  Outcome finish(pid_t pid);

  // The report of a run with `--json -`.
  static nlohmann::json report(const Outcome& outcome);
  static const nlohmann::json& model(const nlohmann::json& report, const std::string& name);

  // Live processes (no zombies) that carry our mark; the second asks for those whose command line
  // has `word` in it.
  std::vector<pid_t> marked() const;
  std::vector<pid_t> marked(const std::string& word) const;
  // SIGKILL by pidfd; true when it was alive (not a zombie) and got it.
  bool kill_hard(pid_t pid);
  std::vector<std::string> run_directories() const;
  // What the latest started command has said on standard error so far.
  std::string said() const;

  std::string path(const std::string& name) const { return root_ + "/" + name; }
  std::string write_file(const std::string& name, const std::string& content) const;

  std::map<std::string, std::string> environment_;
  const std::string root_;
  // A command cleans up after itself: none of its descendants outlives it and comes to us, who are
  // a subreaper, alive or as a zombie. Whoever kills the command itself allows for orphans.
  bool orphans_allowed_ = false;

 private:
  struct Running {
    std::string out, err;
    std::chrono::steady_clock::time_point begin;
  };
  std::map<pid_t, Running> running_;
  int started_ = 0;
};

// The whole ladder, in its order.
inline const std::vector<std::string> kModels{"sequential", "concurrent", "parallel", "threads",
                                              "processes"};

extern const std::string kTestWorker;  // path of tests/support/test_worker.cpp's program

}  // namespace bulkhead::test
