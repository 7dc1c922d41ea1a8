// What a message cost by part, from the times of both sides.
#include "crossing_costs.hpp"

#include <gtest/gtest.h>

#include <bulkhead/wire/crossing_log.hpp>
#include <functional>
#include <vector>

namespace bulkhead::coordinator {
namespace {

// A second apart, so that looking at the clock weighs nothing.
constexpr std::uint64_t kSecond = 1'000'000'000;

// Sent at once, to a receiver that has slept since second 2.
v1::CrossingSample sample(std::uint64_t number = 0) {
  v1::CrossingSample one;
  one.set_number(number);
  one.set_encode_begin(10 * kSecond);
  one.set_encode_end(11 * kSecond);
  one.set_copied(13 * kSecond);
  one.set_flush_begin(16 * kSecond);
  one.set_flush_end(20 * kSecond);
  one.set_batch(2);
  one.set_asleep(2 * kSecond);
  one.set_woke(25 * kSecond);
  one.set_got(31 * kSecond);
  one.set_taken(38 * kSecond);
  one.set_decoded(46 * kSecond);
  return one;
}

v1::Cost cost_of(const std::vector<v1::CrossingSample>& samples) {
  v1::CrossingSamples all;
  for (const v1::CrossingSample& one : samples) *all.add_samples() = one;
  CrossingCosts costs;
  costs.add(all);
  return costs.cost(100, 1e6).value_or(v1::Cost{});
}

double sum_of_parts(const v1::Cost& cost) {
  return cost.encode_seconds() + cost.copy_seconds() + cost.system_call_seconds() +
         cost.wake_up_seconds() + cost.queueing_seconds() + cost.decode_seconds();
}

constexpr double kClose = 1e-3;

TEST(CrossingCostsTest, ThePartsFollowOneAnotherAndAddUpToTheWhole) {
  const v1::Cost cost = cost_of({sample()});
  EXPECT_EQ(cost.samples(), 1);
  EXPECT_EQ(cost.crossed(), 100);
  EXPECT_NEAR(cost.encode_seconds(), 1, kClose);
  EXPECT_NEAR(cost.copy_seconds(), 2, kClose);
  EXPECT_NEAR(cost.system_call_seconds(), 4, kClose);
  EXPECT_NEAR(cost.wake_up_seconds(), 5, kClose);
  // For company 3, behind others 6, for a processor 7.
  EXPECT_NEAR(cost.queueing_seconds(), 16, kClose);
  EXPECT_NEAR(cost.decode_seconds(), 8, kClose);
  EXPECT_NEAR(cost.whole_seconds(), 36, kClose);
  EXPECT_NEAR(cost.rest_seconds(), 0, kClose);
  EXPECT_NEAR(sum_of_parts(cost) + cost.rest_seconds(), cost.whole_seconds(), 1e-9);
  // Encode, copy, half of the call that took two along, decode; of a hundred.
  EXPECT_NEAR(cost.processor_share(), 100 * (1 + 2 + 2 + 8) / 1e6, 1e-6);
}

TEST(CrossingCostsTest, AReceiverThatWasBusyIsNotWoken) {
  v1::CrossingSample one = sample();
  one.set_woke(3 * kSecond);  // long before
  const v1::Cost cost = cost_of({one});
  EXPECT_EQ(cost.wake_up_seconds(), 0);
  EXPECT_NEAR(cost.queueing_seconds(), 3 + 11 + 7, kClose);
  EXPECT_NEAR(cost.whole_seconds(), sum_of_parts(cost), kClose);
}

TEST(CrossingCostsTest, OneThatFallsAsleepAfterItWasSentIsWokenFromThereOn) {
  v1::CrossingSample one = sample();
  one.set_asleep(22 * kSecond);
  const v1::Cost cost = cost_of({one});
  EXPECT_NEAR(cost.wake_up_seconds(), 3, kClose);
  EXPECT_NEAR(cost.queueing_seconds(), 3 + 2 + 6 + 7, kClose);
  EXPECT_NEAR(cost.whole_seconds(), sum_of_parts(cost), kClose);
}

TEST(CrossingCostsTest, WhatIsSeenBeforeTheCallReturnsEndsItsPart) {
  for (const std::uint64_t woke : {std::uint64_t{3}, std::uint64_t{18}}) {
    v1::CrossingSample one = sample();
    one.set_woke(woke * kSecond);
    one.set_got(18 * kSecond);
    const v1::Cost cost = cost_of({one});
    EXPECT_NEAR(cost.system_call_seconds(), 2, kClose) << woke;
    EXPECT_NEAR(cost.whole_seconds(), sum_of_parts(cost), kClose) << woke;
  }
}

TEST(CrossingCostsTest, BothSidesWordsAreJoinedByNumber) {
  v1::CrossingSamples sent;
  v1::CrossingSamples received;
  for (std::uint64_t number = 0; number < 10; ++number) {
    v1::CrossingSample& here = *sent.add_samples();
    here = sample(number);
    here.clear_asleep();
    here.clear_woke();
    here.clear_got();
    here.clear_taken();
    here.clear_decoded();
    if (number == 3) continue;  // the other side looked elsewhere
    v1::CrossingSample& there = *received.add_samples();
    const v1::CrossingSample whole = sample(number);
    there.set_number(number);
    there.set_asleep(whole.asleep());
    there.set_woke(whole.woke());
    there.set_got(whole.got());
    there.set_taken(whole.taken());
    there.set_decoded(whole.decoded());
  }
  CrossingCosts costs;
  costs.add(received);
  EXPECT_FALSE(costs.cost(1, 1).has_value());
  costs.add(sent);
  const auto cost = costs.cost(1, 1e6);
  ASSERT_TRUE(cost);
  EXPECT_EQ(cost->samples(), 9);
  EXPECT_NEAR(cost->whole_seconds(), 36, kClose);
}

// A worker's word, or the times of two attempts at one job.
TEST(CrossingCostsTest, TimesThatGoBackwardsDoNotCount) {
  using Set = void (v1::CrossingSample::*)(std::uint64_t);
  using S = v1::CrossingSample;
  const std::vector<Set> all{&S::set_encode_begin, &S::set_encode_end, &S::set_copied,
                             &S::set_flush_begin,  &S::set_flush_end,  &S::set_got,
                             &S::set_taken,        &S::set_decoded};
  for (std::size_t i = 0; i < all.size(); ++i) {
    v1::CrossingSample late = sample();
    v1::CrossingSample early = sample();
    (late.*all[i])(1000 * kSecond);
    (early.*all[i])(1);
    // The last may be late and the first early: those are long messages. A call may return when
    // the message has long been read.
    const bool may_be_late = i + 1 == all.size() || all[i] == Set(&S::set_flush_end);
    EXPECT_EQ(cost_of({late}).samples(), may_be_late ? 1 : 0) << i;
    EXPECT_EQ(cost_of({early}).samples(), i == 0 ? 1 : 0) << i;
  }
}

TEST(CrossingLogTest, AFullLogLooksAtHalfAsManyAndForgetsTheOthers) {
  wire::CrossingLog log(4);
  EXPECT_TRUE(log.looks_at(8));
  EXPECT_FALSE(log.looks_at(6));
  std::uint64_t looked_at = 0;
  for (std::uint64_t number = 0; number < 100'000; ++number) {
    if (!log.looks_at(number)) continue;
    log.at(wire::kToWorker, number).set_got(number + 1);
    ++looked_at;
  }
  EXPECT_LT(looked_at, 10'000u);
  EXPECT_FALSE(log.looks_at(4));
  const v1::CrossingSamples samples = log.take();
  EXPECT_GT(samples.samples_size(), 500);
  EXPECT_LT(samples.samples_size(), 2'100);
  for (const v1::CrossingSample& one : samples.samples()) {
    EXPECT_TRUE(log.looks_at(one.number())) << one.number();
    EXPECT_EQ(one.got(), one.number() + 1);
  }
  EXPECT_FALSE(wire::CrossingLog(0).looks_at(0));
}

}  // namespace
}  // namespace bulkhead::coordinator
