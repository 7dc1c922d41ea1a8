// Untrusted bytes on their way to a terminal or a report.
#pragma once

#include <string>
#include <string_view>

namespace bulkhead::wire {

// Valid UTF-8 without control characters: those, and bytes that are not UTF-8, become \xNN; newline
// and tab stay when `multiline`. Cut to `limit` bytes with "…" at the end.
std::string printable(std::string_view bytes, std::size_t limit = 4096, bool multiline = false);

}  // namespace bulkhead::wire
