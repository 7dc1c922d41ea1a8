// A processor: a thread that runs goroutines, with its queues and caches. Everything here belongs
// to that thread, except where it says "any thread".
#pragma once

#include <array>
#include <atomic>
#include <bulkhead/base/clock.hpp>
#include <bulkhead/base/mutex.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <bulkhead/sched/task.hpp>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "sched/blocking_pool.hpp"
#include "sched/machine_context.hpp"
#include "sched/poller.hpp"
#include "sched/queues.hpp"
#include "sched/timers.hpp"
#include "sched/trace.hpp"

namespace bulkhead::sched {

struct Processor;

// What a processor's thread tells about itself when the monitor asks by a signal.
struct Probe {
  static constexpr std::size_t kFrames = 32;
  std::atomic<bool> answered{false};  // the others are written before, by release
  bool in_goroutine = false;          // and not in the scheduler
  const Task* task = nullptr;         // if so, it, with
  std::uint64_t id = 0;
  std::uint32_t tick = 0;
  int cpu = -1;
  std::uint32_t frame_count = 0;
  std::array<std::uintptr_t, kFrames> frames{};
};

// What a goroutine asks for as it switches out. It is done by whoever runs next on the processor,
// when the goroutine's registers are saved: only then may another processor find it and run it, or
// reuse its stack.
struct After {
  void (*action)(Processor& processor, void* object) = nullptr;
  void* object = nullptr;
};

struct alignas(64) Processor : ProcessorHead {
  Processor(SchedulerImpl& owner, unsigned number);
  ~Processor();
  Processor(const Processor&) = delete;
  Processor& operator=(const Processor&) = delete;

  SchedulerImpl& scheduler;
  const unsigned index;

  Fiber* fiber = nullptr;  // whose stack runs; nullptr: the thread's own, `host`
  MachineContext host;
  LibraryPlace library;                // the thread's
  MachineContext* previous = nullptr;  // who switched last
  After after;

  // The goroutine that became runnable last runs next, for it has what the running one has just
  // sent. Two that wake one another would run for ever, so a row of such uses ends: see goes_on().
  // Other processors may take it.
  std::atomic<Task*> next{nullptr};
  std::uint32_t next_uses = 0;  // in a row
  static constexpr std::uint32_t kHalfRow = 32;
  std::atomic<bool> period_over{false};  // the monitor's, of 10 ms
  std::uint32_t period_row = 0;          // which row it was when the last one was over
  std::uint64_t row_middle = 0;          // time stamp counter, as
  std::uint64_t longest_row = 0;         // of late; from its middle on
  std::uint32_t fresh_run = 0;           // goroutines started in a row

  std::atomic<std::uint32_t> tick{0};        // scheduling decisions so far; any thread reads
  std::uint32_t operations_tick = 0;         // when `operations_left` was filled
  std::atomic<std::uint32_t> operations{0};  // that did not wait, so far, kOperations at a time
  std::uint64_t random = 0;                  // state of xorshift64
  // The monitor's: so many decisions in its last period that the time that one takes may be
  // neglected. Reading the time stamp counter costs 20 ns on many virtual machines, more than a
  // switch.
  std::atomic<bool> brisk{false};
  // Time stamp counter, unless it is brisk.
  std::uint64_t slice_start = 0;  // while others are idle
  std::uint64_t looked = 0;       // at the clock
  std::uint64_t polled = 0;       // looked at the poller, while others wait for it

  Fiber* fibers = nullptr;  // cached, the warmest first
  std::uint32_t fiber_count = 0;

  Task* free_tasks = nullptr;
  std::uint32_t free_count = 0;
  std::atomic<bool> returns_spares{false};  // the monitor's wish
  Task* slab_next = nullptr;                // not yet used ones of the last slab
  Task* slab_end = nullptr;
  std::uint64_t id_next = 0;  // ids taken from the scheduler in blocks
  std::uint64_t id_end = 0;

  // Only this thread writes; any thread reads.
  std::atomic<std::uint64_t> started{0};
  std::atomic<std::uint64_t> ended{0};

  // The monitor's; see monitor.cpp.
  // True while the thread is anywhere but in a goroutine's own code: what belongs to it may be in
  // disorder. Written by it alone, and read by a signal handler on it.
  std::atomic<bool> inside{true};
  std::atomic<bool> overdue{false};  // the goroutine has run for long, and others wait
  // It gives back what it has. Then a lent one's thread ends; another one sits out until this is
  // false again: see parallelism.hpp.
  std::atomic<bool> retiring{false};
  std::atomic<int> thread{0};  // its kernel id; 0: none
  Probe probe;

