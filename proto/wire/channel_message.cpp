#include <fmt/format.h>

#include <bulkhead/wire/channel_message.hpp>

#include "proto/wire/little_endian.hpp"

namespace bulkhead::wire {
namespace {

constexpr char kChannelJoin = 5;  // beside the kinds of data_message.cpp
constexpr std::size_t kJoinBytes = 1 + 1 + 4 + 4;

}  // namespace

std::string encode(const ChannelJoin& join) {
  std::string bytes{kChannelJoin, join.sends ? '\1' : '\0'};
  append_u32(bytes, join.attempt);
  append_u32(bytes, join.channel);
  return bytes;
}

Result<ChannelJoin> decode_channel_join(std::string_view bytes) {
  if (bytes.size() != kJoinBytes || bytes[0] != kChannelJoin || bytes[1] < 0 || bytes[1] > 1)
    return fail(Code::kProtocolError, "{} bytes that join no channel", bytes.size());
  return ChannelJoin{.attempt = read_u32(bytes.substr(2)),
                     .channel = read_u32(bytes.substr(6)),
                     .sends = bytes[1] == 1};
}

std::string encode_credit(std::uint32_t values) {
  std::string bytes;
  append_u32(bytes, values);
  return bytes;
}

Result<std::uint32_t> decode_credit(std::string_view bytes) {
  if (bytes.size() != 4) return fail(Code::kProtocolError, "a credit of {} bytes", bytes.size());
  return read_u32(bytes);
}

std::string channel_listener_name(const Identity& identity) {
  std::string name = "channels-";
  for (const char byte : identity.run_id)
    name += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return name + fmt::format("-{}.{}", identity.worker, identity.incarnation);
}

}  // namespace bulkhead::wire
