#include <bulkhead/wire/text.hpp>
#include <cstdint>

namespace bulkhead::wire {
namespace {

constexpr std::string_view kEllipsis = "\u2026";

struct Character {
  std::size_t bytes = 0;  // 0: no valid UTF-8 starts here
  std::uint32_t code = 0;
};

// The character at the start of `text`, which is not empty. Refuses what UTF-8 forbids: overlong
// forms, surrogates, and anything beyond U+10FFFF.
Character decode_first(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const std::uint32_t lead = byte(0);
  if (lead < 0x80) return {1, lead};
  const std::size_t bytes = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < bytes) return {};
  std::uint32_t code = lead & (0x7Fu >> bytes);
  for (std::size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {};
    code = (code << 6) | (byte(i) & 0x3Fu);
  }
  constexpr std::uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  if (code < kSmallest[bytes] || surrogate || code > 0x10FFFF) return {};
  return {bytes, code};
}

// Also the characters that break lines or turn the direction of the text around them: a report
// could be made to read as something else.
bool is_control(std::uint32_t code) {
  return code < 0x20 || (code >= 0x7F && code <= 0x9F) || code == 0x061C || code == 0x200E ||
         code == 0x200F || (code >= 0x2028 && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
}

void append_escaped(std::string& to, std::string_view bytes) {
  constexpr char kHex[] = "0123456789abcdef";
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    to += "\\x";
    to += kHex[byte >> 4];
    to += kHex[byte & 15];
  }
}

}  // namespace

std::string printable(std::string_view bytes, std::size_t limit, bool multiline) {
  std::string out;
  std::size_t cut = 0;  // where the ellipsis still fits, between characters
  while (!bytes.empty()) {
    const Character character = decode_first(bytes);
    const std::size_t taken = character.bytes == 0 ? 1 : character.bytes;
    const bool kept_as_layout =
        multiline && (character.code == '\n' || character.code == '\t') && character.bytes == 1;
    if (character.bytes == 0 || (is_control(character.code) && !kept_as_layout)) {
      append_escaped(out, bytes.substr(0, taken));
    } else {
      out += bytes.substr(0, taken);
    }
    bytes.remove_prefix(taken);
    if (out.size() > limit) {
      out.resize(cut);
      if (cut + kEllipsis.size() <= limit) out += kEllipsis;
      return out;
    }
    if (out.size() + kEllipsis.size() <= limit) cut = out.size();
  }
  return out;
}

}  // namespace bulkhead::wire
