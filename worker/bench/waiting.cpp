// Rows about waiting: for a time, for a channel, for a descriptor.
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <bulkhead/base/check.hpp>
#include <bulkhead/base/unique_fd.hpp>
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/poll.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <chrono>
#include <fstream>
#include <thread>

#include "bench/rows.hpp"

namespace bulkhead::bench {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

double ns_of(const timeval& time) {
  return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_usec) * 1e3;
}

double cpu_ns() {
  rusage usage{};
  BULKHEAD_CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
  return ns_of(usage.ru_utime) + ns_of(usage.ru_stime);
}

double resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  double total = 0;
  double resident = 0;
  BULKHEAD_CHECK(statm >> total >> resident, "/proc/self/statm can't be read");
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

void sleep_until(base::TimePoint time) { sched::sleep_for(time - base::Clock::now()); }

// 100,000 sleepers, a hundred for each 0.1 ms of 100 ms, which start when all are asleep.
std::vector<Figure> timers() {
  constexpr int kSleepers = 100'000;
  // Time to arm them all, on a machine that does other things, too; it is in no figure.
  constexpr auto kLead = milliseconds(2000);
  sched::WaitGroup group;
  group.add(kSleepers);
  std::atomic<std::int64_t> late_ns{0};
  const double before = cpu_ns();
  const base::TimePoint first = base::Clock::now() + kLead;
  for (int i = 0; i < kSleepers; ++i) {
    sched::go([&, i] {
      const base::TimePoint due = first + (i % 1000) * microseconds(100);
      sleep_until(due);
      late_ns += base::Duration(base::Clock::now() - due).count();
      group.done();
    });
  }
  sleep_until(first - milliseconds(50));
  BULKHEAD_CHECK(base::Clock::now() < first, "the machine is too busy: 2 s did not do to arm all");
  const double armed = cpu_ns();
  group.wait();
  const double last_late_ms =
      base::to_seconds(base::Clock::now() - first - microseconds(99'900)) * 1e3;
  const double fired = cpu_ns();
  const double mean_late_us = static_cast<double>(late_ns.load()) / kSleepers / 1e3;
  return {{"timers_arm_cpu", "n=100000", (armed - before) / kSleepers, "ns/timer"},
          {"timers_fire_cpu", "n=100000", (fired - armed) / kSleepers, "ns/timer"},
          {"timers_mean_late", "n=100000", mean_late_us, "us"},
          {"timers_last_late", "n=100000", last_late_ms, "ms"}};
}

// What a parked goroutine keeps resident, and what it costs to wake all at once.
std::vector<Figure> parked() {
  constexpr int kTasks = 200'000;
  const double before = resident_bytes();
  sched::Channel<bool> gate;
  sched::WaitGroup up;
  sched::WaitGroup done;
  up.add(kTasks);
  done.add(kTasks);
  for (int i = 0; i < kTasks; ++i) {
    sched::go([&] {
      up.done();
      keep(gate.receive());
      done.done();
    });
  }
  up.wait();
  const double bytes = resident_bytes() - before;
  const double ns = time_ns([&] {
    gate.close();
    done.wait();
  });
  return {{"parked_rss", "n=200000", bytes / kTasks, "bytes/task"},
          {"parked_wake", "n=200000", ns / kTasks, "ns/task"}};
}

void send_byte(const base::UniqueFd& fd) {
  const char byte = 'x';
  BULKHEAD_CHECK(::write(fd.get(), &byte, 1) == 1);
}

void receive_byte(const base::UniqueFd& fd) {
  char byte = 0;
  do sched::wait_readable(fd.get());
  while (::read(fd.get(), &byte, 1) != 1);
}

// A byte there and back over a pair of sockets, between goroutines and between plain threads, where
// waiting is poll(2). No peers do this.
std::vector<Figure> fd_pingpong() {
  constexpr int kRoundTrips = 50'000;
  int fds[2];
  BULKHEAD_CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
  const base::UniqueFd near(fds[0]);
  const base::UniqueFd far(fds[1]);
  const auto ask = [&] {
    for (int i = 0; i < kRoundTrips; ++i) {
      send_byte(near);
      receive_byte(near);
    }
  };
  const auto answer = [&] {
    for (int i = 0; i < kRoundTrips; ++i) {
      receive_byte(far);
      send_byte(far);
    }
  };
  std::vector<Figure> figures;
  const auto add = [&](const std::string& name, auto&& body) {
    const double before = cpu_ns();
    const double wall = time_ns(body);
    figures.push_back({name, "", wall / kRoundTrips, "ns/roundtrip"});
    figures.push_back({name + "_cpu", "", (cpu_ns() - before) / kRoundTrips, "ns/roundtrip"});
  };
  add("fd_pingpong", [&] {
    sched::WaitGroup group;
    group.add(1);
    sched::go([&] {
      answer();
      group.done();
    });
    ask();
    group.wait();
  });
  add("fd_pingpong_threads", [&] {
    std::thread first(ask);
    std::thread second(answer);
    first.join();
    second.join();
  });
  return figures;
}

}  // namespace

const std::vector<Row>& waiting_rows() {
  static const std::vector<Row> kRows{
      {"timers", timers}, {"fd_pingpong", fd_pingpong}, {"parked", parked}};
  return kRows;
}

}  // namespace bulkhead::bench
