// A declared channel of a network, and what can lie between its two ends: an in-memory channel, one
// whose values are copied or encoded on the way (a control), a pipe to another process, or, where
// each task runs to its end before the next starts, room for all of them.
#pragma once

#include <bulkhead/base/check.hpp>
#include <bulkhead/program/codec.hpp>
#include <bulkhead/program/pipe.hpp>
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/ends.hpp>
#include <bulkhead/sched/far_ends.hpp>
#include <bulkhead/sched/mutex.hpp>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace bulkhead::program {

// How a value goes from hand to hand within one memory; the last two as controls.
enum class Transfer : std::uint8_t { kMove, kCopy, kEncode };

// What runs a network knows of a channel. Its two ends are given their meaning once, by one of the
// first three, before any task starts.
class ErasedChannel {
 public:
  ErasedChannel(std::string name, std::size_t capacity)
      : name_(std::move(name)), capacity_(capacity) {}
  virtual ~ErasedChannel() = default;

  const std::string& name() const { return name_; }
  std::size_t capacity() const { return capacity_; }
  // Places in Net::tasks(); below 0: no task has declared it.
  int sender() const { return sender_; }
  int receiver() const { return receiver_; }
  void set_sender(std::size_t task) { sender_ = static_cast<int>(task); }
  void set_receiver(std::size_t task) { receiver_ = static_cast<int>(task); }

  virtual void join_in_memory(Transfer transfer) = 0;
  virtual void join_by_store() = 0;  // holds whatever is sent; a receive never waits
  virtual void send_into(std::shared_ptr<SendPipe> pipe) = 0;
  virtual void receive_from(std::shared_ptr<ReceivePipe> pipe) = 0;
  // Afterwards; called before each operation of that end, by whoever begins it. It may throw.
  virtual void before_each_send(std::function<void()> hook) = 0;
  virtual void before_each_receive(std::function<void()> hook) = 0;
  // The task of that end has returned.
  virtual void sender_ended() = 0;
  virtual void receiver_ended() = 0;

 private:
  const std::string name_;
  const std::size_t capacity_;
  int sender_ = -1;
  int receiver_ = -1;
};

namespace detail {

// A value as another would get it: copied, or encoded and decoded.
template <class T>
T transferred(T&& value, Transfer transfer) {
  if constexpr (std::copy_constructible<T>) {
    if (transfer == Transfer::kCopy) return T(std::as_const(value));
  }
  auto decoded = decode_value<T>(encode_value(value));
  if (!decoded) throw std::runtime_error("a value that was sent: " + decoded.error().text);
  return std::move(*decoded);
}

// Into a channel of this memory, by way of a copy or of bytes.
template <class T>
class TransferringSender : public sched::FarSender<T> {
 public:
  TransferringSender(sched::Channel<T>& channel, Transfer transfer)
      : channel_(channel), transfer_(transfer) {}
  void send(T&& value, base::SourceSite site) override {
    channel_.send(transferred(std::move(value), transfer_), site);
  }
  void close() override { channel_.close(); }
  std::size_t capacity() const override { return channel_.capacity(); }

 private:
  sched::Channel<T>& channel_;
  const Transfer transfer_;
};

template <class T>
class Store final : public sched::FarSender<T>, public sched::FarReceiver<T> {
 public:
  explicit Store(std::size_t capacity) : capacity_(capacity) {}
  void send(T&& value, base::SourceSite) override {
    const std::lock_guard lock(mutex_);
    BULKHEAD_CHECK(!closed_, "send on a closed channel");
    values_.push_back(std::move(value));
  }
  void close() override {
    const std::lock_guard lock(mutex_);
    BULKHEAD_CHECK(!std::exchange(closed_, true), "close of a closed channel");
  }
  std::optional<T> receive(base::SourceSite) override {
    const std::lock_guard lock(mutex_);
    if (values_.empty()) return std::nullopt;  // whoever sends has ended
    std::optional<T> value(std::move(values_.front()));
    values_.pop_front();
    return value;
  }
  std::size_t capacity() const override { return capacity_; }
  bool closed() {
    const std::lock_guard lock(mutex_);
    return closed_;
  }

 private:
  const std::size_t capacity_;
  sched::Mutex mutex_;
  std::deque<T> values_;
  bool closed_ = false;
};

template <class T>
class PipedSender final : public sched::FarSender<T> {
 public:
  PipedSender(std::shared_ptr<SendPipe> pipe, const ErasedChannel& channel)
      : pipe_(std::move(pipe)), channel_(channel) {}
  void send(T&& value, base::SourceSite site) override {
    const std::lock_guard lock(pipe_->mutex());
    BULKHEAD_CHECK(!closed_, "send on a closed channel");
    pipe_->begin_value();
    Writer writer(std::move(room_));
    write(writer, value);
    room_ = writer.take();
    if (room_.size() > pipe_->most_bytes()) {
      throw std::length_error("a value of " + std::to_string(room_.size()) + " bytes on channel '" +
                              channel_.name() + "'; at most " +
                              std::to_string(pipe_->most_bytes()) + " can cross");
    }
    pipe_->send(room_, site);
  }
  void close() override {
    const std::lock_guard lock(pipe_->mutex());
    BULKHEAD_CHECK(!std::exchange(closed_, true), "close of a closed channel");
    pipe_->close();
  }
  std::size_t capacity() const override { return channel_.capacity(); }
  bool closed() {
    const std::lock_guard lock(pipe_->mutex());
    return closed_;
  }

