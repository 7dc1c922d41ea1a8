#include "job_threads.hpp"

#include <fmt/format.h>
#include <pthread.h>

#include <bulkhead/base/check.hpp>
#include <functional>
#include <memory>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "crash_handler.hpp"

namespace bulkhead::worker {
namespace {

// Detached from its start on: pthread_detach() of a thread that ends at this moment reads memory
// that the thread has given back (glibc bug 19951). Throws std::system_error.
void start_detached(std::function<void()> body) {
  auto owned = std::make_unique<std::function<void()>>(std::move(body));
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_t thread{};
  const int error = pthread_create(
      &thread, &attributes,
      [](void* given) -> void* {
        const std::unique_ptr<std::function<void()>> run(
            static_cast<std::function<void()>*>(given));
        (*run)();
        return nullptr;
      },
      owned.get());
  pthread_attr_destroy(&attributes);
  if (error != 0) throw std::system_error(error, std::generic_category());
  static_cast<void>(owned.release());  // the thread's
}

}  // namespace

void JobThreads::go(std::function<void()> body, sched::Tag tag) {
  Start start{std::move(body), tag};
  start.is_job = wire::is_real_job(tag) && !wire::is_real_job(sched::current_tag());
  const bool pooled = pool_ > 0 && start.is_job;
  std::uint64_t alive = 0;
  {
    base::MutexLock lock(mutex_);
    alive = alive_;
    if (pooled) {
      queue_.push_back(std::move(start));
      start = {};
      if (queue_.size() <= idle_ || pooled_ == pool_) {
        queued_.notify_one();  // without anybody idle, the first that is done looks here
        return;
      }
      ++pooled_;
    }
    ++alive_;
  }
  try {
    start_detached([this, owned = std::move(start), pooled] {
      prepare_thread_for_crashes();
      if (pooled) {
        run_pool();
      } else {
        run_task(owned);
        base::MutexLock lock(mutex_);
        --alive_;
      }
    });
  } catch (const std::system_error& error) {
    {
      base::MutexLock lock(mutex_);
      --alive_;
      if (pooled && --pooled_ > 0) return;  // those that there are will come to it
    }
    throw std::runtime_error(fmt::format(
        "no thread could be started beside {} others ({}); lower --in-flight, or name a pool with "
        "--threads",
        alive, error.code().message()));
  }
}

void JobThreads::run_pool() {
  for (;;) {
    Start start;
    {
      base::MutexLock lock(mutex_);
      ++idle_;
      while (queue_.empty()) queued_.wait(mutex_);
      --idle_;
      start = std::move(queue_.front());
      queue_.pop_front();
    }
    run_task(start);
  }
}

void JobThreads::run_task(const Start& start) {
  std::size_t slot = wire::kMaxSlots;
  {
    base::MutexLock lock(mutex_);
    if (start.is_job || free_slots_.size() > wire::kMaxThreads) {
      BULKHEAD_CHECK(!free_slots_.empty(), "more than {} jobs at once", wire::kMaxThreads);
      slot = free_slots_.back();
      free_slots_.pop_back();
    }
  }
  // Without one are only tasks that jobs started themselves: nobody counts those.
  if (slot < wire::kMaxSlots) set_thread_slot(static_cast<int>(slot));
  pthread_setname_np(pthread_self(), wire::is_real_job(start.tag)
                                         ? fmt::format("job-{}", start.tag).substr(0, 15).c_str()
                                         : "task");
  {
    sched::Enter enter(*this, start.tag);
    on_run(start.tag);
    start.body();
    on_block();
  }
  set_thread_slot(-1);
  if (slot < wire::kMaxSlots) {
    base::MutexLock lock(mutex_);
    free_slots_.push_back(slot);
  }
}

void JobThreads::run(const std::function<void()>& main) {
  sched::Enter enter(*this);
  main();
}

// Relaxed in both: read by the crash handler on this very thread, and by others only after our
// death or as a hint.
void JobThreads::on_block() {
  const int slot = thread_slot();
  if (slot >= 0) {
    page_->slot[static_cast<std::size_t>(slot)].job.store(sched::kNoTag, std::memory_order_relaxed);
  }
}

void JobThreads::on_run(sched::Tag tag) {
  const int slot = thread_slot();
  if (slot < 0) return;
  wire::CrashSlot& own = page_->slot[static_cast<std::size_t>(slot)];
  own.job.store(tag, std::memory_order_relaxed);
  own.checkpoints.store(own.checkpoints.load(std::memory_order_relaxed) + 1,
                        std::memory_order_relaxed);
}

}  // namespace bulkhead::worker
