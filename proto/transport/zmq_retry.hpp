// libzmq's calls end when a signal comes.
#pragma once

#include <cerrno>
#include <zmq.hpp>

namespace bulkhead::transport {

// Repeats what a signal interrupted. Throws what else zmq::error_t tells.
template <class Call>
auto retry(Call call) {
  for (;;) {
    try {
      return call();
    } catch (const zmq::error_t& error) {
      if (error.num() != EINTR) throw;
    }
  }
}

}  // namespace bulkhead::transport
