#include "evidence/crash_traces.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

namespace bulkhead::coordinator {
namespace {

using testing::HasSubstr;

// One program at `bias`, as a Hello tells it.
std::vector<v1::Module> program_at(std::uint64_t bias) {
  v1::Hello hello;
  v1::Module& module = *hello.add_modules();
  module.set_path("/opt/mine");
  module.set_bias(bias);
  module.set_low(bias);
  module.set_high(bias + 0x10000);
  return checked_modules(hello);
}

wire::CrashSnapshot::Fatal segv_at(std::vector<std::uint64_t> frames) {
  wire::CrashSnapshot::Fatal fatal;
  fatal.signal = SIGSEGV;
  fatal.si_code = SEGV_MAPERR;
  fatal.instruction = frames[0];
  fatal.frames = std::move(frames);
  return fatal;
}

TEST(CrashTracesTest, AddressAndModuleAreKnownAtOnce) {
  CrashTraces traces;
  v1::WorkerExit exit;
  traces.add(program_at(0x40000), segv_at({0x40123, 0x99999999}), exit);
  ASSERT_EQ(exit.backtrace_size(), 2);
  EXPECT_EQ(exit.backtrace(0).address(), "0x40123");
  EXPECT_EQ(exit.backtrace(0).module(), "/opt/mine");
  EXPECT_EQ(exit.backtrace(0).offset(), 0x123);
  EXPECT_EQ(exit.backtrace(1).module(), "");
  EXPECT_FALSE(exit.backtrace(1).has_offset());
}

// The same program lies elsewhere in each process; the report gives each process its own addresses.
TEST(CrashTracesTest, TheSameStackOfTwoProcessesIsAskedForOnce) {
  CrashTraces traces;
  v1::WorkerExit first;
  v1::WorkerExit second;
  const TraceRef one = traces.add(program_at(0x40000), segv_at({0x40123, 0x40456}), first);
  const TraceRef two = traces.add(program_at(0x70000), segv_at({0x70123, 0x70456}), second);
  ASSERT_EQ(traces.question().stacks_size(), 1);
  v1::SymbolAnswer answer;
  v1::NamedFrame& frame = *answer.add_stacks()->add_frames();
  frame.set_address(0x40123);
  frame.set_symbol("work\x1b");
  frame.set_offset(3);
  traces.take(answer);
  traces.complete(one, first);
  traces.complete(two, second);
  ASSERT_EQ(first.backtrace_size(), 1);
  EXPECT_EQ(first.backtrace(0).address(), "0x40123");
  EXPECT_EQ(second.backtrace(0).address(), "0x70123");
  EXPECT_EQ(second.backtrace(0).symbol(), "work\\x1b");
  EXPECT_EQ(second.backtrace(0).offset(), 3);
  EXPECT_EQ(second.backtrace_note(), "");
}

// A path may hold anything, also what would separate it from the next.
TEST(CrashTracesTest, ListsOfModulesThatReadAlikeAreNotTheSame) {
  v1::Hello one, two;
  one.add_modules()->set_path("/a\n\n/b");
  two.add_modules()->set_path("/a");
  two.add_modules()->set_path("/b");
  CrashTraces traces;
  v1::WorkerExit exit;
  for (v1::Hello* hello : {&one, &two}) {
    for (v1::Module& module : *hello->mutable_modules()) module.set_high(0x10000);
    traces.add(checked_modules(*hello), segv_at({0x123}), exit);
  }
  EXPECT_EQ(traces.question().stacks_size(), 2);
}

// In code without frame pointers the frames may be alike, and the stack is not.
TEST(CrashTracesTest, WhatLooksLikeAReturnAddressTellsStacksApart) {
  CrashTraces traces;
  v1::WorkerExit exit;
  wire::CrashSnapshot::Fatal fatal = segv_at({0x40123});
  for (const std::uint64_t word : {std::uint64_t{0x40500}, std::uint64_t{0x40600}}) {
    fatal.stack.assign(reinterpret_cast<const char*>(&word), sizeof word);
    traces.add(program_at(0x40000), fatal, exit);
  }
  EXPECT_EQ(traces.question().stacks_size(), 2);
}

TEST(CrashTracesTest, BeyondTheLimitANoteSaysWhyThereAreNoNames) {
  CrashTraces traces;
  for (std::uint64_t i = 0; i < CrashTraces::kMaxStacks; ++i) {
    v1::WorkerExit exit;
    EXPECT_TRUE(traces.add(program_at(0), segv_at({0x100 + i}), exit).stack);
  }
  v1::WorkerExit exit;
  const TraceRef none = traces.add(program_at(0), segv_at({0x9000}), exit);
  EXPECT_FALSE(none.stack);
  EXPECT_EQ(exit.backtrace_size(), 1);
  EXPECT_THAT(exit.backtrace_note(), HasSubstr("first 32 different stacks"));
  v1::WorkerExit known;
  EXPECT_TRUE(traces.add(program_at(0), segv_at({0x100}), known).stack);
  EXPECT_EQ(traces.question().stacks_size(), 32);
}

TEST(CrashTracesTest, WithoutAnAnswerTheAddressesStayAndANoteSaysWhy) {
  CrashTraces traces;
  v1::WorkerExit exit;
  const TraceRef trace = traces.add(program_at(0), segv_at({0x100}), exit);
  traces.take(fail(Code::kUnavailable, "the symboliser ended with signal 11"));
  traces.complete(trace, exit);
  EXPECT_EQ(exit.backtrace_size(), 1);
  EXPECT_EQ(exit.backtrace_note(), "not named: the symboliser ended with signal 11");
}

TEST(CrashTracesTest, ASignalThatAProcessSentHasNoBacktrace) {
  CrashTraces traces;
  v1::WorkerExit exit;
  wire::CrashSnapshot::Fatal fatal = segv_at({0x100});
  fatal.si_code = SI_USER;
  EXPECT_FALSE(traces.add(program_at(0), fatal, exit).stack);
  EXPECT_EQ(exit.backtrace_size(), 0);
  EXPECT_THAT(exit.backtrace_note(), HasSubstr("sent by a process"));
}

TEST(CrashTracesTest, ACrashBeforeTheHelloHasAddressesOnly) {
  CrashTraces traces;
  v1::WorkerExit exit;
  EXPECT_FALSE(traces.add({}, segv_at({0x100}), exit).stack);
  EXPECT_EQ(exit.backtrace(0).address(), "0x100");
  EXPECT_THAT(exit.backtrace_note(), HasSubstr("not told"));
}

TEST(CrashTracesTest, ModulesThatCanNotBeAreLeftOut) {
  v1::Hello hello;
  for (int i = 0; i < 1000; ++i) {
    v1::Module& module = *hello.add_modules();
    module.set_path(std::string(i % 2 == 0 ? 10 : 5000, '/'));
    module.set_build_id(std::string(i % 4 == 0 ? 20 : 100, 'x'));
    module.set_low(1);
    module.set_high(i % 8 == 0 ? 2 : 1);
  }
  EXPECT_EQ(checked_modules(hello).size(), 125u);
  hello.clear_modules();
  for (int i = 0; i < 1000; ++i) hello.add_modules()->set_high(1);
  EXPECT_EQ(checked_modules(hello).size(), 256u);
}

TEST(CrashTracesTest, NoMoreFramesThanTheReportAllows) {
  CrashTraces traces;
  v1::WorkerExit exit;
  traces.add(program_at(0), segv_at(std::vector<std::uint64_t>(64, 0x100)), exit);
  EXPECT_EQ(exit.backtrace_size(), 32);
}

}  // namespace
}  // namespace bulkhead::coordinator
