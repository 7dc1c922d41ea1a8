// The life of a goroutine on a processor: started, switched out, woken, ended.
#include "sched/processor.hpp"

#include <cxxabi.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bulkhead/base/check.hpp>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

namespace bulkhead::sched {
namespace {

constexpr std::uint32_t kFairness = 61;  // ticks between looks at the far ends of the queues
// Looks at the clock, while there are timers: so many ticks or time stamps apart.
constexpr std::uint32_t kTimerTicks = 32;
constexpr std::uint64_t kClockPeriod = 20'000;
constexpr std::uint64_t kPollPeriod = 100'000;  // likewise, between looks at descriptors
constexpr std::uint32_t kFreshRun = FreshQueue::kMany;
// Whoever has run for longer than this and wakes another will hardly stop just now: the other is
// better off on an idle processor, though waking that costs some microseconds.
constexpr std::uint64_t kLongSlice = 100'000;  // time stamp counter
// Fewer that are woken where it is brisk run there before another processor has come and has what
// they work on in its cache.
constexpr std::uint32_t kWorthATheft = 16;

// A row of uses of `next` counts as no longer than this (time stamp counter); and by which part it
// is forgotten at the end of each shorter one.
constexpr std::uint64_t kLongestRow = 60'000'000;
constexpr std::uint64_t kForgotten = 32;

bool is_brisk(const Processor& processor) {
  return processor.brisk.load(std::memory_order_relaxed);
}

// From here to leave_scheduler() the processor's state may be in disorder.
void enter_scheduler(Processor& processor) {
  processor.inside.store(true, std::memory_order_relaxed);
  std::atomic_signal_fence(std::memory_order_seq_cst);
}

void leave_scheduler(Processor& processor) {
  // release pairs with the acquire in Monitor::share().
  processor.inside.store(false, std::memory_order_release);
}

bool is_plain(const Fiber& fiber) { return fiber.pool == nullptr; }

// It has no stack yet, and wants no special one.
bool starts_anywhere(const Task& task) {
  if (task.fiber.load(std::memory_order_relaxed) != nullptr) return false;
  const Particulars* const more = particulars_of(task);
  return more == nullptr || more->stack_bytes == 0;
}

// What waits at descriptors; looking there is a system call.
void poll_now_and_then(Processor& processor) {
  const std::uint64_t stamp = time_stamp();
  if (stamp - processor.polled < kPollPeriod) return;
  processor.polled = stamp;
  if (processor.scheduler.poll(processor) > 0) processor.scheduler.wake_one();
}

void run_after(Processor& processor) {
  const After after = processor.after;
  if (after.action == nullptr) return;
  processor.after.action = nullptr;
  after.action(processor, after.object);
}

inline void check_canary(const Processor& processor, const Task& task) {
  const Fiber& fiber = *processor.fiber;
  if (fiber.stack.guard == StackGuard::kCanary) [[unlikely]]
    look_at_canary(fiber, task);
}

}  // namespace

// noexcept: an exception that leaves a goroutine ends the process here, with the stack that threw
// still there.
void fiber_entry(void* argument) noexcept {
  Processor& processor = *static_cast<Processor*>(argument);
  Fiber& fiber = *processor.fiber;
  sanitizer::after_switch(fiber.stack_info, &processor.previous->stack_info);
  run_after(processor);
  processor.scheduler.run_goroutines(fiber);
}

[[gnu::always_inline]] inline void SchedulerImpl::begin_slice(Processor& processor, Task& task) {
  if (task.traced()) [[unlikely]]
    trace_start(processor, task);
  processor.current = &task;
  task.fiber.store(processor.fiber, std::memory_order_release);  // pairs with who tells of it
  task.set_status(Task::kRunning);
  if (idle.load(std::memory_order_relaxed) != 0 && !is_brisk(processor))
    processor.slice_start = time_stamp();
  announce(processor, task.tag.load(std::memory_order_relaxed));
}

// `processor.current` and `processor.fiber` are those of `to` already. When this returns, the
// caller may be on another processor.
[[gnu::always_inline]] inline void SchedulerImpl::switch_to(Processor& processor,
                                                            MachineContext& from,
                                                            MachineContext& to) {
  if (!processor.library.empty()) [[unlikely]]
    processor.library.take(from.library);
  processor.previous = &from;
  sanitizer::before_switch(&from.stack_info, to.stack_info);
  sanitizer::switch_fiber(to.sanitizer_fiber);
  Processor& here = *static_cast<Processor*>(switch_context(&from.saved, to.saved, &processor));
  sanitizer::after_switch(from.stack_info, &here.previous->stack_info);
  if (!from.library.empty()) [[unlikely]]
    here.library.put(from.library);
  run_after(here);
  leave_scheduler(here);
}

[[gnu::always_inline]] inline Task* SchedulerImpl::take_next(Processor& processor) {
  Task* task = processor.next.load(std::memory_order_relaxed);
  if (task == nullptr) return nullptr;
  if (is_shared()) {
    // acquire pairs with the exchange in make_ready(); other processors take it the same way.
    task = processor.next.exchange(nullptr, std::memory_order_acquire);
    if (task == nullptr) return nullptr;
  } else {
    processor.next.store(nullptr, std::memory_order_relaxed);
  }
  const bool asks = ++processor.next_uses % Processor::kHalfRow == 0 ||
                    processor.period_over.load(std::memory_order_relaxed);
  if (!asks || goes_on(processor)) [[likely]]
    return task;
  requeue(processor, *task);
  return nullptr;
}

// A row ends after two halves. But two that compute for long in each use would get as much more
// time than two that do not; so a row may also last half as long as the longest one of late, and
// two periods of the monitor at most.
bool SchedulerImpl::goes_on(Processor& processor) {
  if (processor.period_over.load(std::memory_order_relaxed)) [[unlikely]] {
    processor.period_over.store(false, std::memory_order_relaxed);
    const std::uint32_t row =  // each use is a tick, so this stays the same while it goes on
        processor.tick.load(std::memory_order_relaxed) - processor.next_uses;
    if (std::exchange(processor.period_row, row) == row) {
      processor.longest_row = kLongestRow;
      return false;
    }
  }
  if (processor.next_uses % Processor::kHalfRow != 0) return true;
  const std::uint64_t stamp = time_stamp();
  if (processor.next_uses == Processor::kHalfRow) {
    processor.row_middle = stamp;
    return true;
  }
  const std::uint64_t ran = stamp - processor.row_middle;
  if (ran < processor.longest_row / 2) return true;
  processor.longest_row = std::max(std::min(ran, kLongestRow),
                                   processor.longest_row - processor.longest_row / kForgotten);
  return false;
}

// Everything that could run here without asking other processors; nullptr: nothing. First, inline,
// what is mostly the case: nothing is due, and what was woken last or yielded first goes on.
[[gnu::always_inline]] inline Task* SchedulerImpl::pick(Processor& processor, bool waits) {
  if (chooser != nullptr) [[unlikely]]
    return choose(processor);
  const std::uint32_t tick = processor.tick.load(std::memory_order_relaxed) + 1;
  processor.tick.store(tick, std::memory_order_relaxed);
  const bool looks = timers.earliest() != Timers::kNever || poller.waiting();
  if (tick % kFairness != 0 && !looks) [[likely]] {
    if (Task* const task = take_next(processor)) return task;
    if (processor.fresh.size() == 0) {
      processor.next_uses = 0;
      if (Task* const task = processor.ready.pop(is_shared())) return task;
    }
  } else if (Task* const task = pick_due(processor, tick)) {
    return task;
  }
  return pick_any(processor, waits);
}

// Whoever its chooser names, of all that could run; all queues are emptied into one list.
Task* SchedulerImpl::choose(Processor& processor) {
  const auto add = [this](Task* task) {
    if (task != nullptr) runnable.push_back(task);
    return task != nullptr;
  };
  add(processor.next.exchange(nullptr, std::memory_order_relaxed));
  while (add(processor.ready.pop(false))) {
  }
  while (add(processor.fresh.pop_oldest(false))) {
  }
  TaskList injected = injector.pop(injector.size());
  while (add(injected.pop_front())) {
  }
  if (runnable.empty()) return nullptr;
  std::vector<TaskInfo> infos;
  infos.reserve(runnable.size());
  for (const Task* task : runnable) infos.push_back(info_of(*task));
  std::optional<TaskInfo> last;
  if (processor.current != nullptr) last = info_of(*processor.current);
  const std::size_t place = chooser->choose(infos, last.has_value() ? &*last : nullptr);
  BULKHEAD_CHECK(place < runnable.size(), "a chooser chose {} of {}", place, runnable.size());
  Task* const task = runnable[place];
  runnable.erase(runnable.begin() + static_cast<std::ptrdiff_t>(place));
  return task;
}

// Timers, descriptors, and now and then the far ends of the queues: the oldest of those that never
// ran, and of all processors' tasks, must not wait for ever.
Task* SchedulerImpl::pick_due(Processor& processor, std::uint32_t tick) {
  if (timers.earliest() != Timers::kNever) {
    const bool due = tick % kTimerTicks == 0;
    const std::uint64_t stamp = due || is_brisk(processor) ? processor.looked : time_stamp();
    if (due || stamp - processor.looked >= kClockPeriod) {
      processor.looked = stamp;
      fire_timers(processor, due);
    }
  }
  if (poller.waiting() && (!is_brisk(processor) || tick % kFairness == 0))
    poll_now_and_then(processor);
  if (tick % kFairness == 0) {
    if (unshares.load(std::memory_order_acquire) == &processor) go_unshared(processor);
    if (processor.returns_spares.load(std::memory_order_relaxed)) return_spares(processor);
    if (is_retiring(processor)) return nullptr;
    if (processor.inbox.size() > 0) return processor.inbox.pop(1).first;
    Task* task = tick / kFairness % 2 == 0 ? processor.fresh.pop_oldest(is_shared()) : nullptr;
    if (task == nullptr && injector.size() > 0) task = from_injector(processor);
    if (task != nullptr) return task;
  }
  return take_next(processor);
}

// Not more than its queue has room for, if many are due: the others would go to the injector, and
// grow cold again until they run. But now and then some, however many wait for the processor.
bool SchedulerImpl::fire_timers(Processor& processor, bool at_least_some) {
  constexpr std::uint32_t kMost = kQueueSlots / 2;
  constexpr std::uint32_t kLeast = kTimerTicks / 2;
  const std::uint32_t room = kMost - std::min(processor.ready.size(), kMost);
  const std::uint32_t most = at_least_some ? std::max(room, kLeast) : room;
  return most > 0 && timers.fire(now_ns(), most);
}

Task* SchedulerImpl::pick_any(Processor& processor, bool waits) {
  processor.next_uses = 0;
  if (is_retiring(processor)) return nullptr;
  if (processor.inbox.size() > 0) [[unlikely]]
    return processor.inbox.pop(1).first;
  const std::uint32_t waiting = processor.fresh.size();
  const bool for_children = waits && processor.current->has_children;
  if (waiting != 0 && ++processor.fresh_run < kFreshRun) {
    // Who has started others and waits mostly waits for them: the youngest starts now. Otherwise
    // they start in order, before those that yield to them, unless they are many.
    Task* task = nullptr;
    if (for_children)
      task = processor.fresh.pop_youngest(is_shared());
    else if (waiting < FreshQueue::kMany)
      task = processor.fresh.pop_oldest(is_shared());
    if (task != nullptr) return task;
  }
  processor.fresh_run = 0;  // they come without end: the others' turn
  if (Task* const task = processor.ready.pop(is_shared())) return task;
  if (waiting != 0) {
    Task* const task =
        for_children ? processor.fresh.pop_youngest(is_shared()) : processor.fresh.pop(is_shared());
    if (task != nullptr) return task;
  }
  if (injector.size() > 0) return from_injector(processor);
  return nullptr;
}

void SchedulerImpl::processor_loop(Processor& processor) {
  // run() may be called from a goroutine of another scheduler: what the thread was is put back.
  const ThreadState outer = thread_state();
  set_thread_state({.processor = &processor});
  if (observer != nullptr) observer->on_processor_start(processor.index);
  processor.host.sanitizer_fiber = sanitizer::current_fiber();
  processor.library = {reinterpret_cast<ExceptionState*>(abi::__cxa_get_globals()), &errno};
  processor.thread.store(static_cast<int>(::syscall(SYS_gettid)), std::memory_order_release);
  for (;;) {
    enter_scheduler(processor);
    Task* task = is_retiring(processor) ? nullptr : pick(processor, false);
    if (task == nullptr) task = find_work(processor);
    if (task == nullptr) {
      if (sit_out(processor)) continue;
      break;
    }
    if (processor.has_watched) end_watch(processor);
    processor.fiber = &fiber_of(processor, *task);
    begin_slice(processor, *task);
    switch_to(processor, processor.host, *processor.fiber);
    announce(processor, kNoTag);
  }
  return_spares(processor);  // a lent one may not run again for long
  processor.thread.store(0, std::memory_order_release);
  set_thread_state(outer);
}

Task* SchedulerImpl::pick_here(Processor& processor) {
  if (chooser != nullptr) return choose(processor);
  Task* const task = take_next(processor);
  return task != nullptr ? task : pick_any(processor, false);
}

void SchedulerImpl::switch_to_host(Processor& processor, MachineContext& from) {
  processor.current = nullptr;
  processor.fiber = nullptr;
  switch_to(processor, from, processor.host);
}

[[gnu::always_inline]] inline void SchedulerImpl::leave(Task& leaver, After after) {
  Processor& processor = processor_here();
  enter_scheduler(processor);
  check_canary(processor, leaver);
  MachineContext& from = *processor.fiber;
  Task* const task = pick(processor, true);
  processor.after = after;
  if (task == nullptr) return switch_to_host(processor, from);
  processor.fiber = &fiber_of(processor, *task);
  begin_slice(processor, *task);
  switch_to(processor, from, *processor.fiber);
}

// Runs new goroutines one after another on one stack, by plain calls as long as they end without
// having parked and the next one is new, too. In between the fiber waits in a cache.
void SchedulerImpl::run_goroutines(Fiber& fiber) {
  for (;;) {
    Processor* processor = &processor_here();
    Task& task = *processor->current;
    leave_scheduler(*processor);
    task.body(task, true);
    processor = &processor_here();
    enter_scheduler(*processor);
    check_canary(*processor, task);
    if (task.traced()) [[unlikely]]
      trace_stop(task, TraceKind::kEnd);
    free_task(*processor, task);
    Task* const next = pick(*processor, false);
    if (next != nullptr && is_plain(fiber) && starts_anywhere(*next)) {
      begin_slice(*processor, *next);
      continue;
    }
    processor->after = {[](Processor& here, void* object) {
                          here.scheduler.release_fiber(here, *static_cast<Fiber*>(object));
                        },
                        &fiber};
    if (next == nullptr) {
      switch_to_host(*processor, fiber);
    } else {
      processor->fiber = &fiber_of(*processor, *next);
      begin_slice(*processor, *next);
      switch_to(*processor, fiber, *processor->fiber);
    }
  }
}

void SchedulerImpl::make_ready(Processor& processor, Task& task) {
  task.set_status(Task::kRunnable);
  if (task.marks != 0) [[unlikely]] {
    if (task.traced()) trace_ready(task);
    if (task.placed() && deliver(task)) return;
  }
  const bool nested = processor.inside.load(std::memory_order_relaxed);
  enter_scheduler(processor);
  Task* before;
  if (is_shared()) {
    // release pairs with the acquire in pick() and steal().
    before = processor.next.exchange(&task, std::memory_order_acq_rel);
  } else {
    before = processor.next.load(std::memory_order_relaxed);
    processor.next.store(&task, std::memory_order_relaxed);
  }
  if (!nested) leave_scheduler(processor);
  if (before != nullptr) {
    requeue(processor, *before);
    if (!is_brisk(processor) || processor.ready.size() >= kWorthATheft) wake_one();
  } else if (is_shared() && idle.load(std::memory_order_relaxed) != 0 && !is_brisk(processor) &&
             time_stamp() - processor.slice_start > kLongSlice) {
    wake_one();
  }
}

void SchedulerImpl::launch(Processor& processor, Task& task) {
  task.set_status(Task::kRunnable);
  if (task.marks != 0) [[unlikely]] {
    if (task.traced()) trace_go(task);
    if (task.placed() && deliver(task)) return;
  }
  if (!processor.fresh.push(task)) spill(processor, task, true);
  wake_one();
}

// A queue is full: its older half and `task` go to the injector.
void SchedulerImpl::spill(Processor& processor, Task& task, bool fresh) {
  TaskList list;
  while (list.count < kQueueSlots / 2) {
    Task* const moved = fresh ? processor.fresh.take() : processor.ready.take();
    if (moved == nullptr) break;
    list.push_back(*moved);
  }
  list.push_back(task);
  injector.push(list);
  wake_one();
}

void park_task(Task& self, const Wait& wait, After after) {
  // It wakes by itself, so others that wait for it are in no deadlock.
  const bool sleeps = wait.reason == ParkReason::kSleep ||
                      wait.reason == ParkReason::kSelectTimeout ||
                      wait.reason == ParkReason::kBlocking;
  Fiber& fiber = *self.fiber.load(std::memory_order_relaxed);
  fiber.park.set(wait, self.scheduler->about_now());
  if (self.marks != 0) [[unlikely]] {
    fiber.left = processor_here().index;
    if (self.traced()) self.scheduler->trace_stop(self, TraceKind::kPark, wait);
  }
  self.set_status(sleeps ? Task::kSleeping : Task::kParked, wait.reason);
  self.scheduler->leave(self, after);
}

void unpark_task(Task& task) {
  SchedulerImpl& scheduler = *task.scheduler;
  auto* const processor = static_cast<Processor*>(this_processor());
  if (processor != nullptr && &processor->scheduler == &scheduler) {
    scheduler.make_ready(*processor, task);
  } else {
    task.set_status(Task::kRunnable);
    scheduler.inject(task);
  }
}

void SchedulerImpl::yield(Task& yielder) {
  Processor& processor = processor_here();
  enter_scheduler(processor);
  check_canary(processor, yielder);
  if (yielder.marks != 0) [[unlikely]] {
    processor.fiber->left = processor.index;
    if (yielder.traced()) trace_stop(yielder, TraceKind::kYield);
  }
  MachineContext& from = *processor.fiber;
  if (unshares.load(std::memory_order_acquire) == &processor) [[unlikely]]
    go_unshared(processor);
  const bool saves_first = is_shared();  // or else nobody can take it before it is saved
  if (!saves_first) requeue(processor, yielder);
  Task* const task = is_retiring(processor) ? nullptr : pick(processor, false);
  if (task == &yielder || (task == nullptr && !is_retiring(processor) && !migrates)) {
    begin_slice(processor, yielder);  // nobody else; and nobody is woken for that
    leave_scheduler(processor);
    return;
  }
  if (saves_first) {
    processor.after = {[](Processor& here, void* object) {
                         here.scheduler.requeue(here, *static_cast<Task*>(object));
                       },
                       &yielder};
  }
  if (task == nullptr) return switch_to_host(processor, from);
  processor.fiber = &fiber_of(processor, *task);
  begin_slice(processor, *task);
  switch_to(processor, from, *processor.fiber);
}

void end_slice() {
  Processor& processor = processor_here();
  const bool chosen = processor.scheduler.chooser != nullptr;
  processor.operations_left = chosen ? 1 : ProcessorHead::kOperations;
  processor.operations.store(
      processor.operations.load(std::memory_order_relaxed) + ProcessorHead::kOperations,
      std::memory_order_relaxed);
  // Several have shared them: each has waited in between, and how long they run in a row is
  // goes_on()'s affair.
  const std::uint32_t tick = processor.tick.load(std::memory_order_relaxed);
  if (std::exchange(processor.operations_tick, tick) != tick && !chosen) return;
  yield();
}

void interleave_slow() {
  const Task* const task = current_task();
  if (task != nullptr && task->scheduler->chooser != nullptr) yield();
}

void yield() {
  if (Task* const yielder = current_task())
    yielder->scheduler->yield(*yielder);
  else
    yield_thread();
}

}  // namespace bulkhead::sched
