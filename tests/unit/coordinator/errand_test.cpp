// Short-lived processes of ours, as real children. The launcher is the built `bulkhead`.
#include "errand.hpp"

#include <signal.h>

#include "evidence/symboliser.hpp"
#include "host_fixture.hpp"

namespace bulkhead::coordinator {
namespace {

class ErrandTest : public HostTest {
 protected:
  ErrandTest() = default;
  ~ErrandTest() override { sigprocmask(SIG_SETMASK, &mask_before_, nullptr); }

  ErrandEnd run_shell(const std::string& script, base::Duration deadline = kDeadline) {
    return run_errand(*host_, interrupts_,
                      {.executable = "/bin/sh", .arguments = {"-c", script}, .deadline = deadline});
  }

 private:
  static sigset_t current_mask() {
    sigset_t mask;
    sigprocmask(SIG_BLOCK, nullptr, &mask);
    return mask;
  }
  const sigset_t mask_before_ = current_mask();  // Interrupts blocks signals

 protected:
  Interrupts interrupts_;
};

TEST_F(ErrandTest, WhatItPrintedIsKeptWhenItEndsWell) {
  const ErrandEnd end = run_shell("echo done; echo aside >&2");
  EXPECT_EQ(end.failure, "");
  EXPECT_EQ(end.output, "done\n");
}

TEST_F(ErrandTest, AnotherCodeThanZeroIsAFailure) {
  EXPECT_EQ(run_shell("exit 3").failure, "ended with code 3");
}

TEST_F(ErrandTest, OneThatASignalEndsIsTriedThreeTimes) {
  const std::string tries = directory_ + "/tries";
  const ErrandEnd end = run_shell("echo once >> " + tries + "; kill -SEGV $$");
  EXPECT_EQ(end.failure, "ended with signal 11");
  std::ifstream file(tries);
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_EQ(text.str(), "once\nonce\nonce\n");
  EXPECT_EQ(run_shell("test $(wc -l < " + tries + ") = 4 || { echo >> " + tries +
                      "; kill -KILL $$; }; echo at last")
                .output,
            "at last\n");
}

TEST_F(ErrandTest, OneThatDoesNotEndIsKilledAtItsDeadline) {
  const ErrandEnd end = run_shell("sleep 1000 & sleep 1000", std::chrono::milliseconds(50));
  EXPECT_TRUE(end.late);
  EXPECT_EQ(end.failure, "did not end in time");
}

TEST_F(ErrandTest, AnInterruptEndsItButOneFromBeforeDoesNot) {
  ASSERT_EQ(raise(SIGINT), 0);
  ASSERT_EQ(interrupts_.poll(), 1);
  EXPECT_EQ(run_shell("echo done").output, "done\n");
  ASSERT_EQ(raise(SIGINT), 0);
  const ErrandEnd end = run_shell("sleep 1000");
  EXPECT_TRUE(end.interrupted);
  EXPECT_FALSE(end.late);
}

TEST_F(ErrandTest, WhatIsNotThereCanNotBeLaunched) {
  const ErrandEnd end =
      run_errand(*host_, interrupts_,
                 {.executable = directory_ + "/no", .arguments = {}, .deadline = kDeadline});
  EXPECT_FALSE(end.launched);
  EXPECT_NE(end.failure.find("can't be launched"), std::string::npos);
}

// The launcher here is `bulkhead`, so the symboliser is the real one.
TEST_F(ErrandTest, TheSymboliserAnswersEveryStack) {
  v1::SymbolQuestion question;
  for (std::uint64_t i = 1; i <= 3; ++i) question.add_stacks()->add_frames(i);
  const auto answer = ask_symboliser(*host_, interrupts_, directory_, question);
  ASSERT_TRUE(answer.has_value()) << answer.error().text;
  ASSERT_EQ(answer->stacks_size(), 3);
  EXPECT_EQ(answer->stacks(2).frames(0).address(), 3u);
}

TEST_F(ErrandTest, WithoutRoomForTheQuestionThereIsAnErrorAndNoAnswer) {
  EXPECT_FALSE(ask_symboliser(*host_, interrupts_, directory_ + "/no", {}).has_value());
}

}  // namespace
}  // namespace bulkhead::coordinator
