#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bulkhead/base/unique_fd.hpp>
#include <bulkhead/sched/explore.hpp>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <map>
#include <random>
#include <system_error>
#include <utility>
#include <vector>

namespace bulkhead::sched {
namespace {

constexpr int kDeadlockExit = 113;  // as of a worker
constexpr int kWrongExit = 114;
constexpr std::size_t kMostSaid = 64 * 1024;
constexpr std::size_t kTraceHead = 512 * 1024;
constexpr std::uint64_t kStepsTold = 40;

class RandomChooser final : public Chooser {
 public:
  explicit RandomChooser(std::uint64_t seed) : seed_(seed), random_(seed) {}
  std::size_t choose(const std::vector<TaskInfo>& runnable, const TaskInfo*) override {
    return random_() % runnable.size();
  }
  std::uint64_t seed() const override { return seed_; }

 private:
  const std::uint64_t seed_;
  std::mt19937_64 random_;
};

class PriorityChooser final : public Chooser {
 public:
  PriorityChooser(std::uint64_t seed, unsigned depth, std::uint64_t steps)
      : seed_(seed), random_(seed) {
    for (unsigned change = 1; change < depth; ++change)
      changes_.push_back(random_() % std::max<std::uint64_t>(steps, 1));
  }
  std::size_t choose(const std::vector<TaskInfo>& runnable, const TaskInfo* last) override {
    const std::uint64_t now = step_++;
    for (std::size_t change = 0; change < changes_.size(); ++change)
      if (changes_[change] == now && last != nullptr) priority_[last->id] = change;
    std::size_t best = 0;
    for (std::size_t i = 1; i < runnable.size(); ++i)
      if (priority(runnable[i].id) > priority(runnable[best].id)) best = i;
    return best;
  }
  std::uint64_t seed() const override { return seed_; }

 private:
  // Above what a change gives.
  std::uint64_t priority(std::uint64_t task) {
    const auto found = priority_.find(task);
    if (found != priority_.end()) return found->second;
    return priority_[task] = changes_.size() + (random_() >> 1);
  }

  const std::uint64_t seed_;
  std::mt19937_64 random_;
  std::vector<std::uint64_t> changes_;
  std::map<std::uint64_t, std::uint64_t> priority_;  // of each goroutine, by its number
  std::uint64_t step_ = 0;
};

std::string name_of(const TaskInfo& task) {
  std::string name = fmt::format("goroutine {}", task.id);
  if (!task.name.empty()) return name + fmt::format(" '{}'", task.name);
  if (task.site.line == 0) return name;
  const std::string_view file = task.site.file;
  return name + fmt::format(" ({}:{})", file.substr(file.rfind('/') + 1), task.site.line);
}

// What another chooses; in words in the file `fd`, at any time, because a schedule that ends badly
// ends without notice. The first lines, up to `head_bytes` of them, stay; then the last ones do.
class Narrator final : public Chooser {
 public:
  Narrator(Chooser& chooser, int fd, std::size_t head_bytes)
      : chooser_(chooser), fd_(fd), head_left_(head_bytes) {
    current = this;
  }
  ~Narrator() override { current = nullptr; }

  std::size_t choose(const std::vector<TaskInfo>& runnable, const TaskInfo* last) override {
    const std::size_t place = chooser_.choose(runnable, last);
    const bool same = last != nullptr && last->id == runnable[place].id;
    std::string line = fmt::format("{:>6}  ", ++steps_);
    if (last == nullptr)
      line += steps_ == 1 ? "" : "time has passed; ";
    else if (last->state == Task::kParked || last->state == Task::kSleeping)
      line += fmt::format("{} waits: {}; ", name_of(*last), to_string(last->reason));
    else if (last->state == Task::kFree)
      line += "it has ended; ";
    line += fmt::format("{} {}", name_of(runnable[place]), same ? "goes on" : "runs");
    if (runnable.size() > 1) line += fmt::format(", of {} that could", runnable.size());
    add(line + '\n');
    return place;
  }
  std::uint64_t seed() const override { return chooser_.seed(); }

