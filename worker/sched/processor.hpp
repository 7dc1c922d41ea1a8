// A processor: a thread that runs goroutines, with its queues and caches. Everything here belongs
// to that thread, except where it says "any thread".
#pragma once

#include <atomic>
#include <bulkhead/base/clock.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <bulkhead/sched/task.hpp>
#include <cstdint>
#include <memory>
#include <vector>

#include "sched/machine_context.hpp"
#include "sched/queues.hpp"
#include "sched/timers.hpp"

namespace bulkhead::sched {

struct Processor;

// What a goroutine asks for as it switches out. It is done by whoever runs next on the processor,
// when the goroutine's registers are saved: only then may another processor find it and run it, or
// reuse its stack.
struct After {
  void (*action)(Processor& processor, void* object) = nullptr;
  void* object = nullptr;
};

struct alignas(64) Processor : ProcessorHead {
  Processor(SchedulerImpl& owner, unsigned number);

  SchedulerImpl& scheduler;
  const unsigned index;

  Fiber* fiber = nullptr;  // whose stack runs; nullptr: the thread's own, `host`
  MachineContext host;
  ExceptionState* exceptions = nullptr;  // the thread's
  MachineContext* previous = nullptr;    // who switched last
  After after;

  // The goroutine that became runnable last runs next, for it has what the running one has just
  // sent. At most kNextUses times in a row: two that wake one another would run for ever. Other
  // processors may take it.
  static constexpr std::uint32_t kNextUses = 64;
  std::atomic<Task*> next{nullptr};
  std::uint32_t next_uses = 0;
  std::uint32_t fresh_run = 0;  // goroutines started in a row

  std::atomic<std::uint32_t> tick{0};  // scheduling decisions so far; any thread reads
  std::uint64_t random = 0;            // state of xorshift64
  // Time stamp counter.
  std::uint64_t slice_start = 0;  // while others are idle
  std::uint64_t looked = 0;       // at the clock

  Fiber* fibers = nullptr;  // cached, the warmest first
  std::uint32_t fiber_count = 0;

  Task* free_tasks = nullptr;
  std::uint32_t free_count = 0;
  Task* slab_next = nullptr;  // not yet used ones of the last slab
  Task* slab_end = nullptr;
  std::uint64_t id_next = 0;  // ids taken from the scheduler in blocks
  std::uint64_t id_end = 0;

  // Only this thread writes; any thread reads.
  std::atomic<std::uint64_t> started{0};
  std::atomic<std::uint64_t> ended{0};

  // Idle; see idle.cpp.
  static constexpr std::int64_t kLeastNap = 100'000, kLongestNap = 10'000'000;  // nanoseconds
  std::atomic<std::uint32_t> wake{0};  // the futex that the thread sleeps on
  std::int64_t nap_ns = kLeastNap;
  std::vector<std::uint32_t> seen;  // `tick` of each processor, when it began to search

  ReadyQueue ready;
  FreshQueue fresh;
};

TaskInfo info_of(const Task& task);

struct SchedulerImpl {
  SchedulerImpl(Scheduler& owner, const Options& given);
  ~SchedulerImpl();

  // processor.cpp
  void processor_loop(Processor& processor);
  Task* choose(Processor& processor);
  Task* pick(Processor& processor, bool waits);  // waits: the caller parks
  Task* pick_due(Processor& processor, std::uint32_t tick);
  Task* pick_any(Processor& processor, bool waits);
  Task* take_next(Processor& processor);
  Task* pick_here(Processor& processor);  // the same for other files, without what is due
  void make_ready(Processor& processor, Task& task);  // woken by what runs on this processor
  void requeue(Processor& processor, Task& task) {    // at the back
    task.set_status(Task::kRunnable);
    if (!processor.ready.push(task)) [[unlikely]]
      spill(processor, task, false);
  }
  void launch(Processor& processor, Task& task);  // a new one
  // `processor`: this thread's. It runs after all that are runnable there.
  void start_in_order(Processor& processor, std::function<void()> body, Tag tag);
  void spill(Processor& processor, Task& task, bool fresh);
  void inject(Task& task);  // from any thread
  void begin_slice(Processor& processor, Task& task);
  void yield(Task& yielder);
  void switch_to(Processor& processor, MachineContext& from, MachineContext& to);
  void leave(Task& leaver, After after);  // parks, sleeps
  Fiber& take_fiber(Processor& processor);
  void release_fiber(Processor& processor, Fiber& fiber);
  [[noreturn]] void run_goroutines(Fiber& fiber);
  void announce(Processor& processor, Tag tag) {
    if (observer != nullptr) observer->on_switch(processor.index, tag);
  }