 private:
  const std::shared_ptr<SendPipe> pipe_;
  const ErasedChannel& channel_;
  std::string room_;  // under the pipe's mutex, as closed_
  bool closed_ = false;
};

template <class T>
class PipedReceiver final : public sched::FarReceiver<T> {
 public:
  PipedReceiver(std::shared_ptr<ReceivePipe> pipe, const ErasedChannel& channel)
      : pipe_(std::move(pipe)), channel_(channel) {}
  std::optional<T> receive(base::SourceSite site) override {
    const std::lock_guard lock(pipe_->mutex());
    std::string_view bytes;
    if (!pipe_->receive(bytes, site)) return std::nullopt;
    auto value = decode_value<T>(bytes);
    pipe_->value_decoded();
    if (!value) {
      throw sched::PeerLost("peer lost: on channel '" + channel_.name() +
                            "' came what is no value of it: " + value.error().text);
    }
    return std::move(*value);
  }
  std::size_t capacity() const override { return channel_.capacity(); }
  void end() {
    const std::lock_guard lock(pipe_->mutex());
    pipe_->end();
  }

 private:
  const std::shared_ptr<ReceivePipe> pipe_;
  const ErasedChannel& channel_;
};

template <class T>
class HookedSender final : public sched::FarSender<T> {
 public:
  HookedSender(sched::Sender<T> to, std::function<void()> hook) : to_(to), hook_(std::move(hook)) {}
  void send(T&& value, base::SourceSite site) override {
    hook_();
    to_.send(std::move(value), site);
  }
  void close() override { to_.close(); }
  std::size_t capacity() const override { return to_.capacity(); }

 private:
  const sched::Sender<T> to_;
  const std::function<void()> hook_;
};

template <class T>
class HookedReceiver final : public sched::FarReceiver<T> {
 public:
  HookedReceiver(sched::Receiver<T> from, std::function<void()> hook)
      : from_(from), hook_(std::move(hook)) {}
  std::optional<T> receive(base::SourceSite site) override {
    hook_();
    return from_.receive(site);
  }
  std::size_t capacity() const override { return from_.capacity(); }

 private:
  const sched::Receiver<T> from_;
  const std::function<void()> hook_;
};

}  // namespace detail

template <class T>
class NetChannel final : public ErasedChannel {
 public:
  using ErasedChannel::ErasedChannel;

  const sched::Sender<T>& out() const { return out_; }
  const sched::Receiver<T>& in() const { return in_; }

  void join_in_memory(Transfer transfer) override {
    memory_.emplace(capacity());
    in_ = *memory_;
    if (transfer == Transfer::kMove) {
      out_ = *memory_;
    } else {
      transferring_ = std::make_unique<detail::TransferringSender<T>>(*memory_, transfer);
      out_ = *transferring_;
    }
  }
  void join_by_store() override {
    store_ = std::make_unique<detail::Store<T>>(capacity());
    out_ = sched::Sender<T>(*store_);
    in_ = sched::Receiver<T>(*store_);
  }
  void send_into(std::shared_ptr<SendPipe> pipe) override {
    piped_out_ = std::make_unique<detail::PipedSender<T>>(std::move(pipe), *this);
    out_ = *piped_out_;
  }
  void receive_from(std::shared_ptr<ReceivePipe> pipe) override {
    piped_in_ = std::make_unique<detail::PipedReceiver<T>>(std::move(pipe), *this);
    in_ = *piped_in_;
  }
  void before_each_send(std::function<void()> hook) override {
    hooked_out_ = std::make_unique<detail::HookedSender<T>>(out_, std::move(hook));
    out_ = *hooked_out_;
  }
  void before_each_receive(std::function<void()> hook) override {
    hooked_in_ = std::make_unique<detail::HookedReceiver<T>>(in_, std::move(hook));
    in_ = *hooked_in_;
  }
  void sender_ended() override {
    if (memory_ && !memory_->closed()) memory_->close();
    if (store_ && !store_->closed()) store_->close();
    if (piped_out_ && !piped_out_->closed()) piped_out_->close();
  }
  void receiver_ended() override {
    if (piped_in_) piped_in_->end();
  }

 private:
  sched::Sender<T> out_;
  sched::Receiver<T> in_;
  std::optional<sched::Channel<T>> memory_;
  std::unique_ptr<detail::TransferringSender<T>> transferring_;
  std::unique_ptr<detail::Store<T>> store_;
  std::unique_ptr<detail::PipedSender<T>> piped_out_;
  std::unique_ptr<detail::PipedReceiver<T>> piped_in_;
  std::unique_ptr<detail::HookedSender<T>> hooked_out_;
  std::unique_ptr<detail::HookedReceiver<T>> hooked_in_;
};

}  // namespace bulkhead::program
