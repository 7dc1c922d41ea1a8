// Channel<T>: typed FIFO between goroutines and plain threads, with Go's semantics.
//
//   sched::Channel<int> numbers(16);            // 0, the default: a rendezvous
//   sched::go([&] { for (int i = 0; i < 9; ++i) numbers.send(i); numbers.close(); });
//   while (auto number = numbers.receive()) use(*number);
//
// Invariants, under lock_: senders wait only when the buffer is full and no receiver waits;
// receivers wait only when the buffer is empty and no sender waits; so never both. A value goes
// straight from sender to waiting receiver, without a trip through the buffer.
//
// Sending on a closed channel, also when it is closed while the sender waits, and closing twice are
// programmer's errors. The channel must outlive its users; it may be destroyed by whoever got the
// last value. T's move constructor runs under the lock: it must neither throw nor block.
#pragma once

#include <bulkhead/base/check.hpp>
#include <bulkhead/sched/biased_lock.hpp>
#include <bulkhead/sched/ring_buffer.hpp>
#include <bulkhead/sched/waiter.hpp>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>
#include <utility>

namespace bulkhead::sched {

template <class T, class Handler>
class ReceiveCase;
template <class T, class Handler>
class SendCase;

// One cache line holds all that an operation looks at, but for the value.
template <class T>
class alignas(64) Channel {
  static_assert(std::is_nothrow_move_constructible_v<T>);

 public:
  explicit Channel(std::size_t capacity = 0) : capacity_(static_cast<std::uint32_t>(capacity)) {
    BULKHEAD_CHECK(capacity <= kMostCapacity, "a channel of capacity {}; at most {}", capacity,
                   kMostCapacity);
  }
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;
  ~Channel() { BULKHEAD_CHECK(idle(), "a channel is destroyed while somebody waits on it"); }

  // Blocks until a receiver or the buffer has taken the value.
  [[gnu::always_inline]] void send(T value, base::SourceSite site = base::SourceSite::current())
      BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
    interleave();
    std::uint32_t outer = 0;
    ProcessorHead* const how = lock_.lock(outer);
    if (receivers_.empty() && !closed_ && buffer_.size() < capacity_) {
      buffer_.push_back(std::move(value));
      lock_.unlock(how, outer);
      return count_operation(how);
    }
    T moved(std::move(value));  // the address of `value` itself is known to nobody
    send_otherwise(moved, how, site);
  }

