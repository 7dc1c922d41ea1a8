#include <bit>
#include <bulkhead/wire/data_message.hpp>

#include "proto/wire/little_endian.hpp"

namespace bulkhead::wire {
namespace {

enum Kind : char { kJoin = 1, kJob = 2, kResult = 3, kProtobuf = 4 };

constexpr std::size_t kJobHeader = 1 + 8;
constexpr std::size_t kResultHeader = 1 + 1 + 4 + 8 + 8;
constexpr std::size_t kCreditAt = 2;

void begin(std::string& to, Kind kind) {
  to.clear();
  to.push_back(kind);
}

tl::unexpected<Error> too_short(const char* what, std::size_t size) {
  return fail(Code::kProtocolError, "a {} of {} bytes is too short", what, size);
}

}  // namespace

void encode(const JoinMessage& message, std::string& to) {
  begin(to, kJoin);
  to += encode_identity(message.identity);
  to += message.token;
}

void encode(const JobMessage& message, std::string& to) {
  begin(to, kJob);
  append_u64(to, message.index);
  to += message.input;
}

void encode(const ResultMessage& message, std::string& to) {
  begin(to, kResult);
  to.push_back(message.threw ? '\1' : '\0');
  append_u32(to, message.credit);  // at kCreditAt
  append_u64(to, message.index);
  append_u64(to, std::bit_cast<std::uint64_t>(message.service_seconds));
  to += message.bytes;
}

void set_credit(std::string& encoded, std::uint32_t credit) {
  std::string bytes;
  append_u32(bytes, credit);
  encoded.replace(kCreditAt, bytes.size(), bytes);
}

Result<void> encode(const google::protobuf::MessageLite& message, std::string& to,
                    std::size_t limit) {
  const auto bytes = encode(message, limit - 1);
  if (!bytes) return fail(bytes.error());
  begin(to, kProtobuf);
  to += *bytes;
  return {};
}

void fill(v1::JobResult& entry, const ResultMessage& result) {
  entry.set_index(result.index);
  entry.set_service_seconds(result.service_seconds);
  (result.threw ? *entry.mutable_error() : *entry.mutable_result()).assign(result.bytes);
}

Result<DataMessage> decode_data(std::string_view bytes) {
  if (bytes.empty()) return fail(Code::kProtocolError, "an empty message");
  switch (bytes[0]) {
    case kJoin: {
      const auto identity = decode_identity(bytes.substr(1, kIdentityBytes));
      if (!identity) return fail(Code::kProtocolError, "a join without an identity");
      return JoinMessage{*identity, bytes.substr(1 + kIdentityBytes)};
    }
    case kJob:
      if (bytes.size() < kJobHeader) return too_short("job", bytes.size());
      return JobMessage{read_u64(bytes.substr(1)), bytes.substr(kJobHeader)};
    case kResult:
      if (bytes.size() < kResultHeader) return too_short("result", bytes.size());
      return ResultMessage{.index = read_u64(bytes.substr(6)),
                           .service_seconds = std::bit_cast<double>(read_u64(bytes.substr(14))),
                           .credit = read_u32(bytes.substr(kCreditAt)),
                           .threw = bytes[1] != 0,
                           .bytes = bytes.substr(kResultHeader)};
    case kProtobuf:
      return ProtobufMessage{bytes.substr(1)};
    default:
      return fail(Code::kProtocolError, "a message of kind {}",
                  static_cast<unsigned>(static_cast<unsigned char>(bytes[0])));
  }
}

}  // namespace bulkhead::wire
