#include "program/requests.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bulkhead/program/synthetic_work.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <stdexcept>

#include "tests/support/run_program.hpp"

namespace bulkhead::program {
namespace {

using testing::HasSubstr;

constexpr double kRate = 1e6;  // so that a microsecond is one iteration

Answer answer_of(const test::SettingValues& values, const std::set<std::uint64_t>& gaps = {}) {
  const Registration* registration = find_program("requests");
  const auto program = registration->make(Settings(registration->description, values, {}, kRate));
  return test::run_program(*program, gaps);
}

TEST(SyntheticWorkTest, WhatComesOutDependsOnSeedAndIterations) {
  EXPECT_EQ(compute(7, 100'000), compute(7, 100'000));
  EXPECT_NE(compute(7, 100'000), compute(8, 100'000));
  EXPECT_NE(compute(7, 100'000), compute(7, 100'001));
  EXPECT_EQ(compute(7, 0), 7U);
}

TEST(SyntheticWorkTest, PartsOneAfterTheOtherAreTheWhole) {
  for (const std::uint64_t part : {1U, 65535U, 65536U, 65537U, 150'000U})
    EXPECT_EQ(compute(compute(3, part), 200'000 - part), compute(3, 200'000)) << part;
}

TEST(SyntheticWorkTest, LongWorkPassesSchedulingPoints) {
  struct Counter final : sched::Observer {
    void on_switch(unsigned, sched::Tag) override { ++seen; }
    void on_processor_start(unsigned) override {}
    int seen = 0;
  };
  Counter observer;
  sched::Options options;
  options.observer = &observer;
  sched::Scheduler scheduler(options);
  scheduler.run([] { compute(1, 1'000'000); });
  EXPECT_GE(observer.seen, 10);
}

TEST(SyntheticWorkTest, CalibrationGivesAFigureThatCanBe) {
  const double rate = calibrate();
  EXPECT_GT(rate, 1e5);
  EXPECT_LT(rate, 1e11);
}

TEST(RequestsTest, EachComputesTheIterationsThatTheCalibrationGives) {
  EXPECT_THAT(answer_of({{"count", "3"}, {"wait", "0"}, {"compute", "2000000"}}).text,
              HasSubstr("requests answered: 3\niterations of each: 2000\n"));
}

TEST(RequestsTest, TheAnswerHashesWhatWasComputed) {
  const test::SettingValues plain{{"count", "20"}, {"wait", "0"}, {"compute", "1000000"}};
  const std::string checksum = answer_of(plain).checksum;
  EXPECT_EQ(answer_of(plain).checksum, checksum);
  test::SettingValues longer = plain;
  longer["compute"] = "1001000";
  EXPECT_NE(answer_of(longer).checksum, checksum);
  test::SettingValues waiting = plain;
  waiting["wait"] = "1000";
  EXPECT_EQ(answer_of(waiting).checksum, checksum);
}

TEST(RequestsTest, AMissingRequestChangesTheAnswerAndIsTold) {
  const test::SettingValues values{{"count", "20"}, {"wait", "0"}, {"compute", "1000"}};
  const Answer gapped = answer_of(values, {7});
  EXPECT_NE(gapped.checksum, answer_of(values).checksum);
  EXPECT_NE(gapped.checksum, answer_of(values, {8}).checksum);
  EXPECT_THAT(gapped.text, HasSubstr("requests without an answer: 1\n"));
}

// On a plain thread, where a wait blocks it, as among goroutines.
TEST(RequestsTest, AThreadComputesWhatAGoroutineDoes) {
  const Requests program(Settings(
      Requests::describe(), {{"count", "2"}, {"wait", "1000"}, {"compute", "9000"}}, {}, kRate));
  const std::uint64_t on_thread = program.work(1);
  std::uint64_t in_goroutine = 0;
  sched::Scheduler scheduler(sched::Options{});
  scheduler.run([&] { in_goroutine = program.work(1); });
  EXPECT_EQ(on_thread, in_goroutine);
  EXPECT_NE(on_thread, program.work(0));
}

TEST(RequestsTest, WithoutACalibrationItIsNotMade) {
  for (const double rate : {0.0, -1.0, 1e300, std::numeric_limits<double>::quiet_NaN()})
    EXPECT_THROW(Settings(Requests::describe(), {}, {}, rate), std::invalid_argument) << rate;
}

}  // namespace
}  // namespace bulkhead::program
