// std::mutex with clang's thread-safety annotations; checked by the clang build (-Wthread-safety).
#pragma once

#include <mutex>

#if defined(__clang__)
#define BULKHEAD_THREAD_ANNOTATION(x) __attribute__((x))
#else
#define BULKHEAD_THREAD_ANNOTATION(x)
#endif
#define BULKHEAD_CAPABILITY(x) BULKHEAD_THREAD_ANNOTATION(capability(x))
#define BULKHEAD_SCOPED_CAPABILITY BULKHEAD_THREAD_ANNOTATION(scoped_lockable)
#define BULKHEAD_GUARDED_BY(x) BULKHEAD_THREAD_ANNOTATION(guarded_by(x))
#define BULKHEAD_REQUIRES(...) BULKHEAD_THREAD_ANNOTATION(requires_capability(__VA_ARGS__))
#define BULKHEAD_ACQUIRE(...) BULKHEAD_THREAD_ANNOTATION(acquire_capability(__VA_ARGS__))
#define BULKHEAD_RELEASE(...) BULKHEAD_THREAD_ANNOTATION(release_capability(__VA_ARGS__))
#define BULKHEAD_TRY_ACQUIRE(...) BULKHEAD_THREAD_ANNOTATION(try_acquire_capability(__VA_ARGS__))
#define BULKHEAD_EXCLUDES(...) BULKHEAD_THREAD_ANNOTATION(locks_excluded(__VA_ARGS__))
#define BULKHEAD_NO_THREAD_SAFETY_ANALYSIS BULKHEAD_THREAD_ANNOTATION(no_thread_safety_analysis)

namespace bulkhead::base {

// Blocks the OS thread. Inside a goroutine use sched::Mutex, and never hold this one over a switch.
class BULKHEAD_CAPABILITY("mutex") Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock() BULKHEAD_ACQUIRE() { mutex_.lock(); }
  void unlock() BULKHEAD_RELEASE() { mutex_.unlock(); }
  bool try_lock() BULKHEAD_TRY_ACQUIRE(true) { return mutex_.try_lock(); }

 private:
  std::mutex mutex_;
};

class BULKHEAD_SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) BULKHEAD_ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() BULKHEAD_RELEASE() { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

}  // namespace bulkhead::base
