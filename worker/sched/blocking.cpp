// Calls that block, and the pool of threads that make them.
#include <fmt/format.h>
#include <pthread.h>

#include <algorithm>
#include <bulkhead/sched/blocking.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <bulkhead/sched/waiter.hpp>
#include <cerrno>
#include <chrono>
#include <system_error>
#include <utility>

#include "sched/blocking_pool.hpp"
#include "sched/processor.hpp"
#include "sched/thread_blocks.hpp"

namespace bulkhead::sched {
namespace {

constexpr std::chrono::seconds kLongestIdle{5};

// What a dump tells of the wait that park_task() has begun.
void note_wait(const BlockingCall& call, ParkReason reason) {
  call.task.set_status(Task::kSleeping, reason);
}

}  // namespace

void internal::run_blocking(void (*body)(void*), void* context, base::SourceSite site) {
  Task* const task = current_task();
  if (task == nullptr) {
    const ThreadBlocks blocks;
    return body(context);
  }
  if (task->scheduler->chooser != nullptr) {
    interleave();
    return body(context);
  }
  Waiter waiter;
  BlockingCall call{
      .body = body, .context = context, .task = *task, .tag = current_tag(), .waiter = waiter};
  waiter.park(
      [](void* given) {
        auto& parked = *static_cast<BlockingCall*>(given);
        parked.task.scheduler->blocking.submit(parked);
      },
      &call, {ParkReason::kBlocking, nullptr, site});
  if (call.failure != nullptr) std::rethrow_exception(std::move(call.failure));
}

BlockingPool::~BlockingPool() {
  std::vector<std::thread> threads;
  {
    base::MutexLock lock(mutex_);
    stopping_ = true;
    threads.push_back(std::move(ended_));
    for (const auto& helper : helpers_) {
      threads.push_back(std::move(helper->thread));
      helper->work.notify_one();
    }
  }
  for (std::thread& thread : threads)
    if (thread.joinable()) thread.join();
}

// On the context that runs next, whose errno it keeps: to start a thread may set it.
void BlockingPool::submit(BlockingCall& call) {
  const int errno_before = errno;
  hand_over(call);
  errno = errno_before;
}

void BlockingPool::hand_over(BlockingCall& call) {
  Helper* helper = nullptr;
  {
    base::MutexLock lock(mutex_);
    if (!idle_.empty()) {
      helper = idle_.back();
      idle_.pop_back();
      helper->call = &call;
    } else if (running_ == kMostHelpers) {
      return enqueue(call);
    } else {
      try {
        start_helper(call);
        return;
      } catch (const std::system_error& error) {
        if (running_ > 0) return enqueue(call);  // one of those that there are comes to it
        call.failure = std::make_exception_ptr(
            std::system_error(error.code(), "no thread could be started for a call that blocks"));
      }
    }
  }
  if (helper != nullptr)
    helper->work.notify_one();  // without the lock, which it would run into
  else
    call.waiter.wake();
}

// Throws std::system_error: nothing has changed.
void BlockingPool::start_helper(BlockingCall& call) {
  auto free = std::find_if(helpers_.begin(), helpers_.end(),
                           [](const auto& helper) { return !helper->thread.joinable(); });
  if (free == helpers_.end()) free = helpers_.insert(free, std::make_unique<Helper>());
  Helper& helper = **free;
  const std::size_t number = static_cast<std::size_t>(free - helpers_.begin()) + 1;
  helper.thread = std::thread([this, &helper, number] { run_helper(helper, number); });
  helper.call = &call;
  ++running_;
}

void BlockingPool::enqueue(BlockingCall& call) {
  note_wait(call, ParkReason::kBlockingPoolFull);
  (first_ == nullptr ? first_ : last_->next) = &call;
  last_ = &call;
}

void BlockingPool::run_helper(Helper& helper, std::size_t number) {
  ::pthread_setname_np(::pthread_self(), fmt::format("blocking-{}", number).c_str());
  if (observer_ != nullptr) observer_->on_helper_start();
  while (BlockingCall* const call = next_call(helper)) {
    make_call(*call);
    // Before its goroutine goes on, whose next call finds this helper again.
    free_for_next(helper);
    call->waiter.wake();
  }
}

void BlockingPool::make_call(BlockingCall& call) {
  const Enter enter(scheduler_, call.tag);
  try {
    call.body(call.context);
  } catch (...) {
    call.failure = std::current_exception();
  }
}

void BlockingPool::free_for_next(Helper& helper) {
  base::MutexLock lock(mutex_);
  if (first_ == nullptr) return idle_.push_back(&helper);
  helper.call = std::exchange(first_, first_->next);
  note_wait(*helper.call, ParkReason::kBlocking);
}

BlockingCall* BlockingPool::next_call(Helper& helper) {
  std::thread ended_before;
  {
    base::MutexLock lock(mutex_);
    const auto deadline = base::Clock::now() + kLongestIdle;
    while (helper.call == nullptr && !stopping_)
      if (helper.work.wait_until(mutex_, deadline) == std::cv_status::timeout) break;
    if (helper.call != nullptr) return std::exchange(helper.call, nullptr);
    if (stopping_) return nullptr;  // the destructor joins it
    idle_.erase(std::find(idle_.begin(), idle_.end(), &helper));
    --running_;
    ended_before = std::exchange(ended_, std::move(helper.thread));
  }
  if (ended_before.joinable()) ended_before.join();
  return nullptr;
}

}  // namespace bulkhead::sched
