// Looks after the processors of a scheduler during a run(), from a thread of its own.
#pragma once

#include <atomic>
#include <bulkhead/base/clock.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <cstdint>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "sched/parallelism.hpp"

namespace bulkhead::sched {

struct Processor;

class Monitor {
 public:
  explicit Monitor(SchedulerImpl& scheduler);
  ~Monitor();  // the run is over
  Monitor(const Monitor&) = delete;
  Monitor& operator=(const Monitor&) = delete;

  // A processor has come out of its sleep.
  void on_activity() {
    // relaxed: a fence lies between this and what the processor has told before; see wait().
    if (dozes_.load(std::memory_order_relaxed)) wake();
  }

 private:
  // What it has seen of one processor.
  struct Watched {
    std::uint32_t tick = 0;
    std::int64_t since_ns = 0;     // it has been at that tick
    std::int64_t cpu_ns = 0;       // that its thread had used by then
    std::int64_t cpu_seen_ns = 0;  // likewise, at the last look
    std::uint32_t operations = 0;
    bool asked = false;         // by the signal
    bool told = false;          // as a hog
    Processor* lent = nullptr;  // for it
  };
  // A processor that is lent, and the thread that runs it.
  struct Loan {
    Processor* processor = nullptr;
    std::thread thread;
    std::atomic<bool> over{false};
    std::int64_t since_ns = 0;
    int restrained = 0;          // the kernel's id of the other thread on the same core; 0: none
    std::vector<char> affinity;  // that it had before
  };

  void loop();
  void wait(std::int64_t nanoseconds);  // < 0: until wake()
  void wake();
  bool look(std::int64_t now);  // whether anything has run since the last time
  std::int64_t active_period() const;
  void choose_parallelism(std::int64_t now, std::int64_t length);
  Parallelism::Period measure(std::int64_t now, std::int64_t length);
  void leave_one_alone();
  void call_all();
  void share();
  bool is_kept_waiting(const Processor& processor, std::int64_t now) const;
  bool descriptor_is_ready() const;
  void on_hog(Processor& processor, Watched& watched, std::int64_t now);
  void tell(const Processor& processor, const Watched& watched, std::int64_t now);
  void lend(Watched& watched, int cpu, int hog_thread);
  void call_back(Watched& watched);
  void retire(Processor& processor);
  void collect();
  void end(Loan& loan);
  void look_for_circles();

  SchedulerImpl& scheduler_;
  const unsigned cores_;
  const bool measures_;  // what they do, and so how many are to run
  std::vector<Watched> watched_;
  Parallelism parallelism_;
  std::int64_t last_look_ns_;
  std::uint64_t looks_ = 0;
  unsigned busiest_ = 0;        // processor of the last period
  Processor* alone_ = nullptr;  // the others sit out, since
  std::int64_t alone_since_ns_ = 0;
  std::vector<Loan> loans_;
  std::set<std::pair<const void*, std::uint16_t>> told_sites_;
  std::set<std::string> told_circles_;
  std::int64_t next_trim_ns_;
  std::int64_t next_circles_ns_;
  std::atomic<bool> stop_{false};
  std::atomic<bool> dozes_{false};
  std::atomic<std::uint32_t> futex_{0};
  std::thread thread_;
};

}  // namespace bulkhead::sched
