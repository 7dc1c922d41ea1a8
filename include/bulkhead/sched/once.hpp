// Once: a function runs a single time, and whoever calls while it runs waits until it has ended.
//
//   static sched::Once once;
//   once.call([] { load_tables(); });
//
// What the function did is visible after every call() that returns. As in Go, the function counts
// as done also when it throws: the exception goes to the one who ran it, the others just return.
// A function that calls the same once again would wait for itself; that ends the process.
#pragma once

#include <atomic>
#include <bulkhead/sched/waiter.hpp>
#include <cstdint>
#include <functional>
#include <utility>

namespace bulkhead::sched {

class Once {
 public:
  Once() = default;
  ~Once();  // no call() may be under way
  Once(const Once&) = delete;
  Once& operator=(const Once&) = delete;

  // f() is called as std::invoke does, its result dropped. Throws what f throws, to the first only.
  template <class F>
  void call(F&& f, base::SourceSite site = base::SourceSite::current()) {
    interleave();
    // acquire pairs with the release in finish().
    if (state_.load(std::memory_order_acquire) == State::kDone || !begin(site)) return;
    const Finish finish{*this};
    std::invoke(std::forward<F>(f));
  }

 private:
  enum class State : std::uint8_t { kFresh, kRunning, kDone };
  struct Finish {
    Once& once;
    ~Finish() { once.finish(); }
  };
  // Goroutines are told apart by scheduler and number, plain threads (number 0) by an address.
  struct Caller {
    const void* where = nullptr;
    std::uint64_t task = 0;
    bool operator==(const Caller&) const = default;
  };

  static Caller caller();
  bool begin(
      base::SourceSite site);  // whether the caller is the one to run the function; waits otherwise
  void finish();

  std::atomic<State> state_{State::kFresh};  // written under lock_ only
  Lock lock_;
  Caller runner_ BULKHEAD_GUARDED_BY(lock_);
  WaiterList waiters_ BULKHEAD_GUARDED_BY(lock_);
};

}  // namespace bulkhead::sched
