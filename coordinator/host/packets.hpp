// One protobuf message and its descriptors as one packet of a SOCK_SEQPACKET socket.
#pragma once

#include <google/protobuf/message_lite.h>

#include <bulkhead/base/unique_fd.hpp>
#include <string>
#include <vector>

namespace bulkhead::coordinator {

inline constexpr std::size_t kMaxPacketBytes = 64u << 10;
inline constexpr std::size_t kMaxPacketFds = 4;

// 0 or an errno. Blocks or not as `flags` (MSG_DONTWAIT) and the socket say; never raises SIGPIPE.
int send_packet(int socket, const std::string& bytes, const std::vector<int>& fds, int flags);

enum class Received { kPacket, kNothing, kClosed };
// Does not block. What does not parse is dropped: both ends are one binary.
Received receive_packet(int socket, google::protobuf::MessageLite& message,
                        std::vector<base::UniqueFd>& fds);

}  // namespace bulkhead::coordinator
