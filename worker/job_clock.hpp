// Holds each attempt to --job-timeout: a thread of its own looks at what runs, because a job that
// hangs may have taken every processor with it.
#pragma once

#include <bulkhead/base/clock.hpp>
#include <bulkhead/base/mutex.hpp>
#include <bulkhead/wire/crash_page.hpp>
#include <cstdint>
#include <list>

namespace bulkhead::worker {

// Lives until the process ends. Thread-safe.
class JobClock {
 public:
  // Starts the thread. The first job that is over its time is named on the page, once; whoever
  // watches the page ends this process.
  JobClock(wire::CrashPage* page, base::Duration timeout);

  // One attempt, from construction to destruction.
  class Attempt {
   public:
    Attempt(JobClock& clock, std::uint64_t job);
    ~Attempt();
    Attempt(const Attempt&) = delete;
    Attempt& operator=(const Attempt&) = delete;

   private:
    JobClock& clock_;
    std::list<Attempt*>::iterator place_;
    friend class JobClock;
    const std::uint64_t job_;
    const base::TimePoint due_;
  };

 private:
  void watch();

  wire::CrashPage* const page_;
  const base::Duration timeout_;
  base::Mutex mutex_;
  std::list<Attempt*> running_ BULKHEAD_GUARDED_BY(mutex_);  // the oldest first
};

}  // namespace bulkhead::worker
