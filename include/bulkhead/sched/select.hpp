// select: waits for the first of several channel operations, with Go's semantics.
//
//   sched::select(sched::receive(requests, [&](std::optional<Request> request) { … }),  // empty:
//   closed
//                 sched::send(replies, reply, [&] { … }),
//                 sched::timeout(5ms, [&] { … }));       // or otherwise([&] { … }): if none is
//                 ready
//
// Exactly one case happens, and its handler is called, with no lock held, before select() returns.
// Of several that are ready each is as likely as the others. A channel given as a null pointer is
// never ready. With no case at all it blocks for ever. From goroutines and plain threads alike.
#pragma once

#include <array>
#include <bulkhead/base/clock.hpp>
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/timer_node.hpp>
#include <optional>
#include <type_traits>
#include <utility>

namespace bulkhead::sched {

// A case, as select() sees it. The functions that name the lock are called with it held.
class SelectCase {
 public:
  SelectCase(BiasedLock* lock, base::SourceSite site) : lock_(lock), site_(site) {}
  virtual ~SelectCase() = default;
  SelectCase(const SelectCase&) = delete;
  SelectCase& operator=(const SelectCase&) = delete;

  BiasedLock* lock() const { return lock_; }  // its channel's; nullptr: none
  base::SourceSite site() const { return site_; }
  // Happens now, and releases the lock; or answers false with the lock still held.
  virtual bool attempt() { return false; }
  virtual void enqueue(Selection&) {}  // into the channel's list, under the lock
  virtual void dequeue() {}            // likewise; nothing when a waker has taken it off
  virtual bool owns(const Waiter*) const { return false; }
  // Tells the handler what has happened.
  virtual void finish() = 0;

 private:
  BiasedLock* const lock_;
  const base::SourceSite site_;
};

template <class T, class Handler>
class ReceiveCase final : public SelectCase {
 public:
  ReceiveCase(Channel<T>* channel, Handler handler, base::SourceSite site)
      : SelectCase(channel == nullptr ? nullptr : &channel->lock_, site),
        channel_(channel),
        handler_(std::move(handler)) {}

  bool attempt() override BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
    if (channel_->take(result_, lock()->held_how())) return true;
    if (!channel_->closed_) return false;
    channel_->lock_.unlock();
    return true;
  }
  void enqueue(Selection& selection) override {
    channel_->receivers_.push_back(receiver_.emplace(selection, result_));
  }
  void dequeue() override { channel_->receivers_.remove(*receiver_); }
  bool owns(const Waiter* waiter) const override {
    return receiver_.has_value() && waiter == &*receiver_;
  }
  void finish() override { handler_(std::move(result_)); }

 private:
  Channel<T>* const channel_;
  Handler handler_;
  std::optional<T> result_;
  std::optional<typename Channel<T>::Receiver> receiver_;
};

template <class T, class Handler>
class SendCase final : public SelectCase {
 public:
  SendCase(Channel<T>* channel, T value, Handler handler, base::SourceSite site)
      : SelectCase(channel == nullptr ? nullptr : &channel->lock_, site),
        channel_(channel),
        value_(std::move(value)),
        handler_(std::move(handler)) {}

  bool attempt() override { return channel_->offer(value_, lock()->held_how()); }
  void enqueue(Selection& selection) override {
    channel_->senders_.push_back(sender_.emplace(selection, value_));
  }
  void dequeue() override { channel_->senders_.remove(*sender_); }
  bool owns(const Waiter* waiter) const override {
    return sender_.has_value() && waiter == &*sender_;
  }
  void finish() override {
    BULKHEAD_CHECK(!sender_.has_value() || sender_->taken,
                   "the channel was closed while a sender waited");
    handler_();
  }

 private:
  Channel<T>* const channel_;
  T value_;
  Handler handler_;
  std::optional<typename Channel<T>::Sender> sender_;
};

