// wait_readable and wait_writable, wherever they are called.
#include <algorithm>
#include <bulkhead/sched/poll.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <chrono>
#include <cstdio>
#include <memory>
#include <system_error>
#include <vector>

#include "descriptors.hpp"
#include "everywhere.hpp"

namespace bulkhead::sched {
namespace {

using namespace std::chrono_literals;
using base::Duration;
using base::UniqueFd;

using PollTest = EverywhereTest;

TEST_P(PollTest, ReadableWhenSomethingComes) {
  for (const bool socket : {false, true}) {
    const Ends ends = socket ? make_sockets() : make_pipe();
    char got = 0;
    run([&] {
      go([&] {
        EXPECT_TRUE(wait_readable(ends.out.get()));
        got = get(ends.out);
      });
      await_parked(1, ParkReason::kReadable);
      put(ends.in);
    });
    EXPECT_EQ(got, 'x');
  }
}

TEST_P(PollTest, WritableWhenThereIsRoom) {
  const Ends ends = make_sockets();
  fill(ends.in);
  std::atomic<bool> told{false};
  run([&] {
    EXPECT_FALSE(wait_writable(ends.in.get(), Duration::zero()));
    go([&] {
      EXPECT_TRUE(wait_writable(ends.in.get()));
      told = true;
      put(ends.in);
    });
    await_parked(1, ParkReason::kWritable);
    EXPECT_FALSE(told);
    drain(ends.out);
  });
  EXPECT_TRUE(told);
}

TEST_P(PollTest, TellsHowThingsAreAsOftenAsItIsAsked) {
  const Ends ends = make_pipe();
  run([&] {
    EXPECT_FALSE(wait_readable(ends.out.get(), Duration::zero()));
    EXPECT_FALSE(wait_readable(ends.out.get(), -1s));
    put(ends.in);
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(wait_readable(ends.out.get()));
    EXPECT_TRUE(wait_readable(ends.out.get(), Duration::zero()));
    EXPECT_TRUE(wait_writable(ends.in.get()));
    get(ends.out);
    EXPECT_FALSE(wait_readable(ends.out.get(), 1ns));
  });
}

TEST_P(PollTest, TheEndAndAHangUpAreReady) {
  Ends pipe = make_pipe();
  Ends sockets = make_sockets();
  Ends full = make_pipe();
  fill(full.in);
  run([&] {
    WaitGroup group;
    group.add(3);
    go([&] {
      EXPECT_TRUE(wait_readable(pipe.out.get()));
      EXPECT_EQ(get(pipe.out), '\0');
      group.done();
    });
    go([&] {
      EXPECT_TRUE(wait_readable(sockets.out.get()));
      EXPECT_EQ(get(sockets.out), '\0');
      group.done();
    });
    go([&] {
      EXPECT_TRUE(wait_writable(full.in.get()));  // a write would fail, but not block
      group.done();
    });
    if (!threads()) await_parked(2, ParkReason::kReadable);
    if (!threads()) await_parked(1, ParkReason::kWritable);
    pipe.in.reset();
    ::shutdown(sockets.in.get(), SHUT_WR);
    full.out.reset();
    group.wait();
    EXPECT_TRUE(wait_readable(pipe.out.get()));  // and remain so
    EXPECT_TRUE(wait_readable(sockets.out.get()));
  });
}

TEST_P(PollTest, FalseAfterTheTimeoutAndNotBefore) {
  const Ends ends = make_pipe();
  run([&] {
    for (const Duration timeout : {Duration(1ms), Duration(1us), Duration(3'141'592ns)}) {
      const base::TimePoint start = base::Clock::now();
      EXPECT_FALSE(wait_readable(ends.out.get(), timeout));
      EXPECT_GE(base::Clock::now() - start, timeout);
    }
    go([&] { put(ends.in); });
    EXPECT_TRUE(wait_readable(ends.out.get()));  // what the earlier waits left does no harm
  });
}

TEST_P(PollTest, TrueWithinALongTimeout) {
  const Ends ends = make_pipe();
  run([&] {
    go([&] {
      await_parked(1, ParkReason::kReadable);
      put(ends.in);
    });
    EXPECT_TRUE(wait_readable(ends.out.get(), 24h));
  });
}

TEST_P(PollTest, TimeoutsAndEventsThatMeet) {
  const Ends ends = make_sockets();
  run([&] {
    for (int i = 0; i < loops() / 4; ++i) {
      WaitGroup group;
      group.add(1);
      bool told = false;
      go([&] {
        told = wait_readable(ends.out.get(), std::chrono::microseconds(i % 50));
        group.done();
      });
      if (i % 3 == 0) sleep_for(std::chrono::microseconds(i % 50));
      put(ends.in);
      group.wait();
      EXPECT_TRUE(wait_readable(ends.out.get()));
      EXPECT_EQ(get(ends.out), 'x');
    }
  });
}

TEST_P(PollTest, ARegularFileIsAlwaysReady) {
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::tmpfile(), &std::fclose);
  ASSERT_NE(file, nullptr);
  run([&] {
    EXPECT_TRUE(wait_readable(::fileno(file.get())));
    EXPECT_TRUE(wait_writable(::fileno(file.get())));
  });
}

TEST_P(PollTest, ABadDescriptorThrows) {
  UniqueFd closed(::fcntl(0, F_DUPFD_CLOEXEC, 500));
  const int number = closed.get();
  closed.reset();
  run([&] {
    for (const int fd : {-1, number}) {
      try {
        wait_readable(fd);
        ADD_FAILURE() << "descriptor " << fd;
      } catch (const std::system_error& error) {
        EXPECT_EQ(error.code().value(), EBADF);
        EXPECT_NE(std::string(error.what()).find(std::to_string(fd)), std::string::npos);
      }
      EXPECT_THROW(wait_writable(fd, 1s), std::system_error);
    }
  });
}

TEST_P(PollTest, SeveralMayWaitForTheSameInBothDirections) {
  const Ends ends = make_sockets();
  std::atomic<int> readers{0};
  std::atomic<bool> wrote{false};
  fill(ends.out);
  run([&] {
    for (int i = 0; i < 3; ++i)
      go([&] {
        EXPECT_TRUE(wait_readable(ends.out.get()));
        ++readers;
      });
    go([&] {
      EXPECT_TRUE(wait_writable(ends.out.get()));
      wrote = true;
    });
    if (threads()) await_parked(4, ParkReason::kReadable);
    if (!threads()) await_parked(3, ParkReason::kReadable);
    if (!threads()) await_parked(1, ParkReason::kWritable);
    put(ends.in);
    await([&] { return readers == 3; });
    EXPECT_FALSE(wrote);
    drain(ends.in);
  });
  EXPECT_TRUE(wrote);
}

TEST_P(PollTest, OneOfThemTimesOutTheOthersAreTold) {
  const Ends ends = make_sockets();
  std::atomic<int> told{0};
  run([&] {
    for (int i = 0; i < 5; ++i)
      go([&, i] {
        told += wait_readable(ends.out.get(), i % 2 == 0 ? Duration(1h) : 1ms) ? 1 : 0;
      });
    await([&] { return Scheduler::current() == nullptr || Scheduler::current()->alive() == 4; });
    if (threads()) await_parked(5, ParkReason::kReadable);
    if (threads()) sleep_for(20ms);
    put(ends.in);
  });
  if (!threads()) {
    EXPECT_EQ(told, 3);
  }
  EXPECT_GE(told, 3);
}

TEST_P(PollTest, ManyAtOnce) {
  const int count = loops();
  allow_descriptors(2 * 1000 + 100);
  std::vector<Ends> pairs;
  for (int i = 0; i < count; ++i) pairs.push_back(i % 2 == 0 ? make_pipe() : make_sockets());
  std::atomic<int> started{0};
  std::atomic<int> right{0};
  run([&] {
    for (int i = 0; i < count; ++i)
      go([&, i] {
        ++started;
        for (int round = 0; round < 3; ++round) {
          const Ends& pair = pairs[static_cast<std::size_t>(i)];
          EXPECT_TRUE(wait_readable(pair.out.get()));
          right += get(pair.out) == static_cast<char>('a' + (i + round) % 26);
        }
      });
    await([&] { return started == count; });  // a look at all that wait takes its time
    await_parked(count, ParkReason::kReadable);
    for (int round = 0; round < 3; ++round)
      for (int i = count - 1; i >= 0; --i)
        put(pairs[static_cast<std::size_t>(i)].in, static_cast<char>('a' + (i + round) % 26));
  });
  EXPECT_EQ(right, 3 * count);
}

TEST_P(PollTest, PingPong) {
  constexpr int kPairs = 4;
  std::vector<Ends> pairs;
  for (int i = 0; i < kPairs; ++i) pairs.push_back(make_sockets());
  std::atomic<int> rounds{0};
  const auto receive_at = [](const UniqueFd& fd) {
    EXPECT_TRUE(wait_readable(fd.get()));
    return get(fd);
  };
  run([&] {
    for (const Ends& ends : pairs) {
      go([&] {
        for (int i = 0; i < loops(); ++i) {
          EXPECT_EQ(receive_at(ends.in), static_cast<char>('a' + i % 26));
          put(ends.in, static_cast<char>('A' + i % 26));
        }
      });
      go([&] {
        for (int i = 0; i < loops(); ++i) {
          put(ends.out, static_cast<char>('a' + i % 26));
          EXPECT_EQ(receive_at(ends.out), static_cast<char>('A' + i % 26));
          ++rounds;
        }
      });
    }
  });
  EXPECT_EQ(rounds, kPairs * loops());
}

// A number that means another file now: the kernel may still know the old one under it.
TEST_P(PollTest, WhatIsLeftOfAnOldFileWakesNobody) {
  Ends old = make_pipe();
  const Ends fresh = make_pipe();
  const Ends marker = make_pipe();
  const int number = old.out.get();
  std::atomic<bool> told{false};
  run([&] {
    EXPECT_FALSE(wait_readable(number, 1ms));  // registered, and left so
    const UniqueFd duplicate(::dup(number));
    ASSERT_EQ(::dup2(fresh.out.get(), number), number);
    go([&] {
      EXPECT_TRUE(wait_readable(number));
      told = true;
    });
    go([&] { EXPECT_TRUE(wait_readable(marker.out.get())); });
    if (threads()) await_parked(3, ParkReason::kReadable);
    if (!threads()) await_parked(2, ParkReason::kReadable);
    put(old.in);
    put(marker.in);
    await([&] {
      return Scheduler::current() == nullptr || Scheduler::current()->alive() == (told ? 1 : 2);
    });
    EXPECT_FALSE(told);
    put(fresh.in);
    await([&] { return told.load(); });
    // And back again: the kernel has both under this number.
    get(duplicate);
    ASSERT_EQ(::dup2(duplicate.get(), number), number);
    go([&] { put(old.in, 'o'); });
    EXPECT_TRUE(wait_readable(number));
    EXPECT_EQ(get(old.out), 'o');
  });
}

TEST_P(PollTest, NumbersAreReused) {
  run([&] {
    int last = -1;
    int same = 0;
    for (int i = 0; i < 100; ++i) {
      const Ends ends = i % 2 == 0 ? make_pipe() : make_sockets();
      same += ends.out.get() == last;
      last = ends.out.get();
      const bool early = i % 3 == 0 && wait_readable(last, 1us);
      EXPECT_FALSE(early);
      WaitGroup group;
      group.add(1);
      go([&] {
        put(ends.in);
        group.done();
      });
      EXPECT_TRUE(wait_readable(last));
      EXPECT_EQ(get(ends.out), 'x');
      group.wait();
    }
    EXPECT_GT(same, 0);
  });
}

BULKHEAD_EVERYWHERE(PollTest);

}  // namespace
}  // namespace bulkhead::sched
