#include "sched/parallelism.hpp"

#include <algorithm>

namespace bulkhead::sched {
namespace {
constexpr int kBriskPeriods = 2;  // before anything is tried: the first one may be half a period
constexpr double kBetter = 1.1;   // all must win by so much: they cost more processor time
}  // namespace

bool Parallelism::wants_one(const Period& period) {
  const double rate = static_cast<double>(period.progress) /
                      static_cast<double>(std::max<std::int64_t>(period.length_ns, 1));
  brisk_periods_ = period.brisk ? brisk_periods_ + 1 : 0;
  if (!period.brisk) {
    if (state_ != State::kAll) patience_ = kLeastPatience;  // something else begins
    return become(State::kAll);
  }
  const auto decide = [&](State winner, bool as_before) {
    patience_ = as_before ? std::min(2 * patience_, kMostPatience) : kLeastPatience;
    next_try_ = period.now_ns + patience_;
    return become(winner);
  };
  switch (state_) {
    case State::kAll:
      rate_of_all_ = rate;
      if (brisk_periods_ < kBriskPeriods || period.now_ns < next_try_) return false;
      return become(State::kTryOne);
    case State::kTryOne:
      rate_of_one_ = rate;
      if (rate * kBetter < rate_of_all_) return decide(State::kAll, true);
      return decide(State::kOne, false);
    case State::kOne:
      rate_of_one_ = rate;
      if (period.now_ns < next_try_) return true;
      return become(State::kTryAll);
    case State::kTryAll:
      return become(State::kJudgeAll);
    case State::kJudgeAll:
      rate_of_all_ = rate;
      if (rate > rate_of_one_ * kBetter) return decide(State::kAll, false);
      return decide(State::kOne, true);
  }
  return false;
}

}  // namespace bulkhead::sched
