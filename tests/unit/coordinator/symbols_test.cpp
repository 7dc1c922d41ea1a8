// Names for addresses of this very process, and what must not harm whoever looks for them.
#include "evidence/symbols.hpp"

#include <bulkhead/v1/control.pb.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <bulkhead/base/sanitizers.hpp>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "modules.hpp"

namespace bulkhead::coordinator {

// Of external linkage, never inlined: looked for by name.
__attribute__((noinline)) int function_with_a_name(int value) { return value * 3 + 1; }

namespace {

v1::Hello own_modules() {
  v1::Hello hello;
  worker::tell_modules(hello);
  return hello;
}

std::uint64_t address_of_function() {
  return reinterpret_cast<std::uint64_t>(&function_with_a_name);
}

v1::CrashedStack stack_of(const v1::Hello& hello) {
  v1::CrashedStack stack;
  *stack.mutable_modules() = hello.modules();
  return stack;
}

v1::NamedStack named(const v1::CrashedStack& stack) {
  v1::SymbolQuestion question;
  *question.add_stacks() = stack;
  const v1::SymbolAnswer answer = name_frames(question);
  EXPECT_EQ(answer.stacks_size(), 1);
  return answer.stacks(0);
}

// The one frame at function_with_a_name(), when its file is taken to be `path`.
v1::NamedFrame frame_with(const std::string& path) {
  v1::Hello hello = own_modules();
  hello.mutable_modules(0)->set_path(path);
  v1::CrashedStack stack = stack_of(hello);
  stack.add_frames(address_of_function());
  const v1::NamedStack result = named(stack);
  EXPECT_EQ(result.frames_size(), 1);
  EXPECT_EQ(result.frames(0).address(), address_of_function());
  return result.frames(0);
}

class SymbolsTest : public testing::Test {
 protected:
  SymbolsTest() : folder_(testing::TempDir() + "symbols." + std::to_string(getpid())) {
    std::filesystem::create_directory(folder_);
  }
  ~SymbolsTest() override { std::filesystem::remove_all(folder_); }
  std::string path(const std::string& name) const { return folder_ + "/" + name; }

