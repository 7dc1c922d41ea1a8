// What carries the encoded values of one channel from process to process, seen from either end.
#pragma once

#include <bulkhead/base/source_site.hpp>
#include <bulkhead/sched/mutex.hpp>
#include <cstddef>
#include <string_view>

namespace bulkhead::program {

// Whoever calls holds the pipe's mutex. All but end() throw sched::PeerLost.
class SendPipe {
 public:
  virtual ~SendPipe() = default;
  // The next value is about to be encoded; for who notes the times.
  virtual void begin_value() = 0;
  // Returns when the channel has room for it, or, where the capacity is 0, when the other end has
  // taken it. `bytes` must not exceed most_bytes().
  virtual void send(std::string_view bytes, base::SourceSite site) = 0;
  virtual void close() = 0;  // once
  virtual std::size_t most_bytes() const = 0;
  sched::Mutex& mutex() { return mutex_; }

 private:
  sched::Mutex mutex_;
};

class ReceivePipe {
 public:
  virtual ~ReceivePipe() = default;
  // False: closed and drained, for good. `bytes` is valid until the next call.
  virtual bool receive(std::string_view& bytes, base::SourceSite site) = 0;
  virtual void value_decoded() = 0;  // the one received last; for who notes the times
  virtual void end() = 0;            // nobody receives here any more
  sched::Mutex& mutex() { return mutex_; }

 private:
  sched::Mutex mutex_;
};

}  // namespace bulkhead::program
