// Bug kernels of shared data: nobody waits for ever, but what comes out is wrong. checkpoint()
// stands where another thread could come between two accesses.
#include <bulkhead/base/check.hpp>
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/mutex.hpp>
#include <bulkhead/sched/once.hpp>
#include <bulkhead/sched/select.hpp>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "tests/unit/sched/kernels/kernels.hpp"

namespace bulkhead::sched::kernels {
namespace {

// Held, or not, as the kernel is fixed or not.
template <bool kFixed>
std::unique_lock<Mutex> lock_if_fixed(Mutex& mutex) {
  std::unique_lock lock(mutex, std::defer_lock);
  if constexpr (kFixed) lock.lock();
  return lock;
}

template <bool kFixed>
void lost_update() {
  Mutex mutex;
  int balance = 0;
  const auto deposit = [&] {
    const auto lock = lock_if_fixed<kFixed>(mutex);
    const int seen = balance;
    checkpoint();
    balance = seen + 1;
  };
  together(deposit, deposit);
  BULKHEAD_CHECK(balance == 2, "after two deposits of 1 the balance is {}", balance);
}

// Looked at under the lock, and acted on under the lock, but not the same time.
template <bool kFixed>
void decided_on_old_news() {
  Mutex mutex;
  int balance = 1;
  const auto withdraw = [&] {
    std::unique_lock lock(mutex);
    if (balance < 1) return;
    if constexpr (!kFixed) {
      lock.unlock();
      lock.lock();
    }
    --balance;
  };
  together(withdraw, withdraw);
  BULKHEAD_CHECK(balance >= 0, "a balance of {}", balance);
}

template <bool kFixed>
void made_twice() {
  std::unique_ptr<int> instance;
  Once once;
  int made = 0;
  const auto make = [&] {
    ++made;
    instance = std::make_unique<int>(1);
  };
  const auto get = [&] {
    if constexpr (kFixed) {
      once.call(make);
    } else if (instance == nullptr) {
      checkpoint();
      make();
    }
  };
  together(get, get);
  BULKHEAD_CHECK(made == 1, "the only instance was made {} times", made);
}

// "Somebody has begun it" is not "it is done".
template <bool kFixed>
void begun_is_not_done() {
  bool begun = false;
  int table = 0;
  Once once;
  const auto load = [&] {
    checkpoint();
    table = 1;
  };
  const auto use = [&] {
    if constexpr (kFixed) {
      once.call(load);
    } else if (!begun) {
      begun = true;
      load();
    }
    BULKHEAD_CHECK(table == 1, "the table is used before it is loaded");
  };
  together(use, use);
}

// All goroutines share the variable of the loop, which goes on.
template <bool kFixed>
void captured_loop_variable() {
  WaitGroup group;
  int sum = 0;
  int shared = 0;
  for (; shared < 3; ++shared) {
    group.add(1);
    go([&, own = shared] {
      sum += kFixed ? own : shared;
      group.done();
    });
  }
  group.wait();
  BULKHEAD_CHECK(sum == 0 + 1 + 2, "the goroutines have seen other numbers: their sum is {}", sum);
}

// One variable for the errors of two: a success wipes out the failure.
template <bool kFixed>
void shared_error() {
  Mutex mutex;
  std::optional<int> error;
  const auto work = [&](std::optional<int> result) {
    const std::lock_guard lock(mutex);
    if (result.has_value() || !kFixed) error = result;
  };
  together([&] { work(5); }, [&] { work(std::nullopt); });
  BULKHEAD_CHECK(error == 5, "the error is lost");
}

// The goroutine is started before what it uses is there.
template <bool kFixed>
void used_before_made() {
  const auto config = std::make_shared<std::unique_ptr<int>>();
  const auto begin = [config] {
    go([config] { BULKHEAD_CHECK(*config != nullptr, "used before it is made"); });
  };
  if constexpr (!kFixed) begin();
  yield();
  *config = std::make_unique<int>(1);
  if constexpr (kFixed) begin();
}

template <bool kFixed>
void told_before_written() {
  int result = 0;
  Channel<int> ended;
  together(
      [&] {
        if constexpr (!kFixed) ended.close();
        checkpoint();
        result = 1;
        if constexpr (kFixed) ended.close();
      },
      [&] {
        ended.receive();
        BULKHEAD_CHECK(result == 1, "the end is told before the result is written");
      });
}

// Two fields that belong together, read between their writes.
template <bool kFixed>
void half_written_pair() {
  Mutex mutex;
  int here = 10, there = 0;
  together(
      [&] {
        const auto lock = lock_if_fixed<kFixed>(mutex);
        here -= 3;
        checkpoint();
        there += 3;
      },
      [&] {
        const auto lock = lock_if_fixed<kFixed>(mutex);
        BULKHEAD_CHECK(here + there == 10, "{} and {} are not 10", here, there);
      });
}

// The list shrinks while another walks over it.
template <bool kFixed>
void changed_while_walked_over() {
  Mutex mutex;
  std::vector<int> sessions{1, 2, 3};
  together(
      [&] {
        const auto lock = lock_if_fixed<kFixed>(mutex);
        const std::size_t count = sessions.size();
        for (std::size_t i = 0; i < count; ++i) {
          checkpoint();
          static_cast<void>(sessions.at(i));
        }
      },
      [&] {
        const auto lock = lock_if_fixed<kFixed>(mutex);
        sessions.pop_back();
      });
}

// Sent is the address, and then the next message is written there.
template <bool kFixed>
void buffer_sent_and_reused() {
  Channel<const int*> messages(2);
  int buffers[2] = {0, 0};
  together(
      [&] {
        for (int i = 0; i < 2; ++i) {
          int& buffer = buffers[kFixed ? i : 0];
          buffer = i + 1;
          messages.send(&buffer);
        }
      },
      [&] {
        for (int i = 0; i < 2; ++i) {
          const int got = **messages.receive();
          BULKHEAD_CHECK(got == i + 1, "message {} says {}", i + 1, got);
        }
      });
}

// What is counted between the read and the reset is lost.
template <bool kFixed>
void reset_after_read() {
  Mutex mutex;
  int hits = 0, reported = 0;
  const auto report = [&] {
    const auto lock = lock_if_fixed<kFixed>(mutex);
    reported += hits;
    checkpoint();
    hits = 0;
  };
  together(
      [&] {
        for (int i = 0; i < 2; ++i) {
          const auto lock = lock_if_fixed<kFixed>(mutex);
          ++hits;
        }
      },
      report);
  report();
  BULKHEAD_CHECK(reported == 2, "{} of 2 hits are reported", reported);
}

// Two find the same slot free.
template <bool kFixed>
void same_slot_twice() {
  Mutex mutex;
  std::vector<int> slots(2, 0);
  std::size_t next = 0;
  const auto put = [&](int value) {
    const auto lock = lock_if_fixed<kFixed>(mutex);
    const std::size_t slot = next;
    checkpoint();
    slots[slot] = value;
    next = slot + 1;
  };
  together([&] { put(1); }, [&] { put(2); });
  BULKHEAD_CHECK(slots[0] + slots[1] == 3, "the slots hold {} and {}", slots[0], slots[1]);
}

// The loop ends at the word to stop, with work left in the queue.
template <bool kFixed>
void stopped_with_work_left() {
  Channel<int> work(2), stop;
  int handled = 0;
  together(
      [&] {
        work.send(1);
        work.send(2);
        stop.close();
      },
      [&] {
        bool stopped = false;
        while (!stopped)
          select(receive(work, [&](auto) { ++handled; }),
                 receive(stop, [&](auto) { stopped = true; }));
        if constexpr (kFixed)
          while (work.try_receive()) ++handled;
      });
  BULKHEAD_CHECK(handled == 2, "{} of 2 are handled", handled);
}

// Closed by its owner while another still uses it.
template <bool kFixed>
void closed_while_used() {
  struct File {
    bool open = true;
    void write() const { BULKHEAD_CHECK(open, "a closed file is written to"); }
  };
  const auto file = std::make_shared<File>();
  const auto written = std::make_shared<Channel<int>>(1);
  go([file, written] {
    file->write();
    written->send(1);
  });
  if constexpr (kFixed)
    written->receive();
  else
    yield();
  file->open = false;
}

}  // namespace

std::vector<Kernel> data_kernels() {
  return {
      BULKHEAD_KERNEL("data", lost_update, kAborted, "the balance is 1"),
      BULKHEAD_KERNEL("data", decided_on_old_news, kAborted, "a balance of -1"),
      BULKHEAD_KERNEL("data", made_twice, kAborted, "was made 2 times"),
      BULKHEAD_KERNEL("data", begun_is_not_done, kAborted, "used before it is loaded"),
      BULKHEAD_KERNEL("data", captured_loop_variable, kAborted, "have seen other numbers"),
      BULKHEAD_KERNEL("data", shared_error, kAborted, "the error is lost"),
      BULKHEAD_KERNEL("data", used_before_made, kAborted, "used before it is made"),
      BULKHEAD_KERNEL("data", told_before_written, kAborted, "before the result is written"),
      BULKHEAD_KERNEL("data", half_written_pair, kAborted, "7 and 0 are not 10"),
      BULKHEAD_KERNEL("data", changed_while_walked_over, kAborted, "out_of_range"),
      BULKHEAD_KERNEL("data", buffer_sent_and_reused, kAborted, "message 1 says 2"),
      BULKHEAD_KERNEL("data", reset_after_read, kAborted, "of 2 hits are reported"),
      BULKHEAD_KERNEL("data", same_slot_twice, kAborted, "the slots hold"),
      BULKHEAD_KERNEL("data", stopped_with_work_left, kAborted, "of 2 are handled"),
      BULKHEAD_KERNEL("data", closed_while_used, kAborted, "a closed file is written to"),
  };
}

}  // namespace bulkhead::sched::kernels
