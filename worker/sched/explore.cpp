#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bulkhead/base/unique_fd.hpp>
#include <bulkhead/sched/explore.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <random>
#include <system_error>
#include <utility>
#include <vector>

namespace bulkhead::sched {
namespace {

constexpr int kDeadlockExit = 113;  // as of a worker
constexpr std::size_t kMostSaid = 64 * 1024;
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
  if (task.site.line != 0) name += fmt::format(" ({}:{})", task.site.file, task.site.line);
  return name;
}

// What another chooses; the last of it in words in the file `fd`, at any time, because a schedule
// that ends badly ends without notice.
class Tracer final : public Chooser {
 public:
  Tracer(Chooser& chooser, int fd) : chooser_(chooser), fd_(fd) {}
  std::size_t choose(const std::vector<TaskInfo>& runnable, const TaskInfo* last) override {
    const std::size_t place = chooser_.choose(runnable, last);
    std::string line = fmt::format("{:>6}  ", ++count_);
    if (last == nullptr)
      line += "time has passed; ";
    else if (last->state == Task::kParked || last->state == Task::kSleeping)
      line += fmt::format("{} waits: {}; ", name_of(*last), to_string(last->reason));
    else if (last->state == Task::kFree)
      line += "it has ended; ";
    line += fmt::format("{} runs", name_of(runnable[place]));
    if (runnable.size() > 1) line += fmt::format(", of {} that could", runnable.size());
    lines_[count_ % kStepsTold] = line + '\n';
    save();
    return place;
  }
  std::uint64_t seed() const override { return chooser_.seed(); }

 private:
  void save() const {
    std::string text;
    for (std::uint64_t i = 1; i <= kStepsTold; ++i) text += lines_[(count_ + i) % kStepsTold];
    if (::pwrite(fd_, text.data(), text.size(), 0) >= 0)
      static_cast<void>(!::ftruncate(fd_, static_cast<off_t>(text.size())));
  }

  Chooser& chooser_;
  const int fd_;
  std::uint64_t count_ = 0;
  std::vector<std::string> lines_ = std::vector<std::string>(kStepsTold);
};

std::unique_ptr<Chooser> make_chooser(const Exploration& exploration, std::uint64_t seed) {
  if (exploration.depth == 0) return random_chooser(seed);
  return priority_chooser(seed, exploration.depth, exploration.steps);
}

void run_once(Chooser& chooser, const std::function<void()>& program) {
  Options options;
  options.chooser = &chooser;
  options.on_deadlock = [](const std::vector<TaskInfo>& tasks) {
    const auto name = [](Tag tag) { return fmt::format("tag {}", tag); };
    std::fputs(describe_deadlock(tasks, name).c_str(), stderr);
    std::fflush(nullptr);
    ::_exit(kDeadlockExit);
  };
  Scheduler(options).run(program);
}

[[noreturn]] void fail_here(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

// A page that outlives the child that writes it.
struct Progress {
  std::atomic<std::uint64_t> seed;
  std::atomic<std::int64_t> since_ns;  // when that schedule began
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

std::string read_all(int fd) {
  std::string text(kMostSaid, '\0');
  const off_t end = ::lseek(fd, 0, SEEK_END);
  const off_t start = std::max<off_t>(0, end - static_cast<off_t>(kMostSaid));
  const ssize_t size = ::pread(fd, text.data(), text.size(), start);
  text.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  return text;
}

struct End {
  std::string what;  // empty: well
  std::string said;
};

// Runs `body` in a child and waits for it, with an eye on how long each schedule takes.
End in_child(const SharedProgress& progress, base::Duration limit,
             const std::function<void()>& body) {
  const base::UniqueFd said(::memfd_create("bulkhead-explore", MFD_CLOEXEC));
  if (!said) fail_here("memfd_create");
  progress->since_ns.store(base::monotonic_ns(), std::memory_order_relaxed);
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) fail_here("fork");
  if (child == 0) {
    ::dup2(said.get(), STDERR_FILENO);
    body();
    std::fflush(nullptr);
    ::_exit(0);
  }
  const base::UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
  bool overdue = false;
  for (;;) {
    pollfd ended{pidfd.get(), POLLIN, 0};
    if (::poll(&ended, 1, 50) > 0) break;
    const std::int64_t since = progress->since_ns.load(std::memory_order_relaxed);
    if (base::monotonic_ns() - since <= limit.count()) continue;
    overdue = true;
    ::kill(child, SIGKILL);
    break;
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  End end{{}, read_all(said.get())};
  if (overdue)
    end.what = fmt::format("no end within {:g} s", base::to_seconds(limit));
  else if (WIFSIGNALED(status))
    end.what = fmt::format("signal {} ({})", WTERMSIG(status), ::strsignal(WTERMSIG(status)));
  else if (WEXITSTATUS(status) == kDeadlockExit)
    end.what = "deadlock";
  else if (WEXITSTATUS(status) != 0)
    end.what = fmt::format("exit code {}", WEXITSTATUS(status));
  return end;
}

}  // namespace

std::unique_ptr<Chooser> random_chooser(std::uint64_t seed) {
  return std::make_unique<RandomChooser>(seed);
}

std::unique_ptr<Chooser> priority_chooser(std::uint64_t seed, unsigned depth, std::uint64_t steps) {
  return std::make_unique<PriorityChooser>(seed, depth, steps);
}

std::optional<Finding> explore(const Exploration& exploration,
                               const std::function<void()>& program) {
  const SharedProgress progress;
  const End end = in_child(progress, exploration.limit, [&] {
    for (std::uint64_t i = 0; i < exploration.schedules; ++i) {
      progress->seed.store(exploration.first_seed + i, std::memory_order_relaxed);
      progress->since_ns.store(base::monotonic_ns(), std::memory_order_relaxed);
      run_once(*make_chooser(exploration, exploration.first_seed + i), program);
    }
  });
  if (end.what.empty()) return std::nullopt;
  Finding finding{progress->seed.load(std::memory_order_relaxed), end.what, end.said, {}};
  // Once more, for its steps and for what this schedule alone has said.
  const base::UniqueFd steps(::memfd_create("bulkhead-steps", MFD_CLOEXEC));
  if (!steps) fail_here("memfd_create");
  const End again = in_child(progress, exploration.limit, [&] {
    const auto chooser = make_chooser(exploration, finding.seed);
    Tracer tracer(*chooser, steps.get());
    run_once(tracer, program);
  });
  if (again.what == finding.what) {
    finding.said = again.said;
    finding.steps = read_all(steps.get());
  } else {
    finding.said += "its schedule, run again, did not end like this: the program depends on more\n";
  }
  return finding;
}

void replay(const Exploration& exploration, std::uint64_t seed,
            const std::function<void()>& program) {
  run_once(*make_chooser(exploration, seed), program);
}

}  // namespace bulkhead::sched
