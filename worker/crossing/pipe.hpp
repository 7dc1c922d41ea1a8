// The two ends of a channel that lies between workers: values one way, credit the other way, over a
// connection of its own.
//
// The receiver's end holds the buffer: what has come and was not taken. A sender begins with as
// much credit as the channel has capacity, and each value costs one; what was taken is given back
// when it is half of the capacity, so that a sender whose receiver keeps up never waits and a
// credit is rare. A channel without a buffer begins with none: a value leaves at once, and its
// credit says that it was taken.
//
// Values leave in batches of what has accumulated: the first asks for a flush, which comes when all
// that could run at that moment has had its turn. One that comes after a pause leaves at once.
//
// The connection holds so many bytes at most: values that are large against its window fill it
// before the capacity is used up, and their sender waits then.
#pragma once

#include <bulkhead/base/clock.hpp>
#include <bulkhead/program/pipe.hpp>
#include <cstdint>
#include <memory>
#include <string>

#include "crossing/port.hpp"

namespace bulkhead::crossing {

class PipeSender final : public program::SendPipe, public std::enable_shared_from_this<PipeSender> {
 public:
  // `name` is the channel's, for PeerLost. The port has said which one it is.
  PipeSender(Port port, std::string name, std::size_t capacity, std::size_t most_bytes);

  void send(std::string_view bytes, base::SourceSite site) override;
  void close() override;
  std::size_t most_bytes() const override { return most_bytes_; }

  // Sent so far, under the mutex.
  std::uint64_t messages() const { return messages_; }
  std::uint64_t bytes() const { return bytes_; }

 private:
  void await_credit(base::SourceSite site);
  void flush(base::SourceSite site);
  void flush_soon(base::SourceSite site);
  void need(Outcome outcome) const;

  Port port_;
  const std::string name_;
  const std::size_t capacity_;
  const std::size_t most_bytes_;
  // All under the mutex.
  std::size_t credit_;
  std::uint64_t messages_ = 0;
  std::uint64_t bytes_ = 0;
  base::TimePoint flushed_at_{};
  bool flush_asked_ = false;  // a goroutine will
};

class PipeReceiver final : public program::ReceivePipe {
 public:
  // What joins it has been received.
  PipeReceiver(Port port, std::string name, std::size_t capacity);

  bool receive(std::string_view& bytes, base::SourceSite site) override;
  void end() override;

  // Credits sent so far, under the mutex.
  std::uint64_t messages() const { return messages_; }
  std::uint64_t bytes() const { return bytes_; }

 private:
  void give_back(base::SourceSite site);

  Port port_;
  const std::string name_;
  const std::size_t capacity_;
  // All under the mutex.
  std::size_t taken_ = 0;  // and not given back yet
  std::uint64_t messages_ = 0;
  std::uint64_t bytes_ = 0;
  bool closed_ = false;
};

}  // namespace bulkhead::crossing
