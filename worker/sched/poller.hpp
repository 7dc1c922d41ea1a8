// What goroutines wait for at descriptors: one epoll instance of a scheduler, made when it is first
// needed. Processors look at it, as poller.cpp and idle.cpp tell; it has no thread.
#pragma once

#include <sys/types.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bulkhead/base/unique_fd.hpp>
#include <bulkhead/sched/lock.hpp>
#include <bulkhead/sched/task.hpp>
#include <bulkhead/sched/timer_node.hpp>
#include <cstdint>
#include <memory>
#include <unordered_map>

#include "sched/queues.hpp"
#include "sched/timers.hpp"

namespace bulkhead::sched {

struct Standing;

class Poller {
 public:
  enum class Direction : std::uint8_t { kRead, kWrite };
  static constexpr std::size_t kDirections = 2;

  // One goroutine's wait, on its stack.
  struct FdWait : TimerNode {
    FdWait(Task& waiting, int descriptor, Direction where, std::int64_t until_ns);

    Task& task;
    const int fd;
    const Direction direction;
    const std::int64_t deadline;  // Timers::kNever: none
    // Who changes it from kWaiting wakes the goroutine.
    enum Outcome : std::uint8_t { kWaiting, kReady, kTimedOut };
    std::atomic<Outcome> outcome{kWaiting};
    int error = 0;  // of the kernel, that refuses to watch: errno
    // Guarded by the poller's lock.
    bool listed = false;
    FdWait* next = nullptr;

    // acq_rel: whoever is woken sees what went before.
    bool claim(Outcome result) {
      Outcome waiting = kWaiting;
      return outcome.compare_exchange_strong(waiting, result, std::memory_order_acq_rel);
    }
  };

  // A child of fork() gets an instance of its own: from its parent's it would take events away.
  void begin_run();
  // Throws std::system_error. On the waiting goroutine's side.
  void open();
  // Once its registers are saved. It may be woken before this returns, also by `timers` or because
  // the kernel refuses: then `error` says so.
  void arm(FdWait& wait, Timers& timers);
  // After the timeout.
  void forget(FdWait& wait);

  // Of StandingRead. Whether it is registered here, and not in another poller or process.
  bool knows(const Standing& standing);
  // Nothing: the kernel refuses, or there is no descriptor left.
  std::shared_ptr<Standing> stand(int fd);
  // As the other one, for a wait without a deadline.
  void arm(FdWait& wait, Standing& standing);

  // Any thread. Whether look() could find something.
  bool waiting() const { return waiting_.load(std::memory_order_acquire) != 0; }
  // Whether one of those that wait, and is not in an ExternalWait, may be told by the outside.
  // Or has been, and is about to be made runnable.
  // acquire pairs with unlist(): what was counted out of one was counted into the other before.
  bool hopes() const {
    return hoping_.load(std::memory_order_acquire) != 0 ||
           holding_.load(std::memory_order_acquire) != 0;
  }
  // Those that have become ready, a few dozen at most; they are the caller's to make runnable, who
  // then says handed_over(), if there were any.
  TaskList look();
  void handed_over() { holding_.fetch_sub(1, std::memory_order_release); }
  // Whether look() might find something: a system call, too.
  bool has_ready() const;
  // As look(), but blocks the thread until there are some, wake() has been called, or the deadline
  // has passed. Of one thread at a time.
  TaskList sleep(std::int64_t deadline_ns);
  void wake();

 private:
  struct Watched {
    std::array<FdWait*, kDirections> first{};
    std::uint32_t turn = 0;   // of the last registration
    bool registered = false;  // most likely

    bool is_waited_for() const {
      return std::any_of(first.begin(), first.end(), [](const FdWait* one) { return one; });
    }
  };

  TaskList take_events(std::int64_t deadline_ns, bool& woken);
  int watch(int fd, Watched& watched) BULKHEAD_REQUIRES(lock_);
  void list(FdWait*& place, FdWait& wait) BULKHEAD_REQUIRES(lock_);
  void unlist(FdWait*& place) BULKHEAD_REQUIRES(lock_);  // the one that is there
  void take(FdWait*& first, TaskList& ready) BULKHEAD_REQUIRES(lock_);
  void take_standing(std::uint32_t number, TaskList& ready) BULKHEAD_REQUIRES(lock_);

  Lock lock_;
  // By descriptor; kept for the next wait.
  std::unordered_map<int, Watched> watched_ BULKHEAD_GUARDED_BY(lock_);
  std::unordered_map<std::uint32_t, std::weak_ptr<Standing>> standing_ BULKHEAD_GUARDED_BY(lock_);
  std::uint32_t next_standing_ BULKHEAD_GUARDED_BY(lock_) = 0;
  std::atomic<std::uint32_t> waiting_{0};       // in lists
  std::atomic<std::uint32_t> hoping_{0};        // of these, not in an ExternalWait
  std::atomic<std::uint32_t> holding_{0};       // who has taken some and not handed them over yet
  pid_t owner_ BULKHEAD_GUARDED_BY(lock_) = 0;  // the process
  // Set once in it, before anybody waits. Shared with what is registered for good, which goes when
  // it likes.
  std::shared_ptr<const base::UniqueFd> epoll_;
  base::UniqueFd event_;  // wakes who sleeps, who alone reads it
};

}  // namespace bulkhead::sched