  Injector inbox;  // runnable goroutines that must run here; any thread

  // Idle; see idle.cpp.
  std::atomic<bool> asleep{false};  // in `sleepers`, or just called
  static constexpr std::int64_t kLeastNap = 100'000, kLongestNap = 10'000'000;  // nanoseconds
  std::atomic<std::uint32_t> wake{0};  // the futex that the thread sleeps on, unless it
  std::atomic<bool> polls{false};      // sleeps on the poller; any thread reads
  bool has_watched = false;            // napped or polled, since it last found work
  std::int64_t nap_ns = kLeastNap;
  std::vector<std::uint32_t> seen;  // `tick` of each processor, when it began to search

  ReadyQueue ready;
  FreshQueue fresh;
};

// What a goroutine was told beyond its body. Lives as long as the scheduler, and is used again.
struct Particulars {
  std::string name;
  base::SourceSite site;
  std::size_t stack_bytes = 0;  // 0: as usual
  bool pinned = false;          // to this processor:
  unsigned processor = 0;
  Particulars* next = nullptr;  // in the free list
};

// nullptr: none. What it answers stays as long as the goroutine does.
inline const Particulars* particulars_of(const Task& task) {
  return task.is_particular.load(std::memory_order_relaxed)
             ? static_cast<const Particulars*>(task.origin.load(std::memory_order_relaxed))
             : nullptr;
}

class Monitor;

struct SchedulerImpl {
  SchedulerImpl(Scheduler& owner, const Options& given);
  ~SchedulerImpl();

  // processor.cpp and fibers.cpp
  void processor_loop(Processor& processor);
  Task* choose(Processor& processor);
  Task* pick(Processor& processor, bool waits);  // waits: the caller parks
  Task* pick_due(Processor& processor, std::uint32_t tick);
  bool fire_timers(Processor& processor, bool at_least_some);  // true: some have fired
  Task* pick_any(Processor& processor, bool waits);
  Task* take_next(Processor& processor);
  static bool goes_on(Processor& processor);
  Task* pick_here(Processor& processor);  // the same for other files, without what is due
  void make_ready(Processor& processor, Task& task);  // woken by what runs on this processor
  void requeue(Processor& processor, Task& task) {    // at the back
    task.set_status(Task::kRunnable);
    if (task.placed() && deliver(task)) [[unlikely]]
      return;
    if (!processor.ready.push(task)) [[unlikely]]
      spill(processor, task, false);
  }
  bool deliver(Task& task);                       // a placed one; from any thread
  unsigned place_after(const Fiber& fiber);       // where all migrate
  void launch(Processor& processor, Task& task);  // a new one
  // `processor`: this thread's. It runs after all that are runnable there.
  void start_in_order(Processor& processor, std::function<void()> body, Tag tag);
  void spill(Processor& processor, Task& task, bool fresh);
  void inject(Task& task);  // from any thread
  void begin_slice(Processor& processor, Task& task);
  void yield(Task& yielder);
  void switch_to(Processor& processor, MachineContext& from, MachineContext& to);
  void leave(Task& leaver, After after);  // parks, sleeps
  void switch_to_host(Processor& processor, MachineContext& from);
  Fiber& fiber_of(Processor& processor, Task& task) {  // a fresh one if it has none
    Fiber* const fiber = task.fiber.load(std::memory_order_relaxed);
    return fiber != nullptr ? *fiber : take_fiber(processor, task);
  }
  Fiber& take_fiber(Processor& processor, Task& task);
  Fiber& make_fiber(StackPool& pool);
  StackPool& pool_for(std::size_t stack_bytes);
  void end_fiber(Fiber& fiber, StackPool::Pages pages);
  void end_all_fibers();
  void release_fiber(Processor& processor, Fiber& fiber);
  void give_away_fibers(Processor& processor);
  [[noreturn]] void run_goroutines(Fiber& fiber);
  void announce(Processor& processor, Tag tag) {
    if (observer != nullptr) observer->on_switch(processor.index, tag);
  }

  bool is_retiring(const Processor& processor) const {
    return processor.retiring.load(std::memory_order_relaxed);
  }
  bool is_shared() const { return shared.load(std::memory_order_relaxed); }

