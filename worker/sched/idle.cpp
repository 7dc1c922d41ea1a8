// Processors without work: search, sleep, wake. Five rules keep wake-ups from being lost and from
// being wasted.
//
// 1. Whoever makes a task runnable publishes it first and looks for sleepers second; whoever goes
//    to sleep (or stops searching) says so first and looks at all queues second. A full fence
//    between the two on both sides: at least one of them sees the other.
// 2. At most one processor at a time is being woken or searches because of that. When it finds
//    something it wakes the next one: there may be more where that came from.
// 3. One sleeper, the keeper, sleeps until the earliest deadline. A processor that arms an earlier
//    timer wakes nobody: it looks at the clock itself, and takes over when it goes to sleep.
// 4. While goroutines wait for descriptors, one sleeper sleeps on the poller instead of its futex,
//    until the same deadlines; the others are called before it. It says that it `polls` before it
//    says that it sleeps, so who finds it asleep writes to the poller's eventfd. That stays
//    readable until whoever polls reads it, and nobody else does.
//
// 5. Where as many processors run as there are cores, and by the monitor's last look all of them
//    come to decisions all the time, none is called: another one would only take turns with them.
//    Who of them goes to sleep looks at all queues, by rule 1.
//
// What these rules and brisk processors (see make_ready()) spare may be a mistake: whoever was to
// do it soon computes for long. So while some processors run, one of the others, the napper, looks
// again after 100 µs, 200, 400, up to 10 ms as long as it finds nothing; and the monitor calls one
// for a goroutine that has computed for 10 ms.
//
// Descriptors are looked at by whoever finds no work, before it sleeps (but where it is the only
// one, which sleeps on the poller then); by whoever sleeps on the poller; and now and then by those
// that run (pick_due()). Who has watched for the others, as napper or on the poller, and has found
// work calls another that does it from now on; so does who lets the first goroutine wait for a
// descriptor and runs another, when nobody watches. Nothing that is ready waits for a processor
// that computes while another is idle.
#include <algorithm>
#include <bulkhead/base/check.hpp>
#include <bulkhead/sched/biased_lock.hpp>

#include "sched/futex.hpp"
#include "sched/monitor.hpp"
#include "sched/pause.hpp"
#include "sched/processor.hpp"

