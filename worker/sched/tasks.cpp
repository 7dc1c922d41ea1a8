// Where goroutines' records come from and go to, and who is alive.
#include <algorithm>
#include <bulkhead/base/check.hpp>
#include <new>
#include <utility>

#include "sched/processor.hpp"

namespace bulkhead::sched {
namespace {
constexpr std::size_t kSlabTasks = 512;
constexpr std::uint32_t kTaskCache = 256;  // of a processor; half of it goes to the others
constexpr std::uint64_t kIdBlock = 256;
}  // namespace

Task& SchedulerImpl::new_task(Processor* processor) {
  if (processor == nullptr) {
    Task* task = nullptr;
    {
      LockGuard guard(tasks_lock);
      if ((task = free_tasks) != nullptr) free_tasks = task->next;
    }
    if (task == nullptr) {
      auto* const slab = new Task[kSlabTasks];
      LockGuard guard(tasks_lock);
      slabs.push_back(slab);
      task = slab;
      for (std::size_t i = 1; i < kSlabTasks; ++i)
        slab[i].next = std::exchange(free_tasks, &slab[i]);
    }
    task->id.store(1 + ids.fetch_add(1, std::memory_order_relaxed), std::memory_order_relaxed);
    return *task;
  }
  if (processor->free_tasks == nullptr && processor->slab_next == processor->slab_end)
    refill(*processor);
  Task* task = processor->free_tasks;
  if (task != nullptr) {
    processor->free_tasks = task->next;
    --processor->free_count;
  } else {
    task = processor->slab_next++;
  }
  if (processor->id_next == processor->id_end) {
    processor->id_next = 1 + ids.fetch_add(kIdBlock, std::memory_order_relaxed);
    processor->id_end = processor->id_next + kIdBlock;
  }
  task->id.store(processor->id_next++, std::memory_order_relaxed);
  return *task;
}

void SchedulerImpl::refill(Processor& processor) {
  {
    LockGuard guard(tasks_lock);
    while (free_tasks != nullptr && processor.free_count < kTaskCache / 2) {
      Task* const task = std::exchange(free_tasks, free_tasks->next);
      task->next = std::exchange(processor.free_tasks, task);
      ++processor.free_count;
    }
  }
  if (processor.free_tasks != nullptr) return;
  auto* const slab = new Task[kSlabTasks];
  processor.slab_next = slab;
  processor.slab_end = slab + kSlabTasks;
  LockGuard guard(tasks_lock);
  slabs.push_back(slab);
}

// On the goroutine's stack, or the next one's: it has ended.
void SchedulerImpl::free_task(Processor& processor, Task& task) {
  task.fiber = nullptr;
  task.set_status(Task::kFree);
  // release pairs with the acquire in alive(): what it did is done.
  processor.ended.store(processor.ended.load(std::memory_order_relaxed) + 1,
                        std::memory_order_release);
  task.next = std::exchange(processor.free_tasks, &task);
  if (++processor.free_count <= kTaskCache) return;
  LockGuard guard(tasks_lock);
  while (processor.free_count > kTaskCache / 2) {
    Task* const moved = std::exchange(processor.free_tasks, processor.free_tasks->next);
    --processor.free_count;
    moved->next = std::exchange(free_tasks, moved);
  }
}

// `ended` first: both only grow, so at the moment between the two loops no more were alive than
// this answers; 0 is therefore exact.
std::uint64_t SchedulerImpl::alive() const {
  std::uint64_t ended = 0;
  for (const auto& processor : processors)
    ended += processor->ended.load(std::memory_order_acquire);
  std::uint64_t started = started_outside.load(std::memory_order_acquire);
  for (const auto& processor : processors)
    started += processor->started.load(std::memory_order_acquire);
  return started - ended;
}

TaskInfo info_of(const Task& task) {
  const std::uint32_t status = task.status.load(std::memory_order_relaxed);
  return {.id = task.id.load(std::memory_order_relaxed),
          .tag = task.tag.load(std::memory_order_relaxed),
          .state = static_cast<Task::State>(status & 0xff),
          .reason = static_cast<ParkReason>(status >> 8),
          .outside = task.outside.load(std::memory_order_relaxed),
          .site = {task.file.load(std::memory_order_relaxed),
                   task.line.load(std::memory_order_relaxed)}};
}

std::vector<TaskInfo> SchedulerImpl::tasks() {
  std::vector<TaskInfo> infos;
  {
    LockGuard guard(tasks_lock);
    for (const Task* slab : slabs) {
      for (const Task* task = slab; task != slab + kSlabTasks; ++task) {
        const TaskInfo info = info_of(*task);
        if (info.state != Task::kFree) infos.push_back(info);
      }
    }
  }
  std::sort(infos.begin(), infos.end(),
            [](const TaskInfo& a, const TaskInfo& b) { return a.id < b.id; });
  return infos;
}

SchedulerImpl::SchedulerImpl(Scheduler& owner, const Options& given)
    : self(owner),
      options(given),
      observer(given.observer),
      shared(given.processors > 1),
      chooser(given.chooser),
      stacks(given.stack_bytes * sanitizer::kStackFactor, probe_stack_guard()) {
  if (chooser != nullptr) choosing_schedulers.fetch_add(1, std::memory_order_relaxed);
  for (unsigned index = 0; index < given.processors; ++index)
    processors.push_back(std::make_unique<Processor>(*this, index));
}

SchedulerImpl::~SchedulerImpl() {
  if (chooser != nullptr) choosing_schedulers.fetch_sub(1, std::memory_order_relaxed);
  // What was started after the last run() is only in the injector: nothing has run since.
  for (;;) {
    TaskList list = injector.pop(kTaskCache);
    if (list.count == 0) break;
    while (Task* const task = list.pop_front()) task->body(*task, false);
  }
  const auto give_back = [this](Fiber* first) {
    while (Fiber* const fiber = first) {
      first = fiber->next;
      if (fiber->sanitizer_fiber != nullptr) sanitizer::destroy_fiber(fiber->sanitizer_fiber);
      stacks.release(fiber->stack);
    }
  };
  for (const auto& processor : processors) give_back(processor->fibers);
  LockGuard guard(fibers_lock);
  give_back(fibers);
  LockGuard tasks_guard(tasks_lock);
  for (Task* slab : slabs) delete[] slab;
}

}  // namespace bulkhead::sched