 private:
  const std::string folder_;
};

TEST_F(SymbolsTest, AFunctionIsNamedWithItsFileAndLine) {
  ASSERT_EQ(function_with_a_name(2), 7);
  const v1::NamedFrame frame = frame_with(own_modules().modules(0).path());
  EXPECT_EQ(frame.symbol(), "bulkhead::coordinator::function_with_a_name(int)");
  EXPECT_NE(frame.source().find("symbols_test.cpp:"), std::string::npos) << frame.source();
  EXPECT_EQ(frame.offset(), 0u);
}

// A call can be the last instruction of its function: what it returns to is another one then.
TEST_F(SymbolsTest, AReturnAddressIsLookedUpInTheCallBeforeIt) {
  v1::CrashedStack stack = stack_of(own_modules());
  stack.add_frames(address_of_function());
  stack.add_frames(address_of_function() + 1);
  stack.add_frames(address_of_function());
  const v1::NamedStack result = named(stack);
  ASSERT_GE(result.frames_size(), 2);
  EXPECT_EQ(result.frames(1).symbol(), "bulkhead::coordinator::function_with_a_name(int)");
  EXPECT_EQ(result.frames(1).offset(), 1u);
  for (int i = 2; i < result.frames_size(); ++i) {
    EXPECT_NE(result.frames(i).symbol(), result.frames(0).symbol());
  }
}

TEST_F(SymbolsTest, WhatIsNotTheLoadedFileGivesNoNames) {
  const std::string self = own_modules().modules(0).path();
  ASSERT_EQ(mkfifo(path("pipe").c_str(), 0600), 0);
  std::ofstream(path("text")) << "no program at all\n";
  std::ofstream(path("empty"));
  const std::string refused[] = {path("pipe"), path("text"),    path("empty"),
                                 path("no"),   path(""),        "/dev/zero",
                                 "/dev/tty",   "relative",      "",
                                 "/bin/true",  "/proc/self/fd", std::string("/bin\0x", 6)};
  for (const std::string& name : refused) EXPECT_EQ(frame_with(name).symbol(), "") << name;
  EXPECT_EQ(frame_with(std::string(5000, '/') + self).symbol(), "");
}

TEST_F(SymbolsTest, AFileOfAnotherBuildGivesNoNames) {
  v1::Hello hello = own_modules();
  ASSERT_FALSE(hello.modules(0).build_id().empty());
  hello.mutable_modules(0)->mutable_build_id()->front() ^= 1;
  v1::CrashedStack stack = stack_of(hello);
  stack.add_frames(address_of_function());
  EXPECT_EQ(named(stack).frames(0).symbol(), "");
}

TEST_F(SymbolsTest, TruncatedAndDamagedFilesDoNoHarm) {
  std::ifstream self(own_modules().modules(0).path(), std::ios::binary);
  std::ostringstream read;
  read << self.rdbuf();
  const std::string whole = read.str();
  ASSERT_GT(whole.size(), 100'000u);
  const auto try_bytes = [&](const std::string& bytes) {
    std::ofstream(path("damaged"), std::ios::binary) << bytes;
    EXPECT_LE(frame_with(path("damaged")).symbol().size(), 512u);
  };
  for (const std::size_t size : {1u, 63u, 64u, 200u, 1000u, 4096u, 70'000u}) {
    try_bytes(whole.substr(0, size));
  }
  try_bytes(whole.substr(0, whole.size() / 2));
  try_bytes(whole.substr(0, whole.size() - 100));
}

TEST_F(SymbolsTest, NonsenseGivesFramesWithoutNames) {
  std::mt19937_64 random(20240807);
  const v1::Hello hello = own_modules();
  for (int round = 0; round < 60; ++round) {
    v1::CrashedStack stack;
    // Real files at places of all sorts, and an address in or near one of them.
    for (const v1::Module& module : hello.modules()) {
      v1::Module& lie = *stack.add_modules();
      lie = module;
      if (random() % 2 == 0) lie.set_bias(random() >> (random() % 40));
      if (random() % 8 == 0) lie.set_low(random());
    }
    const auto word = [&] {
      const v1::Module& module =
          stack.modules(static_cast<int>(random() % static_cast<unsigned>(stack.modules_size())));
      return random() % 4 == 0 ? random() : module.bias() + random() % 0x400000;
    };
    stack.set_instruction(word());
    for (std::uint64_t i = random() % 70; i > 0; --i) stack.add_frames(word());
    for (std::uint64_t i = random() % 3 == 0 ? random() % 40 : 17; i > 0; --i) {
      stack.add_registers(word());
    }
    stack.set_stack_address(random() % 4 == 0 ? random() : 0x7ff000000000);
    for (int i = 0; i < 512; ++i) {
      const std::uint64_t value = random() % 4 == 0 ? 0x7ff000000000 + random() % 5000 : word();
      stack.mutable_stack()->append(reinterpret_cast<const char*>(&value), sizeof value);
    }
    if (round % 5 == 0 && stack.registers_size() > 7) {
      stack.set_registers(7, stack.stack_address());
    }
    const v1::NamedStack result = named(stack);
    EXPECT_GE(result.frames_size(), 1);
    EXPECT_LE(result.frames_size(), kMaxTraceFrames);
  }
}

TEST_F(SymbolsTest, EveryStackThatWasAskedForIsAnswered) {
  v1::SymbolQuestion question;
  question.add_stacks();  // nothing known of it
  *question.add_stacks() = stack_of(own_modules());
  const v1::SymbolAnswer answer = name_frames(question);
  ASSERT_EQ(answer.stacks_size(), 2);
  EXPECT_EQ(answer.stacks(0).frames_size(), 1);
}

#if defined(__x86_64__)
// Filled in by the innermost of three functions, as a crash handler does it.
v1::CrashedStack* crashed;

__attribute__((noinline)) void note_stack() {
  ucontext_t context;
  getcontext(&context);
  constexpr int kOrder[] = {REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI,
                            REG_RBP, REG_RSP, REG_R8,  REG_R9,  REG_R10, REG_R11,
                            REG_R12, REG_R13, REG_R14, REG_R15, REG_RIP};
  for (const int number : kOrder) {
    crashed->add_registers(static_cast<std::uint64_t>(context.uc_mcontext.gregs[number]));
  }
  crashed->set_instruction(crashed->registers(16));
  crashed->set_stack_address(crashed->registers(7));
  std::string bytes(2048, '\0');
  const auto* from = reinterpret_cast<const char*>(crashed->stack_address());
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<const volatile char*>(from)[i];
  }
  crashed->set_stack(bytes);
}
__attribute__((noinline)) void second_function() {
  note_stack();
  asm volatile("");
}
__attribute__((noinline)) void third_function() {
  second_function();
  asm volatile("");
}

TEST_F(SymbolsTest, RegistersAndACopyOfTheStackAreUnwoundWithoutFramePointers) {
#if defined(BULKHEAD_ASAN)
  GTEST_SKIP() << "reads beyond its own variables, which AddressSanitizer refuses";
#endif
  v1::CrashedStack stack = stack_of(own_modules());
  crashed = &stack;
  third_function();
  const v1::NamedStack result = named(stack);
  std::string text;
  for (const v1::NamedFrame& frame : result.frames()) text += frame.symbol() + "\n";
  const std::size_t note = text.find("note_stack");
  const std::size_t second = text.find("second_function");
  const std::size_t third = text.find("third_function");
  EXPECT_TRUE(note < second && second < third && third != std::string::npos) << text;
}
#endif

}  // namespace
}  // namespace bulkhead::coordinator
