// Bug kernels of select, contexts and timers.
#include <bulkhead/base/check.hpp>
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/context.hpp>
#include <bulkhead/sched/err_group.hpp>
#include <bulkhead/sched/select.hpp>
#include <bulkhead/sched/timer.hpp>
#include <memory>
#include <optional>

#include "tests/unit/sched/kernels/kernels.hpp"

namespace bulkhead::sched::kernels {
namespace {

using namespace std::chrono_literals;

// Whoever could cancel it has forgotten it.
template <bool kFixed>
void never_cancelled() {
  const auto scope = std::make_shared<CancelScope>(with_cancel({}));
  go([scope] { scope->context().done()->receive(); });
  if constexpr (kFixed) scope->cancel();
}

// Given is the context from which the one that is cancelled comes.
template <bool kFixed>
void context_of_the_parent() {
  CancelScope parent = with_cancel({});
  CancelScope child = with_cancel(parent.context());
  const Context given = kFixed ? child.context() : parent.context();
  Channel<int> ended;
  go([&] {
    given.done()->receive();
    ended.send(1);
  });
  child.cancel();
  ended.receive();
}

template <bool kFixed>
void context_cut_off() {
  CancelScope scope = with_cancel({});
  const Context given = kFixed ? scope.context() : without_cancel(scope.context());
  Channel<int> ended;
  go([&] {
    select(receive(given.done(), [](auto) {}));
    ended.send(1);
  });
  scope.cancel();
  ended.receive();
}

// Whoever asks has given up by then, as the context tells.
template <bool kFixed>
void send_without_context() {
  const auto pages = std::make_shared<Channel<int>>();
  CancelScope scope = with_timeout({}, 1s);
  const Context context = scope.context();
  go([pages, context] {
    sleep_for(2s);
    if constexpr (kFixed)
      select(send(*pages, 1, [] {}), receive(context.done(), [](auto) {}));
    else
      pages->send(1);
  });
  select(receive(*pages, [](auto) {}), receive(context.done(), [](auto) {}));
}

// One of a group fails, and the other waits for what that one would have sent.
template <bool kFixed>
void failure_not_passed_on() {
  CancelScope scope = with_cancel({});
  Channel<int> parts;
  ErrGroup group;
  group.go([&]() -> Result<void> {
    if constexpr (kFixed) scope.cancel();
    return fail(Code::kIoError, "no disk");
  });
  group.go(
      [&] { select(receive(parts, [](auto) {}), receive(scope.context().done(), [](auto) {})); });
  BULKHEAD_CHECK(!group.wait());
}

// A ticker that is stopped sends no more, but its channel is not closed.
template <bool kFixed>
void stopped_ticker() {
  const auto ticker = std::make_shared<Ticker>(1s);
  const auto stop = std::make_shared<Channel<int>>();
  go([ticker, stop] {
    if constexpr (kFixed) {
      bool stopped = false;
      while (!stopped)
        select(receive(ticker->channel(), [](auto) {}),
               receive(*stop, [&](auto) { stopped = true; }));
    } else {
      while (ticker->channel().receive()) {
      }
    }
  });
  sleep_for(3s);
  ticker->stop();
  stop->close();
}

// "stop() has come too late, so there is a value": it has been received already.
template <bool kFixed>
void timer_drained_in_vain() {
  Timer timer(1s);
  timer.channel().receive();
  if (!timer.stop() && !kFixed) timer.channel().receive();
  timer.reset(1s);
  timer.channel().receive();
}

// Whoever gives notice should not wait for somebody who listens.
template <bool kFixed>
void notice_without_listener() {
  Channel<int> notices;
  bool listens = true;
  together(
      [&] {
        select(receive(notices, [](auto) {}), timeout(1s, [] {}));
        listens = false;
      },
      [&] {
        sleep_for(2s);
        BULKHEAD_CHECK(!listens);
        if constexpr (kFixed)
          select(send(notices, 1, [] {}), otherwise([] {}));
        else
          select(send(notices, 1, [] {}));
      });
}

// Leaving the case is not leaving the loop.
template <bool kFixed>
void left_only_the_case() {
  Channel<int> numbers(4);
  for (const int number : {1, 2, 0}) numbers.send(number);
  bool ended = false;
  while (!ended)
    select(receive(numbers, [&](std::optional<int> number) {
      if (number == 0) {
        if constexpr (kFixed) ended = true;
        return;
      }
    }));
}

// A duration of zero, meant as "no limit", is a timer that fires at once.
template <bool kFixed>
void timer_of_zero() {
  const base::Duration limit{0};
  Channel<int> answers;
  go([&] {
    sleep_for(1s);
    answers.send(1);
  });
  bool answered = false;
  Timer patience(limit);
  select(receive(answers, [&](auto) { answered = true; }),
         receive(kFixed && limit == 0s ? nullptr : &patience.channel(), [](auto) {}));
  BULKHEAD_CHECK(answered, "given up after {} s", base::to_seconds(limit));
}

// Of two cases that are ready either may happen.
template <bool kFixed>
void works_though_stopped() {
  Channel<int> stop, work(1);
  work.send(1);
  stop.close();
  bool stopped = false;
  const auto look = [&](auto) { stopped = true; };
  if constexpr (kFixed) select(receive(stop, look), otherwise([] {}));
  bool worked = false;
  if (!stopped) select(receive(stop, look), receive(work, [&](auto) { worked = true; }));
  BULKHEAD_CHECK(!worked, "it works after it was told to stop");
}

// A limit for all of it, but each round begins a new one.
template <bool kFixed>
void timeout_renewed() {
  Channel<int> beats;
  const base::TimePoint start = now();
  go([&] {
    for (int i = 0; i < 20; ++i) {
      sleep_for(1s);
      beats.send(i);
    }
    beats.close();
  });
  Timer all(5500ms);
  bool over = false;
  while (!over) {
    Timer each(5500ms);
    select(receive(beats, [&](auto beat) { over = !beat.has_value(); }),
           receive((kFixed ? all : each).channel(), [&](auto) { over = true; }));
  }
  const base::Duration taken = now() - start;
  while (beats.receive()) {
  }
  BULKHEAD_CHECK(taken <= 6s, "it took {} s", base::to_seconds(taken));
}

// The other "will have ended by then".
template <bool kFixed>
void sleep_instead_of_wait() {
  const auto ended = std::make_shared<Channel<int>>(1);
  const auto result = std::make_shared<int>(0);
  go([ended, result] {
    for (int step = 0; step < 3; ++step) sleep_for(50ms);
    *result = 1;
    ended->send(1);
  });
  if constexpr (kFixed)
    ended->receive();
  else
    sleep_for(100ms);
  BULKHEAD_CHECK(*result == 1, "the result is not there yet");
}

// stop() came too late: the function runs, or is about to.
template <bool kFixed>
void function_after_stop() {
  struct Session {
    bool open = true;
    Channel<int> flushed{1};
  };
  const auto session = std::make_shared<Session>();
  Timer flush(1s, [session] {
    checkpoint();
    BULKHEAD_CHECK(session->open, "a closed session is flushed");
    session->flushed.send(1);
  });
  sleep_for(1s);
  const bool stopped = flush.stop();
  if (!stopped && kFixed) session->flushed.receive();
  session->open = false;
}

}  // namespace

std::vector<Kernel> select_kernels() {
  return {
      BULKHEAD_KERNEL("selects", never_cancelled, kDeadlock, "parked, channel receive"),
      BULKHEAD_KERNEL("selects", context_of_the_parent, kDeadlock, "parked, channel receive"),
      BULKHEAD_KERNEL("selects", context_cut_off, kDeadlock, "parked, select"),
      BULKHEAD_KERNEL("selects", send_without_context, kDeadlock, "parked, channel send"),
      BULKHEAD_KERNEL("selects", failure_not_passed_on, kDeadlock, "parked, select"),
      BULKHEAD_KERNEL("selects", stopped_ticker, kDeadlock, "parked, channel receive"),
      BULKHEAD_KERNEL("selects", timer_drained_in_vain, kDeadlock, "parked, channel receive"),
      BULKHEAD_KERNEL("selects", notice_without_listener, kDeadlock, "parked, select"),
      BULKHEAD_KERNEL("selects", left_only_the_case, kDeadlock, "parked, select"),
      BULKHEAD_KERNEL("selects", timer_of_zero, kAborted, "given up after 0 s"),
      BULKHEAD_KERNEL("selects", works_though_stopped, kAborted, "it works after it was told"),
      BULKHEAD_KERNEL("selects", timeout_renewed, kAborted, "it took"),
      BULKHEAD_KERNEL("selects", sleep_instead_of_wait, kAborted, "the result is not there yet"),
      BULKHEAD_KERNEL("selects", function_after_stop, kAborted, "a closed session is flushed"),
  };
}

}  // namespace bulkhead::sched::kernels
