// Which sanitizer this is compiled for, by either compiler: BULKHEAD_ASAN, BULKHEAD_TSAN, or none.
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#define BULKHEAD_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BULKHEAD_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define BULKHEAD_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define BULKHEAD_TSAN 1
#endif
#endif
