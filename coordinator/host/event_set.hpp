// What LocalHost waits for, behind one descriptor: epoll with a timer inside.
#pragma once

#include <sys/epoll.h>

#include <bulkhead/base/clock.hpp>
#include <bulkhead/base/error.hpp>
#include <bulkhead/base/unique_fd.hpp>
#include <cstdint>
#include <optional>
#include <vector>

namespace bulkhead::coordinator {

// What an entry is about: a worker's number (0: the host itself) and one of its descriptors.
enum class Source : std::uint64_t { kSocket, kLauncher, kTimer, kPidfd, kOut, kErr };

class EventSet {
 public:
  struct Ready {
    std::uint64_t number;
    Source source;
  };

  Result<void> open();
  bool is_open() const { return static_cast<bool>(epoll_) && static_cast<bool>(timer_); }
  int fd() const { return epoll_.get(); }

  // A descriptor leaves by being closed, or by remove().
  void add(int fd, std::uint64_t number, Source source);
  void watch_writable(int fd, std::uint64_t number, Source source, bool wanted);
  void remove(int fd);

  std::vector<Ready> wait(int timeout_ms);
  // Makes fd() readable after that time; nullopt: not by the timer.
  void wake_after(std::optional<base::Duration> time);

 private:
  base::UniqueFd epoll_;
  base::UniqueFd timer_;
};

}  // namespace bulkhead::coordinator
