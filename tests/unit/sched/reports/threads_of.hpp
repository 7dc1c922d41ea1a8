// What the kernel counts of the threads of a scheduler: how often each has gone to sleep.
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <bulkhead/sched/scheduler.hpp>
#include <cstdint>
#include <fstream>
#include <map>
#include <mutex>
#include <string>

namespace bulkhead::sched {

inline int this_thread_id() { return static_cast<int>(::syscall(SYS_gettid)); }

// How often a thread of this process has stopped to wait for something; to be preempted does not
// count. 0: it is gone.
inline std::uint64_t sleeps_of_thread(int thread) {
  std::ifstream status("/proc/self/task/" + std::to_string(thread) + "/status");
  const std::string wanted = "voluntary_ctxt_switches:";
  for (std::string word; status >> word;) {
    std::uint64_t count = 0;
    if (word == wanted && status >> count) return count;
  }
  return 0;
}

// Knows the threads of the scheduler that is given it as its observer.
class ThreadsOf : public Observer {
 public:
  void on_switch(unsigned, Tag) override {}
  void on_processor_start(unsigned processor) override {
    const std::lock_guard guard(mutex_);
    threads_[processor] = this_thread_id();
  }
  // Of all processors together that have begun.
  std::uint64_t sleeps() {
    const std::lock_guard guard(mutex_);
    std::uint64_t sum = 0;
    for (const auto& [processor, thread] : threads_) sum += sleeps_of_thread(thread);
    return sum;
  }
  std::size_t count() {
    const std::lock_guard guard(mutex_);
    return threads_.size();
  }

 private:
  std::mutex mutex_;
  std::map<unsigned, int> threads_;
};

}  // namespace bulkhead::sched
