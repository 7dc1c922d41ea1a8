// Context: who asked for this, until when, and whether it is still wanted; after Go's package.
//
//   Result<Page> fetch(const sched::Context& context, const Address& address);
//
//   sched::CancelScope scope = sched::with_timeout(context, 2s);   // of the caller's context
//   sched::go([&] { pages.send(fetch(scope.context(), address)); });
//   sched::select(sched::receive(pages, [&](auto page) { … }),
//                 sched::receive(scope.context().done(), [&](auto) { give_up(scope.context()); }));
//
// A context that is cancelled cancels all that were derived from it, never the one it comes from.
// Cancelling asks, it stops nobody: whoever works for a context looks at done() or error().
//
// Contexts are small values that share what they stand for; all functions are thread-safe.
#pragma once

#include <bulkhead/base/clock.hpp>
#include <bulkhead/base/error.hpp>
#include <bulkhead/sched/channel.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

namespace bulkhead::sched {

class CancelScope;
struct ContextState;
struct CancelState;

// Names a value of contexts by its own address: make it a constant that lives for ever.
template <class T>
struct ContextKey {
  ContextKey() = default;
  ContextKey(const ContextKey&) = delete;
  ContextKey& operator=(const ContextKey&) = delete;
};

class Context {
 public:
  struct Never {};  // what done() carries: nothing, ever; it is closed

  Context() = default;  // the root of all: never cancelled, no deadline, no values

  // Closed when the context is cancelled, or its deadline has passed. A null pointer: never; as a
  // case of select it is never ready. Lives as long as any context with the same cancellation.
  Channel<Never>* done() const;
  // kCancelled or kTimedOut once it is over.
  Result<void> error() const;
  // What the one who cancelled it, or a context above, gave as the reason; else the same.
  Result<void> cause() const;
  std::optional<base::TimePoint> deadline() const;

  // The nearest value under that key; nullptr: none. Lives as long as this context.
  template <class T>
  const T* value(const ContextKey<T>& key) const {
    return static_cast<const T*>(find(&key));
  }

 private:
  friend class CancelScope;
  friend class AfterDone;
  friend CancelScope with_cancel(const Context& parent);
  friend CancelScope with_deadline(const Context& parent, base::TimePoint deadline);
  friend Context without_cancel(const Context& parent);
  template <class T>
  friend Context with_value(const Context& parent, const ContextKey<T>& key, T value);

  explicit Context(std::shared_ptr<const ContextState> state) : state_(std::move(state)) {}
  CancelState* canceller() const;  // whose end is this one's; nullptr: it has none
  const void* find(const void* key) const;
  Context derive(const void* key, std::shared_ptr<const void> value) const;

  std::shared_ptr<const ContextState> state_;  // empty: the root
};

// A context that can be cancelled, and is at the end of the scope.
class [[nodiscard]] CancelScope {
 public:
  ~CancelScope();
  CancelScope(CancelScope&&) noexcept = default;
  CancelScope& operator=(CancelScope&&) = delete;

  const Context& context() const { return context_; }
  // The first call counts. The cause is what Context::cause() tells.
  void cancel();
  void cancel(Error cause);

 private:
  friend CancelScope with_cancel(const Context& parent);
  friend CancelScope with_deadline(const Context& parent, base::TimePoint deadline);
  explicit CancelScope(std::shared_ptr<CancelState> state);

  std::shared_ptr<CancelState> state_;
  Context context_;
};

CancelScope with_cancel(const Context& parent);
// Over at the deadline at the latest; the parent's, if that is earlier.
CancelScope with_deadline(const Context& parent, base::TimePoint deadline);
CancelScope with_timeout(const Context& parent, base::Duration timeout);
// The same values, but goes on when the parent is cancelled.
Context without_cancel(const Context& parent);

template <class T>
Context with_value(const Context& parent, const ContextKey<T>& key, T value) {
  return parent.derive(&key, std::make_shared<const T>(std::move(value)));
}

// Calls `function` in a goroutine of its own (from a plain thread: where the cancelling is done,
// so it must not block) once the context is over; at once when it is already. Its end takes it
// back.
class [[nodiscard]] AfterDone {
 public:
  AfterDone(const Context& context, std::function<void()> function);
  ~AfterDone();
  AfterDone(const AfterDone&) = delete;
  AfterDone& operator=(const AfterDone&) = delete;

  // True: it will not be called. False: it has been, or is about to be.
  bool stop();

 private:
  std::shared_ptr<CancelState> state_;
};

}  // namespace bulkhead::sched