  void add(std::string line) {
    if (line.size() <= head_left_) {
      const ssize_t written = ::pwrite(fd_, line.data(), line.size(), head_);
      if (written > 0) head_ += written;
      head_left_ -= line.size();
      return;
    }
    head_left_ = 0;
    lines_[count_++ % kStepsTold] = std::move(line);
    save();
  }

  // Who traces this process's schedule. Its only thread asks.
  static inline Narrator* current = nullptr;

 private:
  void save() const {
    std::string text;
    if (head_ > 0 && count_ > kStepsTold)
      text = fmt::format("        … {} more …\n", count_ - kStepsTold);
    for (std::uint64_t i = 0; i < kStepsTold; ++i) text += lines_[(count_ + i) % kStepsTold];
    if (::pwrite(fd_, text.data(), text.size(), head_) >= 0)
      static_cast<void>(!::ftruncate(fd_, head_ + static_cast<off_t>(text.size())));
  }

  Chooser& chooser_;
  const int fd_;
  std::uint64_t steps_ = 0;
  std::size_t head_left_;
  off_t head_ = 0;           // how much of the file stays
  std::uint64_t count_ = 0;  // lines behind it
  std::vector<std::string> lines_ = std::vector<std::string>(kStepsTold);
};

std::unique_ptr<Chooser> make_chooser(const Exploration& exploration, std::uint64_t seed) {
  if (exploration.depth == 0) return random_chooser(seed);
  return priority_chooser(seed, exploration.depth, exploration.steps);
}

[[noreturn]] void fail_here(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

// A page that outlives the child that writes it.
struct Progress {
  std::atomic<std::uint64_t> schedules;  // begun
  std::atomic<std::int64_t> since_ns;    // when the last of them began
  std::atomic<std::uint64_t> steps;      // its choices so far
  std::atomic<std::uint64_t> longest;    // choices in the longest of the others
  std::atomic<bool> panic;               // an exception that nobody catches ends it
};

class SharedProgress {
 public:
  SharedProgress()
      : memory_(::mmap(nullptr, sizeof(Progress), PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS, -1, 0)) {
    if (memory_ == MAP_FAILED) fail_here("mmap");
    new (memory_) Progress{};
  }
  ~SharedProgress() { ::munmap(memory_, sizeof(Progress)); }
  SharedProgress(const SharedProgress&) = delete;
  SharedProgress& operator=(const SharedProgress&) = delete;
  Progress* operator->() const { return static_cast<Progress*>(memory_); }

 private:
  void* const memory_;
};

// Counts what another chooses where the parent sees it.
class Counter final : public Chooser {
 public:
  Counter(Chooser& chooser, const SharedProgress& progress)
      : chooser_(chooser), progress_(progress) {}
  std::size_t choose(const std::vector<TaskInfo>& runnable, const TaskInfo* last) override {
    progress_->steps.store(++steps_, std::memory_order_relaxed);
    return chooser_.choose(runnable, last);
  }
  std::uint64_t seed() const override { return chooser_.seed(); }

 private:
  Chooser& chooser_;
  const SharedProgress& progress_;
  std::uint64_t steps_ = 0;
};

void run_once(Chooser& chooser, const std::function<void()>& program) {
  Options options;
  options.chooser = &chooser;
  options.on_deadlock = [](const std::vector<TaskInfo>& tasks) {
    const auto name = [](Tag tag) { return fmt::format("tag {}", tag); };
    // Time stands where the last of them began to wait.
    base::TimePoint end{};
    for (const TaskInfo& task : tasks) end = std::max(end, task.since);
    std::fputs(describe_deadlock(tasks, name, end).c_str(), stderr);
    std::fflush(nullptr);
    ::_exit(kDeadlockExit);
  };
  Scheduler(options).run(program);
}

void run_counted(const SharedProgress& progress, Chooser& chooser,
                 const std::function<void()>& program) {
  const std::uint64_t last = progress->steps.load(std::memory_order_relaxed);
  if (last > progress->longest.load(std::memory_order_relaxed))
    progress->longest.store(last, std::memory_order_relaxed);
  progress->steps.store(0, std::memory_order_relaxed);
  progress->since_ns.store(base::monotonic_ns(), std::memory_order_relaxed);
  progress->schedules.fetch_add(1, std::memory_order_relaxed);
  Counter counter(chooser, progress);
  run_once(counter, program);
}

std::uint64_t longest_of(const SharedProgress& progress) {
  return std::max(progress->longest.load(std::memory_order_relaxed),
                  progress->steps.load(std::memory_order_relaxed));
}

std::string read_end(int fd, std::size_t most) {
  std::string text(most, '\0');
  const off_t end = ::lseek(fd, 0, SEEK_END);
  const off_t start = std::max<off_t>(0, end - static_cast<off_t>(most));
  const ssize_t size = ::pread(fd, text.data(), text.size(), start);
  text.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  return text;
}

struct End {
  std::optional<BadEnd> kind;  // nothing: well
  std::string what;
  std::string said;
};

std::atomic<bool>* panic_mark = nullptr;  // of the child
std::terminate_handler default_terminate = nullptr;

[[noreturn]] void terminate_by_panic() {
  panic_mark->store(true, std::memory_order_relaxed);
  default_terminate();
  std::abort();
}

[[noreturn]] void be_child(const SharedProgress& progress, int said,
                           const std::function<void()>& body) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // nobody else would end a schedule without end
  ::dup2(said, STDOUT_FILENO);
  ::dup2(said, STDERR_FILENO);
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);  // a crash loses no line, and all are in order
  panic_mark = &progress->panic;
  default_terminate = std::set_terminate(&terminate_by_panic);
  body();
  std::fflush(nullptr);
  ::_exit(0);
}

// Answers false when it had to end it.
bool await(int pidfd, pid_t child, const SharedProgress& progress, base::Duration limit) {
  for (;;) {
    pollfd ended{pidfd, POLLIN, 0};
    if (::poll(&ended, 1, 50) > 0) return true;
    const std::int64_t since = progress->since_ns.load(std::memory_order_relaxed);
    if (base::monotonic_ns() - since <= limit.count()) continue;
    ::kill(child, SIGKILL);
    return false;
  }
}

void classify(int status, bool panic, End& end) {
  if (WIFSIGNALED(status)) {
    end.what = fmt::format("signal {} ({})", WTERMSIG(status), ::strsignal(WTERMSIG(status)));
    const bool aborted = WTERMSIG(status) == SIGABRT;
    end.kind = panic ? BadEnd::kPanic : aborted ? BadEnd::kFailedCheck : BadEnd::kSignal;
  } else if (WEXITSTATUS(status) == kDeadlockExit) {
    end.what = "deadlock";
    end.kind = BadEnd::kDeadlock;
  } else if (WEXITSTATUS(status) == kWrongExit) {
    end.what = "wrong answer";
    end.kind = BadEnd::kWrongAnswer;
  } else if (WEXITSTATUS(status) != 0) {
    end.what = fmt::format("exit code {}", WEXITSTATUS(status));
    end.kind = BadEnd::kExit;
  }
}

// Runs `body` in a child and waits for it, with an eye on how long each schedule takes.
End in_child(const SharedProgress& progress, base::Duration limit,
             const std::function<void()>& body) {
  const base::UniqueFd said(::memfd_create("bulkhead-explore", MFD_CLOEXEC));
  if (!said) fail_here("memfd_create");
  progress->since_ns.store(base::monotonic_ns(), std::memory_order_relaxed);
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) fail_here("fork");
  if (child == 0) be_child(progress, said.get(), body);
  const base::UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
  const bool in_time = await(pidfd.get(), child, progress, limit);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  End end;
  end.said = read_end(said.get(), kMostSaid);
  if (in_time) {
    classify(status, progress->panic.load(std::memory_order_relaxed), end);
  } else {
    end.what = fmt::format("no end within {:g} s", base::to_seconds(limit));
    end.kind = BadEnd::kNoEnd;
  }
  return end;
}

