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

#include <atomic>
#include <bulkhead/base/clock.hpp>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>

namespace bulkhead::sched {

// A number that a goroutine carries and its children inherit; the worker puts the job there.
using Tag = std::uint64_t;
inline constexpr Tag kNoTag = ~Tag{0};

// Told by the scheduler on a processor's own thread; must neither block nor throw.
class Observer {
 public:
  virtual ~Observer() = default;
  // `processor` starts to run a goroutine carrying `tag` (kNoTag: none, the processor is idle).
  virtual void on_switch(unsigned processor, Tag tag) = 0;
  // On each processor's thread, before its first goroutine (alternate signal stacks go here).
  virtual void on_processor_start(unsigned processor) = 0;
};

// How goroutine stacks are guarded against overflow here.
enum class StackGuard { kMadvise, kMprotect, kCanary };
const char* to_string(StackGuard guard);
StackGuard probe_stack_guard();

struct Options {
  unsigned processors = 1;
  std::size_t stack_bytes = 256 * 1024;  // rounded up to pages; multiplied under sanitizers
  Observer* observer = nullptr;          // borrowed, outlives the scheduler
};

class Scheduler {
 public:
  explicit Scheduler(Options options);
  ~Scheduler();  // no run() may be under way
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Runs `main` as a goroutine and returns when it and all that it started have ended. The calling
  // thread becomes processor 0. An exception that leaves a goroutine ends the process
  // (std::terminate), as a panic does in Go: catch where you start it.
  void run(std::function<void()> main);

  // Starts a goroutine from any thread.
  void go(std::function<void()> body, Tag tag = kNoTag);

  std::uint64_t alive() const;  // goroutines started and not ended

  // The one that runs the calling goroutine, or that Enter named; nullptr elsewhere.
  static Scheduler* current();

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

void go(std::function<void()> body);           // inherits the caller's tag
void go(std::function<void()> body, Tag tag);
void yield();
void sleep_for(base::Duration duration);
// A scheduling point without a switch: says that the caller makes progress.
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
