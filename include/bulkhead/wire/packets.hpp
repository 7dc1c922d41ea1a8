// One protobuf message and its descriptors as one packet of a SOCK_SEQPACKET socket: what the
// coordinator, its launcher and a fork server say to each other on one machine.
#pragma once

#include <google/protobuf/message_lite.h>

#include <bulkhead/base/unique_fd.hpp>
#include <string>
#include <vector>

namespace bulkhead::wire {

inline constexpr std::size_t kMaxPacketBytes = 64u << 10;
inline constexpr std::size_t kMaxPacketFds = 4;

// The argument that makes a worker's executable a fork server: descriptor 3 is then the socket on
// which it says ForkAnswer{} once, and answers each ForkRequest.
inline constexpr const char* kForkServerArgument = "__fork-server";

// 0 or an errno. Blocks or not as `flags` (MSG_DONTWAIT) and the socket say; never raises SIGPIPE.
int send_packet(int socket, const std::string& bytes, const std::vector<int>& fds, int flags);

enum class Received { kPacket, kNothing, kClosed };
// Does not block. What does not parse is dropped: both ends are one binary.
Received receive_packet(int socket, google::protobuf::MessageLite& message,
                        std::vector<base::UniqueFd>& fds);

}  // namespace bulkhead::wire
