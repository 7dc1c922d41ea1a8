// Encoding and decoding of whole messages, and of routing identities. Everything decoded here comes
// from a process that may be broken: a bad message is an Error that names what was wrong, never an
// abort and never a line on stderr.
#include <google/protobuf/message_lite.h>
#include <google/protobuf/stubs/logging.h>

#include <bulkhead/base/check.hpp>
#include <bulkhead/wire/codec.hpp>

#include "proto/wire/little_endian.hpp"

namespace bulkhead::wire {
namespace {

static_assert(v1::Code_MAX == 14 && v1::Code_ARRAYSIZE == 15);
#define BULKHEAD_SAME_CODE(ours, wire) static_assert(static_cast<int>(Code::ours) == v1::wire)
BULKHEAD_SAME_CODE(kInvalidArgument, CODE_INVALID_ARGUMENT);
BULKHEAD_SAME_CODE(kNotFound, CODE_NOT_FOUND);
BULKHEAD_SAME_CODE(kPermissionDenied, CODE_PERMISSION_DENIED);
BULKHEAD_SAME_CODE(kResourceExhausted, CODE_RESOURCE_EXHAUSTED);
BULKHEAD_SAME_CODE(kUnavailable, CODE_UNAVAILABLE);
BULKHEAD_SAME_CODE(kTimedOut, CODE_TIMED_OUT);
BULKHEAD_SAME_CODE(kProtocolError, CODE_PROTOCOL_ERROR);
BULKHEAD_SAME_CODE(kVersionMismatch, CODE_VERSION_MISMATCH);
BULKHEAD_SAME_CODE(kUnauthenticated, CODE_UNAUTHENTICATED);
BULKHEAD_SAME_CODE(kTooLarge, CODE_TOO_LARGE);
BULKHEAD_SAME_CODE(kIoError, CODE_IO_ERROR);
BULKHEAD_SAME_CODE(kJobFailed, CODE_JOB_FAILED);
BULKHEAD_SAME_CODE(kInternal, CODE_INTERNAL);
BULKHEAD_SAME_CODE(kCancelled, CODE_CANCELLED);
#undef BULKHEAD_SAME_CODE

constexpr char kIdentityMark = 'B';
constexpr std::size_t kRunIdBytes = 8;
static_assert(kIdentityBytes == 1 + kRunIdBytes + 4 + 4);

// Protobuf writes a line to stderr for each `string` that is not UTF-8, so a peer could fill our
// terminal. The verdict that it logs also comes back as the result of the parse.
void silence_protobuf() {
  [[maybe_unused]] static const bool once = [] {
    google::protobuf::SetLogHandler(nullptr);
    return true;
  }();
}

template <class Message>
Result<Message> decode(std::string_view bytes, const char* name) {
  silence_protobuf();
  // The bound also keeps the size within the int that protobuf takes.
  if (bytes.size() > kMaxMessageBytes) {
    return fail(Code::kProtocolError, "{} of {} bytes is beyond the limit of {}", name,
                bytes.size(), kMaxMessageBytes);
  }
  Message message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return fail(Code::kProtocolError, "{} bytes are not one whole {} message", bytes.size(), name);
  }
  if (message.body_case() == Message::BODY_NOT_SET) {
    return fail(Code::kProtocolError, "a {} message of {} bytes has no body that is known here",
                name, bytes.size());
  }
  return message;
}

}  // namespace

Result<std::string> encode(const google::protobuf::MessageLite& message, std::size_t limit) {
  silence_protobuf();
  const std::size_t size = message.ByteSizeLong();
  if (size > limit) {
    return fail(Code::kTooLarge, "a {} of {} bytes is beyond the limit of {}",
                message.GetTypeName(), size, limit);
  }
  std::string bytes;
  if (!message.SerializeToString(&bytes)) {
    return fail(Code::kTooLarge, "a {} of {} bytes cannot be encoded", message.GetTypeName(), size);
  }
  return bytes;
}

Result<v1::ToCoordinator> decode_to_coordinator(std::string_view bytes) {
  return decode<v1::ToCoordinator>(bytes, "ToCoordinator");
}

Result<v1::ToWorker> decode_to_worker(std::string_view bytes) {
  return decode<v1::ToWorker>(bytes, "ToWorker");
}

std::string encode_identity(const Identity& identity) {
  BULKHEAD_CHECK(identity.run_id.size() == kRunIdBytes, "a run id has {} bytes, not {}",
                 kRunIdBytes, identity.run_id.size());
  std::string bytes(1, kIdentityMark);
  bytes += identity.run_id;
  append_u32(bytes, identity.worker);
  append_u32(bytes, identity.incarnation);
  return bytes;
}

std::optional<Identity> decode_identity(std::string_view bytes) {
  if (bytes.size() != kIdentityBytes || bytes.front() != kIdentityMark) return std::nullopt;
  return Identity{std::string(bytes.substr(1, kRunIdBytes)), read_u32(bytes.substr(9)),
                  read_u32(bytes.substr(13))};
}

}  // namespace bulkhead::wire
