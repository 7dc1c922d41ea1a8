// What Go's test/chan/select3 asserts: which operations on which channels wait for ever, which are
// done at once, and which end the process. In our own words.
#include <unistd.h>

#include <bulkhead/sched/ends.hpp>
#include <bulkhead/sched/select.hpp>
#include <iostream>

#include "tests/unit/sched/everywhere.hpp"

namespace bulkhead::sched {
namespace {

struct Row {
  const char* what;
  void (*operation)();
};

// Of no channel, silent, full, and closed.
const Sender<int> kNoSender;
const Receiver<int> kNoReceiver;
Channel<int>& silent() {
  static Channel<int> channel;
  return channel;
}
Channel<int>& full() {
  static Channel<int> channel(1);
  channel.try_send(1);
  return channel;
}
Channel<int>& closed() {
  static Channel<int> channel(1);
  if (!channel.closed()) channel.close();
  return channel;
}
const auto kNever = [](auto&&...) { FAIL() << "an arm that is never ready"; };

constexpr Row kWaiting[] = {
    {"send to nobody", [] { kNoSender.send(7); }},
    {"receive from nobody", [] { kNoReceiver.receive(); }},
    {"send without a receiver", [] { Channel<int>().send(7); }},
    {"receive without a sender", [] { Channel<int>().receive(); }},
    {"send to a full buffer", [] { full().send(7); }},
    {"receive from an empty buffer", [] { Channel<int>(1).receive(); }},
    {"select of nothing", [] { select(); }},
    {"select, receive from nobody", [] { select(receive(kNoReceiver, kNever)); }},
    {"select, send to nobody", [] { select(send(kNoSender, 7, kNever)); }},
    {"select, neither of nobody",
     [] { select(receive(kNoReceiver, kNever), send(kNoSender, 7, kNever)); }},
    {"select, receive without a sender", [] { select(receive(silent(), kNever)); }},
    {"select, send to a full buffer",
     [] { select(send(full(), 7, kNever), receive(silent(), kNever)); }},
    {"select, send to a full buffer or to nobody",
     [] { select(send(full(), 7, kNever), send(kNoSender, 7, kNever)); }},
    // It is not taken in by itself.
    {"select, both ends of a channel",
     [] {
       Channel<int> own;
       select(send(own, 1, kNever), receive(own, kNever));
     }},
    {"select, receive from the same one twice",
     [] {
       Channel<int> own;
       select(receive(own, kNever), receive(own, kNever));
     }},
};

constexpr Row kProceeding[] = {
    {"send to a buffer with room", [] { Channel<int>(1).send(7); }},
    {"receive from a closed channel, again and again",
     [] {
       for (int i = 0; i < 10; ++i) EXPECT_EQ(closed().receive(), std::nullopt);
     }},
    {"select, otherwise", [] { select(otherwise(kNothing)); }},
    {"select, receive from nobody, otherwise",
     [] { select(receive(kNoReceiver, kNever), otherwise(kNothing)); }},
    {"select, send to nobody, otherwise",
     [] { select(send(kNoSender, 7, kNever), otherwise(kNothing)); }},
    {"select, receive without a sender, otherwise",
     [] { select(receive(silent(), kNever), otherwise(kNothing)); }},
    {"select, send without a receiver, otherwise",
     [] { select(send(silent(), 7, kNever), otherwise(kNothing)); }},
    {"select, send to a full buffer, otherwise",
     [] { select(send(full(), 7, kNever), otherwise(kNothing)); }},
    {"select, both ends of a channel, otherwise",
     [] { select(send(silent(), 7, kNever), receive(silent(), kNever), otherwise(kNothing)); }},
    {"select, send to a buffer with room",
     [] {
       Channel<int> roomy(1);
       select(send(roomy, 7, kNothing), otherwise(kNever));
     }},
    {"select, receive what is there",
     [] {
       Channel<int> holding(1);
       holding.send(7);
       select(receive(holding, [](std::optional<int> value) { EXPECT_EQ(value, 7); }),
              otherwise(kNever));
     }},
    {"select, both ends of a buffer, one after the other",
     [] {
       Channel<int> buffer(1);
       select(send(buffer, 7, kNothing), receive(buffer, kNever));
       select(send(buffer, 7, kNever), receive(buffer, kNothing));
     }},
    {"select, receive from a closed channel",
     [] {
       const auto check = [](std::optional<int> value) { EXPECT_EQ(value, std::nullopt); };
       select(receive(closed(), check));
       select(receive(closed(), check), otherwise(kNever));
       select(receive(closed(), check), receive(silent(), kNever), send(full(), 7, kNever));
     }},
    {"select, timeout",
     [] { select(receive(silent(), kNever), timeout(base::Duration(1000), kNothing)); }},
};

constexpr Row kFatal[] = {
    {"send to a closed channel", [] { closed().send(7); }},
    {"try to", [] { closed().try_send(7); }},
    {"select, send to a closed channel", [] { select(send(closed(), 7, kNothing)); }},
    {"select, send to a closed channel, otherwise",
     [] { select(send(closed(), 7, kNothing), otherwise(kNothing)); }},
};

using GoSelect3 = EverywhereTest;

TEST_P(GoSelect3, TheseProceed) {
  run([] {
    for (const Row& row : kProceeding) {
      row.operation();
      ASSERT_FALSE(HasFailure()) << row.what;
    }
  });
}

// All at a time, each in its own goroutine: the deadlock detector must find every one of them. A
// plain thread is seen to begin to wait.
class GoSelect3DeathTest : public EverywhereTest {
 protected:
  static constexpr int kAllWait = 7, kOneProceeds = 8;

  static void start_all() {
    for (const Row& row : kWaiting)
      go([&row] {
        row.operation();
        std::cerr << row.what << " does not wait\n";
        ::_exit(kOneProceeds);
      });
  }
  void start_all_and_wait() {
    if (threads()) {
      run([this] {
        start_all();
        await_parked(static_cast<int>(std::size(kWaiting)), ParkReason::kNone);
        for (int i = 0; i < 100; ++i) yield();
        ::_exit(kAllWait);
      });
      return;
    }
    Options options = options_of(GetParam());
    options.on_deadlock = [](const std::vector<TaskInfo>& tasks) {
      if (tasks.size() == std::size(kWaiting)) ::_exit(kAllWait);
      std::cerr << describe(tasks, [](Tag) { return std::string(); });
      ::_exit(kOneProceeds);
    };
    make(options).run(&start_all);
  }
};

TEST_P(GoSelect3DeathTest, TheseWaitForEver) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(start_all_and_wait(), testing::ExitedWithCode(kAllWait), "");
}

TEST_P(GoSelect3DeathTest, TheseEndTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (const Row& row : kFatal) {
    SCOPED_TRACE(row.what);
    EXPECT_DEATH(run([&row] { row.operation(); }), "a value is sent on a closed channel");
  }
}

BULKHEAD_EVERYWHERE(GoSelect3);
BULKHEAD_EVERYWHERE(GoSelect3DeathTest);

}  // namespace
}  // namespace bulkhead::sched