  // tasks.cpp
  // A task that is not yet launched. `processor`: this thread's; nullptr: it has none.
  Task& prepare_task(Processor* processor, Tag tag, base::SourceSite site);
  void make_particular(Task& task, GoOptions&& options, base::SourceSite site, unsigned processor);
  // Of one that cannot end meanwhile, or under tasks_lock.
  TaskInfo info_of(const Task& task) const;
  void trim();  // gives the system back what has not been needed since the last call
  void trim_fibers();
  void trim_tasks();
  Task* take_slab() BULKHEAD_REQUIRES(tasks_lock);
  Task& new_task(Processor* processor);
  void free_task(Processor& processor, Task& task);
  void give_away(Processor& processor, std::uint32_t kept) BULKHEAD_REQUIRES(tasks_lock);
  void call_in_spares();
  void return_spares(Processor& processor);
  void refill(Processor& processor);
  // All, or those that wait for the one reason.
  std::vector<TaskInfo> tasks(ParkReason only = ParkReason::kNone);
  std::uint64_t alive() const;

  // trace.cpp: of a traced task. Before others can see it:
  void trace_go(const Task& task);
  void trace_ready(const Task& task);
  // On the processor's thread:
  void trace_start(Processor& processor, const Task& task);
  void trace_stop(const Task& task, TraceKind kind, const Wait& wait = ParkReason::kNone);
  void trace_steal(const Processor& victim, const Task& first, unsigned count);
  void record(TraceRecord record);  // stamps it
  std::uint64_t actor() const;

  // idle.cpp
  void begin_run();
  Task* find_work(Processor& processor);  // waits; nullptr: the run is finished
  Task* search(Processor& processor, bool invited);
  Task* steal(Processor& processor, Processor& victim);
  Task* steal_next(Processor& processor, Processor& victim);
  std::uint32_t poll(Processor& processor);  // makes runnable what is ready; how many
  std::uint32_t take_ready(Processor& processor, TaskList ready);
  void end_watch(Processor& processor);  // it has found work
  Task* from_injector(Processor& processor);
  Task* take_migrant(const Processor& processor, Processor& victim);
  bool any_common_work() const;
  bool any_work() const;
  bool any_work_for(const Processor& processor) const;
  std::int64_t about_now() const {  // some 10 ms old at most, while anything runs
    return chooser != nullptr ? virtual_now : coarse_ns.load(std::memory_order_relaxed);
  }
  std::int64_t now_ns() const { return chooser != nullptr ? virtual_now : base::monotonic_ns(); }
  bool sleep(Processor& processor, TaskList& ready);  // true: called by wake_idle()
  void retire(Processor& processor);                  // nothing is left in it
  bool sit_out(Processor& processor);  // false: the run is finished, or its loan is over
  void go_unshared(Processor& processor);
  bool finish_if_done();
  void look_for_deadlock();
  // After something has become runnable that the caller will not run at once.
  void wake_one() {
    if (!is_shared()) return;
    full_fence();  // idle.cpp, rule 1
    if (idle.load(std::memory_order_relaxed) != 0 &&
        searching.load(std::memory_order_relaxed) == 0 &&
        awake.load(std::memory_order_relaxed) < enough_awake.load(std::memory_order_relaxed))
      wake_idle();
  }
  void count_awake() BULKHEAD_REQUIRES(idle_lock);
  void wake_idle();
  void wake_processor(Processor& processor);  // that sleeps
  void wake_if_asleep(Processor& processor);  // after the caller has written why

  static constexpr unsigned kNoLimit = ~0u;

  // Fixed after construction.
  Scheduler& self;
  const Options options;
  Observer* const observer;
  Chooser* const chooser;
  const bool migrates;                   // all do
  const std::unique_ptr<Tracer> tracer;  // nullptr: nothing is traced
  const std::uint8_t marks;              // that each task has

  // More than one processor runs. Made false by the only one that is left, at a moment of its own;
  // made true before another one begins: see monitor.cpp.
  std::atomic<bool> shared;
  // Who is to make it so as soon as no other is left; the monitor's wish.
  std::atomic<Processor*> unshares{nullptr};
  std::atomic<std::int64_t> coarse_ns{0};
  Monitor* monitor = nullptr;             // during run(), but for one with a chooser
  std::atomic<std::uint64_t> hogs{0};     // told
  std::atomic<std::int64_t> lent_ns{0};   // of processors lent
  std::atomic<std::int64_t> alone_ns{0};  // of one that ran alone, until the others came back

