// KIND@WHERE: what is accepted, and each message with the column of the mistake.
#include "faults/fault_plan.hpp"

#include <gtest/gtest.h>

#include <bulkhead/wire/fault_draw.hpp>
#include <random>
#include <vector>

namespace bulkhead::coordinator {
namespace {

TEST(FaultPlanTest, ReadsAFaultInAJob) {
  const auto fault = parse_fault("segv@job=20,times=3");
  ASSERT_TRUE(fault) << fault.error().text;
  EXPECT_EQ(fault->text, "segv@job=20,times=3");
  EXPECT_EQ(fault->kind, v1::FAULT_SEGV);
  EXPECT_EQ(fault->job, 20u);
  EXPECT_EQ(fault->times, 3u);
  EXPECT_FALSE(fault->worker);
}

TEST(FaultPlanTest, ReadsAFaultInAWorkerAfterATime) {
  const auto fault = parse_fault("kill@worker=2,after=500ms");
  ASSERT_TRUE(fault) << fault.error().text;
  EXPECT_EQ(fault->kind, v1::FAULT_KILL);
  EXPECT_EQ(fault->worker, 2u);
  EXPECT_EQ(fault->after, std::chrono::milliseconds(500));
  EXPECT_EQ(fault->times, 1u);
  EXPECT_FALSE(fault->job);
}

TEST(FaultPlanTest, KeysComeInAnyOrderAndJobsStartAtZero) {
  const auto fault = parse_fault("throw@times=2,job=0");
  ASSERT_TRUE(fault) << fault.error().text;
  EXPECT_EQ(fault->job, 0u);
  EXPECT_EQ(fault->times, 2u);
  EXPECT_TRUE(parse_fault("throw@after=1s,worker=1"));
}

TEST(FaultPlanTest, EveryKindIsParsedListedAndSpelledTheSame) {
  ASSERT_EQ(fault_kinds().size(), 8u);
  for (const FaultKindText& kind : fault_kinds()) {
    const auto fault = parse_fault(std::string(kind.name) + "@rate=0.25");
    ASSERT_TRUE(fault) << kind.name;
    EXPECT_STREQ(to_string(fault->kind), kind.name);
    EXPECT_EQ(fault->rate, 0.25);
  }
}

TEST(FaultPlanTest, TheSeedDrawsTheShareThatWasAskedForAndTheSameOneAgain) {
  const auto drawn = [](std::uint64_t seed, std::uint32_t fault) {
    std::vector<std::uint64_t> jobs;
    for (std::uint64_t job = 0; job < 100'000; ++job) {
      if (wire::draws_fault(seed, fault, job, 0.002)) jobs.push_back(job);
    }
    return jobs;
  };
  const auto first = drawn(1, 0);
  EXPECT_EQ(first, drawn(1, 0));
  EXPECT_NE(first, drawn(2, 0));
  EXPECT_NE(first, drawn(1, 1));
  EXPECT_GT(first.size(), 140u);  // 200 expected, standard deviation 14
  EXPECT_LT(first.size(), 260u);
  EXPECT_TRUE(wire::draws_fault(7, 3, 12, 1.0));
}

TEST(FaultPlanTest, EveryMistakeNamesItsColumnAndWhatWouldBeRight) {
  struct Case {
    const char* text;
    const char* message;
  };
  const Case cases[] = {
      {"",
       "'': 1: the fault kind is missing; kinds: segv, abort, kill, exit, throw, hang, "
       "stack-overflow, oom"},
      {"@job=1",
       "'@job=1': 1: the fault kind is missing; kinds: segv, abort, kill, exit, throw, hang, "
       "stack-overflow, oom"},
      {"sevg@job=20",
       "'sevg@job=20': 1: unknown fault kind 'sevg'; did you mean 'segv'? kinds: segv, abort, "
       "kill, exit, throw, hang, stack-overflow, oom"},
      {"sulk@job=20",
       "'sulk@job=20': 1: unknown fault kind 'sulk'; kinds: segv, abort, kill, exit, throw, hang, "
       "stack-overflow, oom"},
      {"segv", "'segv': 5: where is missing; write segv@job=20 or segv@worker=2,after=500ms"},
      {"kill@", "'kill@': 6: where is missing; write kill@job=20 or kill@worker=2,after=500ms"},
      {"segv@jbo=1",
       "'segv@jbo=1': 6: unknown key 'jbo'; did you mean 'job'? keys: job, times, worker, after, "
       "rate, task, operation"},
      {"segv@job", "'segv@job': 9: job needs a value; write job=1"},
      {"segv@job=", "'segv@job=': 10: job needs a value; write job=1"},
      {"segv@job=x", "'segv@job=x': 10: 'x' is not a whole number; write 0 to 9007199254740992"},
      {"segv@job=-1", "'segv@job=-1': 10: '-1' is not a whole number; write 0 to 9007199254740992"},
      {"segv@job=1,",
       "'segv@job=1,': 12: a key is missing; keys: job, times, worker, after, rate, "
       "task, operation"},
      {"segv@job=1,times=0", "'segv@job=1,times=0': 18: '0' is out of range; write 1 to 1000000"},
      {"segv@job=1,times=2,times=3", "'segv@job=1,times=2,times=3': 20: times is given twice"},
      {"segv@job=1,job=2",
       "'segv@job=1,job=2': 12: job is given twice; give --fault once for each job"},
      {"segv@job=1,worker=2",
       "'segv@job=1,worker=2': 12: job, worker, rate and task exclude each other; give one"},
      {"segv@worker=2,job=1",
       "'segv@worker=2,job=1': 15: job, worker, rate and task exclude each other; give one"},
      {"segv@worker=0", "'segv@worker=0': 13: '0' is out of range; write 1 to 1024"},
      {"segv@worker=1,times=2",
       "'segv@worker=1,times=2': 15: times goes with job=N or task=NAME only"},
      {"segv@job=1,after=1s", "'segv@job=1,after=1s': 12: after goes with worker=N only"},
      {"segv@after=1s",
       "'segv@after=1s': 6: neither job, worker, rate nor task is given; write segv@job=20, "
       "segv@worker=2, segv@rate=0.01 or segv@task=NAME"},
      {"exit@rate=0",
       "'exit@rate=0': 11: '0' is no rate; write a share of the jobs, above 0 and at most 1"},
      {"exit@rate=1.5",
       "'exit@rate=1.5': 11: '1.5' is no rate; write a share of the jobs, above 0 and at most 1"},
      {"exit@rate=nan",
       "'exit@rate=nan': 11: 'nan' is no rate; write a share of the jobs, above 0 and at most 1"},
      {"exit@rate=0.5,rate=0.5", "'exit@rate=0.5,rate=0.5': 15: rate is given twice"},
      {"exit@rate=0.5,job=1",
       "'exit@rate=0.5,job=1': 15: job, worker, rate and task exclude each other; give one"},
      {"exit@rate=0.5,times=2",
       "'exit@rate=0.5,times=2': 15: times goes with job=N or task=NAME only"},
      {"exit@rate", "'exit@rate': 10: rate needs a value; write rate=0.01"},
      {"segv@task", "'segv@task': 10: task needs a value; write task=NAME"},
      {"segv@task=a,task=b",
       "'segv@task=a,task=b': 13: task is given twice; give --fault once for each task"},
      {"segv@task=a,job=1",
       "'segv@task=a,job=1': 13: job, worker, rate and task exclude each other; give one"},
      {"segv@worker=1,task=a",
       "'segv@worker=1,task=a': 15: job, worker, rate and task exclude each other; give one"},
      {"segv@task=a,operation=0",
       "'segv@task=a,operation=0': 23: '0' is out of range; write 1 to 9007199254740992"},
      {"segv@job=1,operation=2",
       "'segv@job=1,operation=2': 12: operation goes with task=NAME only"},
      {"kill@worker=1,after=500",
       "'kill@worker=1,after=500': 21: 500: a duration needs a unit: write 500ms or 500s"},
      {"kill@worker=1,after=5fs",
       "'kill@worker=1,after=5fs': 21: '5fs': unknown unit 'fs'; units: ns, us, ms, s, m, h"},
  };
  for (const Case& one : cases) {
    const auto fault = parse_fault(one.text);
    ASSERT_FALSE(fault) << one.text;
    EXPECT_EQ(fault.error().code, Code::kInvalidArgument);
    EXPECT_EQ(fault.error().text, one.message);
  }
}

TEST(FaultPlanTest, GarbageIsRefusedOnOneLine) {
  std::mt19937 random(1);
  const std::string alphabet =
      std::string("segvkilthrow@job=1234567890,timesafter.ms\n\x1b\xff") + '\0';
  for (int i = 0; i < 20'000; ++i) {
    std::string text(random() % 40, ' ');
    for (char& c : text) c = alphabet[random() % alphabet.size()];
    if (i % 2 == 0) text.insert(0, "segv@job=");
    const auto fault = parse_fault(text);
    if (fault) {
      EXPECT_EQ(fault->job.has_value() + fault->worker.has_value() + (fault->rate > 0), 1) << text;
      continue;
    }
    EXPECT_EQ(fault.error().text.find_first_of("\n\x1b"), std::string::npos);
  }
}

TEST(FaultPlanTest, EveryKindHasAName) {
  EXPECT_STREQ(to_string(v1::FAULT_SEGV), "segv");
  EXPECT_STREQ(to_string(v1::FAULT_KILL), "kill");
  EXPECT_STREQ(to_string(v1::FAULT_THROW), "throw");
  EXPECT_STREQ(to_string(v1::FAULT_UNSPECIFIED), "unspecified");
}

}  // namespace
}  // namespace bulkhead::coordinator