struct TracedEnd {
  End end;
  std::string steps;
  std::uint64_t choices = 0;
};

TracedEnd run_traced(const Exploration& exploration, std::uint64_t seed, std::size_t head_bytes,
                     const std::function<void()>& program) {
  const SharedProgress progress;
  const base::UniqueFd steps(::memfd_create("bulkhead-steps", MFD_CLOEXEC));
  if (!steps) fail_here("memfd_create");
  TracedEnd traced;
  traced.end = in_child(progress, exploration.limit, [&] {
    const auto chooser = make_chooser(exploration, seed);
    Narrator narrator(*chooser, steps.get(), head_bytes);
    run_counted(progress, narrator, program);
  });
  traced.steps = read_end(steps.get(), kTraceHead + kMostSaid);
  traced.choices = longest_of(progress);
  return traced;
}

}  // namespace

std::unique_ptr<Chooser> random_chooser(std::uint64_t seed) {
  return std::make_unique<RandomChooser>(seed);
}

std::unique_ptr<Chooser> priority_chooser(std::uint64_t seed, unsigned depth, std::uint64_t steps) {
  return std::make_unique<PriorityChooser>(seed, depth, steps);
}

Search search(const Exploration& exploration, const std::function<void()>& program) {
  const SharedProgress progress;
  const base::TimePoint start = base::Clock::now();
  End end = in_child(progress, exploration.limit, [&] {
    for (std::uint64_t i = 0; i < exploration.schedules; ++i)
      run_counted(progress, *make_chooser(exploration, exploration.first_seed + i), program);
  });
  Search search{.schedules = progress->schedules.load(std::memory_order_relaxed),
                .longest = longest_of(progress),
                .took = base::Clock::now() - start,
                .finding = {}};
  if (!end.kind) return search;
  Finding& finding = search.finding.emplace();
  finding.seed = exploration.first_seed + search.schedules - 1;
  finding.kind = *end.kind;
  finding.what = std::move(end.what);
  // Once more, for its steps and for what this schedule alone has said.
  TracedEnd again = run_traced(exploration, finding.seed, 0, program);
  if (again.end.what == finding.what) {
    finding.said = std::move(again.end.said);
    finding.steps = std::move(again.steps);
  } else {
    finding.said = std::move(end.said) +
                   "its schedule, run again, did not end like this: the program depends on more\n";
  }
  return search;
}

