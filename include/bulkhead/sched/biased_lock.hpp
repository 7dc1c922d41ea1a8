// A Lock that costs no atomic instruction while only one thread takes it: the thread of a
// scheduler's only processor, or of the only one that runs just now. For channels and mutexes,
// whose locked instructions would be most of their cost.
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

// Whether its caller is the only one who can be at what it guards.
class Bias {
 public:
  // The caller's processor, now in a section, until leave(): it is alone, and whoever else wants in
  // waits. nullptr: in no section, and others may come in meanwhile. `outer`: the sections that the
  // processor was in before.
  ProcessorHead* enter(std::uint32_t& outer) {
    ProcessorHead* const processor = this_processor();
    if (processor != nullptr && enter_alone(*processor, outer)) [[likely]]
      return processor;
    const std::uintptr_t owner = owner_.load(std::memory_order_acquire);  // pairs with disown()
    if (owner != kNobody && (processor == nullptr || owner != processor->home))
      return enter_slow(processor, outer);
    return nullptr;
  }
  // Only if that costs nothing: the caller's processor is alone, and this is its scheduler's.
  bool enter_alone(ProcessorHead& processor, std::uint32_t& outer) {
    outer = processor.sections.load(std::memory_order_relaxed);
    set_sections(processor, outer + 1);
    // The compiler must not turn them round; the processor may: see above.
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (covers(processor)) [[likely]]
      return true;
    set_sections(processor, outer);
    return false;
  }
  // For the one in a section: whether that is one of this lock, too.
  bool covers(const ProcessorHead& processor) const {
    return owner_.load(std::memory_order_relaxed) == processor.bias.load(std::memory_order_relaxed);
  }
  static void leave(ProcessorHead& processor) {
    set_sections(processor, processor.sections.load(std::memory_order_relaxed) - 1);
  }
  // For whoever has entered no other since and not switched: to add and to take away in memory,
  // where each waits for the other's store, would be half of what an operation takes.
  static void leave(ProcessorHead& processor, std::uint32_t outer) {
    set_sections(processor, outer);
  }

 private:
  static constexpr std::uintptr_t kNew = 0;
  static constexpr std::uintptr_t kLeaving = 1;  // a bit: it is being taken away from its owner
  static constexpr std::uintptr_t kNobody = 2;

  static void set_sections(ProcessorHead& processor, std::uint32_t count) {
    // release pairs with the acquire in disown() and in Monitor::share().
    processor.sections.store(count, std::memory_order_release);
  }
  ProcessorHead* enter_slow(const ProcessorHead* processor, std::uint32_t& outer);
  void disown(std::uintptr_t owner);

  std::atomic<std::uintptr_t> owner_{kNew};  // or a ProcessorHead::home
};

class BULKHEAD_CAPABILITY("lock") BiasedLock {
 public:
  BiasedLock() = default;
  BiasedLock(const BiasedLock&) = delete;
  BiasedLock& operator=(const BiasedLock&) = delete;

  // Answers how the caller holds it: the processor in whose section, nullptr as a Lock.
  ProcessorHead* lock() BULKHEAD_ACQUIRE() {
    std::uint32_t outer = 0;
    return lock(outer);
  }
  // `outer`: for unlock().
  ProcessorHead* lock(std::uint32_t& outer) BULKHEAD_ACQUIRE() BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
    ProcessorHead* const processor = bias_.enter(outer);
    if (processor == nullptr) lock_.lock();
    return processor;
  }
  void unlock() BULKHEAD_RELEASE() { unlock(held_how()); }
  void unlock(ProcessorHead* how) BULKHEAD_RELEASE() BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
    if (how != nullptr)
      Bias::leave(*how);
    else
      lock_.unlock();
  }
  // For whoever has taken no other since and not switched.
  void unlock(ProcessorHead* how, std::uint32_t outer)
      BULKHEAD_RELEASE() BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
    if (how != nullptr)
      Bias::leave(*how, outer);
    else
      lock_.unlock();
  }
  // For one section with several locks.
  Bias& bias() { return bias_; }
  // For the one that holds it.
  ProcessorHead* held_how() const { return lock_.held() ? nullptr : this_processor(); }
  // Likewise. True: nobody else has held it since this thread last did, if that has not switched in
  // between.
  bool untouched() const { return !lock_.held(); }

 private:
  Bias bias_;
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
