// What the two ends of a channel between workers say besides its values, byte by byte as in
// proto/README.md. The first message of a connection says which channel it is; after that each
// message to the receiver is one value, as the program encoded it, and each to the sender a credit.
#pragma once

#include <bulkhead/base/error.hpp>
#include <bulkhead/wire/codec.hpp>
#include <cstdint>
#include <string>
#include <string_view>

namespace bulkhead::wire {

struct ChannelJoin {
  std::uint32_t attempt = 0;  // of the network, as in BeginNetwork
  std::uint32_t channel = 0;  // its place in the network
  bool sends = false;         // the end that connects
  bool operator==(const ChannelJoin&) const = default;
};

std::string encode(const ChannelJoin& join);
// kProtocolError.
Result<ChannelJoin> decode_channel_join(std::string_view bytes);

// So many values more have been taken.
std::string encode_credit(std::uint32_t values);
Result<std::uint32_t> decode_credit(std::string_view bytes);  // kProtocolError

// The name in the run directory under which a worker's channels are found.
std::string channel_listener_name(const Identity& identity);

}  // namespace bulkhead::wire
