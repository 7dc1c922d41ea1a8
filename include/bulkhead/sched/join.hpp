// Join<T>: the handle of a goroutine that has a result.
//
//   sched::Join<int> sum = sched::spawn([&] { return add_up(numbers); });
//   ...
//   int total = sum.join();     // waits; rethrows what left the body
//
// A handle that is dropped, overwritten or detach()ed lets its goroutine run on. Then nobody is
// left to hear of an exception, so one that leaves the body, or has left it before, is a panic: the
// process ends, with the exception's name.
//
// From goroutines and plain threads alike, as go(). What the body held is destroyed before join()
// returns. A handle is used by one at a time.
#pragma once

#include <atomic>
#include <bulkhead/base/check.hpp>
#include <bulkhead/base/source_site.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <bulkhead/sched/waiter.hpp>
#include <concepts>
#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

namespace bulkhead::sched {
namespace internal {

// What handle and goroutine share: one allocation, freed by the last of the two.
class JoinState {
 public:
  virtual ~JoinState() = default;
  JoinState(const JoinState&) = delete;
  JoinState& operator=(const JoinState&) = delete;

  // On the goroutine's side; once. run(), unless it is dropped with its scheduler, then unref().
  void run();

  // On the handle's side. wait(), then release() once.
  void wait(base::SourceSite site);  // rethrows what left the body
  void release(bool detached);       // may end the process

  void unref();

 protected:
  JoinState() = default;

 private:
  virtual void run_body() = 0;
  virtual void drop_body() noexcept = 0;

  std::atomic<int> owners_{2};
  Lock lock_;
  bool ended_ BULKHEAD_GUARDED_BY(lock_) = false;
  bool detached_ BULKHEAD_GUARDED_BY(lock_) = false;
  Waiter* joiner_ BULKHEAD_GUARDED_BY(lock_) = nullptr;
  std::exception_ptr failure_ BULKHEAD_GUARDED_BY(lock_);
};

template <class T>
struct JoinResult : JoinState {
  // optional: T needs no default constructor.
  std::optional<std::conditional_t<std::is_void_v<T>, std::monostate, T>> value;
};

template <class T, class F>
class JoinBody final : public JoinResult<T> {
 public:
  explicit JoinBody(F body) : body_(std::move(body)) {}

 private:
  void run_body() override {
    if constexpr (std::is_void_v<T>)
      (*body_)();
    else
      this->value.emplace((*body_)());
  }
  void drop_body() noexcept override { body_.reset(); }

  std::optional<F> body_;
};

// The goroutine's half.
struct JoinUnref {
  void operator()(JoinState* state) const { state->unref(); }
};
using JoinRun = std::unique_ptr<JoinState, JoinUnref>;

}  // namespace internal

template <class T>
class [[nodiscard]] Join {
  static_assert(!std::is_reference_v<T>, "a goroutine returns a value or a pointer");

 public:
  Join() = default;  // of no goroutine
  Join(Join&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  Join& operator=(Join&& other) noexcept {
    Join dropped(std::exchange(state_, std::exchange(other.state_, nullptr)));
    return *this;
  }
  ~Join() {
    if (state_ != nullptr) state_->release(true);
  }

  // False after join(), detach() or a move: then neither may be called.
  bool joinable() const { return state_ != nullptr; }

  T join(base::SourceSite site = base::SourceSite::current()) {
    BULKHEAD_CHECK(joinable(), "join() on a handle that has no goroutine (any more)");
    const std::unique_ptr<State, Release> state(std::exchange(state_, nullptr));
    state->wait(site);
    if constexpr (!std::is_void_v<T>) return std::move(*state->value);
  }

  void detach() {
    BULKHEAD_CHECK(joinable(), "detach() on a handle that has no goroutine (any more)");
    std::exchange(state_, nullptr)->release(true);
  }

 private:
  using State = internal::JoinResult<T>;
  struct Release {
    void operator()(State* state) const { state->release(false); }
  };
  template <class F>
  friend auto spawn(GoOptions options, F body, base::SourceSite site)
      -> Join<std::invoke_result_t<F&>>;

  explicit Join(State* state) : state_(state) {}

  State* state_ = nullptr;
};

// Starts `body`, which needs only be movable, as go() does.
template <class F>
auto spawn(GoOptions options, F body, base::SourceSite site = base::SourceSite::current())
    -> Join<std::invoke_result_t<F&>> {
  using T = std::invoke_result_t<F&>;
  auto* const state = new internal::JoinBody<T, F>(std::move(body));
  Join<T> handle(state);
  go(
      std::move(options), [run = internal::JoinRun(state)] { run->run(); }, site);
  return handle;
}
template <class F>
auto spawn(F body, base::SourceSite site = base::SourceSite::current())
    -> Join<std::invoke_result_t<F&>> {
  return spawn(GoOptions{}, std::move(body), site);
}

}  // namespace bulkhead::sched