// When none of the others is ready.
template <class Handler>
class OtherwiseCase final : public SelectCase {
 public:
  static constexpr bool kOtherwise = true;
  explicit OtherwiseCase(Handler handler) : SelectCase(nullptr, {}), handler_(std::move(handler)) {}
  void finish() override { handler_(); }

 private:
  Handler handler_;
};

// When none of the others has become ready in time.
class Deadline : public SelectCase, public TimerNode {
 public:
  Deadline(base::Duration duration, base::SourceSite site);
  void enqueue(Selection& selection) override;
  bool owns(const Waiter* waiter) const override {
    return waiter_.has_value() && waiter == &*waiter_;
  }
  base::TimePoint at() const { return at_; }
  Waiter& waiter() { return *waiter_; }
  Selection& selection() { return *selection_; }

 private:
  const base::TimePoint at_;
  Selection* selection_ = nullptr;
  std::optional<Waiter> waiter_;
};

template <class Handler>
class TimeoutCase final : public Deadline {
 public:
  TimeoutCase(base::Duration duration, Handler handler, base::SourceSite site)
      : Deadline(duration, site), handler_(std::move(handler)) {}
  void finish() override { handler_(); }

 private:
  Handler handler_;
};

template <class T, std::invocable<std::optional<T>> Handler>
auto receive(Channel<T>* channel, Handler handler,
             base::SourceSite site = base::SourceSite::current()) {
  return ReceiveCase<T, Handler>(channel, std::move(handler), site);
}
template <class T, std::invocable<std::optional<T>> Handler>
auto receive(Channel<T>& channel, Handler handler,
             base::SourceSite site = base::SourceSite::current()) {
  return ReceiveCase<T, Handler>(&channel, std::move(handler), site);
}
template <class T, std::invocable Handler>
auto send(Channel<T>* channel, std::type_identity_t<T> value, Handler handler,
          base::SourceSite site = base::SourceSite::current()) {
  return SendCase<T, Handler>(channel, std::move(value), std::move(handler), site);
}
template <class T, std::invocable Handler>
auto send(Channel<T>& channel, std::type_identity_t<T> value, Handler handler,
          base::SourceSite site = base::SourceSite::current()) {
  return SendCase<T, Handler>(&channel, std::move(value), std::move(handler), site);
}
template <std::invocable Handler>
auto otherwise(Handler handler) {
  return OtherwiseCase<Handler>(std::move(handler));
}
template <std::invocable Handler>
auto timeout(base::Duration duration, Handler handler,
             base::SourceSite site = base::SourceSite::current()) {
  return TimeoutCase<Handler>(duration, std::move(handler), site);
}

// `cases` has room for `count`. Answers the one that happened; `otherwise` and `deadline` may be
// null.
SelectCase& select_one(SelectCase** cases, std::size_t count, SelectCase* otherwise,
                       Deadline* deadline);

template <class... Cases>
void select(Cases&&... cases) {
  static_assert((!std::is_lvalue_reference_v<Cases> && ...), "a case serves one select");
  std::array<SelectCase*, sizeof...(Cases) + 1> list;
  std::size_t count = 0;
  SelectCase* otherwise = nullptr;
  Deadline* deadline = nullptr;
  [[maybe_unused]] const auto sort_in = [&]<class Case>(Case& one) {
    if constexpr (std::is_base_of_v<Deadline, Case>) {
      BULKHEAD_CHECK(deadline == nullptr, "a select has two timeouts");
      deadline = &one;
    } else if constexpr (requires { Case::kOtherwise; }) {
      BULKHEAD_CHECK(otherwise == nullptr, "a select has two cases for otherwise");
      otherwise = &one;
    } else if (one.lock() != nullptr) {
      list[count++] = &one;
    }
  };
  (sort_in(cases), ...);
  select_one(list.data(), count, otherwise, deadline).finish();
}

}  // namespace bulkhead::sched
