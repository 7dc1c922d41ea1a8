// While it lives, the plain thread that made it blocks: its host is told so, and when it runs
// again.
#pragma once

#include <bulkhead/sched/scheduler.hpp>

namespace bulkhead::sched {

class ThreadBlocks {
 public:
  ThreadBlocks() : state_(thread_state()) {
    if (state_.host != nullptr) state_.host->on_block();
  }
  ~ThreadBlocks() {
    if (state_.host != nullptr) state_.host->on_run(state_.entered_tag);
  }
  ThreadBlocks(const ThreadBlocks&) = delete;
  ThreadBlocks& operator=(const ThreadBlocks&) = delete;

 private:
  const ThreadState state_;
};

}  // namespace bulkhead::sched
