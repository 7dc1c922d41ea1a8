// What a goroutine is made of, and how code finds out which one it runs in. Public only because
// go() is a template and the fast paths of the primitives are inline; not for direct use.
#pragma once

#include <atomic>
#include <bulkhead/base/opaque.hpp>
#include <bulkhead/base/source_site.hpp>
#include <cstddef>
#include <cstdint>

namespace bulkhead::sched {

// A number that a goroutine carries and its children inherit; the worker puts the job there.
using Tag = std::uint64_t;
inline constexpr Tag kNoTag = ~Tag{0};

// Why a goroutine does not run; for dumps.
enum class ParkReason : std::uint8_t {
  kNone = 0,  // it runs, or it could
  kSend,      // Channel::send: no room and no receiver
  kReceive,   // Channel::receive: nothing there
  kSelect,    // select: none of its cases
  kSelectTimeout,
  kWaitGroup,
  kMutex,
  kSleep,
  kRWMutexRead,   // RWMutex::lock_shared: a writer has it, or waits for it
  kRWMutexWrite,  // RWMutex::lock
  kOnce,          // Once::call: another runs the function
  kCond,
  kSemaphore,  // Semaphore::acquire
  kJoin,
  kErrGroup,          // ErrGroup::go at its limit, ErrGroup::wait
  kNilSend,           // through an end of no channel: for ever
  kNilReceive,        // likewise
  kSelectNothing,     // select without a case that could happen: for ever
  kBlocking,          // blocking(): its call is under way
  kBlockingPoolFull,  // blocking(): it waits for a free helper
  kReadable,          // wait_readable
  kWritable,          // wait_writable
};

// What a goroutine waits for, and where; for dumps.
struct Wait {
  // NOLINTNEXTLINE(google-explicit-constructor)
  constexpr Wait(ParkReason why, const void* what = nullptr, base::SourceSite where = {})
      : reason(why), object(what), site(where) {}
  ParkReason reason;
  const void* object;     // the primitive; nullptr: none
  base::SourceSite site;  // of the operation
};

class Scheduler;
class ThreadHost;
struct SchedulerImpl;
struct Fiber;
struct Particulars;

// A goroutine, from go() until its body has returned: two cache lines of a slab that stays mapped
// as long as its scheduler lives, so that dumps may look at any time.
struct alignas(64) Task {
  enum State : std::uint8_t { kFree, kRunnable, kRunning, kParked, kSleeping };
  static constexpr std::size_t kClosureBytes = 64;
  enum Mark : std::uint8_t {
    kPlaced = 1,  // deliver() says where it runs: it is pinned, or all migrate
    kTraced = 2,
  };

  Task* next = nullptr;                // in a free list or in the injector
  std::atomic<Fiber*> fiber{nullptr};  // its stack, from its first run on
  SchedulerImpl* scheduler = nullptr;
  // Runs what is in `closure`, or only destroys it.
  void (*body)(Task& task, bool run) = nullptr;
  // Atomic, relaxed, because dumps read them at any time; nothing else hangs on them.
  std::atomic<Tag> tag{kNoTag};
  std::atomic<std::uint64_t> id{0};
  std::atomic<std::uint16_t> status{0};  // State | ParkReason << 8
  bool has_children = false;             // it has started others; its own business
  std::atomic<bool> outside{false};      // see ExternalWait
  std::atomic<std::uint16_t> line{0};    // of the go() that started it
  // What is asked for rarely, in one byte, so that a common goroutine is told by one look. Fixed
  // before it is launched, like the next two.
  std::uint8_t marks = 0;
  std::atomic<bool> is_particular{false};
  std::atomic<const void*> origin{nullptr};  // Particulars if it is, else the file of that go()
  alignas(16) std::byte closure[kClosureBytes];

  bool placed() const { return (marks & kPlaced) != 0; }
  bool traced() const { return (marks & kTraced) != 0; }

  void set_status(State state, ParkReason reason = ParkReason::kNone) {
    // release pairs with the acquire of a dump: what it waits for is written down before.
    status.store(static_cast<std::uint16_t>(state | static_cast<unsigned>(reason) << 8),
                 std::memory_order_release);
  }
};
static_assert(sizeof(Task) == 128);

// The part of a processor that inline code looks at. Owned by the thread that runs the processor.
struct ProcessorHead {
  // Channel operations that need not wait, until the goroutine lets others run all the same: two
  // that always find the other's values would never stop.
  static constexpr std::uint32_t kOperations = 1024;

  Task* current = nullptr;
  std::uint32_t operations_left = kOperations;
  // For BiasedLock. Written by its own thread, but for `bias`, which others take away.
  std::atomic<std::uint32_t> sections{0};  // of biased locks, begun and not ended
  static constexpr std::uintptr_t kNoBias = 3;
  std::atomic<std::uintptr_t> bias{kNoBias};  // `home`, while no other processor of it runs
  std::uintptr_t home = 0;                    // stands for its scheduler; fixed, and even

  bool alone() const { return bias.load(std::memory_order_relaxed) != kNoBias; }
};

// What the calling OS thread is to the scheduler. A goroutine goes on on another thread after a
// switch, but compilers compute the address of a thread-local variable once a function and keep it:
// so it is read and written only by the functions below, and they return values, never addresses.
struct ThreadState {
  ProcessorHead* processor = nullptr;  // that this thread runs
  Scheduler* entered = nullptr;        // by Enter, on a plain thread
  ThreadHost* host = nullptr;          // likewise; at most one of the two
  Tag entered_tag = kNoTag;
};

ThreadState thread_state() noexcept;
void set_thread_state(const ThreadState& state) noexcept;

extern "C" {
// initial-exec: no lazy allocation on first use, which a signal handler could not survive.
[[gnu::tls_model("initial-exec")]] extern constinit thread_local ThreadState bulkhead_thread_state;
}

// nullptr on a plain thread. Async-signal-safe.
#if defined(__x86_64__)
inline ProcessorHead* this_processor() noexcept {
  static_assert(offsetof(ThreadState, processor) == 0);
  ProcessorHead* processor;
  // volatile: computed anew each time, on whichever thread that is.
  asm volatile(
      "movq bulkhead_thread_state@gottpoff(%%rip), %0\n\t"
      "movq %%fs:(%0), %0"
      : "=r"(processor));
  return processor;
}
#else
ProcessorHead* this_processor() noexcept;
#endif

// The calling goroutine; nullptr on a plain thread.
inline Task* current_task() noexcept {
  const ProcessorHead* const processor = this_processor();
  return processor == nullptr ? nullptr : processor->current;
}

void end_slice();

// How many schedulers have a Chooser; see explore.hpp.
inline std::atomic<unsigned> choosing_schedulers{0};
void interleave_slow();

// Before an operation that may not wait: where a Chooser decides, others may come first. Nothing
// hangs on the order of this load: whoever runs under a Chooser has seen it counted.
inline void interleave() {
  if (choosing_schedulers.load(std::memory_order_relaxed) != 0) [[unlikely]]
    interleave_slow();
}

// After an operation that has not waited; with no lock held. `processor`: the caller's, if he
// knows.
inline void count_operation(ProcessorHead* processor = nullptr) {
  if (processor == nullptr) processor = this_processor();
  if (processor != nullptr && --processor->operations_left == 0) [[unlikely]]
    end_slice();
}

struct GoOptions;

// For go(): a task with room for a closure, then made runnable. Only where current_task() is one.
Task& begin_task(base::SourceSite site);
Task& begin_task(GoOptions&& options, base::SourceSite site);
void launch_task(Task& task);

}  // namespace bulkhead::sched
