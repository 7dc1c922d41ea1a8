// A timer that has fired starts a goroutine, which delivers: the heap's lock is held as it fires,
// and a channel's lock must not be taken under it (select arms a timer under channels' locks).
// Between firing and delivery stop() and reset() may come: they begin a new generation.
#include <algorithm>
#include <bulkhead/base/check.hpp>
#include <bulkhead/sched/mutex.hpp>
#include <bulkhead/sched/timer.hpp>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "sched/processor.hpp"

namespace bulkhead::sched {
namespace {

// The timers of plain threads: one thread serves them all, from the first on until the process
// ends.
class ThreadTimers {
 public:
  static ThreadTimers& instance() {
    static ThreadTimers* const timers = new ThreadTimers;  // never destroyed: its thread uses it
    return *timers;
  }

  void arm(TimerNode& node, std::int64_t deadline_ns) {
    timers_.arm(node, deadline_ns);
    { std::lock_guard guard(mutex_); }  // the thread is not between looking and waiting
    changed_.notify_one();
  }
  bool disarm(TimerNode& node) { return timers_.disarm(node); }

  // From fire() only: called when the heap's lock is released.
  void defer(std::function<void()> delivery) { deliveries_.push_back(std::move(delivery)); }

 private:
  ThreadTimers() : thread_([this] { serve(); }) {}

  void serve() {
    for (;;) {
      timers_.fire(base::monotonic_ns());
      for (const auto& delivery : std::exchange(deliveries_, {})) delivery();
      std::unique_lock guard(mutex_);
      const std::int64_t earliest = timers_.earliest();
      if (earliest <= base::monotonic_ns()) continue;
      if (earliest == Timers::kNever)
        changed_.wait(guard);
      else
        changed_.wait_until(guard, base::TimePoint(base::Duration(earliest)));
    }
  }

  Timers timers_;
  std::vector<std::function<void()>> deliveries_;  // its thread's own
  std::mutex mutex_;
  std::condition_variable changed_;
  std::thread thread_;  // the last member: it uses the others
};

}  // namespace

// Shared by the timer and the deliveries under way.
struct TimerState : TimerNode, std::enable_shared_from_this<TimerState> {
  explicit TimerState(std::function<void()> given, base::Duration every)
      : TimerNode{.fire = &on_deadline},
        tag(current_tag()),
        function(std::move(given)),
        period(every) {
    if (const Task* const task = current_task()) scheduler = task->scheduler;
  }

  void start(base::Duration delay) {
    std::lock_guard guard(mutex);
    arm(deadline_after(delay));
  }

  bool stop() {
    std::lock_guard guard(mutex);
    return cancel();
  }

  bool reset(base::Duration delay, base::Duration every) {
    std::lock_guard guard(mutex);
    const bool was_pending = cancel();
    period = every;
    arm(deadline_after(delay));
    return was_pending;
  }

  // Under the mutex. True: nobody has got anything of it.
  bool cancel() {
    ++generation;
    disarm();
    const bool unread = channel.try_receive().has_value();
    return std::exchange(pending, false) || unread;
  }

  // Under the mutex.
  void arm(std::int64_t when) {
    deadline = when;
    pending = true;
    armed = generation;
    const auto* const here = static_cast<Processor*>(this_processor());
    if (scheduler == nullptr) {
      ThreadTimers::instance().arm(*this, when);
    } else if (here != nullptr && &here->scheduler == scheduler) {
      scheduler->timers.arm(*this, when);
    } else {  // nobody there would look at the clock: one of its own goroutines does it
      scheduler->self.go(
          [self = shared_from_this(), of = generation] {
            std::lock_guard guard(self->mutex);
            if (self->generation == of) self->scheduler->timers.arm(*self, self->deadline);
          },
          tag, {});
    }
  }

  void disarm() {
    if (scheduler != nullptr)
      scheduler->timers.disarm(*this);
    else
      ThreadTimers::instance().disarm(*this);
  }

  // Under the heap's lock.
  static void on_deadline(TimerNode& node) {
    auto& self = static_cast<TimerState&>(node);
    auto delivery = [state = self.shared_from_this(), of = self.armed] { state->deliver(of); };
    if (self.scheduler != nullptr)
      self.scheduler->start_in_order(processor_here(), std::move(delivery), self.tag);
    else
      ThreadTimers::instance().defer(std::move(delivery));
  }

  void deliver(std::uint64_t of) {
    {
      std::lock_guard guard(mutex);
      if (generation != of) return;
      if (period > base::Duration::zero()) {
        // Ticks that are over are left out; the others keep to their times.
        const std::int64_t late =
            std::max<std::int64_t>(now().time_since_epoch().count() - deadline, 0);
        arm(deadline + (late / period.count() + 1) * period.count());
      } else {
        pending = false;
      }
      if (function == nullptr) channel.try_send(now());
    }
    if (function != nullptr) function();
  }

  SchedulerImpl* scheduler = nullptr;  // nullptr: of a plain thread
  const Tag tag;
  const std::function<void()> function;
  Channel<base::TimePoint> channel{1};
  Mutex mutex;
  // Guarded by the mutex, but while the node is in the heap `armed` is read as it fires.
  std::uint64_t generation = 0;
  std::uint64_t armed = 0;  // the generation that is in the heap
  base::Duration period;    // zero: fires once
  std::int64_t deadline = 0;
  bool pending = false;  // it has not fired, and was not stopped
};

Timer::Timer(base::Duration delay) : Timer(delay, nullptr) {}

Timer::Timer(base::Duration delay, std::function<void()> function)
    : TimerHandle(std::make_shared<TimerState>(std::move(function), base::Duration::zero())) {
  state_->start(delay);
}

TimerHandle::~TimerHandle() {
  if (state_ != nullptr) state_->stop();
}

TimerHandle& TimerHandle::operator=(TimerHandle&& other) noexcept {
  if (state_ != nullptr && state_ != other.state_) state_->stop();
  state_ = std::move(other.state_);
  return *this;
}

Channel<base::TimePoint>& Timer::channel() {
  BULKHEAD_CHECK(state_->function == nullptr, "a timer that calls a function has no channel");
  return state_->channel;
}

bool Timer::stop() { return state_->stop(); }

bool Timer::reset(base::Duration delay) { return state_->reset(delay, base::Duration::zero()); }

Ticker::Ticker(base::Duration period) : TimerHandle(std::make_shared<TimerState>(nullptr, period)) {
  BULKHEAD_CHECK(period > base::Duration::zero(), "a ticker with a period of {} ns",
                 period.count());
  state_->start(period);
}

Channel<base::TimePoint>& Ticker::channel() { return state_->channel; }

void Ticker::stop() { state_->stop(); }

void Ticker::reset(base::Duration period) {
  BULKHEAD_CHECK(period > base::Duration::zero(), "a ticker with a period of {} ns",
                 period.count());
  state_->reset(period, period);
}

}  // namespace bulkhead::sched
