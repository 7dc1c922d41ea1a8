#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <bulkhead/base/check.hpp>
#include <bulkhead/base/clock.hpp>
#include <bulkhead/base/error.hpp>
#include <bulkhead/base/mutex.hpp>
#include <bulkhead/base/unique_fd.hpp>
#include <cerrno>
#include <thread>
#include <vector>

namespace bulkhead {
namespace {

Result<int> half(int number) {
  if (number % 2 != 0) return fail(Code::kInvalidArgument, "{} is odd", number);
  return number / 2;
}

TEST(ErrorTest, AFailureCarriesItsCodeAndText) {
  EXPECT_EQ(half(8).value_or(0), 4);
  const auto failed = half(7);
  ASSERT_FALSE(failed.has_value());
  EXPECT_EQ(failed.error().code, Code::kInvalidArgument);
  EXPECT_EQ(failed.error().text, "7 is odd");
}

TEST(ErrorTest, AFailurePassesUnchangedToAnotherType) {
  const auto passed_on = []() -> Result<std::string> {
    auto number = half(3);
    if (!number) return fail(number.error());
    return std::to_string(*number);
  }();
  ASSERT_FALSE(passed_on.has_value());
  EXPECT_EQ(passed_on.error().code, Code::kInvalidArgument);
  EXPECT_EQ(passed_on.error().text, "3 is odd");
}

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

int a_descriptor() { return ::open("/dev/null", O_RDONLY | O_CLOEXEC); }

TEST(UniqueFdTest, ClosesAtTheEndOfItsScope) {
  const int fd = a_descriptor();
  {
    const base::UniqueFd owner(fd);
    EXPECT_TRUE(static_cast<bool>(owner));
    EXPECT_TRUE(is_open(fd));
  }
  EXPECT_FALSE(is_open(fd));
}

TEST(UniqueFdTest, MovingPassesTheDescriptorOn) {
  const int first = a_descriptor();
  const int second = a_descriptor();
  base::UniqueFd a(first);
  base::UniqueFd b(second);
  b = std::move(a);
  EXPECT_FALSE(is_open(second)) << "what it owned before is closed";
  EXPECT_EQ(b.get(), first);
  EXPECT_EQ(a.get(), -1);  // NOLINT: a moved-from owner is empty
  base::UniqueFd c(std::move(b));
  EXPECT_TRUE(is_open(first));
  EXPECT_EQ(c.get(), first);
}

TEST(UniqueFdTest, ReleaseGivesItUpAndResetClosesOnce) {
  base::UniqueFd owner(a_descriptor());
  const int fd = owner.release();
  EXPECT_FALSE(static_cast<bool>(owner));
  EXPECT_TRUE(is_open(fd));
  base::UniqueFd again(fd);
  again.reset();
  again.reset();
  EXPECT_FALSE(is_open(fd));
  EXPECT_EQ(again.get(), -1);
}

TEST(MutexTest, OneThreadAtATime) {
  base::Mutex mutex;
  int count = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 10'000; ++n) {
        base::MutexLock lock(mutex);
        ++count;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(count, 40'000);
}

TEST(MutexTest, TryLockFailsWhileAnotherHoldsIt) {
  base::Mutex mutex;
  mutex.lock();
  bool taken = true;
  std::thread other([&] {
    if (mutex.try_lock()) {
      mutex.unlock();
    } else {
      taken = false;
    }
  });
  other.join();
  mutex.unlock();
  EXPECT_FALSE(taken);
}

TEST(ClockTest, NeverRunsBackwards) {
  const std::int64_t first = base::monotonic_ns();
  EXPECT_GT(first, 0);
  EXPECT_GE(base::monotonic_ns(), first);
  EXPECT_DOUBLE_EQ(base::to_seconds(std::chrono::milliseconds(1500)), 1.5);
}

TEST(CheckDeathTest, AFailedCheckShowsTheConditionAndItsValues) {
  const int value = 3;
  BULKHEAD_CHECK(value == 3);
  EXPECT_DEATH(BULKHEAD_CHECK(value == 4, "value is {}", value),
               "check failed: value == 4: value is 3");
}

}  // namespace
}  // namespace bulkhead
