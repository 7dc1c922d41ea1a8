// The one vocabulary of operating failures, on the wire and in the code. A worker's crash is not an
// Error: it is a WorkerExit, an expected outcome.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace bulkhead {

// Fixed numbers, mirrored by bulkhead.v1.Code (proto/wire pins them). `kUnavailable`, `kTimedOut`
// and `kIoError` mean that the effect may have happened; all others mean that it has not.
enum class Code : std::uint8_t {
  kInvalidArgument = 1,    // the caller's words are wrong
  kNotFound = 2,           // a named thing does not exist
  kPermissionDenied = 3,   // the system refused
  kResourceExhausted = 4,  // no descriptors, memory, disk space or room in a queue
  kUnavailable = 5,        // the other side is gone
  kTimedOut = 6,           // a deadline passed
  kProtocolError = 7,      // bytes that no correct peer sends
  kVersionMismatch = 8,    // a correct peer of another build
  kUnauthenticated = 9,    // wrong token or credentials
  kTooLarge = 10,          // a message or value beyond its limit
  kIoError = 11,           // a system call failed otherwise
  kJobFailed = 12,         // the user's code threw
  kInternal = 13,          // a fault of bulkhead itself
  kCancelled = 14,         // whoever asked for it asked to stop
};

struct Error {
  Code code = Code::kInternal;
  std::string
      text;  // names the thing, shows the value, suggests the next step; no trailing full stop
};

template <class T>
using Result = tl::expected<T, Error>;

// return fail(Code::kNotFound, "no file '{}'", path);
template <class... Args>
[[nodiscard]] tl::unexpected<Error> fail(Code code, fmt::format_string<Args...> format,
                                         Args&&... args) {
  return tl::unexpected<Error>(Error{code, fmt::format(format, std::forward<Args>(args)...)});
}

[[nodiscard]] inline tl::unexpected<Error> fail(Error error) {
  return tl::unexpected<Error>(std::move(error));
}

}  // namespace bulkhead
