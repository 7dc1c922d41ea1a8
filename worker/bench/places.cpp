#include "bench/places.hpp"

#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bulkhead/base/check.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <csignal>
#include <ctime>
#include <new>

namespace bulkhead::bench {
namespace {

int nth_cpu(int n) {
  cpu_set_t usable;
  CPU_ZERO(&usable);
  sched_getaffinity(0, sizeof usable, &usable);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &usable) && n-- == 0) return cpu;
  BULKHEAD_CHECK(false, "there are not so many CPUs");
}

}  // namespace

Usage usage_of_this_process() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  timespec cpu{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
  return {static_cast<double>(cpu.tv_sec) * 1e9 + static_cast<double>(cpu.tv_nsec),
          static_cast<double>(usage.ru_nvcsw)};
}

double clock_cost_ns() {
  std::vector<std::int64_t> costs(1001);
  for (std::int64_t& cost : costs) {
    const std::int64_t begin = base::monotonic_ns();
    cost = base::monotonic_ns() - begin;
  }
  std::nth_element(costs.begin(), costs.begin() + 500, costs.end());
  return static_cast<double>(costs[500]);
}

void keep_to(int cpu) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  sched_setaffinity(0, sizeof one, &one);
}

Place::Place(bool apart) : cpus{nth_cpu(0), nth_cpu(apart ? 1 : 0)} {}

void in_goroutine(unsigned processors, const std::function<void()>& body) {
  sched::Options options;
  options.processors = processors;
  sched::Scheduler(options).run(body);
}

void in_two_processes(bool apart, const std::function<void()>& asks,
                      const std::function<void()>& answers) {
  const Place place(apart);
  const pid_t child = ::fork();
  BULKHEAD_CHECK(child >= 0, "can't fork");
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    keep_to(place.cpus[1]);
    answers();
    ::_exit(0);
  }
  keep_to(place.cpus[0]);
  asks();
  ::waitpid(child, nullptr, 0);
  cpu_set_t both;
  CPU_ZERO(&both);
  for (const int cpu : place.cpus) CPU_SET(cpu, &both);
  sched_setaffinity(0, sizeof both, &both);
}

Board& shared_board() {
  void* const memory =
      ::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  BULKHEAD_CHECK(memory != MAP_FAILED, "no shared page");
  return *new (memory) Board;
}

}  // namespace bulkhead::bench
