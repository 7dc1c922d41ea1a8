// A frame that takes over a string's bytes instead of copying them.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <zmq.hpp>

namespace bulkhead::transport {

// libzmq frees the string, perhaps on its I/O thread.
inline zmq::message_t owned_message(std::string bytes) {
  // Below this, libzmq's own copy is cheaper than a second allocation.
  constexpr std::size_t kCopied = 256;
  if (bytes.size() <= kCopied) return zmq::message_t(bytes.data(), bytes.size());

  struct Owner {
    std::string bytes;
    std::atomic<bool> handed_over{false};
  };
  auto owner = std::make_unique<Owner>();
  owner->bytes = std::move(bytes);
  // Release: pairs with the acquire below. libzmq's queue orders the two already, but it is built
  // without the thread sanitizer, which has to see an order.
  owner->handed_over.store(true, std::memory_order_release);
  zmq::message_t message(
      owner->bytes.data(), owner->bytes.size(),
      [](void*, void* hint) {
        auto* spent = static_cast<Owner*>(hint);
        static_cast<void>(spent->handed_over.load(std::memory_order_acquire));
        delete spent;
      },
      owner.get());
  static_cast<void>(owner.release());  // the message frees it
  return message;
}

}  // namespace bulkhead::transport
