// The jobs of bench/containment: short integer loops, some of which crash. What happened is kept in
// files outside of every process, so that it is known even when nobody is left to tell; any other
// tool can run the same jobs and be measured beside bulkhead. In the folder BH_DIR:
//   attempts, done   a byte a job: how often it was begun; 1 once its result was computed
//   events           "S pid ns job": a process begins its first job; "C pid ns job": before a crash
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bulkhead/program.hpp>
#include <bulkhead/worker/worker.hpp>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>

namespace {

namespace program = bulkhead::program;

std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  if (value == nullptr) {
    std::fprintf(stderr, "mixing: %s is not set; start it with tests/bench/containment\n", name);
    std::exit(2);
  }
  return value;
}

unsigned char* map_states(const char* name, std::size_t jobs) {
  const int fd = open((variable("BH_DIR") + "/" + name).c_str(), O_RDWR | O_CLOEXEC);
  void* const memory = mmap(nullptr, jobs, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (memory == MAP_FAILED) {
    std::perror(name);
    std::exit(2);
  }
  return static_cast<unsigned char*>(memory);
}

void note(char kind, std::uint64_t job) {
  static const int fd =
      open((variable("BH_DIR") + "/events").c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  char line[96];
  const int size = std::snprintf(line, sizeof line, "%c %d %lld %llu\n", kind, getpid(),
                                 now.tv_sec * 1'000'000'000LL + now.tv_nsec,
                                 static_cast<unsigned long long>(job));
  if (write(fd, line, static_cast<std::size_t>(size)) != size) std::exit(2);
}

struct Mixing {
  using Input = std::uint64_t;
  using Result = std::uint64_t;
  static program::Description describe() {
    program::Description description;
    description.name = "mixing";
    description.summary = "short integer loops, some of which crash: see tests/bench/containment";
    return description;
  }
  explicit Mixing(const program::Settings&)
      : count_(std::stoull(variable("BH_N"))),
        rounds_(std::stoull(variable("BH_ROUNDS"))),
        every_(std::stoull(variable("BH_EVERY"))),
        poison_(std::stoull(variable("BH_POISON"))),
        mode_(variable("BH_MODE")),
        attempts_(map_states("attempts", count_)),
        done_(map_states("done", count_)) {}

  void source(const program::Emit<Input>& emit) const {
    for (std::uint64_t job = 0; job < count_; ++job) {
      if (!emit(job)) return;
    }
  }
  Result work(const Input& job) const {
    [[maybe_unused]] static const bool first = (note('S', job), true);
    if (attempts_[job] < 255) ++attempts_[job];
    const bool passing = mode_ == "crash" && job % every_ == every_ / 2 && attempts_[job] == 1;
    if (passing || (mode_ == "poison" && job == poison_)) {
      note('C', job);
      *static_cast<volatile int*>(nullptr) = 1;
    }
    auto x = static_cast<std::uint32_t>(job) + 1;
    for (std::uint64_t i = 0; i < rounds_; ++i) x = (x ^ (x >> 13)) * 10368889u + 1u;
    done_[job] = 1;
    return x;
  }
  struct Reducer {
    explicit Reducer(const Mixing&) {}
    void add(std::uint64_t, const Result* result) {
      if (result != nullptr) sum += *result;
    }
    program::Answer finish() { return {std::to_string(sum), "sum " + std::to_string(sum)}; }
    std::uint64_t sum = 0;
  };

  const std::uint64_t count_, rounds_, every_, poison_;
  const std::string mode_;
  unsigned char* const attempts_;
  unsigned char* const done_;
};

BULKHEAD_JOBS_PROGRAM(Mixing);

}  // namespace

int main(int argc, char** argv) { return bulkhead::worker::worker_main(argc, argv); }
