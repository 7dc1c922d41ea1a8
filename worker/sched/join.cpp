#include <cxxabi.h>

#include <bulkhead/base/demangle.hpp>
#include <bulkhead/sched/join.hpp>
#include <cstdio>
#include <string>
#include <typeinfo>

namespace bulkhead::sched::internal {
namespace {

// The exception's type and text on stderr, then the usual end of an exception that nobody catches.
[[noreturn]] void panic(const std::exception_ptr& failure) noexcept {
  try {
    std::rethrow_exception(failure);
  } catch (...) {
    const std::type_info* const type = abi::__cxa_current_exception_type();
    const std::string readable =
        type == nullptr ? "an exception of another language" : base::demangled(type->name());
    const char* const name = readable.c_str();
    try {
      throw;
    } catch (const std::exception& error) {
      std::fprintf(stderr, "panic: %s left a goroutine that nobody joins: %s\n", name,
                   error.what());
    } catch (...) {
      std::fprintf(stderr, "panic: %s left a goroutine that nobody joins\n", name);
    }
    std::terminate();
  }
}

}  // namespace

void JoinState::run() {
  std::exception_ptr failure;
  try {
    run_body();
  } catch (...) {
    failure = std::current_exception();
  }
  drop_body();
  lock_.lock();
  if (detached_ && failure != nullptr) panic(failure);
  failure_ = std::move(failure);
  ended_ = true;
  Waiter* const joiner = std::exchange(joiner_, nullptr);
  lock_.unlock();
  if (joiner != nullptr) joiner->wake();
}

// park() releases the lock, on one branch of two.
void JoinState::wait(base::SourceSite site) BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
  lock_.lock();
  if (!ended_) {
    Waiter waiter;
    joiner_ = &waiter;
    waiter.park(lock_, {ParkReason::kJoin, this, site});
    lock_.lock();
  }
  // Out of the state, so that the exception does not die with it.
  std::exception_ptr failure = std::exchange(failure_, nullptr);
  lock_.unlock();
  if (failure != nullptr) std::rethrow_exception(std::move(failure));
}

void JoinState::release(bool detached) {
  if (detached) {
    LockGuard guard(lock_);
    detached_ = true;
    if (failure_ != nullptr) panic(failure_);
  }
  unref();
}

void JoinState::unref() {
  // acq_rel: release pairs with the acquire of the last owner, which frees what the other wrote.
  if (owners_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

}  // namespace bulkhead::sched::internal
