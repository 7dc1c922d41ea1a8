// A descriptor that is registered once, for one who reads until nothing is left and waits again.
#include "sched/standing_read.hpp"

#include <atomic>
#include <bulkhead/sched/poll.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <random>
#include <vector>

#include "descriptors.hpp"
#include "everywhere.hpp"

namespace bulkhead::sched {
namespace {

using StandingReadTest = EverywhereTest;

void wait(StandingRead& reads, const Ends& ends,
          base::SourceSite site = base::SourceSite::current()) {
  reads.wait(ends.out.get(), site);
}

// Reads until `count` have come; how often it had to wait.
int read_all(StandingRead& reads, const Ends& ends, int count) {
  int waits = 0;
  while (count > 0) {
    if (get(ends.out) != '\0') {
      --count;
      continue;
    }
    wait(reads, ends);
    ++waits;
  }
  return waits;
}

TEST_P(StandingReadTest, NothingThatComesIsMissed) {
  for (const bool socket : {false, true}) {
    const Ends ends = socket ? make_sockets() : make_pipe();
    StandingRead reads;
    constexpr int kCount = 3000;
    run([&] {
      WaitGroup group;
      group.add();
      go([&] {
        read_all(reads, ends, kCount);
        group.done();
      });
      std::mt19937 random(1);
      for (int i = 0; i < kCount; ++i) {
        EXPECT_TRUE(wait_writable(ends.in.get()));
        put(ends.in);
        if (random() % 3 == 0) yield();
      }
      group.wait();
    });
  }
}

TEST_P(StandingReadTest, TwoTakeTurns) {
  const Ends there = make_sockets();
  const Ends back = make_sockets();
  constexpr int kTurns = 2000;
  run([&] {
    WaitGroup group;
    group.add();
    go([&] {
      StandingRead reads;
      for (int i = 0; i < kTurns; ++i) {
        read_all(reads, there, 1);
        put(back.in);
      }
      group.done();
    });
    StandingRead reads;
    for (int i = 0; i < kTurns; ++i) {
      put(there.in);
      read_all(reads, back, 1);
    }
    group.wait();
  });
}

// It is told once, kept for the next wait, and no more is told meanwhile.
TEST_P(StandingReadTest, WhatComesWhileNobodyWaitsEndsTheNextWait) {
  const Ends ends = make_sockets();
  const Ends other = make_pipe();
  run([&] {
    StandingRead reads;
    for (int round = 0; round < 50; ++round) {
      go([&] { put(ends.in); });
      read_all(reads, ends, 1);
      // Somebody looks at the poller meanwhile.
      go([&] {
        for (int i = 0; i < 20; ++i) put(ends.in);
        yield();
        put(other.in);
      });
      EXPECT_TRUE(wait_readable(other.out.get()));
      get(other.out);
      read_all(reads, ends, 20);
    }
  });
}

TEST_P(StandingReadTest, OtherWaitsForTheSameFileHaveTheirOwn) {
  const Ends ends = make_sockets();
  fill(ends.out);
  std::atomic<bool> written{false};
  run([&] {
    WaitGroup group;
    group.add();
    go([&] {
      StandingRead reads;
      read_all(reads, ends, 200);
      group.done();
    });
    go([&] {
      for (int i = 0; i < 20; ++i) {
        EXPECT_TRUE(wait_writable(ends.out.get()));
        fill(ends.out);
      }
      written = true;
    });
    for (int i = 0; i < 200; ++i) {
      put(ends.in);
      if (i % 10 == 0) drain(ends.in);
      yield();
    }
    group.wait();
    while (!written) {
      drain(ends.in);
      yield();
    }
  });
}

TEST_P(StandingReadTest, AHangUpEndsIt) {
  for (const bool socket : {false, true}) {
    Ends ends = socket ? make_sockets() : make_pipe();
    std::atomic<bool> ended{false};
    run([&] {
      go([&] {
        StandingRead reads;
        char byte = 0;
        while (::read(ends.out.get(), &byte, 1) != 0) wait(reads, ends);
        ended = true;
      });
      await_parked(1, ParkReason::kReadable);
      ends.in.reset();
    });
    EXPECT_TRUE(ended);
  }
}

TEST_P(StandingReadTest, ItMovesAndOutlivesItsScheduler) {
  const Ends ends = make_sockets();
  StandingRead reads;
  for (int round = 0; round < 5; ++round) {
    run([&] {
      go([&] { put(ends.in); });
      read_all(reads, ends, 1);
      StandingRead moved = std::move(reads);
      go([&] { put(ends.in); });
      read_all(moved, ends, 1);
      reads = std::move(moved);
    });
  }
}

// More than the poller keeps account of at once.
TEST_P(StandingReadTest, ManyComeAndGo) {
  run([] {
    for (int i = 0; i < 2500; ++i) {
      const Ends ends = make_pipe();
      StandingRead reads;
      if (i % 50 == 0) {
        go([&] { put(ends.in); });
        read_all(reads, ends, 1);
      } else {
        put(ends.in);
        wait(reads, ends);  // it is there already
        EXPECT_EQ(get(ends.out), 'x');
      }
    }
  });
}

BULKHEAD_EVERYWHERE(StandingReadTest);

}  // namespace
}  // namespace bulkhead::sched