  // Blocks until there is a value; empty when the channel is closed and drained.
  [[gnu::always_inline]] std::optional<T> receive(
      base::SourceSite site = base::SourceSite::current()) BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
    interleave();
    std::uint32_t outer = 0;
    ProcessorHead* const how = lock_.lock(outer);
    if (senders_.empty() && !buffer_.empty()) {
      T value(std::move(buffer_.front()));
      buffer_.pop_front();
      lock_.unlock(how, outer);
      count_operation(how);
      return std::optional<T>(std::move(value));
    }
    std::optional<T> result;
    receive_otherwise(result, how, site);
    if (!result) return std::nullopt;
    return std::optional<T>(std::move(*result));
  }

  // Never blocks. `value` is moved from only when the answer is true.
  bool try_send(T&& value) BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
    interleave();
    ProcessorHead* const how = lock_.lock();
    const bool sent = offer(value, how);
    if (!sent) lock_.unlock(how);
    count_operation(how);
    return sent;
  }
  bool try_send(const T& value) requires std::copy_constructible<T> { return try_send(T(value)); }

  // Never blocks. Empty: nothing to take now; closed() and empty: nothing ever again.
  std::optional<T> try_receive() BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
    interleave();
    ProcessorHead* const how = lock_.lock();
    std::optional<T> result;
    if (!take(result, how)) lock_.unlock(how);
    count_operation(how);
    return result;
  }

  // No more sends. What is buffered can still be received; whoever waits is woken.
  void close() {
    interleave();
    lock_.lock();
    BULKHEAD_CHECK(!closed_, "a channel is closed twice");
    closed_ = true;
    WaiterList senders = senders_.take();
    WaiterList receivers = receivers_.take();
    lock_.unlock();
    senders.wake_all();
    receivers.wake_all();
  }

  bool closed() const {
    BiasedLockGuard guard(lock_);
    return closed_;
  }
  std::size_t capacity() const { return capacity_; }
  std::size_t size() const {  // values buffered
    BiasedLockGuard guard(lock_);
    return buffer_.size();
  }

 private:
  template <class U, class Handler>
  friend class ReceiveCase;  // select.hpp
  template <class U, class Handler>
  friend class SendCase;

  struct Sender : Waiter {
    explicit Sender(T& source) : value(source) {}
    Sender(Selection& selection, T& source) : Waiter(selection), value(source) {}
    T& value;
    bool taken = false;  // written before wake(), read after park()
  };
  struct Receiver : Waiter {
    explicit Receiver(std::optional<T>& target) : result(target) {}
    Receiver(Selection& selection, std::optional<T>& target) : Waiter(selection), result(target) {}
    std::optional<T>& result;
  };

  // What of send() and receive() is not short. The short part is in the caller: a small optional
  // that a function returns is put together in memory and read back as one word, for which the
  // processor has to wait until its parts have been written, some 4 ns.
  [[gnu::noinline]] void send_otherwise(T& value, ProcessorHead* how,
                                        base::SourceSite site) BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
    if (offer(value, how)) return count_operation(how);
    Sender sender(value);
    senders_.push_back(sender);
    sender.park(lock_, {ParkReason::kSend, this, site});
    BULKHEAD_CHECK(sender.taken, "the channel was closed while a sender waited");
  }
  [[gnu::noinline]] void receive_otherwise(std::optional<T>& result, ProcessorHead* how,
                                           base::SourceSite site)
      BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
    if (take(result, how)) return count_operation(how);
    if (closed_) return lock_.unlock(how);
    Receiver receiver(result);
    receivers_.push_back(receiver);
    receiver.park(lock_, {ParkReason::kReceive, this, site});
  }

  // Hands `value` over and releases the lock, held so, or answers false with the lock still held.
  bool offer(T& value, ProcessorHead* how) BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
    BULKHEAD_CHECK(!closed_, "a value is sent on a closed channel");
    if (!receivers_.empty() && hand_over(value, how)) return true;
    if (buffer_.size() >= capacity_) return false;
    buffer_.push_back(std::move(value));
    lock_.unlock(how);
    return true;
  }

  // Likewise, to a receiver that waits.
  bool hand_over(T& value, ProcessorHead* how) BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
    Waiter* const waiter = receivers_.pop_front();
    if (waiter == nullptr) return false;
    static_cast<Receiver*>(waiter)->result.emplace(std::move(value));
    lock_.unlock(how);
    waiter->wake();
    return true;
  }

  // Takes the oldest value and releases the lock, held so, or answers false with the lock still
  // held.
  bool take(std::optional<T>& result, ProcessorHead* how) BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
    if (!senders_.empty()) return take_from_sender(result, how);
    if (buffer_.empty()) return false;
    take_from_buffer(result);
    lock_.unlock(how);
    return true;
  }

  void take_from_buffer(std::optional<T>& result) {
    result.emplace(std::move(buffer_.front()));
    buffer_.pop_front();
  }

  // Likewise, as long as a sender waits. With a buffer its value is the youngest: it goes to the
  // back of the queue.
  bool take_from_sender(std::optional<T>& result,
                        ProcessorHead* how) BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
    if (!buffer_.empty()) take_from_buffer(result);
    Sender* const sender = static_cast<Sender*>(senders_.pop_front());
    if (sender != nullptr) {
      if (result.has_value())
        buffer_.push_back(std::move(sender->value));
      else
        result.emplace(std::move(sender->value));
      sender->taken = true;
    }
    if (!result.has_value()) return false;
    lock_.unlock(how);
    if (sender != nullptr) sender->wake();
    return true;
  }

  bool idle() const {
    BiasedLockGuard guard(lock_);
    return senders_.empty() && receivers_.empty();
  }

  static constexpr std::size_t kMostCapacity = std::size_t{1} << 31;

  mutable BiasedLock lock_;
  // Guarded by lock_. Not annotated: offer() and take() may release the lock, which clang's
  // analysis cannot follow; hence its suppression above.
  RingBuffer<T> buffer_;
  WaiterList senders_;
  WaiterList receivers_;
  const std::uint32_t capacity_;
  bool closed_ = false;
};

}  // namespace bulkhead::sched
