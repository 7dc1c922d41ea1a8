// Where goroutines' records come from and go to, and who is alive.
#include <sys/mman.h>

#include <algorithm>
#include <bulkhead/base/check.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <new>
#include <unordered_map>
#include <utility>

#include "sched/mutex_holders.hpp"
#include "sched/processor.hpp"

namespace bulkhead::sched {
namespace {
constexpr std::size_t kSlabTasks = 512;
constexpr std::uint32_t kTaskCache = 256;  // of a processor; half of it goes to the others
constexpr std::uint64_t kIdBlock = 256;
constexpr std::size_t kSlabBytes = kSlabTasks * sizeof(Task);
constexpr std::size_t kTrimmedTasks = 4 * kSlabTasks;  // fewer are not worth the walk
}  // namespace

Task& SchedulerImpl::new_task(Processor* processor) {
  if (processor == nullptr) {
    Task* task = nullptr;
    {
      LockGuard guard(tasks_lock);
      if (free_tasks == nullptr) {
        Task* const slab = take_slab();
        for (std::size_t i = 0; i < kSlabTasks; ++i)
          slab[i].next = std::exchange(free_tasks, &slab[i]);
        spare_tasks += kSlabTasks;
      }
      task = std::exchange(free_tasks, free_tasks->next);
      least_spare_tasks = std::min(least_spare_tasks, --spare_tasks);
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
  LockGuard guard(tasks_lock);
  while (free_tasks != nullptr && processor.free_count < kTaskCache / 2) {
    Task* const task = std::exchange(free_tasks, free_tasks->next);
    --spare_tasks;
    task->next = std::exchange(processor.free_tasks, task);
    ++processor.free_count;
  }
  least_spare_tasks = std::min(least_spare_tasks, spare_tasks);
  if (processor.free_tasks != nullptr) return;
  processor.slab_next = take_slab();
  processor.slab_end = processor.slab_next + kSlabTasks;
}

Task* SchedulerImpl::take_slab() {
  if (empty_slabs.empty()) {
    void* const memory = ::mmap(nullptr, 2 * kSlabBytes, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    BULKHEAD_CHECK(memory != MAP_FAILED, "no memory for {} goroutines: {}", kSlabTasks,
                   std::strerror(errno));
    // Aligned to its size, so that a task tells its slab.
    auto* const begin = static_cast<std::byte*>(memory);
    const std::size_t skipped = (kSlabBytes - reinterpret_cast<std::uintptr_t>(begin)) % kSlabBytes;
    if (skipped != 0) ::munmap(begin, skipped);
    if (skipped != kSlabBytes) ::munmap(begin + skipped + kSlabBytes, kSlabBytes - skipped);
    slabs.push_back(reinterpret_cast<Task*>(begin + skipped));
    empty_slabs.push_back(slabs.back());
  }
  Task* const slab = empty_slabs.back();
  empty_slabs.pop_back();
  // Its pages without a fault for each. Kernels before 5.14 refuse: fine.
  (void)::madvise(slab, kSlabBytes, MADV_POPULATE_WRITE);
  for (std::size_t i = 0; i < kSlabTasks; ++i) new (slab + i) Task;
  return slab;
}

// Slabs of which no task has been needed since the last call. What a dump reads of them is zero: a
// task that is free.
void SchedulerImpl::trim_tasks() {
  static_assert(Task::kFree == 0);
  LockGuard guard(tasks_lock);
  const std::size_t unneeded = std::exchange(least_spare_tasks, spare_tasks);
  if (unneeded < kTrimmedTasks) return;
  std::unordered_map<std::uintptr_t, std::size_t> free_in;  // by slab
  for (const Task* task = free_tasks; task != nullptr; task = task->next)
    ++free_in[reinterpret_cast<std::uintptr_t>(task) / kSlabBytes];
  Task* kept = nullptr;
  while (Task* const task = free_tasks) {
    free_tasks = task->next;
    if (free_in[reinterpret_cast<std::uintptr_t>(task) / kSlabBytes] == kSlabTasks) continue;
    task->next = std::exchange(kept, task);
  }
  free_tasks = kept;
  for (const auto& [slab, count] : free_in) {
    if (count != kSlabTasks) continue;
    auto* const begin = reinterpret_cast<Task*>(slab * kSlabBytes);
    spare_tasks -= kSlabTasks;
    empty_slabs.push_back(begin);
    (void)::madvise(begin, kSlabBytes, MADV_DONTNEED);
  }
  least_spare_tasks = spare_tasks;
}

// After a burst, what processors have cached comes back, too, when they sleep next or come to a
// decision: one record in a cache would keep its slab.
void SchedulerImpl::call_in_spares() {
  {
    LockGuard guard(tasks_lock);
    if (spare_tasks < kTrimmedTasks) return;
  }
  for (const auto& processor : processors) {
    if (processor->thread.load(std::memory_order_acquire) == 0) continue;
    processor->returns_spares.store(true, std::memory_order_relaxed);
    wake_if_asleep(*processor);
  }
}

void SchedulerImpl::return_spares(Processor& processor) {
  processor.returns_spares.store(false, std::memory_order_relaxed);
  give_away_fibers(processor);
  LockGuard guard(tasks_lock);
  give_away(processor, 0);
}

void SchedulerImpl::trim() {
  call_in_spares();
  trim_fibers();
  trim_tasks();
}

Task& SchedulerImpl::prepare_task(Processor* processor, Tag tag, base::SourceSite site) {
  Task& task = new_task(processor);
  task.scheduler = this;
  task.tag.store(tag, std::memory_order_relaxed);
  task.has_children = false;
  task.marks = marks;
  task.is_particular.store(false, std::memory_order_relaxed);
  task.origin.store(site.file, std::memory_order_relaxed);
  task.line.store(site.line, std::memory_order_relaxed);
  return task;
}

void SchedulerImpl::make_particular(Task& task, GoOptions&& told, base::SourceSite site,
                                    unsigned processor) {
  LockGuard guard(tasks_lock);
  if (free_particulars == nullptr) free_particulars = &particulars.emplace_back();
  Particulars& more = *std::exchange(free_particulars, free_particulars->next);
  more.name = std::move(told.name);
  more.site = site;
  more.stack_bytes = told.stack_bytes > options.stack_bytes ? told.stack_bytes : 0;
  more.processor = processor < options.processors ? processor : 0;
  more.pinned = told.pin && options.processors > 1;
  if (more.pinned) pins.store(true, std::memory_order_relaxed);
  if (more.pinned) task.marks |= Task::kPlaced;
  task.origin.store(&more, std::memory_order_relaxed);
  task.is_particular.store(true, std::memory_order_relaxed);
}

// On the goroutine's stack, or the next one's: it has ended.
void SchedulerImpl::free_task(Processor& processor, Task& task) {
  if (task.is_particular.load(std::memory_order_relaxed)) [[unlikely]] {
    LockGuard guard(tasks_lock);
    auto& more =
        *static_cast<Particulars*>(const_cast<void*>(task.origin.load(std::memory_order_relaxed)));
    task.is_particular.store(false, std::memory_order_relaxed);
    task.origin.store(nullptr, std::memory_order_relaxed);
    more.next = std::exchange(free_particulars, &more);
  }
  task.fiber.store(nullptr, std::memory_order_relaxed);
  task.set_status(Task::kFree);
  // release pairs with the acquire in alive(): what it did is done.
  processor.ended.store(processor.ended.load(std::memory_order_relaxed) + 1,
                        std::memory_order_release);
  task.next = std::exchange(processor.free_tasks, &task);
  if (++processor.free_count <= kTaskCache) return;
  LockGuard guard(tasks_lock);
  give_away(processor, kTaskCache / 2);
}

void SchedulerImpl::give_away(Processor& processor, std::uint32_t kept) {
  while (processor.free_count > kept) {
    Task* const moved = std::exchange(processor.free_tasks, processor.free_tasks->next);
    --processor.free_count;
    moved->next = std::exchange(free_tasks, moved);
    ++spare_tasks;
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

namespace {
const Task* holder_of_what_it_waits_for(const Task& task, const MutexHolders& holders) {
  // acquire pairs with begin_slice(): its record is made.
  const Fiber* const fiber = task.fiber.load(std::memory_order_acquire);
  if (fiber == nullptr) return nullptr;
  const std::uintptr_t object = fiber->park.object.load(std::memory_order_relaxed);
  if ((object & ParkRecord::kMutexBit) == 0) return nullptr;
  return holders.holder(*reinterpret_cast<const Mutex*>(object & ~ParkRecord::kMutexBit));
}

// The two are read one after the other, and may belong to different goroutines.
base::SourceSite site_of(const char* file, std::uint16_t line) {
  return {file, file != nullptr ? line : std::uint16_t{0}};
}
}  // namespace

TaskInfo SchedulerImpl::info_of(const Task& task) const {
  const std::uint16_t status = task.status.load(std::memory_order_relaxed);
  TaskInfo info{.id = task.id.load(std::memory_order_relaxed),
                .tag = task.tag.load(std::memory_order_relaxed),
                .state = static_cast<Task::State>(status & 0xff),
                .reason = static_cast<ParkReason>(status >> 8),
                .outside = task.outside.load(std::memory_order_relaxed)};
  if (const Particulars* const more = particulars_of(task)) {
    info.site = more->site;
    info.name = more->name;
  } else {
    info.site = site_of(static_cast<const char*>(task.origin.load(std::memory_order_relaxed)),
                        task.line.load(std::memory_order_relaxed));
  }
  // acquire pairs with begin_slice(): its record is made.
  const Fiber* const fiber = task.fiber.load(std::memory_order_acquire);
  if (info.reason == ParkReason::kNone || fiber == nullptr) return info;
  const ParkRecord& park = fiber->park;
  const std::uintptr_t object = park.object.load(std::memory_order_relaxed);
  if ((object & ParkRecord::kDescriptorBit) != 0)
    info.descriptor = static_cast<int>(object >> ParkRecord::kDescriptorShift);
  else
    info.object = reinterpret_cast<const void*>(object & ~ParkRecord::kMutexBit);
  info.waits_at =
      site_of(park.file.load(std::memory_order_relaxed), park.line.load(std::memory_order_relaxed));
  info.since = base::TimePoint(base::Duration(park.since_ns.load(std::memory_order_relaxed)));
  return info;
}

std::vector<TaskInfo> SchedulerImpl::tasks(ParkReason only) {
  std::vector<TaskInfo> infos;
  // is_particular and origin are written before the goroutine can be seen here, and what is told of
  // it there is kept as long as we have the lock.
  LockGuard guard(tasks_lock);
  const MutexHolders holders;
  for (const Task* slab : slabs) {
    for (const Task* task = slab; task != slab + kSlabTasks; ++task) {
      const std::uint16_t status = task->status.load(std::memory_order_acquire);
      if ((status & 0xff) == Task::kFree) continue;
      if (only != ParkReason::kNone && static_cast<ParkReason>(status >> 8) != only) continue;
      TaskInfo& info = infos.emplace_back(info_of(*task));
      if (info.reason != ParkReason::kMutex) continue;
      if (const Task* const holder = holder_of_what_it_waits_for(*task, holders))
        info.holder = holder->id.load(std::memory_order_relaxed);
    }
  }
  std::sort(infos.begin(), infos.end(),
            [](const TaskInfo& a, const TaskInfo& b) { return a.id < b.id; });
  return infos;
}

namespace {
// Some of the processors may be lent.
std::unique_ptr<Tracer> make_tracer(const Options& options) {
  if (options.trace_events == 0) return nullptr;
  return std::make_unique<Tracer>(2 * std::size_t{options.processors}, options.trace_events);
}
}  // namespace

SchedulerImpl::SchedulerImpl(Scheduler& owner, const Options& given)
    : self(owner),
      options(given),
      observer(given.observer),
      chooser(given.chooser),
      migrates(given.migrate && given.processors > 1),
      tracer(make_tracer(given)),
      marks(static_cast<std::uint8_t>((migrates ? Task::kPlaced : 0) |
                                      (tracer != nullptr ? Task::kTraced : 0))),
      shared(given.processors > 1),
      stacks(given.stack_bytes * sanitizer::kStackFactor, probe_stack_guard()),
      active(given.processors) {
  if (chooser != nullptr) choosing_schedulers.fetch_add(1, std::memory_order_relaxed);
  const unsigned lendable = chooser == nullptr ? given.processors : 0;
  for (unsigned index = 0; index < given.processors + lendable; ++index)
    processors.push_back(std::make_unique<Processor>(*this, index));
}

namespace {
void tell_leaks(const Options& options, const std::vector<TaskInfo>& left) {
  if (options.on_leak) return options.on_leak(left);
#ifndef NDEBUG
  const auto tag = [](Tag number) { return fmt::format("tag {}", number); };
  std::fputs(describe_leaks(left, tag).c_str(), stderr);
#endif
}
}  // namespace

SchedulerImpl::~SchedulerImpl() {
  if (alive() != 0) tell_leaks(options, tasks());
  if (chooser != nullptr) choosing_schedulers.fetch_sub(1, std::memory_order_relaxed);
  // What was started after the last run() is only in the injector: nothing has run since.
  for (;;) {
    TaskList list = injector.pop(kTaskCache);
    if (list.count == 0) break;
    while (Task* const task = list.pop_front()) task->body(*task, false);
  }
  end_all_fibers();
  LockGuard guard(tasks_lock);
  for (Task* slab : slabs) ::munmap(slab, kSlabBytes);
}

}  // namespace bulkhead::sched
