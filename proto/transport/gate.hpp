// Who may connect to a listening socket from which libzmq accepts.
//
// libzmq asks nobody, keeps what it has accepted for as long as the peer likes, and its listener
// for ipc aborts the process when accept4() reports EMFILE (zeromq/libzmq issue 1306; still so). So
// gate.cpp defines accept4() itself: the linker binds libzmq's call to it. For a guarded listener
// it closes what is not wanted before a byte of it is read, and never reports EMFILE; for any other
// socket it is the C library's.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <bulkhead/base/mutex.hpp>
#include <bulkhead/base/unique_fd.hpp>
#include <bulkhead/transport/zmq.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <vector>

namespace bulkhead::transport {

class Gate {
 public:
  // `listener` is non-blocking. The gate must outlive its use by libzmq.
  Gate(int listener, Admission admission);
  ~Gate();
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

  // See Router.
  std::vector<int> take_returned();
  int returned_fd() const { return returned_event_.get(); }
  std::uint64_t turned_away() const { return turned_away_.load(std::memory_order_relaxed); }

  // What accept4() does for this listener; one thread at a time. -1 with an errno that libzmq takes
  // for "nobody came".
  int accept(int flags);
  // Whether that is its listener still, and not another socket that has got its number.
  bool guards(int listener) const;

 private:
  struct Connection {
    ino_t inode = 0;  // tells it from a later one that got the same number
    pid_t pid = 0;
  };

  bool wanted(int connection);
  bool has_room(pid_t pid);
  void keep(int connection, pid_t pid);
  void forget_ended(const std::function<bool(const Connection&)>& concerned);
  int turn_away(int connection);
  int without_descriptors(int flags);

  const int listener_;
  const ino_t inode_;  // of the listener
  const Admission admission_;
  std::map<int, Connection> kept_;  // by descriptor; those that ended are found when it matters
  std::set<pid_t> known_;           // who has had a connection; at most one for each worker's life
  base::Mutex mutex_;
  std::vector<int> returned_ BULKHEAD_GUARDED_BY(mutex_);
  const base::UniqueFd returned_event_;
  // Given up for the moment in which somebody has to be turned away and no other number is free.
  base::UniqueFd spare_;
  std::atomic<std::uint64_t> turned_away_{0};  // relaxed: a count, it publishes nothing
};

}  // namespace bulkhead::transport
