// A Supervisor under a fake clock.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "supervise/supervisor.hpp"

namespace bulkhead::coordinator {

inline std::string describe(const SupervisorAction& action) {
  const auto text = [](const char* verb, WorkerKey key) {
    return std::string(verb) + " " + std::to_string(key.worker) + "." +
           std::to_string(key.incarnation);
  };
  if (const auto* launch = std::get_if<LaunchWorker>(&action)) return text("launch", launch->key);
  if (const auto* drain = std::get_if<DrainWorker>(&action)) return text("drain", drain->key);
  if (const auto* term = std::get_if<TerminateWorker>(&action)) return text("term", term->key);
  return text("kill", std::get<KillWorker>(action).key);
}

class SupervisorTest : public testing::Test {
 protected:
  void make(const SupervisorSettings& settings) { supervisor_.emplace(settings); }
  void make(std::uint32_t workers = 1) {
    SupervisorSettings settings;
    settings.workers = workers;
    make(settings);
  }
  std::vector<std::string> actions() {
    std::vector<std::string> texts;
    for (const auto& action : supervisor_->take_actions()) texts.push_back(describe(action));
    return texts;
  }
  // What the loop does when nothing happens: sleeps until the next deadline and ticks.
  void idle(base::Duration time) {
    const base::TimePoint end = now_ + time;
    for (;;) {
      const auto next = supervisor_->next_deadline();
      if (!next || *next > end) break;
      now_ = std::max(now_, *next);
      supervisor_->tick(now_);
      ASSERT_LT(++ticks_, 10000) << "a deadline that has passed stays the next one";
    }
    now_ = end;
    supervisor_->tick(now_);
  }
  // Why, of all that were, in their order.
  std::string given_up() const {
    std::string text;
    for (const GivenUpWorker& worker : supervisor_->given_up()) {
      text += (text.empty() ? "" : "; ") + worker.reason;
    }
    return text;
  }
  // The process did not run at all meanwhile.
  void pause(base::Duration time) { now_ += time; }

  void to_handshaking(WorkerKey key) { supervisor_->launched(key, now_); }
  void to_ready(WorkerKey key) {
    supervisor_->launched(key, now_);
    ASSERT_TRUE(supervisor_->hello(key, now_));
  }
  WorkerEnd die(WorkerKey key, bool fruitful = false) {
    return supervisor_->exited(key, {}, SIGSEGV, fruitful, now_);
  }
  WorkerEnd killed(WorkerKey key) { return supervisor_->exited(key, {}, SIGKILL, false, now_); }

  std::optional<Supervisor> supervisor_;
  base::TimePoint now_{std::chrono::hours(1)};
  int ticks_ = 0;
};

}  // namespace bulkhead::coordinator
