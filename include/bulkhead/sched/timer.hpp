// Timer, Ticker, after: deadlines as channels, with the meaning that Go 1.23 gave them.
//
//   sched::Timer patience(50ms);
//   sched::select(sched::receive(replies, [&](auto reply) { … }),
//                 sched::receive(patience.channel(), [&](auto) { give_up(); }));
//
//   sched::Ticker beat(1s);
//   while (auto now = beat.channel().receive()) sample(*now);   // until stop() elsewhere: for ever
//
// A value in the channel is the time at which the timer fired. At most one waits there; a ticker
// whose receiver is slow drops ticks. After stop() or reset() no value of before is received. A
// function is called once the time has come, in a goroutine of its own that carries the tag of
// whoever made the timer.
//
// A timer belongs to the scheduler of the goroutine that makes it, and must not outlive it. One
// that is pending does not keep run() from returning. Made on a plain thread it is served by one
// thread for the whole process, which also calls functions: they must not block it.
#pragma once

#include <bulkhead/base/clock.hpp>
#include <bulkhead/sched/channel.hpp>
#include <functional>
#include <memory>
#include <utility>

namespace bulkhead::sched {

struct TimerState;

// What owns a timer: its end stops it.
class TimerHandle {
 public:
  TimerHandle(TimerHandle&& other) noexcept = default;
  TimerHandle& operator=(TimerHandle&& other) noexcept;

 protected:
  explicit TimerHandle(std::shared_ptr<TimerState> state) : state_(std::move(state)) {}
  ~TimerHandle();

  std::shared_ptr<TimerState> state_;
};

// Thread-safe, but for moving and destroying it. Its end stops it.
class Timer : public TimerHandle {
 public:
  // Of at most zero: at once.
  explicit Timer(base::Duration delay);
  Timer(base::Duration delay, std::function<void()> function);

  // Lives as long as the timer; never closed. Not of one that calls a function.
  Channel<base::TimePoint>& channel();

  // False: too late, the value has been received or the function has been started; or it was
  // stopped before. A function that has been started may still run.
  bool stop();
  // The time counts from now, whether or not it has fired. Answers what stop() would have.
  bool reset(base::Duration delay);
};

// Sends the time once every period. Thread-safe, but for moving and destroying it. Its end stops
// it.
class Ticker : public TimerHandle {
 public:
  explicit Ticker(base::Duration period);  // positive

  Channel<base::TimePoint>& channel();  // never closed
  void stop();
  void reset(base::Duration period);  // the first tick one period from now
};

// sched::select(…, sched::receive(sched::after(50ms).channel(), …)): lives as long as the select.
inline Timer after(base::Duration delay) { return Timer(delay); }

}  // namespace bulkhead::sched
