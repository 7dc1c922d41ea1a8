// ErrGroup: goroutines that do parts of one thing, whose first failure is what wait() tells.
//
//   sched::ErrGroup group;
//   group.set_limit(8);                         // at most so many at a time
//   for (const auto& file : files) group.go([&] { return copy(file); });
//   if (Result<void> copied = group.wait(); !copied) return fail(copied.error());
//
// A body returns void or Result<void>. The first failure in time comes out of wait() as it left its
// body: an error is returned, an exception is rethrown; later ones are dropped. The others run on.
// wait() tells it each time that it is called, also when the group has been used again in between.
#pragma once

#include <bulkhead/base/error.hpp>
#include <bulkhead/base/source_site.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <bulkhead/sched/waiter.hpp>
#include <concepts>
#include <cstdint>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

namespace bulkhead::sched {

class ErrGroup {
 public:
  ErrGroup() = default;
  ~ErrGroup();  // all have ended
  ErrGroup(const ErrGroup&) = delete;
  ErrGroup& operator=(const ErrGroup&) = delete;

  // Starts `body` as a goroutine; at the limit it first waits until one has ended. Those who wait
  // are served in order.
  template <class F>
  void go(F body, base::SourceSite site = base::SourceSite::current()) {
    enter(site);
    start(std::move(body), site);
  }
  // Never blocks: false, and nothing started, at the limit.
  template <class F>
  bool try_go(F body, base::SourceSite site = base::SourceSite::current()) {
    if (!try_enter()) return false;
    start(std::move(body), site);
    return true;
  }

  // Waits until all have ended.
  Result<void> wait(base::SourceSite site = base::SourceSite::current());

  // How many may run at a time, while none runs. Negative: any number, as before the first call;
  // 0: none (as in Go, a go() then waits for ever).
  void set_limit(std::int64_t limit);

 private:
  struct Failure {
    std::exception_ptr exception;  // or, if empty,
    Error error;
  };

  template <class F>
  void start(F body, base::SourceSite site) {
    using Returned = std::invoke_result_t<F&>;
    static_assert(std::is_void_v<Returned> || std::same_as<Returned, Result<void>>,
                  "the body of an ErrGroup's goroutine returns void or Result<void>");
    try {
      sched::go(
          [this, body = std::optional<F>(std::move(body))]() mutable {
            auto failure = outcome(*body);
            body.reset();  // what it holds is gone before wait() returns
            end(std::move(failure));
          },
          site);
    } catch (...) {
      end(std::nullopt);  // the place is free again
      throw;
    }
  }

  template <class F>
  static std::optional<Failure> outcome(F& body) {
    try {
      if constexpr (std::is_void_v<std::invoke_result_t<F&>>) {
        body();
      } else if (Result<void> result = body(); !result) {
        return Failure{nullptr, std::move(result).error()};
      }
      return std::nullopt;
    } catch (...) {
      return Failure{std::current_exception(), {}};
    }
  }

  void enter(base::SourceSite site);
  bool try_enter();
  void end(std::optional<Failure> failure);

  Lock lock_;
  std::int64_t limit_ BULKHEAD_GUARDED_BY(lock_) = -1;
  std::int64_t running_ BULKHEAD_GUARDED_BY(lock_) = 0;
  std::optional<Failure> first_ BULKHEAD_GUARDED_BY(lock_);
  WaiterList starters_ BULKHEAD_GUARDED_BY(lock_);  // in go(), at the limit
  WaiterList waiters_ BULKHEAD_GUARDED_BY(lock_);   // in wait()
};

}  // namespace bulkhead::sched
