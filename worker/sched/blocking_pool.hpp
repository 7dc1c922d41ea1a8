// The threads on which a scheduler's goroutines make calls that block; see blocking.hpp.
#pragma once

#include <bulkhead/base/mutex.hpp>
#include <bulkhead/sched/task.hpp>
#include <condition_variable>
#include <exception>
#include <memory>
#include <thread>
#include <vector>

namespace bulkhead::sched {

class Observer;
class Waiter;

// One call, on the stack of the goroutine that waits for it: gone once that is woken.
struct BlockingCall {
  void (*body)(void* context);
  void* context;
  Task& task;
  const Tag tag;
  Waiter& waiter;
  std::exception_ptr failure = nullptr;  // what left the body
  BlockingCall* next = nullptr;          // in the queue
};

// Thread-safe. A call goes to the helper that was idle last, to a new one, or to the queue. A
// helper that has been idle for long ends: it leaves its thread behind and joins the one that the
// last such helper has left, so at most one that has ended is not joined yet.
class BlockingPool {
 public:
  // Both are borrowed and outlive the pool; `observer` may be nullptr.
  BlockingPool(Scheduler& scheduler, Observer* observer)
      : scheduler_(scheduler), observer_(observer) {}
  // No call is queued or under way; joins all threads.
  ~BlockingPool();
  BlockingPool(const BlockingPool&) = delete;
  BlockingPool& operator=(const BlockingPool&) = delete;

  // Runs the call and wakes its goroutine, which has parked. Where no thread can be had, the call
  // fails with std::system_error.
  void submit(BlockingCall& call);

 private:
  // Once made it stays, for the next thread when its own has ended.
  struct Helper {
    // Guarded by the pool's mutex.
    std::thread thread;            // joinable: it is in use
    BlockingCall* call = nullptr;  // that it is to make next
    std::condition_variable_any work;
  };

  void hand_over(BlockingCall& call);
  void start_helper(BlockingCall& call) BULKHEAD_REQUIRES(mutex_);
  void enqueue(BlockingCall& call) BULKHEAD_REQUIRES(mutex_);
  void run_helper(Helper& helper, std::size_t number);
  void make_call(BlockingCall& call);
  void free_for_next(Helper& helper);       // gives it one of the queue, or makes it idle
  BlockingCall* next_call(Helper& helper);  // waits; nullptr: the helper ends

  Scheduler& scheduler_;
  Observer* const observer_;

  base::Mutex mutex_;
  std::vector<std::unique_ptr<Helper>> helpers_ BULKHEAD_GUARDED_BY(mutex_);
  std::vector<Helper*> idle_ BULKHEAD_GUARDED_BY(mutex_);
  unsigned running_ BULKHEAD_GUARDED_BY(mutex_) = 0;  // helpers with a thread
  std::thread ended_ BULKHEAD_GUARDED_BY(mutex_);
  BlockingCall* first_ BULKHEAD_GUARDED_BY(mutex_) = nullptr;  // the queue
  BlockingCall* last_ BULKHEAD_GUARDED_BY(mutex_) = nullptr;
  bool stopping_ BULKHEAD_GUARDED_BY(mutex_) = false;
};

}  // namespace bulkhead::sched