  // tasks.cpp
  Task& new_task(Processor* processor);
  void free_task(Processor& processor, Task& task);
  void refill(Processor& processor);
  std::vector<TaskInfo> tasks();
  std::uint64_t alive() const;

  // idle.cpp
  void begin_run();
  Task* find_work(Processor& processor);  // waits; nullptr: the run is finished
  Task* search(Processor& processor);
  Task* steal(Processor& processor, Processor& victim, bool next_too);
  Task* from_injector(Processor& processor);
  bool any_work() const;
  std::int64_t now_ns() const { return chooser != nullptr ? virtual_now : base::monotonic_ns(); }
  bool sleep(Processor& processor);  // true: called by wake_idle()
  void wake_processor(Processor& processor);
  bool finish_if_done();
  void look_for_deadlock();
  // After something has become runnable that the caller will not run at once.
  void wake_one() {
    if (!shared) return;
    full_fence();  // idle.cpp, rule 1
    if (idle.load(std::memory_order_relaxed) != 0 && searching.load(std::memory_order_relaxed) == 0)
      wake_idle();
  }
  void wake_idle();

  // Fixed after construction.
  Scheduler& self;
  const Options options;
  Observer* const observer;
  const bool shared;  // more than one processor
  Chooser* const chooser;
  // With a chooser; used by the one processor's thread.
  std::int64_t virtual_now = 0;
  std::vector<Task*> runnable;
  std::vector<std::unique_ptr<Processor>> processors;

  StackPool stacks;
  Injector injector;
  Timers timers;
  std::atomic<bool> running{false};  // atomic because misuse is what it finds

  Lock fibers_lock;
  Fiber* fibers BULKHEAD_GUARDED_BY(fibers_lock) = nullptr;  // beyond what processors cache
  std::uint64_t colours BULKHEAD_GUARDED_BY(fibers_lock) = 0;

  Lock tasks_lock;
  std::vector<Task*> slabs BULKHEAD_GUARDED_BY(tasks_lock);
  Task* free_tasks BULKHEAD_GUARDED_BY(tasks_lock) = nullptr;
  std::atomic<std::uint64_t> ids{0};
  std::atomic<std::uint64_t> started_outside{0};  // by threads that are no processors

  Lock idle_lock;
  std::vector<Processor*> sleepers BULKHEAD_GUARDED_BY(idle_lock);
  Processor* keeper BULKHEAD_GUARDED_BY(idle_lock) = nullptr;  // sleeps until a deadline
  std::int64_t keeper_deadline BULKHEAD_GUARDED_BY(idle_lock) = Timers::kNever;
  Processor* napper BULKHEAD_GUARDED_BY(idle_lock) = nullptr;
  std::uint64_t sleeps BULKHEAD_GUARDED_BY(idle_lock) = 0;  // ever
  std::atomic<std::uint64_t> outside{0};                    // goroutines in an ExternalWait
  std::atomic<unsigned> idle{0};                            // sleepers.size()
  std::atomic<unsigned> searching{0};  // processors that look for work elsewhere
  std::atomic<bool> finished{false};
  std::atomic<unsigned> outsiders{0};  // threads inside inject(); the destructor waits for them
};

// xorshift64; `state` is never 0.
inline std::uint64_t next_random(std::uint64_t& state) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

inline Processor& processor_here() { return *static_cast<Processor*>(this_processor()); }

void yield_thread();

// In now()'s time. "For ever" does not overflow into the past.
std::int64_t deadline_after(base::Duration duration);

// Makes a parked goroutine runnable, from any thread; it may end before this returns.
void unpark_task(Task& task);
// On the running goroutine's side; returns when it runs again, maybe on another thread.
void park_task(Task& self, ParkReason reason, After after);

}  // namespace bulkhead::sched
