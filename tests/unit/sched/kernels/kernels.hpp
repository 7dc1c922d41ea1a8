// Bug kernels: the concurrency bugs that studies of Go programs describe (GoBench's GoKer: Yuan et
// al., "GoBench: a benchmark suite of real-world Go concurrency bugs", 2021; Tu et al.,
// "Understanding real-world concurrency bugs in Go", 2019), each pattern boiled down by us to a few
// lines, with the mistake and without it. They measure what explore() finds, and how soon.
//
// A kernel is a template on whether it is fixed, so that what it takes to fix it is plain to see.
// What a goroutine uses that may be left behind is shared with it, as a closure in Go shares it.
#pragma once

#include <bulkhead/sched/scheduler.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <ostream>
#include <utility>
#include <vector>

namespace bulkhead::sched::kernels {

struct Kernel {
  const char* name;
  const char* group;
  void (*buggy)();
  void (*fixed)();
  const char* what;  // Finding::what of the buggy one
  const char* said;  // a part of its Finding::said
};
inline std::ostream& operator<<(std::ostream& out, const Kernel& kernel) {
  return out << kernel.group << '.' << kernel.name;
}

inline constexpr const char* kDeadlock = "deadlock";
inline constexpr const char* kAborted = "signal 6 (Aborted)";  // a failed check, or an exception

std::vector<Kernel> lock_kernels();
std::vector<Kernel> channel_kernels();
std::vector<Kernel> mixed_kernels();
std::vector<Kernel> wait_kernels();
std::vector<Kernel> select_kernels();  // and contexts and timers
std::vector<Kernel> data_kernels();  // shared data: nobody waits for ever, but the result is wrong

// Runs each body as a goroutine and waits for all.
template <class... Bodies>
void together(Bodies... bodies) {
  WaitGroup group;
  group.add(sizeof...(bodies));
  (go([&group, body = std::move(bodies)] {
     body();
     group.done();
   }),
   ...);
  group.wait();
}

// One row. (clang-format takes the brackets for comparisons.)
// clang-format off
#define BULKHEAD_KERNEL(group, name, what, said) \
  {#name, group, &name<false>, &name<true>, what, said}
// clang-format on

}  // namespace bulkhead::sched::kernels
