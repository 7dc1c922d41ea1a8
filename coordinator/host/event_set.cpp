#include "host/event_set.hpp"

#include <sys/timerfd.h>

#include <algorithm>
#include <bulkhead/base/check.hpp>
#include <cerrno>
#include <cstring>

namespace bulkhead::coordinator {
namespace {

using namespace std::chrono_literals;

epoll_event entry(std::uint64_t number, Source source, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = number << 8 | static_cast<std::uint64_t>(source);
  return event;
}

}  // namespace

Result<void> EventSet::open() {
  epoll_ = base::UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  timer_ = base::UniqueFd(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!is_open())
    return fail(Code::kResourceExhausted, "no descriptors to watch workers with: {}",
                std::strerror(errno));
  add(timer_.get(), 0, Source::kTimer);
  return {};
}

void EventSet::add(int fd, std::uint64_t number, Source source) {
  epoll_event event = entry(number, source, EPOLLIN);
  BULKHEAD_CHECK(::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0, "fd {}: {}", fd,
                 std::strerror(errno));
}

void EventSet::watch_writable(int fd, std::uint64_t number, Source source, bool wanted) {
  epoll_event event = entry(number, source, wanted ? EPOLLIN | EPOLLOUT : EPOLLIN);
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
}

void EventSet::remove(int fd) { ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr); }

std::vector<EventSet::Ready> EventSet::wait(int timeout_ms) {
  epoll_event events[64];
  const int count = ::epoll_wait(epoll_.get(), events, 64, timeout_ms);
  std::vector<Ready> ready;
  for (int i = 0; i < count; ++i)
    ready.push_back({events[i].data.u64 >> 8, static_cast<Source>(events[i].data.u64 & 0xff)});
  return ready;
}

void EventSet::wake_after(std::optional<base::Duration> time) {
  itimerspec setting{};
  if (time) {
    const base::Duration wait = std::max(*time, base::Duration(1));  // 0 would disarm it
    setting.it_value.tv_sec = static_cast<time_t>(wait / 1s);
    setting.it_value.tv_nsec = static_cast<long>((wait % 1s).count());
  }
  ::timerfd_settime(timer_.get(), 0, &setting, nullptr);
}

}  // namespace bulkhead::coordinator
