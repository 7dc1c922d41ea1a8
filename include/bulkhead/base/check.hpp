// BULKHEAD_CHECK(cond, format, ...): a programmer's error ends the process, in every build.
// BULKHEAD_DCHECK: the same for hot paths, in builds without NDEBUG only.
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace bulkhead::base {

[[noreturn]] inline void check_failed(const char* file, int line, const char* condition,
                                      const std::string& text) {
  std::fprintf(stderr, "%s:%d: check failed: %s%s%s\n", file, line, condition,
               text.empty() ? "" : ": ", text.c_str());
  std::abort();
}

inline std::string check_text() { return {}; }
template <class... Args>
std::string check_text(fmt::format_string<Args...> format, Args&&... args) {
  return fmt::format(format, std::forward<Args>(args)...);
}

}  // namespace bulkhead::base

#define BULKHEAD_CHECK(cond, ...)                                                \
  do {                                                                           \
    if (!(cond)) [[unlikely]]                                                    \
      ::bulkhead::base::check_failed(__FILE__, __LINE__, #cond,                  \
                                     ::bulkhead::base::check_text(__VA_ARGS__)); \
  } while (false)

#ifdef NDEBUG
#define BULKHEAD_DCHECK(cond, ...) \
  do {                             \
  } while (false)
#else
#define BULKHEAD_DCHECK(cond, ...) BULKHEAD_CHECK(cond __VA_OPT__(, ) __VA_ARGS__)
#endif
