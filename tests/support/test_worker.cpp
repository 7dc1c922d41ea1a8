// A user's own worker, with programs that behave badly.
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <bulkhead/program.hpp>
#include <bulkhead/worker/worker.hpp>
#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>

#include "support/buggy.hpp"
#include "support/raw_worker.hpp"

namespace {

namespace program = bulkhead::program;
using bulkhead::test::leave_sign;

program::Parameter number(const char* name, const char* value, double most = 1e9) {
  program::Parameter parameter;
  parameter.name = name;
  parameter.default_value = value;
  parameter.help = "for tests";
  parameter.minimum = 0;
  parameter.maximum = most;
  return parameter;
}

std::atomic<std::uint64_t> jobs_run_here{0};
std::atomic<bool> slept_here{false};

// Recursion without end: each call keeps a page of the goroutine's stack.
__attribute__((noinline)) std::uint64_t fall(std::uint64_t depth) {
  volatile char page[4096];
  page[depth % sizeof page] = static_cast<char>(depth);
  return depth == 0 ? 0 : fall(depth + 1) + static_cast<unsigned char>(page[0]);
}

// Jobs that sleep and then return their number; `misbehave` says what else they do.
struct Napper {
  using Input = std::uint64_t;
  using Result = std::uint64_t;
  static program::Description describe() {
    program::Description description;
    description.name = "napper";
    description.summary = "jobs that sleep, and may misbehave";
    description.parameters = {number("count", "100"), number("us", "1000"), number("bad-job", "5"),
                              number("setup-ms", "0")};
    program::Parameter bad;
    bad.name = "bad";
    bad.type = program::ParameterType::kText;
    bad.default_value = "no";
    bad.help =
        "no, exit, throw, abort, deep, deep-child, straggler, null, thread, nothing, lies, fork, "
        "loud, chatty, stranger, "
        "stuck, quit, blocking, talk, count-here, source, reduce";
    description.parameters.push_back(bad);
    return description;
  }
  explicit Napper(const program::Settings& settings)
      : count_(static_cast<std::uint64_t>(settings.integer("count"))),
        nap_(settings.integer("us")),
        bad_job_(static_cast<std::uint64_t>(settings.integer("bad-job"))),
        bad_(settings.text("bad")) {
    usleep(static_cast<useconds_t>(settings.integer("setup-ms") * 1000));
  }
  void source(const program::Emit<Input>& emit) const {
    for (std::uint64_t i = 0; i < count_; ++i) {
      if (bad_ == "source" && i == bad_job_) throw std::runtime_error("the source has had enough");
      if (!emit(i)) return;
    }
  }
  Result work(const Input& input) const {
    if (jobs_run_here.fetch_add(1) == 0) leave_sign("BULKHEAD_TEST_BEGUN");
    if (bad_ == "chatty") say("job " + std::to_string(input) + "\n");
    if (input == bad_job_) misbehave();
    // The second half of the jobs is held back until the test lets it go.
    while (input >= count_ / 2 && !bulkhead::test::sign_is_there("BULKHEAD_TEST_HOLD")) {
      bulkhead::sched::sleep_for(std::chrono::milliseconds(2));
    }
    bulkhead::sched::sleep_for(nap_);
    if (!slept_here.exchange(true)) leave_sign("BULKHEAD_TEST_SLEPT");
    return input;
  }
  // Hands over all the time, until one processor has run alone.
  static void talk() {
    const bulkhead::sched::Scheduler& scheduler = *bulkhead::sched::Scheduler::current();
    const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    bulkhead::sched::Channel<int> values;
    bulkhead::sched::go([&] {
      while (scheduler.alone_time().count() == 0 && std::chrono::steady_clock::now() < end)
        for (int i = 0; i < 1000; ++i) values.send(i);
      values.close();
    });
    while (values.receive()) {
    }
  }
  static void say(const std::string& line) {
    if (write(2, line.data(), line.size()) < 0) return;  // nobody reads it: no reason to stop
  }
  void misbehave() const {
    if (bad_ == "exit") _exit(0);
    if (bad_ == "abort") abort();
    if (bad_ == "deep") jobs_run_here.fetch_add(fall(1));
    if (bad_ == "deep-child") {
      bulkhead::sched::spawn({.name = "parser", .stack_bytes = 1 << 20}, [] {
        jobs_run_here.fetch_add(fall(1));
      }).join();
    }
    if (bad_ == "straggler") {
      bulkhead::sched::go({.name = "straggler"},
                          [] { bulkhead::sched::sleep_for(std::chrono::hours(1)); });
    }
    if (bad_ == "null") bulkhead::test::outermost();
    if (bad_ == "thread") bulkhead::test::crash_on_own_thread();
    if (bad_ == "nothing") bulkhead::test::call_nothing();
    if (bad_ == "lies") bulkhead::test::lie_and_die(bad_job_);
    if (bad_ == "throw") throw std::runtime_error("job says \x1b[31mno\xff");
    if (bad_ == "stranger") bulkhead::test::be_a_stranger();
    if (bad_ == "quit") raise(SIGQUIT);
    if (bad_ == "unhandled") {
      signal(SIGSEGV, SIG_DFL);
      raise(SIGSEGV);
    }
    if (bad_ == "blocking") bulkhead::sched::blocking(bulkhead::test::outermost);
    if (bad_ == "talk") talk();
    if (bad_ == "stuck") {
      bulkhead::sched::Channel<int> nobody_sends;
      nobody_sends.receive();
    }
    if (bad_ == "fork") {
      for (const bool own_session : {false, true}) {
        if (fork() == 0) {
          if (own_session) setsid();
          execlp("sleep", "sleep", "1000", nullptr);
          _exit(1);
        }
      }
    }
    if (bad_ == "loud") {
      const std::string line(1000, 'x');
      for (int i = 0; i < 1000; ++i) {
        if (write(2, line.data(), line.size()) < 0) break;
      }
      if (write(2, "\x1b[2Jlast words\n", 15) < 0) return;
      kill(getpid(), SIGKILL);
    }
  }
  struct Reducer {
    explicit Reducer(const Napper& program) : napper(program) {}
    void add(std::uint64_t, const Result* result) {
      if (result != nullptr) sum += *result + 1;
    }
    program::Answer finish() {
      if (napper.bad_ == "reduce") throw std::runtime_error("the reduce step has had enough");
      const std::uint64_t shown = napper.bad_ == "count-here" ? jobs_run_here.load() : sum;
      return {std::to_string(shown), "sum " + std::to_string(shown)};
    }
    const Napper& napper;
    std::uint64_t sum = 0;
  };

