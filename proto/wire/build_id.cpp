#include <bulkhead/wire/codec.hpp>

namespace bulkhead::wire {

std::string_view build_id() {
  static constexpr std::string_view kBuildId =
#include "build_id.inc"
      ;
  return kBuildId;
}

}  // namespace bulkhead::wire
