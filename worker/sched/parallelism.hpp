// Whether one processor alone gets more done than all of them.
//
// Goroutines that hand over to one another all the time run faster on one processor: on two each
// value, lock and queue goes back and forth between two caches (four senders and four receivers on
// one channel: 16 ns an item on one processor, 55 on two). Others are independent and run twice as
// fast. Which are which nobody can tell in advance, so it is tried: while all processors come to
// decisions all the time, one is left alone for a period, and what wins stays. Now and then the
// other way is tried again, less and less often as long as the answer is the same.
//
// A hill climb as that of ".NET's thread pool" (Hellerstein et al., "Optimizing concurrency levels
// in the .NET ThreadPool", 2009), of one step. Goroutines that compute are never judged: see
// Period::brisk.
//
// For one thread. Knows no clock of its own, so that tests need none.
#pragma once

#include <cstdint>

namespace bulkhead::sched {

class Parallelism {
 public:
  // What the processors have done since the last one.
  struct Period {
    std::int64_t now_ns = 0;  // its end
    std::int64_t length_ns = 0;
    std::uint64_t progress = 0;  // scheduling decisions, and operations that did not wait
    bool brisk = false;          // nobody else was awake: no goroutine computes for long
    bool lags = false;           // one that was awake did little: it computes, or its thread waits
  };

  // At the end of each period: whether one processor is to run alone in the next one.
  bool wants_one(const Period& period);
  // Something is tried in the next period, or may be after it: a short one will do.
  bool tries() const {
    if (state_ == State::kAll) return brisk_periods_ == 1;
    return state_ != State::kOne;
  }

 private:
  enum class State {
    kAll,       // as long as nothing speaks against it
    kTryOne,    // the first period with one
    kOne,       // it has won
    kTryAll,    // the others come back: a period that is not judged
    kJudgeAll,  // and one that is
  };

  bool become(State state) {
    state_ = state;
    return state == State::kTryOne || state == State::kOne;
  }

  State state_ = State::kAll;
  int brisk_periods_ = 0;      // in a row
  double rate_of_all_ = 0;     // progress a nanosecond
  double rate_of_one_ = 0;     // likewise
  std::int64_t next_try_ = 0;  // of the other way, not before
  std::int64_t patience_ = kLeastPatience;

  static constexpr std::int64_t kLeastPatience = 200'000'000;  // nanoseconds
  static constexpr std::int64_t kMostPatience = 3'200'000'000;
};

}  // namespace bulkhead::sched
