// blocking(f): a call that would block the thread (a library's I/O, getaddrinfo(), a lock that is
// not ours), made without holding up the other goroutines of the processor.
//
//   addrinfo* found = nullptr;
//   const int failure = sched::blocking([&] { return getaddrinfo(host, port, &hints, &found); });
//
// The goroutine parks, and `f` runs on a helper thread of its scheduler; what `f` returns (a value
// that can be moved, a reference, or nothing) or throws comes out of blocking(). Helpers are
// started when needed, kMostHelpers at most, and end after some idle seconds; further calls wait
// for a free one, in order ("blocking call, pool full" in dumps). So calls that wait for one
// another must not be that many. When no helper at all can be started: std::system_error.
//
// It costs two switches between threads (worker/README.md, "Blocking calls"): worth it for what may
// take longer than that, not for a read from a file in memory.
//
// Inside `f`: go(), channels and all other primitives block the helper thread; current_tag() and
// the crash handler know whose call it is; and thread-locals are the helper's. errno too: what `f`
// wants to tell of it, it returns. Nothing ends a call under way, neither a cancelled Context nor
// the end of main: run() returns after it. For the deadlock detector it is like sleep_for(): none
// is told while it lasts, since it will end and others may wait for that. Where it may not (input
// from outside), an ExternalWait around it says so.
//
// On a plain thread it just calls `f`. Under a Chooser too, on the goroutine's stack, after a
// scheduling point: the run stays a function of the schedule.
#pragma once

#include <bulkhead/base/source_site.hpp>
#include <concepts>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace bulkhead::sched {

inline constexpr unsigned kMostHelpers = 256;  // of a scheduler

namespace internal {

// Returns when body(context) has; rethrows what left it.
void run_blocking(void (*body)(void* context), void* context, base::SourceSite site);

template <class Body>
void run_blocking(Body& body, base::SourceSite site) {
  run_blocking([](void* given) { (*static_cast<Body*>(given))(); }, &body, site);
}

}  // namespace internal

template <std::invocable F>
std::invoke_result_t<F> blocking(F&& f, base::SourceSite site = base::SourceSite::current()) {
  using T = std::invoke_result_t<F>;
  if constexpr (std::is_void_v<T>) {
    auto body = [&f] { std::invoke(std::forward<F>(f)); };
    internal::run_blocking(body, site);
  } else if constexpr (std::is_reference_v<T>) {
    std::remove_reference_t<T>* result = nullptr;
    auto body = [&f, &result] {
      T&& found = std::invoke(std::forward<F>(f));
      result = std::addressof(found);
    };
    internal::run_blocking(body, site);
    return static_cast<T>(*result);
  } else {
    std::optional<std::remove_cv_t<T>> result;  // T needs no default constructor
    auto body = [&f, &result] { result.emplace(std::invoke(std::forward<F>(f))); };
    internal::run_blocking(body, site);
    return std::move(*result);
  }
}

}  // namespace bulkhead::sched
