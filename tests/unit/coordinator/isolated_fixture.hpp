// IsolatedDispatch with W ready workers.
#pragma once

#include "dispatch/isolated_dispatch.hpp"
#include "dispatch_fixture.hpp"

namespace bulkhead::coordinator {

class IsolatedDispatchTest : public DispatchFixture<IsolatedDispatch> {
 protected:
  // Workers 1..n are ready, the run has begun, and worker 1, which runs the source, has sent
  // `count` inputs and the end.
  void start(std::uint32_t workers, std::uint64_t count) {
    for (std::uint32_t worker = 1; worker <= workers; ++worker) {
      dispatch_->worker_ready({worker, 1});
    }
    dispatch_->begin();
    forget_outgoing();
    tell(k1, inputs(0, count, true));
  }
  Loss die(WorkerKey key, const wire::CrashSnapshot& snapshot, bool blame = true) {
    return dispatch_->worker_lost(key, snapshot, blame, "killed by signal 11");
  }
  // Lets `key` die with `job`, which it was just given, in a slot.
  void die_with(WorkerKey key, std::uint64_t job) { die(key, page(1, 0, {job})); }
};

}  // namespace bulkhead::coordinator
