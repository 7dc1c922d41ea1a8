// What Go's runtime/proc_test asserts, each under its name there, in our own words. (A plain thread
// does the part of a goroutine that is locked to its thread.)
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/select.hpp>
#include <bulkhead/sched/timer.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <thread>
#include <utility>

#include "tests/unit/sched/everywhere.hpp"

namespace bulkhead::sched {
namespace {

using namespace std::chrono_literals;

class GoProc : public EverywhereTest {
 protected:
  // Polls and yields until it is told to stop, and answers.
  static void poll(Channel<bool>& stop, Channel<bool>& stopped) {
    for (bool more = true; more;)
      select(receive(stop, [&](auto) { more = false; }), otherwise([] { yield(); }));
    stopped.send(true);
  }
};

// One that polls and yields does not keep its partner from running.
TEST_P(GoProc, TestYieldProgress) {
  run([] {
    Channel<bool> stop, stopped;
    go([&] { poll(stop, stopped); });
    for (int i = 0; i < 20; ++i) yield();
    stop.send(true);
    stopped.receive();
  });
}

TEST_P(GoProc, TestYieldLockedProgress) {
  run([] {
    Channel<bool> stop, stopped;
    std::thread locked([&] { poll(stop, stopped); });
    for (int i = 0; i < 20; ++i) yield();
    stop.send(true);
    stopped.receive();
    locked.join();
  });
}

TEST_P(GoProc, TestYieldLocked) {
  run([] {
    Channel<bool> ended;
    std::thread locked([&] {
      for (int i = 0; i < 10; ++i) {
        yield();
        sleep_for(100us);
      }
      ended.send(true);
    });
    ended.receive();
    locked.join();
  });
}

TEST_P(GoProc, TestBlockLocked) {
  run([] {
    constexpr int kValues = 10;
    Channel<int> channel;
    std::thread locked([&] {
      for (int i = 0; i < kValues; ++i) channel.send(i);
    });
    for (int i = 0; i < kValues; ++i) EXPECT_EQ(channel.receive(), i);
    locked.join();
  });
}

// As many goroutines as processors run at the same time: each waits its turn, without a scheduling
// point, to hand it on.
class GoProcParallel : public GoProc {
 protected:
  unsigned count() const { return threads() ? 4 : options_of(GetParam()).processors; }

