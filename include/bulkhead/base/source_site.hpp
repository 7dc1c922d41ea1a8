// A place in the source: std::source_location, which clang 14 has not.
#pragma once

#include <cstdint>

namespace bulkhead::base {

struct SourceSite {
  const char* file = nullptr;  // of static storage
  std::uint16_t line = 0;      // 0: unknown

  // As a default argument: the place of the call.
  static constexpr SourceSite current(const char* file = __builtin_FILE(),
                                      unsigned line = __builtin_LINE()) {
    return {file, line <= UINT16_MAX ? static_cast<std::uint16_t>(line) : std::uint16_t{0}};
  }
};

}  // namespace bulkhead::base
