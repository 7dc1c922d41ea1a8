// The two ends of a channel that lies between workers: values one way, credit the other way, over a
// connection of its own.
//
// The receiver's end holds the buffer: what has come and was not taken. A sender begins with as
// much credit as the channel has capacity, and each value costs one. What was taken is given back
// when it is half of the capacity, or when its receiver turns to something else: one that waits for
// the next value will take it, so whoever sends to it needs no credit for that. A channel without
// a buffer begins with none: a value leaves at once, and its credit says that it was taken.
//
// Values leave in batches of what has accumulated: the first asks for a flush, which comes when all
// that could run at that moment has had its turn. One that comes after a pause leaves at once.
//
// The connection holds so many bytes at most: values that are large against its window fill it
// before the capacity is used up, and their sender waits then.
#pragma once

#include <atomic>
#include <bulkhead/base/clock.hpp>
#include <bulkhead/program/pipe.hpp>
#include <bulkhead/wire/crossing_log.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "crossing/port.hpp"

namespace bulkhead::crossing {

class PipeSender final : public program::SendPipe, public std::enable_shared_from_this<PipeSender> {
 public:
  // `name` is the channel's, for PeerLost. The port has said which one it is.
  // `cost_stride`: as in Boot.
  PipeSender(Port port, std::string name, std::size_t capacity, std::size_t most_bytes,
             std::uint32_t cost_stride = 0);

  void begin_value() override;
  void send(std::string_view bytes, base::SourceSite site) override;
  void close() override;
  std::size_t most_bytes() const override { return most_bytes_; }

  // Sent so far, and the times of them. Under the mutex, as in the other one.
  std::uint64_t messages() const { return messages_; }
  std::uint64_t bytes() const { return bytes_; }
  v1::CrossingSamples take_samples() { return log_.take(); }

 private:
  void await_credit(base::SourceSite site);
  void note_copied(std::uint64_t encoded);
  void note_flush(std::uint64_t begin);
  void flush(base::SourceSite site);
  void flush_soon(base::SourceSite site);
  void need(Outcome outcome) const;

  Port port_;
  const std::string name_;
  const std::size_t capacity_;
  const std::size_t most_bytes_;
  const base::Duration pause_;
  // All under the mutex.
  std::size_t credit_;
  std::uint64_t messages_ = 0;
  std::uint64_t bytes_ = 0;
  base::TimePoint flushed_at_{};
  bool flush_asked_ = false;  // a goroutine will
  wire::CrossingLog log_;
  std::uint64_t begun_at_ = 0;  // the value that is being sent, if its times are noted
  std::uint32_t batch_ = 0;     // values since the last flush, and those among them that are noted
  std::vector<std::uint64_t> looked_at_;
};

class PipeReceiver final : public program::ReceivePipe,
                           public std::enable_shared_from_this<PipeReceiver> {
 public:
  // What joins it has been received.
  PipeReceiver(Port port, std::string name, std::size_t capacity, std::uint32_t cost_stride = 0);

  bool receive(std::string_view& bytes, base::SourceSite site) override;
  void value_decoded() override;
  void end() override;

  // Credits sent so far.
  std::uint64_t messages() const { return messages_; }
  std::uint64_t bytes() const { return bytes_; }
  v1::CrossingSamples take_samples() { return log_.take(); }

 private:
  Outcome next(std::string_view& bytes, base::SourceSite site);
  void give_back(base::SourceSite site);
  void give_back_soon();

  Port port_;
  const std::string name_;
  const std::size_t capacity_;
  const bool lends_;  // what was taken is not given back at once
  // All under the mutex.
  std::size_t taken_ = 0;  // and not given back yet
  std::uint64_t messages_ = 0;
  std::uint64_t bytes_ = 0;
  bool closed_ = false;
  bool ended_ = false;
  // Not under the mutex; seq_cst, see give_back_soon().
  std::atomic<bool> waiting_{false};     // for a value
  std::atomic<bool> give_asked_{false};  // a goroutine will
  wire::CrossingLog log_;
  wire::ReceiverTimes times_;
  std::uint64_t received_ = 0;
};

}  // namespace bulkhead::crossing