namespace bulkhead::sched {
namespace {

constexpr int kPasses = 4;  // over all processors
constexpr int kPausesBeforeNext = 60;

}  // namespace

void SchedulerImpl::begin_run() {
  finished.store(false, std::memory_order_relaxed);
  shared.store(options.processors > 1, std::memory_order_relaxed);
  unshares.store(nullptr, std::memory_order_relaxed);
  coarse_ns.store(base::monotonic_ns(), std::memory_order_relaxed);
  poller.begin_run();
  for (const auto& processor : processors) {
    processor->wake.store(0, std::memory_order_relaxed);
    processor->retiring.store(false, std::memory_order_relaxed);
    processor->bias.store(ProcessorHead::kNoBias, std::memory_order_relaxed);
  }
  Processor& first = *processors[0];
  if (!is_shared() && can_bias()) first.bias.store(first.home, std::memory_order_relaxed);
}

Task* SchedulerImpl::find_work(Processor& processor) {
  bool called = false;  // counted in `searching`
  bool invited = false;
  bool brought = false;  // from the poller, that it slept on
  for (;;) {
    if (finished.load(std::memory_order_acquire) || is_retiring(processor)) {
      if (called) searching.fetch_sub(1, std::memory_order_seq_cst);
      return nullptr;
    }
    const bool fired = timers.earliest() != Timers::kNever && fire_timers(processor, true);
    // A single processor finds out when it goes to sleep.
    const bool polled =
        std::exchange(brought, false) || (poller.waiting() && is_shared() && poll(processor) > 0);
    if (fired || polled) {
      if (Task* const task = pick_here(processor)) {
        if (called) {
          searching.fetch_sub(1, std::memory_order_seq_cst);
          wake_one();  // it was called for something else
        }
        return task;
      }
    }
    if (!called && is_shared() && searching.load(std::memory_order_relaxed) == 0) {
      searching.fetch_add(1, std::memory_order_seq_cst);
      called = true;
    }
    if (called) {
      Task* const task = search(processor, invited);
      // seq_cst: rule 1. Somebody may have woken nobody because we searched.
      searching.fetch_sub(1, std::memory_order_seq_cst);
      if (task != nullptr) {
        processor.nap_ns = Processor::kLeastNap;
        wake_one();  // rule 2
        return task;
      }
    }
    TaskList ready;
    invited = called = sleep(processor, ready);
    brought = take_ready(processor, ready) > 0;
    // Once the run is finished, what comes from outside waits for the next one.
    if (!called && !finished.load(std::memory_order_acquire)) {
      if (Task* const task = pick_here(processor)) return task;
    }
  }
}

std::uint32_t SchedulerImpl::poll(Processor& processor) {
  const std::uint32_t count = take_ready(processor, poller.look());
  if (count > 0) poller.handed_over();
  return count;
}

std::uint32_t SchedulerImpl::take_ready(Processor& processor, TaskList ready) {
  const std::uint32_t count = ready.count;
  while (Task* const task = ready.pop_front()) {
    if (task->traced()) trace_ready(*task);
    requeue(processor, *task);
  }
  if (count > 1) wake_one();
  return count;
}

// Somebody else is to watch now: who found work may compute for long.
void SchedulerImpl::end_watch(Processor& processor) {
  processor.has_watched = false;
  if (poller.waiting()) wake_one();
}

// `invited`: what was woken somewhere is to run here rather than there, if only its processor does
// not run it at once. Otherwise it is left alone until the next search, after a nap: two that talk
// to one another do so best on one processor.
Task* SchedulerImpl::search(Processor& processor, bool invited) {
  const std::size_t count = processors.size();  // those that are not lent just now have nothing
  for (const auto& victim : processors) {
    if (Task* const task = steal_next(processor, *victim)) return task;
    processor.seen[victim->index] = victim->tick.load(std::memory_order_relaxed);
  }
  for (int pass = 0; pass < kPasses; ++pass) {
    const bool last = invited && pass == kPasses - 1;
    if (last)  // its owner most likely runs it at once
      for (int i = 0; i < kPausesBeforeNext; ++i) pause_cpu();
    if (injector.size() > 0)
      if (Task* const task = from_injector(processor)) return task;
    const std::size_t first = next_random(processor.random) % count;
    for (std::size_t i = 0; i < count; ++i) {
      Processor& victim = *processors[(first + i) % count];
      if (&victim == &processor) continue;
      if (Task* const task = steal(processor, victim)) return task;
      if (pass == kPasses - 1 && migrates)
        if (Task* const task = take_migrant(processor, victim)) return task;
      if (last)
        if (Task* const task = steal_next(processor, victim)) return task;
    }
  }
  return nullptr;
}

// Half of what the victim has, one by one: the first for the caller, the others into its queue.
Task* SchedulerImpl::steal(Processor& processor, Processor& victim) {
  Task* mine = nullptr;
  unsigned count = 0;
  const auto take_half = [&](auto& queue) {
    for (std::uint32_t left = (queue.size() + 1) / 2; left > 0; --left) {
      Task* const task = queue.take();
      if (task == nullptr) break;
      if (count++ == 0)
        mine = task;
      else
        requeue(processor, *task);
    }
  };
  take_half(victim.ready);
  if (mine == nullptr) take_half(victim.fresh);  // in the order of their start
  if (mine != nullptr && mine->traced()) trace_steal(victim, *mine, count);
  return mine;
}

// What is next somewhere runs there in a moment, unless its processor has not come to a decision
// since we began to look.
Task* SchedulerImpl::steal_next(Processor& processor, Processor& victim) {
  if (&victim == &processor || victim.next.load(std::memory_order_relaxed) == nullptr ||
      victim.tick.load(std::memory_order_relaxed) != processor.seen[victim.index])
    return nullptr;
  // acquire pairs with the release in make_ready().
  Task* const mine = victim.next.exchange(nullptr, std::memory_order_acquire);
  if (mine != nullptr && mine->traced()) trace_steal(victim, *mine, 1);
  return mine;
}

Task* SchedulerImpl::from_injector(Processor& processor) {
  const std::uint32_t share = injector.size() / options.processors + 1;
  TaskList list = injector.pop(std::min(share, kQueueSlots / 2));
  Task* const mine = list.pop_front();
  while (list.count > 0) {
    Task* const task = list.pop_front();
    if (processor.ready.push(*task)) continue;
    list.push_back(*task);
    injector.push(list);
  }
  return mine;
}

// One that the victim does not come to, because it runs a hog. It must not have come from here.
Task* SchedulerImpl::take_migrant(const Processor& processor, Processor& victim) {
  if (victim.inbox.size() == 0) return nullptr;
  Task* const mine = victim.inbox.pop_first([&processor](const Task& task) {
    const Particulars* const more = particulars_of(task);
    const bool pinned = more != nullptr && more->pinned;
    return !pinned && task.fiber.load(std::memory_order_relaxed)->left != processor.index;
  });
  if (mine != nullptr && mine->traced()) trace_steal(victim, *mine, 1);
  return mine;
}

// What any of them may run. Not what is `next` somewhere: its processor runs it in a moment,
// mostly.
bool SchedulerImpl::any_common_work() const {
  return injector.size() > 0 ||
         std::any_of(processors.begin(), processors.end(), [](const auto& processor) {
           return processor->ready.size() > 0 || processor->fresh.size() > 0;
         });
}

bool SchedulerImpl::any_work() const {
  return any_common_work() ||
         std::any_of(processors.begin(), processors.end(),
                     [](const auto& processor) { return processor->inbox.size() > 0; });
}

// What others have in their inboxes is theirs.
bool SchedulerImpl::any_work_for(const Processor& processor) const {
  return processor.inbox.size() > 0 || any_common_work();
}

// True: somebody has called it, and counts it as a searcher already. `ready`: what it slept on the
// poller for.
bool SchedulerImpl::sleep(Processor& processor, TaskList& ready) {
  if (chooser != nullptr && timers.earliest() != Timers::kNever) {  // virtual time passes at once
    virtual_now = std::max(virtual_now, timers.earliest());
    return false;
  }
  if (processor.returns_spares.load(std::memory_order_relaxed)) return_spares(processor);
  std::int64_t deadline = Timers::kNever;
  bool last = false;
  bool polls = false;
  {
    LockGuard guard(idle_lock);
    processor.wake.store(0, std::memory_order_relaxed);
    if (polling == nullptr && poller.waiting()) {
      polling = &processor;
      polls = true;
      processor.polls.store(true, std::memory_order_relaxed);
    }
    sleepers.insert(polls ? sleepers.begin() : sleepers.end(), &processor);
    count_awake();
    ++sleeps;
    processor.asleep.store(true, std::memory_order_release);  // rule 4
    last = sleepers.size() == active;
    if (!last && napper == nullptr) {
      napper = &processor;
      deadline = base::monotonic_ns() + processor.nap_ns;
    }
    const std::int64_t earliest = timers.earliest();
    if (earliest < keeper_deadline) {
      keeper = &processor;
      keeper_deadline = earliest;
      deadline = std::min(deadline, earliest);
    }
    processor.has_watched = polls || napper == &processor;
    watched.store(polling != nullptr || napper != nullptr, std::memory_order_relaxed);
  }
  full_fence();  // rule 1
  if (last && !finish_if_done()) look_for_deadlock();
  const bool woken_here = processor.next.load(std::memory_order_relaxed) != nullptr;
  const bool stops = finished.load(std::memory_order_acquire) || is_retiring(processor) ||
                     processor.returns_spares.load(std::memory_order_relaxed);
  // Whoever begins to wait for a descriptor looks likewise whether anybody watches.
  const bool unwatched = poller.waiting() && !watched.load(std::memory_order_relaxed);
  if (!woken_here && !any_work_for(processor) && !stops && !unwatched) {
    // acquire pairs with the release in futex_wake().
    while (processor.wake.load(std::memory_order_acquire) == 0) {
      if (polls) {
        ready = poller.sleep(deadline);
        break;
      }
      futex_wait(processor.wake, deadline);
      if (deadline != Timers::kNever && base::monotonic_ns() >= deadline) break;
    }
  }
  coarse_ns.store(base::monotonic_ns(), std::memory_order_relaxed);
  processor.asleep.store(false, std::memory_order_relaxed);
  full_fence();  // see Monitor::wait()
  if (monitor != nullptr) monitor->on_activity();
  LockGuard guard(idle_lock);
  if (keeper == &processor) {
    keeper = nullptr;
    keeper_deadline = Timers::kNever;
  }
  if (napper == &processor) {
    napper = nullptr;
    processor.nap_ns = std::min(2 * processor.nap_ns, Processor::kLongestNap);
  }
  if (polls) {
    polling = nullptr;
    processor.polls.store(false, std::memory_order_relaxed);
  }
  watched.store(polling != nullptr || napper != nullptr, std::memory_order_relaxed);
  const auto place = std::find(sleepers.begin(), sleepers.end(), &processor);
  // From here on it is awake for all, with what it has brought.
  if (ready.count > 0) poller.handed_over();
  if (place == sleepers.end()) return true;
  *place = sleepers.back();
  sleepers.pop_back();
  count_awake();
  return false;
}

// A pinned one to its processor; where all migrate, whoever goes on to another one than it comes
// from. None of the others is called. False: it has not run yet, and may do so anywhere.
bool SchedulerImpl::deliver(Task& task) {
  const Particulars* const more = particulars_of(task);
  const Fiber* const fiber = task.fiber.load(std::memory_order_relaxed);
  unsigned place = 0;
  if (more != nullptr && more->pinned)
    place = more->processor;
  else if (fiber != nullptr)
    place = place_after(*fiber);
  else
    return false;
  Processor& home = *processors[place];
  home.inbox.push(task);
  wake_if_asleep(home);
  return true;
}

// All the others in turn. (One that was lent is none of them.)
unsigned SchedulerImpl::place_after(const Fiber& fiber) {
  const unsigned turn = migrations.fetch_add(1, std::memory_order_relaxed);
  if (fiber.left >= options.processors) return turn % options.processors;
  return (fiber.left + 1 + turn % (options.processors - 1)) % options.processors;
}

void SchedulerImpl::wake_if_asleep(Processor& processor) {
  full_fence();  // rule 1
  // acquire pairs with the release in sleep(): rule 4.
  if (processor.asleep.load(std::memory_order_acquire)) wake_processor(processor);
}

void SchedulerImpl::wake_processor(Processor& processor) {
  if (!processor.polls.load(std::memory_order_relaxed)) [[likely]]
    return futex_wake(processor.wake);
  processor.wake.store(1, std::memory_order_release);  // pairs with the acquire in sleep()
  poller.wake();
}

void SchedulerImpl::wake_idle() {
  unsigned none = 0;
  if (!searching.compare_exchange_strong(none, 1, std::memory_order_seq_cst)) return;  // rule 2
  Processor* processor = nullptr;
  {
    LockGuard guard(idle_lock);
    if (!sleepers.empty()) {
      processor = sleepers.back();
      sleepers.pop_back();
      count_awake();
    } else {
      // Under the lock: whoever goes to sleep after this shows it to those who then look, together
      // with the fact that nobody searches.
      searching.fetch_sub(1, std::memory_order_seq_cst);
    }
  }
  if (processor == nullptr) return;
  calls.fetch_add(1, std::memory_order_relaxed);
  wake_processor(*processor);
}

void SchedulerImpl::count_awake() {
  idle.store(static_cast<unsigned>(sleepers.size()), std::memory_order_relaxed);
  awake.store(active - static_cast<unsigned>(sleepers.size()), std::memory_order_relaxed);
}

// The others go on with what it had. If all of them are asleep one looks afresh whether all is
// done: we did not count among those asleep.
void SchedulerImpl::retire(Processor& processor) {
  if (Task* const task = processor.next.exchange(nullptr, std::memory_order_acquire))
    injector.push(*task);
  while (Task* const task = processor.ready.take()) injector.push(*task);
  while (Task* const task = processor.fresh.take()) injector.push(*task);
  bool wanted = injector.size() > 0;
  {
    LockGuard guard(idle_lock);
    --active;
    count_awake();
    wanted = wanted || sleepers.size() == active;
  }
  full_fence();  // rule 1
  if (wanted) wake_idle();
}

// It counts as asleep, but nobody calls it for work.
bool SchedulerImpl::sit_out(Processor& processor) {
  if (processor.index >= options.processors) return false;
  if (is_retiring(processor) && !finished.load(std::memory_order_acquire)) {
    retire(processor);
    processor.asleep.store(true, std::memory_order_relaxed);
    for (;;) {
      processor.wake.store(0, std::memory_order_relaxed);
      full_fence();  // whoever calls says first why
      if (processor.returns_spares.load(std::memory_order_relaxed)) return_spares(processor);
      if (!is_retiring(processor) || finished.load(std::memory_order_acquire)) break;
      futex_wait(processor.wake, Timers::kNever);
      if (monitor != nullptr) monitor->on_activity();  // it may have to look who is wanted
    }
    processor.asleep.store(false, std::memory_order_relaxed);
    LockGuard guard(idle_lock);
    ++active;
    count_awake();
  }
  return !finished.load(std::memory_order_acquire);
}

// On the thread of the only processor that is left.
void SchedulerImpl::go_unshared(Processor& processor) {
  LockGuard guard(idle_lock);
  if (active != 1) return;  // soon, then
  // Under the lock: the monitor may have changed its mind.
  if (unshares.exchange(nullptr, std::memory_order_relaxed) != &processor) return;
  shared.store(false, std::memory_order_relaxed);
  if (can_bias()) processor.bias.store(processor.home, std::memory_order_relaxed);
}

// Nothing runs, nothing can run: when nothing is alive either, the run is over.
bool SchedulerImpl::finish_if_done() {
  if (alive() != 0) return false;
  std::vector<Processor*> asleep;
  {
    LockGuard guard(idle_lock);
    if (sleepers.size() != active || any_work()) return false;
    finished.store(true, std::memory_order_release);  // pairs with the acquires above
    asleep = sleepers;
  }
  for (Processor* processor : asleep) wake_processor(*processor);
  for (const auto& processor : processors)
    if (is_retiring(*processor)) wake_processor(*processor);
  return true;
}

// Nothing runs. Those that sleep will, timers may start some, those that wait outside may run, be
// it for a descriptor. When all others are parked, only they themselves could wake one another.
void SchedulerImpl::look_for_deadlock() {
  if (!options.on_deadlock || timers.earliest() != Timers::kNever || poller.hopes()) return;
  // One processor at a time: another may wake to have a look of its own, and be the last to sleep
  // again, while this one still tells.
  const base::MutexLock telling(deadlock_mutex);
  // All asleep now, and nobody has gone to sleep in between: nothing has run.
  const auto asleep_since = [this]() -> std::uint64_t {
    LockGuard guard(idle_lock);
    return sleepers.size() == active && !any_work() ? sleeps : 0;
  };
  const std::uint64_t before = asleep_since();
  if (before == 0 || alive() <= outside.load(std::memory_order_relaxed)) return;
  const std::vector<TaskInfo> infos = tasks();
  bool stuck = false;
  for (const TaskInfo& info : infos) {
    if (info.outside) continue;
    if (info.state != Task::kParked) return;
    stuck = true;
  }
  if (!stuck || asleep_since() != before) return;
  options.on_deadlock(infos);
}

// From a thread that is no processor of ours. Once the task is published it may end, and the run
// with it: `outsiders` keeps the scheduler until we are out of here.
void SchedulerImpl::inject(Task& task) {
  outsiders.fetch_add(1, std::memory_order_relaxed);
  if (task.traced()) {
    if (task.fiber.load(std::memory_order_relaxed) == nullptr)
      trace_go(task);
    else
      trace_ready(task);
  }
  if (!task.placed() || !deliver(task)) {
    injector.push(task);
    full_fence();  // rule 1
    if (idle.load(std::memory_order_relaxed) != 0 && searching.load(std::memory_order_relaxed) == 0)
      wake_idle();
  }
  outsiders.fetch_sub(1, std::memory_order_release);  // pairs with the acquire in run()
}

}  // namespace bulkhead::sched