  std::uint64_t count_;
  std::chrono::microseconds nap_;
  std::uint64_t bad_job_;
  std::string bad_;
};

BULKHEAD_JOBS_PROGRAM(Napper);

// Jobs whose results have many bytes.
struct Heavy {
  using Input = std::uint64_t;
  using Result = std::string;
  static program::Description describe() {
    program::Description description;
    description.name = "heavy";
    description.summary = "jobs with large results";
    description.parameters = {number("count", "20"), number("bytes", "1000000")};
    return description;
  }
  explicit Heavy(const program::Settings& settings)
      : count_(static_cast<std::uint64_t>(settings.integer("count"))),
        bytes_(static_cast<std::size_t>(settings.integer("bytes"))) {}
  void source(const program::Emit<Input>& emit) const {
    for (std::uint64_t i = 0; i < count_; ++i) {
      if (!emit(i)) return;
    }
  }
  Result work(const Input& input) const {
    return std::string(bytes_, static_cast<char>('a' + input % 26));
  }
  struct Reducer {
    explicit Reducer(const Heavy&) {}
    void add(std::uint64_t job, const Result* result) {
      if (result == nullptr) return;
      for (const char c : *result) sum += static_cast<unsigned char>(c) * (job + 1);
    }
    program::Answer finish() { return {std::to_string(sum), "sum " + std::to_string(sum)}; }
    std::uint64_t sum = 0;
  };

  std::uint64_t count_;
  std::size_t bytes_;
};

// The macro is for one program a file.
[[maybe_unused]] const bool heavy_registered = program::register_jobs<Heavy>();

}  // namespace

int main(int argc, char** argv) {
  if (std::getenv("BULKHEAD_TEST_DIE_IN_FORK") != nullptr) {
    pthread_atfork(nullptr, nullptr, [] { _exit(9); });
  }
  if (std::getenv("BULKHEAD_TEST_THREAD") != nullptr) std::thread([] { pause(); }).detach();
  // What is done here before worker_main() is to be done in each worker, not once for all that are
  // forked.
  if (argc == 2 && std::string_view(argv[1]) == "__fork-server") {
    for (const char* name : {"BULKHEAD_TEST_STALL_MS", "BULKHEAD_TEST_DIE", "BULKHEAD_TEST_RAW",
                             "BULKHEAD_TEST_STRANGER"}) {
      if (std::getenv(name) != nullptr) return 1;
    }
  }
  // Tests aim at a worker that has started and not yet spoken.
  if (const char* stall = std::getenv("BULKHEAD_TEST_STALL_MS"); stall != nullptr && argc == 1) {
    usleep(static_cast<useconds_t>(std::atoi(stall)) * 1000);
  }
  if (argc == 1) bulkhead::test::look_at_boot();
  return bulkhead::worker::worker_main(argc, argv);
}
