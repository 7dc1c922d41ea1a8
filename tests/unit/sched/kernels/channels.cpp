// Bug kernels of channels.
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/once.hpp>
#include <bulkhead/sched/select.hpp>
#include <memory>
#include <optional>

#include "tests/unit/sched/kernels/kernels.hpp"

namespace bulkhead::sched::kernels {
namespace {

using namespace std::chrono_literals;

using Numbers = std::shared_ptr<Channel<int>>;
Numbers make_channel(std::size_t capacity = 0) { return std::make_shared<Channel<int>>(capacity); }

// The answer comes when nobody waits for it any more.
template <bool kFixed>
void sender_left_behind() {
  const Numbers answer = make_channel(kFixed ? 1 : 0);
  go([answer] {
    sleep_for(2s);
    answer->send(1);
  });
  select(receive(*answer, [](auto) {}), timeout(1s, [] {}));
}

// Several are asked, the first answer is taken.
template <bool kFixed>
void slower_answers_left_behind() {
  constexpr int kReplicas = 3;
  const Numbers answers = make_channel(kFixed ? kReplicas : 0);
  for (int i = 0; i < kReplicas; ++i) go([answers, i] { answers->send(i); });
  answers->receive();
}

// On the path of the error nothing is sent, and nothing closed.
template <bool kFixed>
void no_answer_on_error() {
  const Numbers answer = make_channel();
  const auto look_up = [answer](bool found) {
    if (found)
      answer->send(1);
    else if (kFixed)
      answer->close();
  };
  go([look_up] { look_up(false); });
  answer->receive();
}

template <bool kFixed>
void range_never_closed() {
  const Numbers numbers = make_channel();
  go([numbers] {
    while (numbers->receive()) {
    }
  });
  for (int i = 0; i < 3; ++i) numbers->send(i);
  if constexpr (kFixed) numbers->close();
}

// The last stage has seen enough; the first one has more.
template <bool kFixed>
void pipeline_not_drained() {
  const Numbers numbers = make_channel();
  const Numbers stop = make_channel();
  go([numbers, stop] {
    bool stopped = false;
    for (int i = 0; i < 5 && !stopped; ++i) {
      if constexpr (kFixed)
        select(send(*numbers, i, [] {}), receive(*stop, [&](auto) { stopped = true; }));
      else
        numbers->send(i);
    }
  });
  while (numbers->receive() != 1) {
  }
  if constexpr (kFixed) stop->close();
}

template <bool kFixed>
void both_send_first() {
  Channel<int> to_left, to_right;
  together(
      [&] {
        to_right.send(1);
        to_left.receive();
      },
      [&] {
        if constexpr (kFixed) to_right.receive();
        to_left.send(1);
        if constexpr (!kFixed) to_right.receive();
      });
}

// A loop posts events to itself, more than its queue holds.
template <bool kFixed>
void loop_posts_to_itself() {
  Channel<int> events(kFixed ? 2 : 1);
  events.send(2);
  for (int left = 1; left > 0;) {
    const int event = *events.receive();
    --left;
    for (int follow = 0; follow < event; ++follow, ++left) events.send(0);
  }
}

// The loop may have ended by itself when it is told to stop.
template <bool kFixed>
void stop_sent_to_ended_loop() {
  const Numbers stop = make_channel();
  const Numbers input = make_channel();
  go([stop, input] {
    bool ended = false;
    while (!ended)
      select(receive(*stop, [&](auto) { ended = true; }),
             receive(*input, [&](auto value) { ended = !value.has_value(); }));
  });
  go([input] { input->close(); });
  if constexpr (kFixed)
    stop->close();
  else
    stop->send(1);
}

// "Unless it is closed already."
template <bool kFixed>
void closed_by_both() {
  Channel<int> ended;
  Once once;
  const auto finish = [&] {
    if constexpr (kFixed) {
      once.call([&] { ended.close(); });
    } else if (!ended.closed()) {
      checkpoint();
      ended.close();
    }
  };
  together(finish, finish);
}

// The receiver closes when it has enough.
template <bool kFixed>
void closed_by_the_receiver() {
  Channel<int> lines(3);
  together(
      [&] {
        for (int i = 0; i < 3; ++i) lines.send(i);
        if constexpr (kFixed) lines.close();
      },
      [&] {
        lines.receive();
        if constexpr (!kFixed) lines.close();
        while (lines.receive()) {
        }
      });
}

template <bool kFixed>
void closed_under_a_sender() {
  const Numbers lines = make_channel();
  go([lines] {
    lines->send(1);
    if constexpr (kFixed) lines->close();
  });
  sleep_for(1s);
  if constexpr (kFixed)
    lines->receive();
  else
    lines->close();
}

// Of two producers each closes what both send to, when it has ended.
template <bool kFixed>
void closed_by_each_producer() {
  Channel<int> results(4);
  WaitGroup producers;
  producers.add(2);
  const auto produce = [&](int count) {
    for (int i = 0; i < count; ++i) results.send(i);
    if constexpr (!kFixed) results.close();
    producers.done();
  };
  together([&] { produce(1); }, [&] { produce(1); },
           [&] {
             producers.wait();
             if constexpr (kFixed) results.close();
             while (results.receive()) {
             }
           });
}

// The pointer is still null when the select begins.
template <bool kFixed>
void null_channel() {
  Channel<int> made(1);
  Channel<int>* results = nullptr;
  if constexpr (kFixed) results = &made;
  made.send(1);
  select(receive(results, [](auto) {}));
}

// A channel as a lock: to send is to take it, to receive is to give it back.
template <bool kFixed>
void lock_channel_kept() {
  Channel<int> lock(1);
  const auto work = [&](bool valid) {
    lock.send(1);
    if (valid || kFixed) lock.receive();
  };
  together([&] { work(true); }, [&] { work(false); });
  work(true);
}

// The other way round it needs a value to begin with.
template <bool kFixed>
void lock_channel_without_value() {
  Channel<int> lock(1);
  if constexpr (kFixed) lock.send(1);
  const auto work = [&] {
    lock.receive();
    lock.send(1);
  };
  together(work, work);
}

// One message to stop, for two workers.
template <bool kFixed>
void one_stop_for_two() {
  const Numbers jobs = make_channel(4);
  for (int worker = 0; worker < 2; ++worker)
    go([jobs] {
      while (jobs->receive().value_or(-1) >= 0) {
      }
    });
  jobs->send(1);
  jobs->send(-1);
  if constexpr (kFixed) jobs->send(-1);
}

template <bool kFixed>
void one_receive_too_many() {
  constexpr int kSent = 3;
  const Numbers numbers = make_channel();
  go([numbers] {
    for (int i = 0; i < kSent; ++i) numbers->send(i);
  });
  for (int i = 0; i < kSent + (kFixed ? 0 : 1); ++i) numbers->receive();
}

// All jobs are sent before any result is read.
template <bool kFixed>
void jobs_before_results() {
  Channel<int> jobs, results;
  const auto send_all = [&] {
    for (int i = 0; i < 3; ++i) jobs.send(i);
    jobs.close();
  };
  const auto work = [&] {
    while (const auto job = jobs.receive()) results.send(*job);
  };
  const auto read_all = [&] {
    for (int i = 0; i < 3; ++i) results.receive();
  };
  if constexpr (kFixed)
    together(send_all, work, read_all);
  else
    together(work, [&] {
      send_all();
      read_all();
    });
}

// A sender needs a credit for each message; the receiver returns none for those that it refuses.
template <bool kFixed>
void credit_lost() {
  Channel<int> credits(2), messages(2);
  credits.send(1);
  credits.send(1);
  together(
      [&] {
        for (int i = 0; i < 6; ++i) {
          credits.receive();
          messages.send(i);
        }
        messages.close();
      },
      [&] {
        while (const auto message = messages.receive()) {
          const bool refused = *message % 2 == 1;
          if (!refused || kFixed) credits.send(1);
        }
      });
}

}  // namespace

std::vector<Kernel> channel_kernels() {
  return {
      BULKHEAD_KERNEL("channels", sender_left_behind, kDeadlock, "parked, channel send"),
      BULKHEAD_KERNEL("channels", slower_answers_left_behind, kDeadlock, "parked, channel send"),
      BULKHEAD_KERNEL("channels", no_answer_on_error, kDeadlock, "parked, channel receive"),
      BULKHEAD_KERNEL("channels", range_never_closed, kDeadlock, "parked, channel receive"),
      BULKHEAD_KERNEL("channels", pipeline_not_drained, kDeadlock, "parked, channel send"),
      BULKHEAD_KERNEL("channels", both_send_first, kDeadlock, "parked, channel send"),
      BULKHEAD_KERNEL("channels", loop_posts_to_itself, kDeadlock, "parked, channel send"),
      BULKHEAD_KERNEL("channels", stop_sent_to_ended_loop, kDeadlock, "parked, channel send"),
      BULKHEAD_KERNEL("channels", closed_by_both, kAborted, "a channel is closed twice"),
      BULKHEAD_KERNEL("channels", closed_by_the_receiver, kAborted, "sent on a closed channel"),
      BULKHEAD_KERNEL("channels", closed_under_a_sender, kAborted, "closed while a sender waited"),
      BULKHEAD_KERNEL("channels", closed_by_each_producer, kAborted, "closed"),
      BULKHEAD_KERNEL("channels", null_channel, kDeadlock, "parked, select"),
      BULKHEAD_KERNEL("channels", lock_channel_kept, kDeadlock, "parked, channel send"),
      BULKHEAD_KERNEL("channels", lock_channel_without_value, kDeadlock, "parked, channel receive"),
      BULKHEAD_KERNEL("channels", one_stop_for_two, kDeadlock, "parked, channel receive"),
      BULKHEAD_KERNEL("channels", one_receive_too_many, kDeadlock, "parked, channel receive"),
      BULKHEAD_KERNEL("channels", jobs_before_results, kDeadlock, "parked, channel send"),
      BULKHEAD_KERNEL("channels", credit_lost, kDeadlock, "parked, channel receive"),
  };
}

}  // namespace bulkhead::sched::kernels
