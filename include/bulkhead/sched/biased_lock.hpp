// A Lock that costs no atomic instruction while only one thread takes it: the thread of a
// scheduler's only processor, or of the only one that runs just now. For channels, whose two locked
// instructions an item would be most of their cost.
//
// A lock belongs to the scheduler whose processor takes it first. While one processor of it runs
// alone, that takes the lock by saying that it is in a section, and then looking whether the lock
// is its scheduler's and it is alone. While several run they use a Lock. Who changes what that
// processor looks at makes each running thread pass a full fence (membarrier, 1 to 20 µs), and then
// waits until the processor is in no section: of the two stores and loads one sees the other, as in
// Dekker's algorithm; the fence that the owner would need is paid by the other. (Asymmetric fences:
// folly's, after Dice et al., "Quickly reacquirable locks", 2003.) There are two changes:
// - Another processor is about to run: once for all locks; see Monitor::share().
// - A stranger, a plain thread or another scheduler's, wants the lock: from then on it is nobody's,
//   for good.
//
// unlock() touches no memory of the lock after its last store, as with Lock.
#pragma once

#include <atomic>
#include <bulkhead/sched/lock.hpp>
#include <bulkhead/sched/task.hpp>
#include <cstdint>

namespace bulkhead::sched {

// Where the kernel has no membarrier, or TSan watches, no lock is ever taken the cheap way.
bool can_bias();
// Each running thread of the process passes a full fence. Only where can_bias().
void barrier_everywhere();
// Each processor, as long as it exists and before its `bias` is set.
void add_processor(const ProcessorHead& processor);
void remove_processor(const ProcessorHead& processor);

class BULKHEAD_CAPABILITY("lock") BiasedLock {
 public:
  BiasedLock() = default;
  BiasedLock(const BiasedLock&) = delete;
  BiasedLock& operator=(const BiasedLock&) = delete;

  // Answers how the caller holds it: the processor in whose section, nullptr as a Lock.
  ProcessorHead* lock() BULKHEAD_ACQUIRE() BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
    ProcessorHead* const processor = this_processor();
    if (processor != nullptr) {
      add_to_sections(*processor, 1);
      // The compiler must not turn them round; the processor may: see above.
      std::atomic_signal_fence(std::memory_order_seq_cst);
      if (owner_.load(std::memory_order_relaxed) == processor->bias.load(std::memory_order_relaxed))
          [[likely]]
        return processor;
      add_to_sections(*processor, -1u);
    }
    const std::uintptr_t owner = owner_.load(std::memory_order_acquire);  // pairs with disown()
    if (owner != kNobody && (processor == nullptr || owner != processor->home))
      return lock_slow(processor);
    lock_.lock();
    return nullptr;
  }
  void unlock() BULKHEAD_RELEASE() { unlock(held_how()); }
  void unlock(ProcessorHead* how) BULKHEAD_RELEASE() BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
    if (how != nullptr)
      add_to_sections(*how, -1u);
    else
      lock_.unlock();
  }
  // For the one that holds it.
  ProcessorHead* held_how() const { return lock_.held() ? nullptr : this_processor(); }
  // Likewise. True: nobody else has held it since this thread last did, if that has not switched in
  // between.
  bool untouched() const { return !lock_.held(); }

 private:
  static constexpr std::uintptr_t kNew = 0;
  static constexpr std::uintptr_t kLeaving = 1;  // a bit: it is being taken away from its owner
  static constexpr std::uintptr_t kNobody = 2;

  static void add_to_sections(ProcessorHead& processor, std::uint32_t count) {
    // release pairs with the acquire in disown() and in Monitor::share().
    processor.sections.store(processor.sections.load(std::memory_order_relaxed) + count,
                             std::memory_order_release);
  }
  ProcessorHead* lock_slow(const ProcessorHead* processor);
  void disown(std::uintptr_t owner);

  std::atomic<std::uintptr_t> owner_{kNew};  // or a ProcessorHead::home
  Lock lock_;
};

class BULKHEAD_SCOPED_CAPABILITY BiasedLockGuard {
 public:
  explicit BiasedLockGuard(BiasedLock& lock) BULKHEAD_ACQUIRE(lock) : lock_(lock) { lock_.lock(); }
  ~BiasedLockGuard() BULKHEAD_RELEASE() { lock_.unlock(); }
  BiasedLockGuard(const BiasedLockGuard&) = delete;
  BiasedLockGuard& operator=(const BiasedLockGuard&) = delete;

 private:
  BiasedLock& lock_;
};

}  // namespace bulkhead::sched
