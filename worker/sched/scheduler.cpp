// Processors and the life of a task. A processor's loop is: take a task from the run queue, switch
// to it, and when it switches back do what it asked for. Nothing holds a lock across the switch.
#include <pthread.h>

#include <bulkhead/base/check.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <string>
#include <thread>
#include <utility>

#include "sched/run_queue.hpp"
#include "sched/task.hpp"
#include "sched/thread_state.hpp"

namespace bulkhead::sched {

struct Scheduler::Impl {
  Impl(Scheduler& owner, const Options& given)
      : self(owner),
        options(given),
        stacks(given.stack_bytes * sanitizer::kStackFactor, probe_stack_guard()) {}

  void processor_loop(unsigned processor);
  void run_task(Task& task, unsigned processor, FiberHost& host);
  void settle(Task& task);
  void destroy(Task& task);
  void announce(unsigned processor, Tag tag) {
    if (options.observer != nullptr) options.observer->on_switch(processor, tag);
  }

  // Fixed after construction.
  Scheduler& self;
  const Options options;

  StackPool stacks;
  RunQueue queue;
  std::atomic<bool> running{false};  // atomic because misuse is what it finds

  // The registry: all that are alive, for dumps.
  Lock registry_lock;
  Task* oldest BULKHEAD_GUARDED_BY(registry_lock) = nullptr;
  Task* youngest BULKHEAD_GUARDED_BY(registry_lock) = nullptr;
  std::uint64_t started BULKHEAD_GUARDED_BY(registry_lock) = 0;
};

namespace {

void task_entry(void* argument) {
  Task& task = *static_cast<Task*>(argument);
  {
    // What the body holds is destroyed here, by the goroutine: destructors may block.
    const std::function<void()> body = std::exchange(task.body, nullptr);
    body();
  }
  task.leaving = Leaving::kEnd;
  task.fiber.exit();
}

}  // namespace

void Scheduler::Impl::processor_loop(unsigned processor) {
  // run() may be called from a goroutine of another scheduler: what the thread was is put back.
  const ThreadState outer = thread_state();
  set_thread_state({.owner = &self, .processor = static_cast<int>(processor)});
  if (options.observer != nullptr) options.observer->on_processor_start(processor);
  FiberHost host{.sanitizer_fiber = sanitizer::current_fiber(), .stack = {}};
  while (Task* task = queue.pop()) run_task(*task, processor, host);
  set_thread_state(outer);
}

void Scheduler::Impl::run_task(Task& task, unsigned processor, FiberHost& host) {
  if (task.stack.low == nullptr) {
    task.stack = stacks.acquire();
    task.fiber.prepare(task.stack, &task_entry, &task);
  }
  task.set_state(TaskInfo::State::kRunning);
  announce(processor, task.tag);
  set_current_task(&task);
  task.fiber.resume(host);
  set_current_task(nullptr);
  announce(processor, kNoTag);
  BULKHEAD_CHECK(StackPool::canary_whole(task.stack),
                 "goroutine {} (tag {}) overflowed its stack of {} bytes", task.id, task.tag,
                 task.stack.usable_bytes());
  settle(task);
}

// From the moment that the task is in its queue another processor may run it, and end it: each
// branch touches it no more after that. Not analysed: it releases the lock that the task took.
void Scheduler::Impl::settle(Task& task) BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
  switch (task.leaving) {
    case Leaving::kYield:
      queue.push(task);
      break;
    case Leaving::kPark:
      task.set_state(TaskInfo::State::kParked);
      std::exchange(task.unlock, nullptr)->unlock();
      break;
    case Leaving::kSleep:
      queue.push_timer(task);
      break;
    case Leaving::kEnd:
      task.set_state(TaskInfo::State::kEnded);
      stacks.release(task.stack);
      destroy(task);
      queue.retire();
      break;
  }
}

void Scheduler::Impl::destroy(Task& task) {
  {
    LockGuard guard(registry_lock);
    (task.older != nullptr ? task.older->younger : oldest) = task.younger;
    (task.younger != nullptr ? task.younger->older : youngest) = task.older;
  }
  delete &task;
}

void switch_out(Task& self, Leaving leaving, ParkReason reason) {
  self.leaving = leaving;
  self.reason.store(reason, std::memory_order_relaxed);
  self.fiber.suspend();
}

void park_task(Task& self, Lock& lock, ParkReason reason) {
  self.unlock = &lock;
  switch_out(self, Leaving::kPark, reason);
}

void unpark_task(Task& task) { task.scheduler->queue.push(task); }

Scheduler::Scheduler(Options options) {
  BULKHEAD_CHECK(options.processors > 0, "a scheduler needs at least one processor");
  impl_ = std::make_unique<Impl>(*this, options);
}

Scheduler::~Scheduler() {
  // acquire pairs with the release at the end of run().
  BULKHEAD_CHECK(!impl_->running.load(std::memory_order_acquire),
                 "a scheduler is destroyed during run()");
  for (Task* task : impl_->queue.drain()) impl_->destroy(*task);
}

