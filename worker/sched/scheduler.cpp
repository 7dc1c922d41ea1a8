#include <pthread.h>

#include <bulkhead/base/check.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <string>
#include <thread>
#include <utility>

#include "sched/processor.hpp"

namespace bulkhead::sched {
namespace {

// `processor`: of the calling thread; nullptr: it has none.
Task& make_task(SchedulerImpl& scheduler, Processor* processor, std::function<void()> body,
                Tag tag) {
  BULKHEAD_CHECK(body != nullptr, "a goroutine needs a body");
  Task& task = scheduler.new_task(processor);
  task.scheduler = &scheduler;
  task.has_children = false;
  task.tag.store(tag, std::memory_order_relaxed);
  new (task.closure) std::function<void()>(std::move(body));
  task.body = &run_body<std::function<void()>>;
  task.line.store(0, std::memory_order_relaxed);
  task.set_status(Task::kRunnable);
  return task;
}

struct Sleep : TimerNode {
  explicit Sleep(Task& sleeper, std::int64_t until)
      : TimerNode{.fire = [](TimerNode& node) { unpark_task(static_cast<Sleep&>(node).task); }},
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
  go(std::move(main), current_tag());
  std::vector<std::thread> threads;
  for (unsigned index = 1; index < impl_->options.processors; ++index) {
    threads.emplace_back([this, index] {
      ::pthread_setname_np(::pthread_self(), fmt::format("processor-{}", index).c_str());
      impl_->processor_loop(*impl_->processors[index]);
    });
  }
  impl_->processor_loop(*impl_->processors[0]);
  for (std::thread& thread : threads) thread.join();
  // acquire pairs with the release in inject().
  while (impl_->outsiders.load(std::memory_order_acquire) != 0) std::this_thread::yield();
  impl_->running.store(false, std::memory_order_release);
}

void Scheduler::go(std::function<void()> body, Tag tag) {
  Task& task = make_task(*impl_, nullptr, std::move(body), tag);
  // release pairs with the acquire in alive().
  impl_->started_outside.fetch_add(1, std::memory_order_release);
  impl_->inject(task);
}

std::uint64_t Scheduler::alive() const { return impl_->alive(); }

unsigned Scheduler::processors() const { return impl_->options.processors; }

std::vector<TaskInfo> Scheduler::tasks() const { return impl_->tasks(); }

Scheduler* Scheduler::current() {
  const Task* const task = current_task();
  return task != nullptr ? &task->scheduler->self : thread_state().entered;
}

const char* to_string(Task::State state) {
  switch (state) {
    case Task::kFree:
      return "free";
    case Task::kRunnable:
      return "runnable";
    case Task::kRunning:
      return "running";
    case Task::kParked:
      return "parked";
    case Task::kSleeping:
      return "sleeping";
  }
  return "unknown";
}

const char* to_string(ParkReason reason) {
  switch (reason) {
    case ParkReason::kNone:
      return "none";
    case ParkReason::kSend:
      return "channel send";
    case ParkReason::kReceive:
      return "channel receive";
    case ParkReason::kSelect:
      return "select";
    case ParkReason::kSelectTimeout:
      return "select with a timeout";
    case ParkReason::kWaitGroup:
      return "wait group";
    case ParkReason::kMutex:
      return "mutex";
    case ParkReason::kSleep:
      return "sleep";
    case ParkReason::kRWMutexRead:
      return "rwmutex read lock";
    case ParkReason::kRWMutexWrite:
      return "rwmutex write lock";
    case ParkReason::kOnce:
      return "once";
    case ParkReason::kCond:
      return "cond";
    case ParkReason::kSemaphore:
      return "semaphore";
    case ParkReason::kJoin:
      return "join";
  }
  return "unknown";
}

std::string describe(const std::vector<TaskInfo>& tasks,
                     const std::function<std::string(Tag)>& name_of) {
  constexpr std::size_t kMost = 100;
  std::string text;
  for (std::size_t i = 0; i < tasks.size() && i < kMost; ++i) {
    const TaskInfo& task = tasks[i];
    text += fmt::format("  goroutine {}", task.id);
    if (task.tag != kNoTag) text += " of " + name_of(task.tag);
    text += fmt::format(": {}", to_string(task.state));
    if (task.reason != ParkReason::kNone) text += fmt::format(", {}", to_string(task.reason));
    if (task.outside) text += ", waits for the outside";
    if (task.site.line != 0)
      text += fmt::format("; started at {}:{}", task.site.file, task.site.line);
    text += '\n';
  }
  if (tasks.size() > kMost) text += fmt::format("  and {} more\n", tasks.size() - kMost);
  return text;
}

std::string describe_deadlock(const std::vector<TaskInfo>& tasks,
                              const std::function<std::string(Tag)>& name_of) {
  return "deadlock: all goroutines are asleep, and none can wake another\n" +
         describe(tasks, name_of);
}

ExternalWait::ExternalWait() : task_(current_task()) {
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
  Task& task = processor.scheduler.new_task(&processor);
  task.scheduler = &processor.scheduler;
  task.tag.store(processor.current->tag.load(std::memory_order_relaxed), std::memory_order_relaxed);
  task.has_children = false;
  task.file.store(site.file, std::memory_order_relaxed);
  task.line.store(site.line, std::memory_order_relaxed);
  return task;
}

void launch_task(Task& task) {
  Processor& processor = processor_here();
  count_started(processor);
  processor.current->has_children = true;
  processor.scheduler.launch(processor, task);
}

void go_elsewhere(std::function<void()> body, Tag tag) {
  const ThreadState state = thread_state();
  if (state.host != nullptr) return state.host->go(std::move(body), tag);
  BULKHEAD_CHECK(state.entered != nullptr,
                 "go() on a plain thread that entered no scheduler: use Enter or Scheduler::go");
  state.entered->go(std::move(body), tag);
}

void SchedulerImpl::start_in_order(Processor& processor, std::function<void()> body, Tag tag) {
  Task& task = make_task(*this, &processor, std::move(body), tag);
  count_started(processor);
  requeue(processor, task);
  wake_one();
}

void go(std::function<void()> body, Tag tag) {
  if (current_task() == nullptr) return go_elsewhere(std::move(body), tag);
  Processor& processor = processor_here();
  processor.scheduler.start_in_order(processor, std::move(body), tag);
}

void yield_thread() {
  std::this_thread::yield();
  checkpoint();
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
    Sleep sleep(*task, deadline_after(duration));
    park_task(*task, ParkReason::kSleep, {&arm_sleep, &sleep});
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
    if (processor->current != nullptr)
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