  // With a chooser; used by the one processor's thread.
  std::int64_t virtual_now = 0;
  std::vector<Task*> runnable;
  // Fixed after construction: first as many as there are, then as many that may be lent.
  std::vector<std::unique_ptr<Processor>> processors;

  StackPool stacks;
  Injector injector;
  Timers timers;
  Poller poller;
  std::atomic<bool> running{false};  // atomic because misuse is what it finds

  Lock fibers_lock;
  Fiber* fibers BULKHEAD_GUARDED_BY(fibers_lock) = nullptr;       // beyond what processors cache
  std::size_t spare_fibers BULKHEAD_GUARDED_BY(fibers_lock) = 0;  // how many, and
  std::size_t least_spare_fibers BULKHEAD_GUARDED_BY(fibers_lock) = 0;  // since the last trim()
  std::map<std::size_t, std::unique_ptr<StackPool>> other_stacks BULKHEAD_GUARDED_BY(fibers_lock);
  std::atomic<std::uint64_t> colours{0};
  std::atomic<unsigned> migrations{0};
  std::atomic<bool> pins{false};  // some goroutine is pinned to its processor

  Lock tasks_lock;
  std::vector<Task*> slabs BULKHEAD_GUARDED_BY(tasks_lock);
  std::vector<Task*> empty_slabs BULKHEAD_GUARDED_BY(tasks_lock);  // of `slabs`, given back
  Task* free_tasks BULKHEAD_GUARDED_BY(tasks_lock) = nullptr;
  std::size_t spare_tasks BULKHEAD_GUARDED_BY(tasks_lock) = 0;        // how many, and
  std::size_t least_spare_tasks BULKHEAD_GUARDED_BY(tasks_lock) = 0;  // since the last trim()
  std::deque<Particulars> particulars BULKHEAD_GUARDED_BY(tasks_lock);
  Particulars* free_particulars BULKHEAD_GUARDED_BY(tasks_lock) = nullptr;
  std::atomic<std::uint64_t> ids{0};
  std::atomic<std::uint64_t> started_outside{0};  // by threads that are no processors

  Lock idle_lock;
  unsigned active BULKHEAD_GUARDED_BY(idle_lock);  // processors that run, lent ones included
  std::vector<Processor*> sleepers BULKHEAD_GUARDED_BY(idle_lock);
  Processor* keeper BULKHEAD_GUARDED_BY(idle_lock) = nullptr;  // sleeps until a deadline
  std::int64_t keeper_deadline BULKHEAD_GUARDED_BY(idle_lock) = Timers::kNever;
  Processor* napper BULKHEAD_GUARDED_BY(idle_lock) = nullptr;
  Processor* polling BULKHEAD_GUARDED_BY(idle_lock) = nullptr;  // sleeps on the poller
  std::atomic<bool> watched{false};                             // one of the last two is there
  std::uint64_t sleeps BULKHEAD_GUARDED_BY(idle_lock) = 0;      // ever
  base::Mutex deadlock_mutex;                    // held while a deadlock is looked for, and told
  std::atomic<std::uint64_t> outside{0};         // goroutines in an ExternalWait
  std::atomic<unsigned> idle{0};                 // sleepers.size()
  std::atomic<unsigned> awake{0};                // the other active ones
  std::atomic<unsigned> enough_awake{kNoLimit};  // rule 5, kept by the monitor
  std::atomic<unsigned> searching{0};            // processors that look for work elsewhere
  std::atomic<std::uint64_t> calls{0};           // of sleeping processors, by wake_idle(), ever
  std::atomic<bool> finished{false};
  std::atomic<unsigned> outsiders{0};  // threads inside inject(); the destructor waits for them

  BlockingPool blocking{self, observer};  // the last: its threads end before anything else does
};

// xorshift64; `state` is never 0.
inline std::uint64_t next_random(std::uint64_t& state) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

// The first function on a fiber's stack.
void fiber_entry(void* argument) noexcept;

inline Processor& processor_here() { return *static_cast<Processor*>(this_processor()); }

void yield_thread();

// In now()'s time. "For ever" does not overflow into the past.
std::int64_t deadline_after(base::Duration duration);

// Makes a parked goroutine runnable, from any thread; it may end before this returns.
void unpark_task(Task& task);
// On the running goroutine's side; returns when it runs again, maybe on another thread.
void park_task(Task& self, const Wait& wait, After after);

}  // namespace bulkhead::sched
