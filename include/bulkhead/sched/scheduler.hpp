// Goroutines: stackful fibers, many of them multiplexed on a few processor threads.
//
//   sched::Scheduler scheduler({.processors = 2});
//   scheduler.run([] {                       // the main goroutine
//     sched::WaitGroup group;
//     group.add(2);
//     for (int i = 0; i < 2; ++i) sched::go([&] { work(); group.done(); });
//     group.wait();
//   });                                      // returns when every goroutine has ended
//
// go(), yield(), sleep_for(), Channel, WaitGroup and Mutex also work from a plain OS thread: there
// they block the thread (go() needs a scheduler: the one that the thread was given by `Enter`).
#pragma once

#include <bulkhead/base/clock.hpp>
#include <bulkhead/sched/waiter.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace bulkhead::sched {

// A number that a goroutine carries and its children inherit; the worker puts the job there.
using Tag = std::uint64_t;
inline constexpr Tag kNoTag = ~Tag{0};

// Told by the scheduler on a processor's own thread; must neither block nor throw.
class Observer {
 public:
  virtual ~Observer() = default;
  // Before a goroutine runs on `processor`: the tag it carries; again at each checkpoint() of it.
  // After it has stopped: kNoTag, so that no goroutine is blamed for what the scheduler does.
  virtual void on_switch(unsigned processor, Tag tag) = 0;
  // On each processor's thread, before its first goroutine of each run() (alternate signal stacks
  // go here).
  virtual void on_processor_start(unsigned processor) = 0;
};

// How goroutine stacks are guarded against overflow here.
enum class StackGuard : std::uint8_t {
  kMadvise,   // unmapped pages below the stack, at no cost in mappings (Linux 6.13)
  kMprotect,  // the same by mprotect: two mappings each, so only up to 80 % of vm.max_map_count
  kCanary,    // none: an overflow is noticed, after the damage, when the goroutine switches
};
const char* to_string(StackGuard guard);
StackGuard probe_stack_guard();  // what a new stack would get now

// One line of a dump.
struct TaskInfo {
  enum class State : std::uint8_t {
    kRunnable,  // in the run queue
    kRunning,   // in no queue: a processor has it
    kParked,    // in the waiter list of the primitive that `reason` names
    kSleeping,  // in the timer heap
    kEnded,     // in no queue: about to be deleted
  };
  std::uint64_t id = 0;
  Tag tag = kNoTag;
  State state = State::kRunnable;
  ParkReason reason = ParkReason::kNone;
};
const char* to_string(TaskInfo::State state);

struct Options {
  unsigned processors = 1;
  std::size_t stack_bytes = 256 * 1024;  // rounded up to pages; multiplied under sanitizers
  Observer* observer = nullptr;          // borrowed, outlives the scheduler
};

class Scheduler {
 public:
  explicit Scheduler(Options options);
  // No run() may be under way. What was started after the last run() is dropped, never run.
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Runs `main` as a goroutine and returns when it and all that it started have ended. The calling
  // thread becomes processor 0. An exception that leaves a goroutine ends the process
  // (std::terminate), as a panic does in Go: catch where you start it. May be called again, but not
  // while another run() is under way.
  void run(std::function<void()> main);

  // Starts a goroutine from any thread. Outside of a run() it waits for the next one.
  void go(std::function<void()> body, Tag tag = kNoTag);

  std::uint64_t alive() const;  // goroutines started and not ended
  unsigned processors() const;
  // All that are alive, oldest first, each as it was at some instant of the call; for dumps.
  std::vector<TaskInfo> tasks() const;

  // The one that runs the calling goroutine, or that Enter named; nullptr elsewhere.
  static Scheduler* current();

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

// Runs tasks on plain threads, one each; the other meaning that go() can have. Called on its own
// threads; only go() may throw.
class ThreadHost {
 public:
  virtual ~ThreadHost() = default;
  virtual void go(std::function<void()> body, Tag tag) = 0;
  // The calling thread is about to block in a primitive or in sleep_for().
  virtual void on_block() = 0;
  // It runs its task (again); also at each checkpoint() and yield().
  virtual void on_run(Tag tag) = 0;
};

// Names, for the calling plain thread and as long as it lives, who starts what go() is given, and
// the tag that current_tag() tells.
class Enter {
 public:
  explicit Enter(Scheduler& scheduler, Tag tag = kNoTag);
  explicit Enter(ThreadHost& host, Tag tag = kNoTag);
  ~Enter();
  Enter(const Enter&) = delete;
  Enter& operator=(const Enter&) = delete;

 private:
  Enter(Scheduler* scheduler, ThreadHost* host, Tag tag);

  Scheduler* const outer_;
  ThreadHost* const outer_host_;
  const Tag outer_tag_;
};

void go(std::function<void()> body);  // inherits the caller's tag
void go(std::function<void()> body, Tag tag);
void yield();
void sleep_for(base::Duration duration);
// A scheduling point without a switch: tells the observer again who runs, so that a long
// computation is not taken for a hang.
void checkpoint();
Tag current_tag();
std::uint64_t current_task_id();  // 0 on a plain thread
// The processor whose thread this is, or -1. Async-signal-safe.
int current_processor() noexcept;
// Bounds of the running goroutine's stack, its guard included; {0,0} on a plain thread.
// Async-signal-safe.
struct StackBounds {
  std::uintptr_t low = 0;   // lowest address, start of the guard
  std::uintptr_t high = 0;  // one past the highest
  std::size_t guard_bytes = 0;
};
StackBounds current_stack() noexcept;

}  // namespace bulkhead::sched
