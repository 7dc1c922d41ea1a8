#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "report/backtrace.hpp"
#include "report/units.hpp"

namespace bulkhead::coordinator {
namespace {

void add_frame(v1::WorkerExit& exit, const std::string& symbol, const std::string& source) {
  v1::BacktraceFrame& frame = *exit.add_backtrace();
  frame.set_address("0x55001234");
  frame.set_module("/opt/mine/worker");
  frame.set_symbol(symbol);
  frame.set_source(source);
  frame.set_offset(0x1234);
}

TEST(BacktraceTest, ANameIsShownWithoutParametersAndNamelessNamespaces) {
  EXPECT_EQ(short_name("main"), "main");
  EXPECT_EQ(short_name("a::f(int, char)"), "a::f");
  EXPECT_EQ(short_name("a::(anonymous namespace)::f(int)"), "a::f");
  EXPECT_EQ(short_name("A<B (C)>::f(int) const [clone .cold]"), "A<B (C)>::f");
  EXPECT_EQ(short_name("A<(anonymous namespace)::B>::f()"), "A<B>::f");
  EXPECT_EQ(short_name("A::operator()(int) const"), "A::operator()");
  EXPECT_EQ(short_name("a::f(int)::{lambda(char)#1}::operator()(char) const"), "a::f");
  EXPECT_EQ(short_name(""), "");
}

TEST(BacktraceTest, InnermostFramesFirstARecursionInOneLineAndPlumbingLeftOut) {
  v1::WorkerExit exit;
  add_frame(exit, "fall(int)", "/src/fall.cpp:7");
  for (int i = 0; i < 20; ++i) add_frame(exit, "fall(int)", "/src/fall.cpp:8");
  add_frame(exit, "std::function<void ()>::operator()() const", "/usr/include/c++/12/f.h:5");
  add_frame(exit, "raise", "");
  add_frame(exit, "", "");
  add_frame(exit, "bulkhead::worker::JobRunner::run(int)", "/src/job_runner.cpp:70");
  add_frame(exit, "main", "/src/main.cpp:1");
  BacktraceListing listing;
  EXPECT_EQ(listing.render(exit),
            "    0  fall  fall.cpp:7\n"
            "    1  fall  fall.cpp:8, 20 times\n"
            "    2  raise  worker\n"
            "    3  worker+0x1234\n");
  EXPECT_EQ(listing.render(exit), "") << "shown before";
  EXPECT_EQ(listing.left_out(), 0);
}

TEST(BacktraceTest, AtMostEightFramesOfFiveBacktraces) {
  BacktraceListing listing;
  for (int i = 0; i < 7; ++i) {
    for (int again = 0; again < 2; ++again) {
      v1::WorkerExit exit;
      for (int frame = 0; frame < 30; ++frame) {
        add_frame(exit, "f" + std::to_string(frame + i), "/src/a.cpp:1");
      }
      const std::string text = listing.render(exit);
      EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), i < 5 && again == 0 ? 8 : 0);
    }
  }
  EXPECT_EQ(listing.left_out(), 2);
}

TEST(BacktraceTest, WhatAWorkerNamesDoesNotBreakTheTable) {
  v1::WorkerExit exit;
  add_frame(exit, std::string(500, 'x') + "\x1b[2J\n(int)",
            "/src/\x1b[31m" + std::string(300, 'y'));
  exit.set_backtrace_note("not named: the symboliser did not end in time");
  BacktraceListing listing;
  const std::string text = listing.render(exit);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2) << text;
  std::size_t at = 0;
  for (std::size_t end = text.find('\n'); end != std::string::npos; end = text.find('\n', at)) {
    EXPECT_LE(display_width(text.substr(at, end - at)), 120u);
    at = end + 1;
  }
  EXPECT_NE(text.find("did not end in time"), std::string::npos);
}

TEST(BacktraceTest, AnExitWithoutFramesHasNoLines) {
  v1::WorkerExit exit;
  exit.set_backtrace_note("the signal was sent by a process");
  EXPECT_EQ(BacktraceListing().render(exit), "");
}

}  // namespace
}  // namespace bulkhead::coordinator
