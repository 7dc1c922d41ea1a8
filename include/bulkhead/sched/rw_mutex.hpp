// A mutex that many readers or one writer hold; it blocks goroutines and plain threads alike. Use
// it with std::unique_lock and std::shared_lock. Like Mutex it may be held across a switch, and
// unlocked by another than the one that locked it.
//
// Fairness, as in Go: from the moment that a writer waits, new readers wait behind it; when a
// writer unlocks, all readers that wait by then have their turn before the next writer. So neither
// side starves. Writers among themselves are served in order, each unlock handing over to the next.
//
// Hence a reader must not take the lock a second time while it has it: with a writer waiting in
// between, both would wait for ever.
//
// Not annotated for clang's analysis, as Mutex.
#pragma once

#include <atomic>
#include <bulkhead/sched/waiter.hpp>
#include <cstdint>

namespace bulkhead::sched {

class RWMutex {
 public:
  RWMutex() = default;
  ~RWMutex();  // unlocked
  RWMutex(const RWMutex&) = delete;
  RWMutex& operator=(const RWMutex&) = delete;

  void lock(base::SourceSite site = base::SourceSite::current()) {
    interleave();
    std::uint64_t expected = 0;
    // acquire pairs with the release of whoever unlocked last.
    if (!word_.compare_exchange_strong(expected, kWriter, std::memory_order_acquire,
                                       std::memory_order_relaxed))
      lock_slow(site);
  }
  bool try_lock() {
    interleave();
    std::uint64_t expected = 0;
    // acquire pairs with the release of whoever unlocked last; a failure publishes nothing.
    return word_.compare_exchange_strong(expected, kWriter, std::memory_order_acquire,
                                         std::memory_order_relaxed);
  }
  void unlock() {
    interleave();
    std::uint64_t expected = kWriter;
    // release pairs with the acquire of whoever locks next.
    if (!word_.compare_exchange_strong(expected, 0, std::memory_order_release,
                                       std::memory_order_relaxed))
      unlock_slow();
  }

  void lock_shared(base::SourceSite site = base::SourceSite::current()) {
    interleave();
    // acquire pairs with the release in unlock(); readers publish nothing to each other.
    if ((word_.fetch_add(1, std::memory_order_acquire) & kWriter) != 0) lock_shared_slow(site);
  }
  bool try_lock_shared();
  void unlock_shared() {
    interleave();
    // release pairs with the acquire of the writer that comes next.
    const std::uint64_t before = word_.fetch_sub(1, std::memory_order_release);
    if ((before & kWriter) != 0 || (before & kReaders) == 0) [[unlikely]]
      unlock_shared_slow(before);
  }

 private:
  // word_: the number of readers, those that hold the lock and those that wait, and two flags.
  static constexpr std::uint64_t kReaders = 0xffff'ffff;
  static constexpr std::uint64_t kWriter = std::uint64_t{1} << 32;  // one holds it or drains it
  static constexpr std::uint64_t kQueue = std::uint64_t{1} << 33;   // writers_ is not empty

  void lock_slow(base::SourceSite site);
  void unlock_slow();
  void lock_shared_slow(base::SourceSite site);
  void unlock_shared_slow(std::uint64_t before);

  std::atomic<std::uint64_t> word_{0};
  Lock lock_;
  // The writer that kWriter stands for, while it waits for the readers that came before it.
  Waiter* drainer_ BULKHEAD_GUARDED_BY(lock_) = nullptr;
  std::uint64_t to_drain_ BULKHEAD_GUARDED_BY(lock_) = 0;  // those readers that are left
  WaiterList writers_ BULKHEAD_GUARDED_BY(lock_);          // behind that writer
  WaiterList readers_ BULKHEAD_GUARDED_BY(lock_);
  std::uint64_t parked_readers_ BULKHEAD_GUARDED_BY(lock_) = 0;  // length of readers_
  // Readers let in by unlock() that were counted in word_ but had not reached readers_.
  std::uint64_t admitted_ BULKHEAD_GUARDED_BY(lock_) = 0;
};

}  // namespace bulkhead::sched
