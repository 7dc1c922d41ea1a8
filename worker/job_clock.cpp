#include "job_clock.hpp"

#include <algorithm>
#include <thread>

#include "crash_handler.hpp"

namespace bulkhead::worker {

JobClock::JobClock(wire::CrashPage* page, base::Duration timeout) : page_(page), timeout_(timeout) {
  std::thread([this] {
    prepare_thread_for_crashes();
    watch();
  }).detach();
}

JobClock::Attempt::Attempt(JobClock& clock, std::uint64_t job)
    : clock_(clock), job_(job), due_(base::Clock::now() + clock.timeout_) {
  base::MutexLock lock(clock_.mutex_);
  place_ = clock_.running_.insert(clock_.running_.end(), this);
}

JobClock::Attempt::~Attempt() {
  base::MutexLock lock(clock_.mutex_);
  clock_.running_.erase(place_);
}

void JobClock::watch() {
  const base::Duration period =
      std::max<base::Duration>(timeout_ / 8, std::chrono::milliseconds(1));
  for (;;) {
    std::this_thread::sleep_for(period);
    base::MutexLock lock(mutex_);
    if (running_.empty() || base::Clock::now() < running_.front()->due_) continue;
    // Relaxed: the reader takes it as a hint, and nothing else comes with it.
    page_->overdue_job.store(running_.front()->job_, std::memory_order_relaxed);
    return;
  }
}

}  // namespace bulkhead::worker
