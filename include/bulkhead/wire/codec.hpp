// Messages to bytes and back, boot over the lifeline, routing identities.
#pragma once

#include <bulkhead/v1/control.pb.h>

#include <bulkhead/base/error.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace bulkhead::wire {

inline constexpr std::uint32_t kProtocol = 1;
inline constexpr std::size_t kMaxMessageBytes = 64u << 20;
// Descriptors that a worker inherits.
inline constexpr int kLifelineFd = 3;
inline constexpr int kCrashPageFd = 4;

// kTooLarge when the message would not fit `limit`.
Result<std::string> encode(const google::protobuf::MessageLite& message,
                           std::size_t limit = kMaxMessageBytes);
// kProtocolError for anything but one whole message with a known body.
Result<v1::ToCoordinator> decode_to_coordinator(std::string_view bytes);
Result<v1::ToWorker> decode_to_worker(std::string_view bytes);

// Who a worker is on the control socket: 'B', run id (8 bytes), worker, incarnation. Never reused.
struct Identity {
  std::string run_id;
  std::uint32_t worker = 0;
  std::uint32_t incarnation = 0;
  friend bool operator==(const Identity&, const Identity&) = default;
};
inline constexpr std::size_t kIdentityBytes = 17;
std::string encode_identity(const Identity& identity);
std::optional<Identity> decode_identity(std::string_view bytes);

// Boot: 4 bytes little-endian length, then the message. write_boot is for the coordinator, before
// the worker exists (the socket buffer holds it); read_boot for the worker, with a deadline.
Result<void> write_boot(int lifeline, const v1::Boot& boot);
Result<v1::Boot> read_boot(int lifeline, double timeout_seconds);

// Identifies the library's sources, compiler and build type; both sides must have the same.
std::string_view build_id();

}  // namespace bulkhead::wire
