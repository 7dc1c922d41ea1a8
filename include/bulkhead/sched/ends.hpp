// The two ends of a Channel, as Go's chan<- T and <-chan T: a Sender cannot receive, a Receiver can
// neither send nor close, which the compiler sees to.
//
//   void count(sched::Sender<int> out) { for (int i = 0; i < 9; ++i) out.send(i); out.close(); }
//   void print(sched::Receiver<int> in) { for (int i : in) fmt::print("{}\n", i); }
//
// Both are views, copied at will; the channel must outlive them. One that views no channel is Go's
// nil: sends and receives wait for ever, tries fail, length and capacity are 0, and close() is a
// programmer's error; in select() it is never ready. Two ends are equal when they view the same
// channel.
//
// The other end may lie in another process (far_ends.hpp): send and receive then throw PeerLost if
// that dies. Such an end takes no part in tries and select(), a programmer's error.
#pragma once

#include <bulkhead/base/check.hpp>
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/far_ends.hpp>
#include <bulkhead/sched/select.hpp>
#include <bulkhead/sched/waiter.hpp>
#include <concepts>
#include <cstddef>
#include <iterator>
#include <optional>
#include <utility>

namespace bulkhead::sched {
namespace internal {

// What nobody ever ends.
[[noreturn]] inline void wait_for_ever(const Wait& wait) BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
  for (;;) {
    Lock lock;
    Waiter waiter;
    lock.lock();
    waiter.park(lock, wait);
  }
}

inline void check_near(const void* far) {
  BULKHEAD_CHECK(far == nullptr, "a try or a select() on a channel whose other end lies elsewhere");
}

}  // namespace internal

template <class T>
class Sender {
 public:
  Sender() = default;
  Sender(Channel<T>& channel) : channel_(&channel) {}  // NOLINT(google-explicit-constructor)
  Sender(FarSender<T>& far) : far_(&far) {}            // NOLINT(google-explicit-constructor)

  void send(T value, base::SourceSite site = base::SourceSite::current()) const {
    if (channel_ == nullptr) return send_far(std::move(value), site);
    channel_->send(std::move(value), site);
  }
  // `value` is moved from only when the answer is true.
  bool try_send(T&& value) const {
    internal::check_near(far_);
    return channel_ != nullptr && channel_->try_send(std::move(value));
  }
  bool try_send(const T& value) const requires std::copy_constructible<T> {
    internal::check_near(far_);
    return channel_ != nullptr && channel_->try_send(value);
  }
  void close() const {
    if (far_ != nullptr) return far_->close();
    BULKHEAD_CHECK(channel_ != nullptr, "a sender of no channel is closed");
    channel_->close();
  }

  std::size_t size() const { return channel_ != nullptr ? channel_->size() : 0; }
  std::size_t capacity() const {
    if (far_ != nullptr) return far_->capacity();
    return channel_ != nullptr ? channel_->capacity() : 0;
  }
  bool operator==(const Sender&) const = default;

  // A case of select().
  template <std::invocable Handler>
  friend auto send(Sender to, T value, Handler handler,
                   base::SourceSite site = base::SourceSite::current()) {
    internal::check_near(to.far_);
    return sched::send(to.channel_, std::move(value), std::move(handler), site);
  }

 private:
  void send_far(T&& value, base::SourceSite site) const {
    if (far_ == nullptr) internal::wait_for_ever({ParkReason::kNilSend, nullptr, site});
    far_->send(std::move(value), site);
  }

  Channel<T>* channel_ = nullptr;
  FarSender<T>* far_ = nullptr;
};

template <class T>
class Receiver {
 public:
  // An input iterator: one pass, which takes the values.
  class Iterator {
   public:
    using value_type = T;
    using difference_type = std::ptrdiff_t;

    Iterator(Receiver from, base::SourceSite site)
        : from_(from), site_(site), value_(from.receive(site)) {}

    T& operator*() { return *value_; }
    Iterator& operator++() {
      value_ = from_.receive(site_);
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return !value_.has_value(); }

   private:
    Receiver from_;
    base::SourceSite site_;
    std::optional<T> value_;
  };

  Receiver() = default;
  Receiver(Channel<T>& channel) : channel_(&channel) {}  // NOLINT(google-explicit-constructor)
  Receiver(FarReceiver<T>& far) : far_(&far) {}          // NOLINT(google-explicit-constructor)

  // Empty when the channel is closed and drained.
  std::optional<T> receive(base::SourceSite site = base::SourceSite::current()) const {
    if (channel_ == nullptr) return receive_far(site);
    return channel_->receive(site);
  }
  std::optional<T> try_receive() const {
    internal::check_near(far_);
    return channel_ != nullptr ? channel_->try_receive() : std::nullopt;
  }

  // for (T& value : receiver): until the channel is closed and drained.
  Iterator begin(base::SourceSite site = base::SourceSite::current()) const {
    return Iterator(*this, site);
  }
  std::default_sentinel_t end() const { return {}; }

  bool closed() const { return channel_ != nullptr && channel_->closed(); }
  std::size_t size() const { return channel_ != nullptr ? channel_->size() : 0; }
  std::size_t capacity() const {
    if (far_ != nullptr) return far_->capacity();
    return channel_ != nullptr ? channel_->capacity() : 0;
  }
  bool operator==(const Receiver&) const = default;

  // A case of select().
  template <std::invocable<std::optional<T>> Handler>
  friend auto receive(Receiver from, Handler handler,
                      base::SourceSite site = base::SourceSite::current()) {
    internal::check_near(from.far_);
    return sched::receive(from.channel_, std::move(handler), site);
  }

 private:
  std::optional<T> receive_far(base::SourceSite site) const {
    if (far_ == nullptr) internal::wait_for_ever({ParkReason::kNilReceive, nullptr, site});
    return far_->receive(site);
  }

  Channel<T>* channel_ = nullptr;
  FarReceiver<T>* far_ = nullptr;
};

}  // namespace bulkhead::sched
