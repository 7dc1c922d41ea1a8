// What ASan and TSan must be told about a switch of stacks; empty functions in other builds.
#pragma once

#include <bulkhead/base/sanitizers.hpp>
#include <cstddef>

#if defined(BULKHEAD_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(BULKHEAD_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

namespace bulkhead::sched::sanitizer {

#if defined(BULKHEAD_ASAN) || defined(BULKHEAD_TSAN)
inline constexpr std::size_t kStackFactor = 4;  // red zones and shadow spills make frames larger
#else
inline constexpr std::size_t kStackFactor = 1;
#endif

// A stack about to be entered: its lowest address and size, and where ASan keeps its fake frames.
struct StackInfo {
  const void* low = nullptr;
  std::size_t bytes = 0;
  void* fake_frames = nullptr;
};

#if defined(BULKHEAD_ASAN)
// `leaving` is nullptr when that stack is never entered again.
inline void before_switch(StackInfo* leaving, const StackInfo& entering) {
  __sanitizer_start_switch_fiber(leaving == nullptr ? nullptr : &leaving->fake_frames, entering.low,
                                 entering.bytes);
}
// On the new stack. `from`, when given, learns the bounds of the stack that was left.
inline void after_switch(const StackInfo& entered, StackInfo* from) {
  __sanitizer_finish_switch_fiber(entered.fake_frames, from == nullptr ? nullptr : &from->low,
                                  from == nullptr ? nullptr : &from->bytes);
}
inline void forget_frames(void* low, std::size_t bytes) {
  __asan_unpoison_memory_region(low, bytes);
}
#else
inline void before_switch(StackInfo*, const StackInfo&) {}
inline void after_switch(const StackInfo&, StackInfo*) {}
inline void forget_frames(void*, std::size_t) {}
#endif

#if defined(BULKHEAD_TSAN)
inline void* current_fiber() { return __tsan_get_current_fiber(); }
inline void* create_fiber() { return __tsan_create_fiber(0); }
inline void destroy_fiber(void* fiber) { __tsan_destroy_fiber(fiber); }
inline void switch_fiber(void* fiber) { __tsan_switch_to_fiber(fiber, 0); }
#else
inline void* current_fiber() { return nullptr; }
inline void* create_fiber() { return nullptr; }
inline void destroy_fiber(void*) {}
inline void switch_fiber(void*) {}
#endif

}  // namespace bulkhead::sched::sanitizer
