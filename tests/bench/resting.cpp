// resting PARKED BURST SECONDS PROCESSORS: what goroutines cost while they do nothing.
//
// First a burst of so many, all parked at once and then ended: what of their memory is given back,
// and when. Then so many parked: bytes of resident memory each, and how long it takes to start
// them. Last a thousand parked for so many seconds: how often any thread of the process wakes up,
// and the processor time. A count of 0 leaves its part out.
#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <bulkhead/base/clock.hpp>
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <string>

namespace bulkhead {
namespace {

double resident_bytes() {
  std::uint64_t size = 0;
  std::uint64_t resident = 0;
  std::ifstream("/proc/self/statm") >> size >> resident;
  return static_cast<double>(resident) * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

double cpu_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// Of all threads, each time that one gave up its CPU by itself.
std::uint64_t wake_ups() {
  std::uint64_t sum = 0;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream status(thread.path() / "status");
    for (std::string word; status >> word;) {
      std::uint64_t count = 0;
      if (word == "voluntary_ctxt_switches:" && status >> count) sum += count;
    }
  }
  return sum;
}

// So many that wait until they are let go.
class Crowd {
 public:
  explicit Crowd(std::uint64_t count) {
    group_.add(static_cast<int>(count));
    for (std::uint64_t i = 0; i < count; ++i) {
      sched::go([this] {
        begun_.fetch_add(1, std::memory_order_relaxed);
        gate_.receive();
        group_.done();
      });
    }
    while (begun_.load(std::memory_order_relaxed) < count) sched::yield();
  }
  void let_go() {
    gate_.close();
    group_.wait();
  }

 private:
  sched::Channel<int> gate_;
  std::atomic<std::uint64_t> begun_{0};
  sched::WaitGroup group_;
};

void burst(std::uint64_t count) {
  const double before = resident_bytes();
  Crowd crowd(count);
  const double most = resident_bytes();
  crowd.let_go();
  fmt::print("burst of {}: {:.1f} MiB, before it {:.1f}", count, most / (1 << 20),
             before / (1 << 20));
  for (int half = 1; half <= 6; ++half) {
    sched::sleep_for(std::chrono::milliseconds(500));
    fmt::print("; after {:.1f} s {:.1f}", half * 0.5, resident_bytes() / (1 << 20));
  }
  fmt::print("\n");
}

void park(std::uint64_t count) {
  const double before = resident_bytes();
  const std::int64_t start = base::monotonic_ns();
  Crowd crowd(count);
  const double seconds = static_cast<double>(base::monotonic_ns() - start) * 1e-9;
  fmt::print("{} parked: {:.0f} bytes each, started in {:.2f} s\n", count,
             (resident_bytes() - before) / static_cast<double>(count), seconds);
  crowd.let_go();
}

void idle(unsigned seconds) {
  Crowd crowd(1000);
  sched::sleep_for(std::chrono::seconds(6));  // until what was there before has been given back
  const std::uint64_t woken = wake_ups();
  const double cpu = cpu_seconds();
  sched::sleep_for(std::chrono::seconds(seconds));
  const double used = cpu_seconds() - cpu;
  fmt::print("idle for {} s: {:.2f} wake-ups a second, {:.4f} % of a CPU\n", seconds,
             static_cast<double>(wake_ups() - woken) / seconds, 100 * used / seconds);
  crowd.let_go();
}

}  // namespace
}  // namespace bulkhead

int main(int argc, char** argv) {
  using namespace bulkhead;
  if (argc != 5) {
    std::fprintf(stderr, "usage: resting PARKED BURST SECONDS PROCESSORS\n");
    return 2;
  }
  const auto number = [&](int at) { return std::strtoull(argv[at], nullptr, 10); };
  sched::Options options;
  options.processors = static_cast<unsigned>(number(4));
  sched::Scheduler(options).run([&] {
    if (number(2) > 0) burst(number(2));
    if (number(1) > 0) park(number(1));
    if (number(3) > 0) idle(static_cast<unsigned>(number(3)));
  });
}
