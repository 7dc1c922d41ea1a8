// Nobody is forgotten: not behind those that come without end, not behind one that computes for
// long, not at the end of a run.
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/err_group.hpp>
#include <bulkhead/sched/select.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <chrono>
#include <memory>
#include <thread>

#include "sched_test.hpp"

namespace bulkhead::sched {
namespace {

using namespace std::chrono_literals;
using ProgressTest = SchedTest;

void spin_until(const std::atomic<bool>& flag) {
  while (!flag) {
  }
}

TEST_F(ProgressTest, OneThatYieldedRunsBesideForksAndJoinsWithoutEnd) {
  run(1, [] {
    bool ran = false;
    go([&] {
      yield();
      ran = true;
    });
    yield();
    while (!ran) {
      WaitGroup child;
      child.add();
      go([&] { child.done(); });
      child.wait();
    }
  });
}

// It is `next` on a processor that comes to no decision; the other one looks again by and by.
TEST_F(ProgressTest, OneThatWasWokenRunsThoughItsWakerComputes) {
  run(2, [] {
    for (int i = 0; i < 5; ++i) {
      Channel<int> channel;
      std::atomic<bool> received{false};
      go([&] {
        channel.receive();
        received = true;
      });
      sleep_for(1ms);  // it waits, and the other processor sleeps
      channel.send(1);
      spin_until(received);
    }
  });
}

TEST_F(ProgressTest, OneThatYieldedRunsThoughTheNextOneComputes) {
  run(2, [] {
    for (int i = 0; i < 5; ++i) {
      std::atomic<bool> back{false};
      WaitGroup group;
      group.add();
      sleep_for(1ms);
      go([&] {
        spin_until(back);
        group.done();
      });
      yield();
      back = true;
      group.wait();
    }
  });
}

TEST_F(ProgressTest, ASleeperWakesThoughTheOthersCompute) {
  run(2, [] {
    for (int i = 0; i < 5; ++i) {
      std::atomic<bool> awake{false};
      WaitGroup group;
      group.add();
      sleep_for(1ms);
      go([&] {
        spin_until(awake);
        group.done();
      });
      sleep_for(1ms);
      awake = true;
      group.wait();
    }
  });
}

// What comes from outside while a run ends runs in it, or in the next one.
TEST_F(ProgressTest, WhatComesAtTheEndOfARunIsNeitherLostNorLeftHalfDone) {
  constexpr int kRounds = kSanitized ? 100 : 1000;
  for (const unsigned processors : {1u, 2u}) {
    Scheduler& scheduler = make({.processors = processors});
    std::atomic<int> ended{0};
    for (int round = 0; round < kRounds; ++round) {
      std::atomic<bool> begun{false};
      std::thread thread([&] {
        while (!begun) std::this_thread::yield();
        for (int i = 0; i < round % 100; ++i) begun = true;
        scheduler.go([&] {
          sleep_for(1us);
          ++ended;
        });
      });
      scheduler.run([&] { begun = true; });
      thread.join();
      scheduler.run([] {});
      ASSERT_EQ(ended, round + 1) << processors;
    }
    ended = 0;
  }
}

// Who got the last value may destroy the channel, also when a select sent it.
TEST_F(ProgressTest, AChannelMayGoBeforeTheSelectThatSentOnItRunsAgain) {
  for (const unsigned processors : {1u, 2u}) {
    run(processors, [] {
      for (int i = 0; i < 200; ++i) {
        auto channel = std::make_unique<Channel<int>>();
        Channel<int>* const shared = channel.get();
        WaitGroup group;
        group.add();
        go([&group, shared] {
          select(send(shared, 1, [] {}), timeout(1h, [] {}));
          group.done();
        });
        yield();
        EXPECT_EQ(channel->receive(), 1);
        channel.reset();
        group.wait();
      }
    });
  }
}

TEST_F(ProgressTest, WhatAGroupsBodyHoldsIsGoneBeforeWaitReturns) {
  run(1, [] {
    for (int i = 0; i < 100; ++i) {
      const auto held = std::make_shared<int>(1);
      ErrGroup group;
      group.go([held] { yield(); });
      EXPECT_TRUE(group.wait());
      EXPECT_EQ(held.use_count(), 1);
    }
  });
}

}  // namespace
}  // namespace bulkhead::sched
