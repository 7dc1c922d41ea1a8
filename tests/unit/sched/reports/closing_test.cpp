// close() finds all that wait, whichever way they do (Boost.Fiber's issue 181, where a sender
// stayed behind): receivers are told that nothing comes any more; for a sender it is a mistake that
// ends the process, as in Go, and never a wait for ever.
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/select.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <chrono>
#include <cstdlib>

#include "tests/unit/sched/everywhere.hpp"

namespace bulkhead::sched {
namespace {

using namespace std::chrono_literals;

using ClosingTest = EverywhereTest;
using ClosingDeathTest = SchedTest;

const auto kWrong = [](auto&&...) { ADD_FAILURE() << "the wrong arm"; };

// How one waits: each way parks it by another path.
struct Receiving {
  const char* name;
  ParkReason reason;
  bool (*ends)(Channel<int>& from);  // true: it was told that nothing comes any more
};
constexpr Receiving kReceiving[] = {
    {"receive", ParkReason::kReceive,
     [](Channel<int>& from) { return !from.receive().has_value(); }},
    {"select", ParkReason::kSelect,
     [](Channel<int>& from) {
       Channel<int> never;
       bool closed = false;
       select(receive(from, [&](auto value) { closed = !value; }), receive(never, kWrong),
              send(never, 1, kWrong));
       return closed;
     }},
    {"select with a timeout", ParkReason::kSelectTimeout,
     [](Channel<int>& from) {
       bool closed = false;
       select(receive(from, [&](auto value) { closed = !value; }), timeout(1h, kWrong));
       return closed;
     }},
};

TEST_P(ClosingTest, AllThatWaitToReceiveAreWokenAndTold) {
  constexpr int kEach = 3;
  for (const std::size_t capacity : {0u, 1u, 8u}) {
    std::atomic<int> told{0};
    run([&] {
      Channel<int> channel(capacity);
      WaitGroup group;
      int waiting = 0;
      for (const Receiving& way : kReceiving) {
        for (int i = 0; i < kEach; ++i) {
          group.add();
          go([&] {
            told += way.ends(channel);
            group.done();
          });
        }
        waiting += kEach;
        await_parked(threads() ? waiting : kEach, way.reason);
      }
      channel.close();
      group.wait();
    });
    EXPECT_EQ(told, kEach * static_cast<int>(std::size(kReceiving))) << capacity;
  }
}

BULKHEAD_EVERYWHERE(ClosingTest);

struct Sending {
  const char* name;
  void (*send)(Channel<int>& to);
};
constexpr Sending kSending[] = {
    {"send", [](Channel<int>& to) { to.send(1); }},
    {"select",
     [](Channel<int>& to) {
       Channel<int> never;
       select(send(to, 1, kNothing), receive(never, kWrong));
     }},
    {"select with a timeout",
     [](Channel<int>& to) { select(send(to, 1, kNothing), timeout(1h, kWrong)); }},
};

// Whoever is not woken is left behind, and the process ends well: which is what must not be.
TEST_F(ClosingDeathTest, OneThatWaitsToSendIsWokenAndEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (const Sending& way : kSending)
    for (const std::size_t capacity : {0u, 2u}) {
      SCOPED_TRACE(way.name);
      EXPECT_DEATH(run(1,
                       [&] {
                         Channel<int> channel(capacity);
                         for (std::size_t i = 0; i < capacity; ++i) channel.send(0);
                         go([&] { way.send(channel); });
                         yield();  // it waits
                         channel.close();
                         for (int i = 0; i < 100; ++i) yield();
                         std::_Exit(0);
                       }),
                   "the channel was closed while a sender waited")
          << capacity;
    }
}

}  // namespace
}  // namespace bulkhead::sched
