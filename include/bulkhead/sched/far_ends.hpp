// The ends of a channel whose other end does not lie in this memory, or whose values go through
// somebody's hands on the way: what a Sender and a Receiver of ends.hpp view then. Their operations
// mean what a Channel's mean, with one outcome more: PeerLost.
#pragma once

#include <bulkhead/base/source_site.hpp>
#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>

namespace bulkhead::sched {

// The other end is gone without having closed its side: its process has died. Nothing is known of
// what it had taken last. A channel is never closed by a crash.
class PeerLost : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Thread-safe, as a Channel is. Must not be destroyed before whoever views it has ended.
template <class T>
class FarSender {
 public:
  virtual ~FarSender() = default;
  // Throws PeerLost.
  virtual void send(T&& value, base::SourceSite site) = 0;
  virtual void close() = 0;
  virtual std::size_t capacity() const = 0;
};

template <class T>
class FarReceiver {
 public:
  virtual ~FarReceiver() = default;
  // Empty when the channel is closed and drained. Throws PeerLost.
  virtual std::optional<T> receive(base::SourceSite site) = 0;
  virtual std::size_t capacity() const = 0;
};

}  // namespace bulkhead::sched
