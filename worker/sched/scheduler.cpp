#include <pthread.h>

#include <bulkhead/base/check.hpp>
#include <bulkhead/sched/biased_lock.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "sched/monitor.hpp"
#include "sched/processor.hpp"
#include "sched/thread_blocks.hpp"

namespace bulkhead::sched {
namespace {

Task& make_task(SchedulerImpl& scheduler, Processor* processor, std::function<void()> body, Tag tag,
                base::SourceSite site) {
  BULKHEAD_CHECK(body != nullptr, "a goroutine needs a body");
  Task& task = scheduler.prepare_task(processor, tag, site);
  new (task.closure) std::function<void()>(std::move(body));
  task.body = &run_body<std::function<void()>>;
  task.set_status(Task::kRunnable);
  return task;
}

struct Sleep : TimerNode {
  explicit Sleep(Task& sleeper, std::int64_t until)
      : TimerNode{.fire = [](TimerNode& node) { unpark_task(static_cast<Sleep&>(node).task); },
                  .touches = &sleeper},
        task(sleeper),
        deadline(until) {}
  Task& task;
  const std::int64_t deadline;
};

void count_started(Processor& processor) {
  // release pairs with the acquire in alive().
  processor.started.store(processor.started.load(std::memory_order_relaxed) + 1,
                          std::memory_order_release);
}

void arm_sleep(Processor&, void* object) {
  Sleep& sleep = *static_cast<Sleep*>(object);
  sleep.task.scheduler->timers.arm_for_good(sleep, sleep.deadline);
}

}  // namespace

Processor::Processor(SchedulerImpl& owner, unsigned number)
    : scheduler(owner), index(number), random(0x9e3779b97f4a7c15ull * (number + 1)) {
  home = reinterpret_cast<std::uintptr_t>(&owner);
  add_processor(*this);
  if (owner.chooser != nullptr) {
    operations_left = 1;
    random ^= owner.chooser->seed() * 0xbf58476d1ce4e5b9ull;
    if (random == 0) random = 1;
  }
  seen.resize(2 * std::size_t{owner.options.processors});
}

Processor::~Processor() { remove_processor(*this); }

Scheduler::Scheduler(const Options& options) {
  BULKHEAD_CHECK(options.processors > 0, "a scheduler needs at least one processor");
  BULKHEAD_CHECK(options.chooser == nullptr || options.processors == 1,
                 "a scheduler with a chooser has one processor, not {}", options.processors);
  impl_ = std::make_unique<SchedulerImpl>(*this, options);
}

Scheduler::~Scheduler() {
  // acquire pairs with the release at the end of run().
  BULKHEAD_CHECK(!impl_->running.load(std::memory_order_acquire),
                 "a scheduler is destroyed during run()");
}

void Scheduler::run(std::function<void()> main) {
  // acq_rel pairs with the release below: this run sees what the last one left.
  BULKHEAD_CHECK(!impl_->running.exchange(true, std::memory_order_acq_rel),
                 "run() is called while another run() is under way");
  impl_->begin_run();
  go(std::move(main), current_tag(), {});
  std::optional<Monitor> monitor;
  if (impl_->chooser == nullptr) monitor.emplace(*impl_);
  std::vector<std::thread> threads;
  for (unsigned index = 1; index < impl_->options.processors; ++index) {
    threads.emplace_back([this, index] {
      ::pthread_setname_np(::pthread_self(), fmt::format("processor-{}", index).c_str());
      impl_->processor_loop(*impl_->processors[index]);
    });
  }
  impl_->processor_loop(*impl_->processors[0]);
  for (std::thread& thread : threads) thread.join();
  monitor.reset();
  // acquire pairs with the release in inject().
  while (impl_->outsiders.load(std::memory_order_acquire) != 0) std::this_thread::yield();
  impl_->running.store(false, std::memory_order_release);
}

void Scheduler::go(std::function<void()> body, Tag tag, base::SourceSite site) {
  go({}, std::move(body), tag, site);
}

void Scheduler::go(GoOptions options, std::function<void()> body, Tag tag, base::SourceSite site) {
  Task& task = make_task(*impl_, nullptr, std::move(body), tag, site);
  if (!options.name.empty() || options.stack_bytes != 0 || options.pin)
    impl_->make_particular(task, std::move(options), site, 0);
  // release pairs with the acquire in alive().
  impl_->started_outside.fetch_add(1, std::memory_order_release);
  impl_->inject(task);
}

std::uint64_t Scheduler::alive() const { return impl_->alive(); }

unsigned Scheduler::processors() const { return impl_->options.processors; }

std::uint64_t Scheduler::wake_ups() const { return impl_->calls.load(std::memory_order_relaxed); }

LentTime Scheduler::lent_time() const {
  return {.hogs = impl_->hogs.load(std::memory_order_relaxed),
          .lent = base::Duration(impl_->lent_ns.load(std::memory_order_relaxed))};
}

base::Duration Scheduler::alone_time() const {
  return base::Duration(impl_->alone_ns.load(std::memory_order_relaxed));
}

std::vector<TaskInfo> Scheduler::tasks() const { return impl_->tasks(); }

TraceSnapshot Scheduler::trace() const {
  return impl_->tracer != nullptr ? impl_->tracer->collect() : TraceSnapshot{};
}

Scheduler* Scheduler::current() {
  const Task* const task = current_task();
  return task != nullptr ? &task->scheduler->self : thread_state().entered;
}

// Within another one it means nothing.
ExternalWait::ExternalWait()
    : task_(current_task() != nullptr && !current_task()->outside.load(std::memory_order_relaxed)
                ? current_task()
                : nullptr) {
  if (task_ == nullptr) return;
  task_->outside.store(true, std::memory_order_relaxed);
  task_->scheduler->outside.fetch_add(1, std::memory_order_relaxed);
}

ExternalWait::~ExternalWait() {
  if (task_ == nullptr) return;
  task_->outside.store(false, std::memory_order_relaxed);
  task_->scheduler->outside.fetch_sub(1, std::memory_order_relaxed);
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

Task& begin_task(base::SourceSite site) {
  Processor& processor = processor_here();
  return processor.scheduler.prepare_task(
      &processor, processor.current->tag.load(std::memory_order_relaxed), site);
}

Task& begin_task(GoOptions&& options, base::SourceSite site) {
  Task& task = begin_task(site);
  task.scheduler->make_particular(task, std::move(options), site, processor_here().index);
  return task;
}

void launch_task(Task& task) {
  Processor& processor = processor_here();
  count_started(processor);
  processor.current->has_children = true;
  processor.scheduler.launch(processor, task);
}

void go_elsewhere(GoOptions&& options, std::function<void()> body, Tag tag, base::SourceSite site) {
  const ThreadState state = thread_state();
  if (state.host != nullptr) return state.host->go(std::move(body), tag);
  BULKHEAD_CHECK(state.entered != nullptr,
                 "go() on a plain thread that entered no scheduler: use Enter or Scheduler::go");
  state.entered->go(std::move(options), std::move(body), tag, site);
}

void SchedulerImpl::start_in_order(Processor& processor, std::function<void()> body, Tag tag) {
  Task& task = make_task(*this, &processor, std::move(body), tag, {});
  if (task.traced()) trace_go(task);
  count_started(processor);
  requeue(processor, task);
  wake_one();
}

void go_tagged(std::function<void()> body, Tag tag) {
  if (current_task() == nullptr) return go_elsewhere({}, std::move(body), tag, {});
  Processor& processor = processor_here();
  processor.scheduler.start_in_order(processor, std::move(body), tag);
}

void yield_thread() {
  std::this_thread::yield();
  checkpoint();
}

void sleep_for(base::Duration duration, base::SourceSite site) {
  Task* const task = current_task();
  if (task == nullptr) {
    const ThreadBlocks blocks;
    std::this_thread::sleep_for(duration);
  } else if (duration <= base::Duration::zero()) {
    yield();
  } else {
    Sleep sleep(*task, deadline_after(duration));
    park_task(*task, {ParkReason::kSleep, nullptr, site}, {&arm_sleep, &sleep});
  }
}

std::int64_t deadline_after(base::Duration duration) {
  const std::int64_t start = now().time_since_epoch().count();
  return start + std::min<std::int64_t>(duration.count(), Timers::kNever - 1 - start);
}

base::TimePoint now() {
  const Task* const task = current_task();
  if (task == nullptr) return base::Clock::now();
  return base::TimePoint(base::Duration(task->scheduler->now_ns()));
}

void checkpoint() {
  interleave();
  if (auto* const processor = static_cast<Processor*>(this_processor())) {
    if (processor->current == nullptr) return;
    if (processor->overdue.load(std::memory_order_relaxed)) {
      processor->overdue.store(false, std::memory_order_relaxed);
      return yield();
    }
    processor->scheduler.announce(*processor,
                                  processor->current->tag.load(std::memory_order_relaxed));
    return;
  }
  const ThreadState state = thread_state();
  if (state.host != nullptr) state.host->on_run(state.entered_tag);
}

Tag current_tag() {
  const Task* const task = current_task();
  return task != nullptr ? task->tag.load(std::memory_order_relaxed) : thread_state().entered_tag;
}

std::uint64_t current_task_id() {
  const Task* const task = current_task();
  return task != nullptr ? task->id.load(std::memory_order_relaxed) : 0;
}

}  // namespace bulkhead::sched