std::optional<Finding> explore(const Exploration& exploration,
                               const std::function<void()>& program) {
  return search(exploration, program).finding;
}

Trace trace(const Exploration& exploration, std::uint64_t seed,
            const std::function<void()>& program) {
  const base::TimePoint start = base::Clock::now();
  TracedEnd traced = run_traced(exploration, seed, kTraceHead, program);
  Trace trace{.finding = {},
              .steps = std::move(traced.steps),
              .choices = traced.choices,
              .took = base::Clock::now() - start};
  if (traced.end.kind) {
    trace.finding = Finding{.seed = seed,
                            .kind = *traced.end.kind,
                            .what = std::move(traced.end.what),
                            .said = std::move(traced.end.said),
                            .steps = {}};
  }
  return trace;
}

void replay(const Exploration& exploration, std::uint64_t seed,
            const std::function<void()>& program) {
  run_once(*make_chooser(exploration, seed), program);
}

void wrong_answer(std::string_view text) {
  std::fflush(nullptr);  // what the program has said comes first
  std::fprintf(stderr, "wrong answer: %.*s\n", static_cast<int>(text.size()), text.data());
  ::_exit(kWrongExit);
}

bool traced() { return Narrator::current != nullptr; }

void add_note(std::string_view text) {
  if (traced()) Narrator::current->add(fmt::format("        · {}\n", text));
}

const char* to_string(BadEnd kind) {
  switch (kind) {
    case BadEnd::kDeadlock:
      return "deadlock";
    case BadEnd::kWrongAnswer:
      return "wrong answer";
    case BadEnd::kPanic:
      return "panic";
    case BadEnd::kFailedCheck:
      return "failed check";
    case BadEnd::kSignal:
      return "signal";
    case BadEnd::kExit:
      return "exit";
    case BadEnd::kNoEnd:
      return "no end";
  }
  return "unknown";
}

}  // namespace bulkhead::sched
