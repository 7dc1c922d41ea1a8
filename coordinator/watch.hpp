// What an epoll set is to wake us for on behalf of one connection: a message, room, or both, on one
// descriptor or two.
#pragma once

#include <sys/epoll.h>

#include <bulkhead/base/check.hpp>
#include <bulkhead/transport/connection.hpp>
#include <cerrno>
#include <cstdint>
#include <map>
#include <utility>

namespace bulkhead::coordinator {

// Events carry `id`. Goes before its connection does, or with it: a descriptor that is closed
// leaves the set by itself.
class Watch {
 public:
  Watch(int epoll, std::uint64_t id) : epoll_(epoll), id_(id) {}

  std::uint64_t id() const { return id_; }
  // After prepare_to_wait(); from then on, until something else is said.
  void for_message(const transport::Signal& signal) { change(message_, {signal.fd, EPOLLIN}); }
  void for_room(const transport::Signal& signal) {
    change(room_, {signal.fd, signal.writable ? EPOLLOUT : EPOLLIN});
  }
  void for_no_message() { change(message_, {}); }
  void for_no_room() { change(room_, {}); }
  bool waits_for_room() const { return room_.fd >= 0; }

 private:
  struct Wanted {
    int fd = -1;
    std::uint32_t events = 0;
  };

  void change(Wanted& wanted, Wanted to) {
    const Wanted before = std::exchange(wanted, to);
    set(before.fd);
    set(to.fd);
  }
  void set(int fd) {
    if (fd < 0) return;
    epoll_event event{};
    event.data.u64 = id_;
    for (const Wanted& wanted : {message_, room_}) {
      if (wanted.fd == fd) event.events |= wanted.events;
    }
    const auto known = in_set_.find(fd);
    const bool added = known == in_set_.end();
    if (event.events == (added ? 0 : known->second)) return;
    const int operation = added ? EPOLL_CTL_ADD : event.events == 0 ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
    BULKHEAD_CHECK(epoll_ctl(epoll_, operation, fd, &event) == 0, "epoll_ctl: errno {}", errno);
    if (event.events == 0) {
      in_set_.erase(known);
    } else {
      in_set_[fd] = event.events;
    }
  }

  const int epoll_;
  const std::uint64_t id_;
  Wanted message_;
  Wanted room_;
  std::map<int, std::uint32_t> in_set_;
};

}  // namespace bulkhead::coordinator