void Scheduler::run(std::function<void()> main) {
  // acq_rel pairs with the release below: this run sees what the last one left.
  BULKHEAD_CHECK(!impl_->running.exchange(true, std::memory_order_acq_rel),
                 "run() is called while another run() is under way");
  impl_->queue.begin();
  go(std::move(main), current_tag());
  std::vector<std::thread> threads;
  for (unsigned processor = 1; processor < impl_->options.processors; ++processor) {
    threads.emplace_back([this, processor] {
      ::pthread_setname_np(::pthread_self(), fmt::format("processor-{}", processor).c_str());
      impl_->processor_loop(processor);
    });
  }
  impl_->processor_loop(0);
  for (std::thread& thread : threads) thread.join();
  impl_->running.store(false, std::memory_order_release);
}

void Scheduler::go(std::function<void()> body, Tag tag) {
  BULKHEAD_CHECK(body != nullptr, "a goroutine needs a body");
  Task* const task = new Task;
  task->scheduler = impl_.get();
  task->tag = tag;
  task->body = std::move(body);
  {
    LockGuard guard(impl_->registry_lock);
    task->id = ++impl_->started;
    task->older = impl_->youngest;
    (impl_->youngest != nullptr ? impl_->youngest->younger : impl_->oldest) = task;
    impl_->youngest = task;
  }
  impl_->queue.add(*task);
}

std::uint64_t Scheduler::alive() const { return impl_->queue.alive(); }

unsigned Scheduler::processors() const { return impl_->options.processors; }

std::vector<TaskInfo> Scheduler::tasks() const {
  std::vector<TaskInfo> infos;
  LockGuard guard(impl_->registry_lock);
  for (const Task* task = impl_->oldest; task != nullptr; task = task->younger) {
    infos.push_back({.id = task->id,
                     .tag = task->tag,
                     .state = task->state.load(std::memory_order_relaxed),
                     .reason = task->reason.load(std::memory_order_relaxed)});
  }
  return infos;
}

Scheduler* Scheduler::current() {
  const Task* const task = current_task();
  return task != nullptr ? &task->scheduler->self : thread_state().entered;
}

const char* to_string(TaskInfo::State state) {
  switch (state) {
    case TaskInfo::State::kRunnable:
      return "runnable";
    case TaskInfo::State::kRunning:
      return "running";
    case TaskInfo::State::kParked:
      return "parked";
    case TaskInfo::State::kSleeping:
      return "sleeping";
    case TaskInfo::State::kEnded:
      return "ended";
  }
  return "unknown";
}

Enter::Enter(Scheduler& scheduler, Tag tag) : Enter(&scheduler, nullptr, tag) {}

Enter::Enter(ThreadHost& host, Tag tag) : Enter(nullptr, &host, tag) {}

Enter::Enter(Scheduler* scheduler, ThreadHost* host, Tag tag)
    : outer_(thread_state().entered),
      outer_host_(thread_state().host),
      outer_tag_(thread_state().entered_tag) {
  BULKHEAD_CHECK(current_task() == nullptr, "Enter is for plain threads, not for goroutines");
  ThreadState state = thread_state();
  state.entered = scheduler;
  state.host = host;
  state.entered_tag = tag;
  set_thread_state(state);
}

Enter::~Enter() {
  ThreadState state = thread_state();
  state.entered = outer_;
  state.host = outer_host_;
  state.entered_tag = outer_tag_;
  set_thread_state(state);
}

void go(std::function<void()> body) { go(std::move(body), current_tag()); }

void go(std::function<void()> body, Tag tag) {
  if (ThreadHost* const host = thread_state().host) return host->go(std::move(body), tag);
  Scheduler* const scheduler = Scheduler::current();
  BULKHEAD_CHECK(scheduler != nullptr,
                 "go() on a plain thread that entered no scheduler: use Enter or Scheduler::go");
  scheduler->go(std::move(body), tag);
}

void yield() {
  Task* const task = current_task();
  if (task == nullptr) {
    std::this_thread::yield();
    checkpoint();
    return;
  }
  switch_out(*task, Leaving::kYield, ParkReason::kNone);
}

void sleep_for(base::Duration duration) {
  Task* const task = current_task();
  if (task == nullptr) {
    const ThreadState state = thread_state();
    if (state.host != nullptr) state.host->on_block();
    std::this_thread::sleep_for(duration);
    if (state.host != nullptr) state.host->on_run(state.entered_tag);
  } else if (duration <= base::Duration::zero()) {
    yield();
  } else {
    // "For ever" must not overflow into the past.
    const base::TimePoint now = base::Clock::now();
    task->deadline =
        duration < base::TimePoint::max() - now ? now + duration : base::TimePoint::max();
    switch_out(*task, Leaving::kSleep, ParkReason::kSleep);
  }
}

void checkpoint() {
  const ThreadState state = thread_state();
  if (state.task != nullptr) {
    state.task->scheduler->announce(static_cast<unsigned>(state.processor), state.task->tag);
  } else if (state.host != nullptr) {
    state.host->on_run(state.entered_tag);
  }
}

Tag current_tag() {
  const Task* const task = current_task();
  return task != nullptr ? task->tag : thread_state().entered_tag;
}

std::uint64_t current_task_id() {
  const Task* const task = current_task();
  return task != nullptr ? task->id : 0;
}

}  // namespace bulkhead::sched
