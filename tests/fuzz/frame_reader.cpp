// A stream that any peer may have sent, cut into any pieces: what comes out is what a decoder finds
// that has it all at once.
#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <bulkhead/base/check.hpp>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "proto/transport/framing.hpp"

namespace bulkhead::transport {
namespace {

constexpr std::size_t kMostBytes = 3000;

struct Decoded {
  std::vector<std::string> messages;
  FrameReader::Next end = FrameReader::Next::kMore;
  bool operator==(const Decoded&) const = default;
};

Decoded at_once(std::string_view stream) {
  Decoded decoded;
  while (stream.size() >= kHeaderBytes) {
    std::uint64_t length = 0;
    for (std::size_t i = 0; i < kHeaderBytes; ++i)
      length += std::uint64_t{static_cast<unsigned char>(stream[i])} << (8 * i);
    if (length > kMostBytes) {
      decoded.end = length == 0xffffffff ? FrameReader::Next::kGoodbye : FrameReader::Next::kBroken;
      break;
    }
    if (stream.size() - kHeaderBytes < length) break;
    decoded.messages.emplace_back(stream.substr(kHeaderBytes, length));
    stream.remove_prefix(kHeaderBytes + length);
  }
  return decoded;
}

Decoded in_pieces(std::string_view stream, FuzzedDataProvider& input) {
  FrameReader reader(kMostBytes);
  Decoded decoded;
  for (;;) {
    std::string_view message;
    decoded.end = reader.next(message);
    if (decoded.end == FrameReader::Next::kMessage) {
      decoded.messages.emplace_back(message);
      continue;
    }
    if (decoded.end != FrameReader::Next::kMore || stream.empty()) break;
    std::size_t room = 0;
    char* const at = reader.room(room);
    BULKHEAD_CHECK(room > 0, "no room");
    const std::size_t wanted = input.remaining_bytes() == 0
                                   ? stream.size()
                                   : input.ConsumeIntegralInRange<std::size_t>(0, 5000);
    const std::size_t now = std::min({room, wanted, stream.size()});
    std::memcpy(at, stream.data(), now);
    stream.remove_prefix(now);
    reader.commit(now);
  }
  std::string_view message;
  BULKHEAD_CHECK(reader.next(message) == decoded.end, "it is not the same for ever");
  BULKHEAD_CHECK(reader.why_broken().empty() == (decoded.end != FrameReader::Next::kBroken),
                 "broken without a reason, or whole with one");
  return decoded;
}

}  // namespace
}  // namespace bulkhead::transport

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bulkhead::transport;
  FuzzedDataProvider input(data, size);
  const std::string stream = input.ConsumeRandomLengthString(100'000);
  BULKHEAD_CHECK(in_pieces(stream, input) == at_once(stream), "the cuts show");
  return 0;
}
