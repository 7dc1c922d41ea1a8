// A LocalHost with the built `bulkhead` as its launcher, and ways to wait for what it does.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <variant>
#include <vector>

#include "host/local_host.hpp"
#include "host/processes.hpp"
#include "host/run_directory.hpp"

namespace bulkhead::coordinator {

inline constexpr std::chrono::seconds kDeadline{60};
inline const char* const kLauncher = BULKHEAD_COMMAND;

inline std::size_t count_fds() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
    ++count;
  return count;
}

inline std::vector<pid_t> children_of(pid_t parent) {
  std::vector<pid_t> pids;
  for (const Process& process : list_processes())
    if (process.parent == parent) pids.push_back(process.pid);
  return pids;
}

inline bool is_alive(pid_t pid) {
  for (const Process& process : list_processes())
    if (process.pid == pid) return process.alive;
  return false;
}

// For what has no descriptor to wait on: the ends of others' children, and files that they write.
inline bool becomes_true(const std::function<bool()>& condition) {
  const auto deadline = base::Clock::now() + kDeadline;
  while (!condition()) {
    if (base::Clock::now() >= deadline) return false;
    ::poll(nullptr, 0, 2);
  }
  return true;
}

inline LaunchSpec shell(std::uint32_t worker, const std::string& script) {
  LaunchSpec spec;
  spec.key = {worker, 1};
  spec.executable = "/bin/sh";
  spec.arguments = {"-c", script};
  return spec;
}

class HostTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "bulkhead-host-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
    auto host = start_local_host("", kLauncher);
    ASSERT_TRUE(host) << host.error().text;
    host_ = std::move(*host);
  }
  void TearDown() override {
    host_.reset();
    EXPECT_THAT(children_of(::getpid()), ::testing::IsEmpty());
    EXPECT_TRUE(remove_tree(directory_));
  }

  void launch(LaunchSpec spec) {
    const auto launched = host_->launch(std::move(spec));
    ASSERT_TRUE(launched) << launched.error().text;
  }

  void wait_briefly(int milliseconds) {
    pollfd waiting{host_->event_fd(), POLLIN, 0};
    ::poll(&waiting, 1, milliseconds);
    for (HostEvent& event : host_->take_events()) seen_.push_back(std::move(event));
  }

  // The next event of that kind about that worker; others are kept for later.
  template <class Event>
  Event await(WorkerKey key) {
    const auto deadline = base::Clock::now() + kDeadline;
    for (;;) {
      for (auto it = seen_.begin(); it != seen_.end(); ++it) {
        Event* const event = std::get_if<Event>(&*it);
        if (event == nullptr || event->key != key) continue;
        Event found = std::move(*event);
        seen_.erase(it);
        return found;
      }
      if (base::Clock::now() >= deadline) break;
      wait_briefly(1000);
    }
    ADD_FAILURE() << "no such event for worker " << key.worker;
    return {};
  }

  // The next event of one of two kinds about that worker.
  template <class One, class Other>
  std::variant<One, Other> await_either(WorkerKey key) {
    const auto is_about = [key](const HostEvent& event) {
      const auto* one = std::get_if<One>(&event);
      const auto* other = std::get_if<Other>(&event);
      return (one != nullptr && one->key == key) || (other != nullptr && other->key == key);
    };
    EXPECT_TRUE(becomes_true([&] {
      wait_briefly(10);
      return std::any_of(seen_.begin(), seen_.end(), is_about);
    }));
    const auto found = std::find_if(seen_.begin(), seen_.end(), is_about);
    if (found == seen_.end()) return One{};
    const bool is_one = std::holds_alternative<One>(*found);
    std::variant<One, Other> result;
    if (is_one) {
      result = std::get<One>(std::move(*found));
    } else {
      result = std::get<Other>(std::move(*found));
    }
    seen_.erase(found);
    return result;
  }

  HostExited run(LaunchSpec spec) {
    const WorkerKey key = spec.key;
    launch(std::move(spec));
    await<HostLaunched>(key);
    return await<HostExited>(key);
  }

  std::string file(const std::string& name) const { return directory_ + "/" + name; }
  bool exists(const std::string& name) const { return std::filesystem::exists(file(name)); }
  void write_file(const std::string& name, const std::string& text) const {
    std::ofstream(file(name)) << text;
  }
  // A pid that a script writes with `echo $! > file`.
  pid_t read_pid(const std::string& name) const {
    pid_t pid = 0;
    EXPECT_TRUE(becomes_true([&] {
      std::ifstream input(file(name));
      std::string line;
      return std::getline(input, line) && !input.eof() && std::istringstream(line) >> pid;
    })) << name;
    return pid;
  }

  std::string directory_;
  std::unique_ptr<Host> host_;
  std::vector<HostEvent> seen_;
};

}  // namespace bulkhead::coordinator
