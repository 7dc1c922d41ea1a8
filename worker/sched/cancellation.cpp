// Contexts form a tree. A node knows its parent; one that can be cancelled also knows those below
// it that can be, weakly, so that they go when nobody uses them any more. No two nodes' mutexes are
// held at a time.
#include <bulkhead/sched/context.hpp>
#include <bulkhead/sched/mutex.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <bulkhead/sched/timer.hpp>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

namespace bulkhead::sched {

struct ContextState {
  virtual ~ContextState() = default;

  std::shared_ptr<const ContextState> parent;  // for values
  const void* key = nullptr;
  std::shared_ptr<const void> value;
  std::shared_ptr<CancelState> above;  // whose cancellation is this one's; empty: nobody's
  CancelState* canceller = nullptr;    // this one, or the one above
};

struct Outcome {
  Error error;
  Error cause;
};

struct CancelState final : ContextState, std::enable_shared_from_this<CancelState> {
  ~CancelState() override { leave(); }

  // Once, when it is complete.
  void join() {
    if (above == nullptr) return;
    std::optional<Outcome> over;
    {
      std::lock_guard guard(above->mutex);
      over = above->outcome;
      if (!over.has_value()) above->children.emplace(this, weak_from_this());
    }
    if (over.has_value()) cancel(*over);
  }
  void leave() {
    if (above == nullptr) return;
    std::lock_guard guard(above->mutex);
    above->children.erase(this);
  }

  // This one and all below it; nothing when it is over already. A loop: goroutines' stacks are
  // small.
  void cancel(const Outcome& given) {
    std::vector<std::shared_ptr<CancelState>> ending{shared_from_this()};
    while (!ending.empty()) {
      const std::shared_ptr<CancelState> one = std::move(ending.back());
      ending.pop_back();
      for (const auto& [address, child] : one->end(given))
        if (auto alive = child.lock()) ending.push_back(std::move(alive));
    }
  }

  std::map<CancelState*, std::weak_ptr<CancelState>> end(const Outcome& given) {
    std::map<CancelState*, std::weak_ptr<CancelState>> below;
    {
      std::lock_guard guard(mutex);
      if (outcome.has_value()) return below;
      outcome = given;
      below.swap(children);
    }
    leave();
    if (patience.has_value()) patience->stop();
    done.close();
    if (after != nullptr) {
      if (current_task() != nullptr)
        go(std::move(after));
      else
        after();
    }
    return below;
  }

  std::optional<Outcome> over() {
    std::lock_guard guard(mutex);
    return outcome;
  }

  // Fixed before it can end.
  std::optional<base::TimePoint> deadline;
  std::optional<Timer> patience;
  std::function<void()> after;  // called by whoever ends it
  Channel<Context::Never> done;

  Mutex mutex;
  // Guarded by it.
  std::optional<Outcome> outcome;
  std::map<CancelState*, std::weak_ptr<CancelState>> children;
};

namespace {

Outcome cancelled() {
  const Error error{Code::kCancelled, "the context was cancelled"};
  return {error, error};
}

Outcome timed_out() {
  const Error error{Code::kTimedOut, "the deadline of the context has passed"};
  return {error, error};
}

Result<void> failure(CancelState* state, Error Outcome::*part) {
  if (state == nullptr) return {};
  const std::optional<Outcome> over = state->over();
  if (!over.has_value()) return {};
  return fail((*over).*part);
}

std::shared_ptr<CancelState> make_state(const std::shared_ptr<const ContextState>& parent) {
  auto state = std::make_shared<CancelState>();
  state->parent = parent;
  if (parent != nullptr && parent->canceller != nullptr) {
    state->above = parent->canceller->shared_from_this();
    state->deadline = state->above->deadline;
  }
  state->canceller = state.get();
  return state;
}

}  // namespace

CancelState* Context::canceller() const { return state_ == nullptr ? nullptr : state_->canceller; }

Channel<Context::Never>* Context::done() const {
  CancelState* const state = canceller();
  return state == nullptr ? nullptr : &state->done;
}

Result<void> Context::error() const { return failure(canceller(), &Outcome::error); }

Result<void> Context::cause() const { return failure(canceller(), &Outcome::cause); }

std::optional<base::TimePoint> Context::deadline() const {
  const CancelState* const state = canceller();
  return state == nullptr ? std::nullopt : state->deadline;
}

const void* Context::find(const void* key) const {
  for (const ContextState* state = state_.get(); state != nullptr; state = state->parent.get())
    if (state->key == key) return state->value.get();
  return nullptr;
}

Context Context::derive(const void* key, std::shared_ptr<const void> value) const {
  auto state = std::make_shared<ContextState>();
  state->parent = state_;
  state->key = key;
  state->value = std::move(value);
  state->canceller = canceller();  // kept by the parent
  return Context(std::move(state));
}

Context without_cancel(const Context& parent) {
  auto state = std::make_shared<ContextState>();
  state->parent = parent.state_;
  return Context(std::move(state));
}

CancelScope::CancelScope(std::shared_ptr<CancelState> state)
    : state_(std::move(state)), context_(state_) {}

CancelScope::~CancelScope() {
  if (state_ != nullptr) cancel();
}

void CancelScope::cancel() { state_->cancel(cancelled()); }

void CancelScope::cancel(Error cause) {
  state_->cancel({.error = cancelled().error, .cause = std::move(cause)});
}

CancelScope with_cancel(const Context& parent) {
  auto state = make_state(parent.state_);
  state->join();
  return CancelScope(std::move(state));
}

CancelScope with_deadline(const Context& parent, base::TimePoint deadline) {
  auto state = make_state(parent.state_);
  if (!state->deadline.has_value() || deadline < *state->deadline) {
    state->deadline = deadline;
    const base::TimePoint start = now();
    if (deadline <= start) {
      state->cancel(timed_out());
      return CancelScope(std::move(state));
    }
    std::lock_guard guard(state->mutex);  // end() may be called before emplace() has returned
    state->patience.emplace(deadline - start, [weak = std::weak_ptr<CancelState>(state)] {
      if (const auto alive = weak.lock()) alive->cancel(timed_out());
    });
  }
  state->join();
  return CancelScope(std::move(state));
}

CancelScope with_timeout(const Context& parent, base::Duration timeout) {
  const base::TimePoint start = now();
  return with_deadline(
      parent, timeout < base::TimePoint::max() - start ? start + timeout : base::TimePoint::max());
}

AfterDone::AfterDone(const Context& context, std::function<void()> function)
    : state_(make_state(context.state_)) {
  state_->after = std::move(function);
  state_->join();
}

AfterDone::~AfterDone() { stop(); }

bool AfterDone::stop() {
  std::lock_guard guard(state_->mutex);
  if (state_->outcome.has_value()) return false;
  state_->outcome = cancelled();
  return true;
}

}  // namespace bulkhead::sched
