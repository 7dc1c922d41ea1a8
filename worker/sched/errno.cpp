#include <bulkhead/base/opaque.hpp>
#include <cerrno>

namespace bulkhead::sched {

// Declared in <bulkhead/sched/errno.hpp>, which is not for here: its errno is this function. The
// asm: without it the compiler finds out that the function is const.
BULKHEAD_OPAQUE int& this_errno() noexcept {
  asm volatile("" ::: "memory");
  return errno;
}

}  // namespace bulkhead::sched
