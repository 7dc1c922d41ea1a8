// The `threads` model: every task is a kernel thread. The program's code stays the same: go()
// starts a thread here, and primitives block it.
#pragma once

#include <bulkhead/base/mutex.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <bulkhead/wire/crash_page.hpp>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <vector>

namespace bulkhead::worker {

// Lives until the process ends: its threads are detached. Thread-safe.
class JobThreads final : public sched::ThreadHost {
 public:
  // `pool` threads run the jobs, each one job after the other; 0: a thread a
  // job. Tasks that a job starts itself have a thread each in either case, because they may wait
  // for one another.
  JobThreads(wire::CrashPage* page, std::uint32_t pool) : page_(page), pool_(pool) {
    // Last in, first out: slots in use stay few, and close together.
    for (std::size_t slot = wire::kMaxSlots; slot > 0; --slot) free_slots_.push_back(slot - 1);
  }

  // Throws std::runtime_error when the machine gives no more threads.
  void go(std::function<void()> body, sched::Tag tag) override;
  void on_block() override;
  void on_run(sched::Tag tag) override;

  // Runs `main` on the calling thread, as a task without a tag.
  void run(const std::function<void()>& main);

 private:
  struct Start {
    std::function<void()> body;
    sched::Tag tag = sched::kNoTag;
    bool is_job = false;  // not started by another job
  };

  void run_pool();
  void run_task(const Start& start);

  wire::CrashPage* const page_;
  const std::uint32_t pool_;
  base::Mutex mutex_;
  std::condition_variable_any queued_;
  std::vector<std::size_t> free_slots_ BULKHEAD_GUARDED_BY(mutex_);
  std::list<Start> queue_ BULKHEAD_GUARDED_BY(mutex_);    // for threads of the pool
  std::uint32_t pooled_ BULKHEAD_GUARDED_BY(mutex_) = 0;  // threads of the pool
  std::uint32_t idle_ BULKHEAD_GUARDED_BY(mutex_) = 0;    // of them, waiting for work
  std::uint64_t alive_ BULKHEAD_GUARDED_BY(mutex_) = 0;   // all threads
};

}  // namespace bulkhead::worker