  // Of all that share `turn`, the one with that number.
  static void take_turns(std::atomic<unsigned>& turn, unsigned number, unsigned count) {
    for (unsigned round = 0; round < 3; ++round) {
      const unsigned mine = round * count + number;
      while (turn != mine) std::this_thread::yield();  // for machines with fewer cores
      turn = mine + 1;
    }
  }
};

TEST_P(GoProcParallel, TestGoroutineParallelism) {
  run([this] {
    for (int round = 0; round < 3; ++round) {
      Channel<bool> done;
      std::atomic<unsigned> turn{0};
      for (unsigned i = 0; i < count(); ++i)
        go([&, i] {
          take_turns(turn, i, count());
          done.send(true);
        });
      for (unsigned i = 0; i < count(); ++i) done.receive();
    }
  });
}

// The same when all processors have just become idle, and with goroutines started by others.
TEST_P(GoProcParallel, TestGoroutineParallelism2) {
  run([this] {
    for (int round = 0; round < 3; ++round) {
      Channel<bool> done;
      std::atomic<unsigned> running{0}, turn{0};
      WaitGroup all_ran;
      all_ran.add(count());
      for (unsigned i = 0; i < count(); ++i)
        go([&] {
          for (++running; running != count();) std::this_thread::yield();
          all_ran.done();
        });
      all_ran.wait();
      for (unsigned i = 0; i < count(); i += 2)
        go([&, i] {
          for (unsigned n = i; n < i + 2; ++n)
            go([&, n] {
              take_turns(turn, n, count());
              done.send(true);
            });
        });
      for (unsigned i = 0; i < count(); ++i) done.receive();
    }
  });
}

// A timer fires though others hand values to one another without end.
TEST_P(GoProc, TestTimerFairness) {
  run([] {
    Channel<bool> values, done;
    WaitGroup senders;
    senders.add(2);
    for (int i = 0; i < 2; ++i)
      go([&] {
        for (bool more = true; more;)
          select(send(values, true, kNothing), receive(done, [&](auto) { more = false; }));
        senders.done();
      });
    Timer timer(20ms);
    for (bool more = true; more;)
      select(receive(values, kNothing), receive(timer.channel(), [&](auto) { more = false; }));
    done.close();
    senders.wait();
  });
}

TEST_P(GoProc, TestTimerFairness2) {
  run([] {
    Channel<bool> values, done;
    for (int i = 0; i < 2; ++i)
      go([&] {
        Timer timer(20ms);
        for (bool more = true; more;)
          select(send(values, true, kNothing), receive(values, kNothing),
                 receive(timer.channel(), [&](auto) { more = false; }));
        done.send(true);
      });
    done.receive();
    done.receive();
  });
}

class GoProcCounted : public GoProc {};  // only a scheduler counts

// Those that are alive are counted.
TEST_P(GoProcCounted, TestNumGoroutine) {
  run([] {
    const Scheduler& here = *Scheduler::current();
    EXPECT_EQ(here.alive(), 1u);
    Channel<bool> end;
    for (int i = 0; i < 10; ++i) go([&] { end.receive(); });
    EXPECT_EQ(here.alive(), 11u);
    EXPECT_EQ(here.tasks().size(), 11u);
    end.close();
    await([&] { return here.alive() == 1; });
  });
}

// Two that hand a token back and forth, and compute for long in between, beside two that compute
// little: what each pair has computed in all.
std::pair<std::int64_t, std::int64_t> hog_and_light() {
  constexpr std::int64_t kEnough = kSanitized ? 50'000'000 : 300'000'000;
  Channel<bool> hog, light, done;
  std::atomic<std::int64_t> hog_count{0}, light_count{0};
  std::atomic<bool> over{false};
  WaitGroup group;
  const auto pass = [&](int work, std::atomic<std::int64_t>& count, Channel<bool>& token) {
    volatile std::int64_t computed = 0;
    for (bool more = true; more;)
      select(receive(done, [&](auto) { more = false; }), receive(token, [&](auto) {
               for (int i = 0; i < work; ++i) computed = computed + 1;
               count += work;
               if (hog_count + light_count >= kEnough && !over.exchange(true)) done.close();
               select(send(token, true, kNothing), receive(done, [&](auto) { more = false; }));
             }));
    group.done();
  };
  group.add(4);
  for (int i = 0; i < 2; ++i) {
    go([&] { pass(1'000'000, hog_count, hog); });
    go([&] { pass(1'000, light_count, light); });
  }
  select(send(hog, true, kNothing));
  select(send(light, true, kNothing), receive(done, kNothing));
  group.wait();
  return {hog_count, light_count};
}

// Neither pair gets more than 20 times as much as the other. A busy machine may take away most of
// what one pair has, but not each time.
TEST_P(GoProc, TestPingPongHog) {
  run([] {
    bool fair = false;
    for (int tries = 0; tries < 5 && !fair; ++tries) {
      const auto [hog, light] = hog_and_light();
      fair = hog < 20 * light && light < 20 * hog;
    }
    // Elsewhere the light ones have a processor of their own.
    EXPECT_TRUE(fair || GetParam() != 1);
  });
}

BULKHEAD_EVERYWHERE(GoProc);
INSTANTIATE_TEST_SUITE_P(Everywhere, GoProcCounted, testing::Values(1u, 2u, 4u, kMigrating),
                         place_name);
INSTANTIATE_TEST_SUITE_P(Everywhere, GoProcParallel, testing::Values(2u, 4u, kMigrating, kThreads),
                         place_name);

}  // namespace
}  // namespace bulkhead::sched
