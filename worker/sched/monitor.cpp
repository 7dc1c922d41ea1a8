// Every 10 ms, as long as anything runs, it looks whether each processor has come to a decision
// since. One that has not runs a goroutine that computes, and what waits there waits for it:
// - after 10 ms the goroutine is overdue, and yields at its next checkpoint();
// - after 100 ms it is a hog: it is told, with its frames, once for each place that starts such
//   ones, and another processor is lent, which runs the others until the hog comes to a point.
// A goroutine that keeps nobody waiting may compute for as long as it likes.
//
// A scheduler with one processor pays for no atomic operations, because nobody else takes part. So
// before a second one does, the first must be told, at a moment when it is in a goroutine's own
// code: see share(); where there is no membarrier the signal handler that collects the frames does
// that, on its thread. Both then share one core, so that lending makes nothing parallel that was
// not.
//
// It also tries whether one processor alone gets more done than all (parallelism.hpp), and then
// looks more often; keeps the coarse clock, gives back what memory is not needed for half a second,
// and looks once a second for goroutines that wait for one another's mutexes. While nothing runs it
// sleeps, longer and longer, in the end until a processor wakes it.
#include "sched/monitor.hpp"

#include <fmt/format.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <bulkhead/base/check.hpp>
#include <bulkhead/base/cores.hpp>
#include <bulkhead/base/frames.hpp>
#include <bulkhead/sched/biased_lock.hpp>
#include <cerrno>
#include <fstream>
#include <string>
#include <utility>

#include "sched/futex.hpp"
#include "sched/processor.hpp"

namespace bulkhead::sched {
namespace {

constexpr std::int64_t kMillisecond = 1'000'000;
constexpr std::int64_t kPeriod = 10 * kMillisecond;
constexpr std::int64_t kLongestPeriod = 250 * kMillisecond;
constexpr std::int64_t kOverdue = 10 * kMillisecond;
constexpr std::int64_t kTryPeriod = 4 * kMillisecond;  // while parallelism is tried
constexpr int kFirstLooks = 2;
constexpr std::int64_t kTurn = kMillisecond;  // see OneAlone::kByTurns
constexpr std::int64_t kBrisk = 1'000;        // nanoseconds a decision
constexpr std::int64_t kHog = 100 * kMillisecond;
constexpr std::int64_t kTrimPeriod = 500 * kMillisecond;
constexpr std::int64_t kCirclePeriod = 1'000 * kMillisecond;
constexpr int kQuietLooks = 12;  // of growing periods, some 2 s, until it sleeps for good

// Ignored unless somebody asks for it, and Go's choice for the same purpose.
constexpr int kSignal = SIGURG;

// On the processor's thread, perhaps amid anything: async-signal-safe.
void on_signal(int, siginfo_t*, void* context) {
  const int saved_errno = errno;
  auto* const processor = static_cast<Processor*>(this_processor());
  if (processor != nullptr && !processor->probe.answered.load(std::memory_order_acquire)) {
    Probe& probe = processor->probe;
    const Task* const task = processor->current;
    probe.in_goroutine = task != nullptr && !processor->inside.load(std::memory_order_relaxed);
    probe.task = task;
    probe.id = task != nullptr ? task->id.load(std::memory_order_relaxed) : 0;
    probe.tick = processor->tick.load(std::memory_order_relaxed);
    probe.cpu = ::sched_getcpu();
    probe.frame_count = 0;
    if (probe.in_goroutine) {
      SchedulerImpl& scheduler = processor->scheduler;
      if (!can_bias()) {
        scheduler.unshares.store(nullptr, std::memory_order_relaxed);
        scheduler.shared.store(true, std::memory_order_relaxed);
      }
      const StackBounds stack = current_stack();
      const base::FrameStart start = base::frame_start(context);
      probe.frame_count = base::walk_frames(start, stack.low + stack.guard_bytes, stack.high,
                                            probe.frames.data(), Probe::kFrames);
    }
    // release pairs with the acquire in on_hog(): also all that the thread has done before.
    probe.answered.store(true, std::memory_order_release);
  }
  errno = saved_errno;
}

// False: the program uses the signal for something else.
bool catch_signal() {
  static const bool ours = [] {
    struct sigaction old {};
    if (::sigaction(kSignal, nullptr, &old) != 0) return false;
    if ((old.sa_flags & SA_SIGINFO) != 0 ||
        (old.sa_handler != SIG_DFL && old.sa_handler != SIG_IGN))
      return false;
    struct sigaction action {};
    action.sa_sigaction = &on_signal;
    action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
    ::sigemptyset(&action.sa_mask);
    return ::sigaction(kSignal, &action, nullptr) == 0;
  }();
  return ours;
}

bool is_brisk(std::uint64_t decisions, std::int64_t nanoseconds) {
  return static_cast<std::int64_t>(decisions) * kBrisk >= nanoseconds;
}

// The processor time that a thread of this process has used; the kernel's encoding of the clock
// that pthread_getcpuclockid() answers.
std::int64_t cpu_ns(int thread) {
  const auto clock = static_cast<clockid_t>((~static_cast<unsigned>(thread) << 3) | 6u);
  timespec used{};
  if (::clock_gettime(clock, &used) != 0) return 0;
  return std::int64_t{used.tv_sec} * 1'000'000'000 + used.tv_nsec;
}

// It would run, if the machine had a core for it.
bool waits_for_a_core(int thread) {
  std::ifstream file(fmt::format("/proc/self/task/{}/stat", thread));
  std::string stat;
  std::getline(file, stat);
  const std::size_t name_end = stat.rfind(')');
  return name_end != std::string::npos && name_end + 2 < stat.size() && stat[name_end + 2] == 'R';
}

}  // namespace

Monitor::Monitor(SchedulerImpl& scheduler)
    : scheduler_(scheduler),
      cores_(base::usable_cores()),
      measures_(scheduler.options.processors > 1 && !scheduler.migrates &&
                scheduler.options.one_alone != OneAlone::kNever),
      watched_(scheduler.processors.size()),
      last_look_ns_(base::monotonic_ns()),
      loans_(scheduler.options.processors),
      next_trim_ns_(base::monotonic_ns() + kTrimPeriod),
      next_circles_ns_(base::monotonic_ns() + kCirclePeriod) {
  catch_signal();
  scheduler.monitor = this;
  scheduler.enough_awake.store(measures_ ? cores_ : SchedulerImpl::kNoLimit,
                               std::memory_order_relaxed);
  thread_ = std::thread([this] {
    ::pthread_setname_np(::pthread_self(), "monitor");
    loop();
  });
}

Monitor::~Monitor() {
  stop_.store(true, std::memory_order_release);
  full_fence();  // see wait()
  wake();
  thread_.join();
  if (alone_ != nullptr) call_all();
  for (Loan& loan : loans_)
    if (loan.processor != nullptr) end(loan);
  scheduler_.monitor = nullptr;
}

void Monitor::loop() {
  std::int64_t period = active_period();
  int quiet = 0;
  while (!stop_.load(std::memory_order_acquire)) {
    wait(quiet > kQuietLooks ? -1 : period);
    const std::int64_t now = base::monotonic_ns();
    scheduler_.coarse_ns.store(now, std::memory_order_relaxed);
    const bool active = look(now);
    ++looks_;
    quiet = active ? 0 : quiet + 1;
    period = active ? active_period() : std::min(2 * period, kLongestPeriod);
    collect();
    if (now >= next_trim_ns_) {
      scheduler_.trim();
      next_trim_ns_ = base::monotonic_ns() + kTrimPeriod;
    }
    if (now >= next_circles_ns_) {
      look_for_circles();
      next_circles_ns_ = base::monotonic_ns() + kCirclePeriod;
    }
  }
}

std::int64_t Monitor::active_period() const {
  if (scheduler_.options.one_alone == OneAlone::kByTurns) return kTurn;
  // Also at first: what hands over all the time soon runs as it should.
  return looks_ < kFirstLooks || parallelism_.tries() ? kTryPeriod : kPeriod;
}

// A processor that wakes says so, and then looks whether we doze; we say that we doze, and then
// look whether all are asleep still: a fence between the two on both sides.
void Monitor::wait(std::int64_t nanoseconds) {
  const bool dozes = nanoseconds < 0 || nanoseconds > kPeriod;
  futex_.store(0, std::memory_order_relaxed);  // whoever woke us last has been heard
  dozes_.store(dozes, std::memory_order_relaxed);
  full_fence();  // also before the look at `stop_`, which is set before the last wake-up
  if (dozes) {
    const bool all_asleep = std::all_of(
        scheduler_.processors.begin(), scheduler_.processors.end(), [](const auto& processor) {
          return processor->asleep.load(std::memory_order_relaxed) ||
                 processor->thread.load(std::memory_order_relaxed) == 0;
        });
    if (!all_asleep && nanoseconds < 0) nanoseconds = kLongestPeriod;
  }
  const std::int64_t deadline =
      nanoseconds < 0 ? Timers::kNever : base::monotonic_ns() + nanoseconds;
  if (!stop_.load(std::memory_order_acquire)) futex_wait(futex_, deadline);
  dozes_.store(false, std::memory_order_relaxed);
}

void Monitor::wake() { futex_wake(futex_); }

bool Monitor::look(std::int64_t now) {
  const std::int64_t length = now - std::exchange(last_look_ns_, now);
  choose_parallelism(now, length);
  bool active = false;
  for (std::size_t i = 0; i < watched_.size(); ++i) {
    Processor& processor = *scheduler_.processors[i];
    Watched& watched = watched_[i];
    const std::uint32_t tick = processor.tick.load(std::memory_order_relaxed);
    const int thread = processor.thread.load(std::memory_order_acquire);
    const bool runs = thread != 0 && !processor.asleep.load(std::memory_order_relaxed);
    active = active || runs || tick != watched.tick;
    if (!runs || tick != watched.tick) {
      processor.period_over.store(true, std::memory_order_relaxed);
      processor.brisk.store(runs && is_brisk(tick - watched.tick, length),
                            std::memory_order_relaxed);
      call_back(watched);
      watched.tick = tick;
      watched.since_ns = now;
      watched.cpu_ns = cpu_ns(thread);
      watched.asked = watched.told = false;
      continue;
    }
    const std::int64_t ran = now - watched.since_ns;
    if (ran < kOverdue || !is_kept_waiting(processor, now)) continue;
    processor.overdue.store(true, std::memory_order_relaxed);
    scheduler_.wake_one();
    if (ran < kHog || (watched.lent != nullptr && watched.told)) continue;
    // A machine that is busy with others is nobody's fault here, and no processor helps.
    if (cpu_ns(thread) - watched.cpu_ns < kHog / 2 && waits_for_a_core(thread)) continue;
    on_hog(processor, watched, now);
  }
  return active;
}

// Whether one processor is to run alone from now on, by what they have done since the last look.
void Monitor::choose_parallelism(std::int64_t now, std::int64_t length) {
  const OneAlone when = scheduler_.options.one_alone;
  if (!measures_) return;
  const Parallelism::Period period = measure(now, length);
  scheduler_.enough_awake.store(period.lags ? SchedulerImpl::kNoLimit : cores_,
                                std::memory_order_relaxed);
  bool one_alone = parallelism_.wants_one(period);
  if (when == OneAlone::kByTurns)
    one_alone = alone_ == nullptr && !scheduler_.pins.load(std::memory_order_relaxed);
  if (one_alone && alone_ == nullptr) leave_one_alone();
  if (!one_alone && alone_ != nullptr) call_all();
  // release pairs with the acquire in pick_due().
  if (one_alone && scheduler_.is_shared() && can_bias())
    scheduler_.unshares.store(alone_, std::memory_order_release);
}

Parallelism::Period Monitor::measure(std::int64_t now, std::int64_t length) {
  Parallelism::Period period{.now_ns = now, .length_ns = length, .brisk = true};
  std::uint32_t most = 0;
  for (unsigned i = 0; i < scheduler_.options.processors; ++i) {
    const Processor& processor = *scheduler_.processors[i];
    Watched& watched = watched_[i];
    const std::uint32_t operations = processor.operations.load(std::memory_order_relaxed);
    const std::uint32_t progress = processor.tick.load(std::memory_order_relaxed) - watched.tick +
                                   (operations - watched.operations);
    watched.operations = operations;
    period.progress += progress;
    if (progress > most) {
      most = progress;
      busiest_ = i;
    }
    const int thread = processor.thread.load(std::memory_order_acquire);
    const std::int64_t cpu = thread != 0 ? cpu_ns(thread) : 0;
    const std::int64_t ran = std::min(cpu - std::exchange(watched.cpu_seen_ns, cpu), length);
    // While others had the cores it did little, but did not compute either.
    const bool computes = !is_brisk(4 * std::uint64_t{progress}, ran);
    const bool lags = !is_brisk(4 * std::uint64_t{progress}, length);
    if (!processor.asleep.load(std::memory_order_relaxed)) {
      if (computes) period.brisk = false;
      if (lags) period.lags = true;
    }
  }
  if (!is_brisk(period.progress, length) || scheduler_.pins.load(std::memory_order_relaxed))
    period.brisk = false;
  return period;
}

void Monitor::leave_one_alone() {
  alone_ = scheduler_.processors[busiest_].get();
  alone_since_ns_ = base::monotonic_ns();
  for (unsigned i = 0; i < scheduler_.options.processors; ++i)
    if (i != busiest_) retire(*scheduler_.processors[i]);
}

void Monitor::call_all() {
  share();
  for (unsigned i = 0; i < scheduler_.options.processors; ++i) {
    Processor& processor = *scheduler_.processors[i];
    if (&processor == alone_) continue;
    processor.retiring.store(false, std::memory_order_relaxed);
    full_fence();  // see sit_out()
    scheduler_.wake_processor(processor);
  }
  alone_ = nullptr;
  const std::int64_t alone = base::monotonic_ns() - alone_since_ns_;
  scheduler_.alone_ns.fetch_add(alone, std::memory_order_relaxed);
  if (scheduler_.observer != nullptr) scheduler_.observer->on_alone_end(base::Duration(alone));
}

// Before a second processor begins beside one that was alone. That one may be amid a decision, or a
// section of a biased lock, for which nobody else takes part. With each later one it sees that this
// is over, for the barrier makes its thread pass a fence; and we wait until it is out of this one.
void Monitor::share() {
  Processor& only = alone_ != nullptr ? *alone_ : *scheduler_.processors[0];
  {
    LockGuard guard(scheduler_.idle_lock);
    scheduler_.unshares.store(nullptr, std::memory_order_relaxed);
    if (scheduler_.is_shared()) return;  // without biased locks on_signal() has done it
    scheduler_.shared.store(true, std::memory_order_relaxed);
    only.bias.store(ProcessorHead::kNoBias, std::memory_order_relaxed);
  }
  barrier_everywhere();
  // acquire pairs with the releases in leave_scheduler(), in sleep(), in finish_if_done(), and in
  // set_sections().
  while ((only.inside.load(std::memory_order_acquire) &&
          !only.asleep.load(std::memory_order_acquire) &&
          !scheduler_.finished.load(std::memory_order_acquire)) ||
         only.sections.load(std::memory_order_acquire) != 0)
    ::sched_yield();
}

// Whether anything could run, if only somebody ran it.
bool Monitor::is_kept_waiting(const Processor& processor, std::int64_t now) const {
  return processor.next.load(std::memory_order_relaxed) != nullptr || scheduler_.any_work() ||
         scheduler_.timers.earliest() < now || descriptor_is_ready();
}

// Those that wait for one go where anybody finds them. (A poller that has something may have no
// more than the call for the one that sleeps on it, or has slept.)
bool Monitor::descriptor_is_ready() const {
  if (!scheduler_.poller.waiting() || !scheduler_.poller.has_ready()) return false;
  TaskList ready = scheduler_.poller.look();
  const bool any = ready.count > 0;
  while (Task* const task = ready.pop_front()) scheduler_.inject(*task);
  if (any) scheduler_.poller.handed_over();
  return any;
}

// Asked at one look, answered by the next one: its thread may not run at this moment.
void Monitor::on_hog(Processor& processor, Watched& watched, std::int64_t now) {
  Probe& probe = processor.probe;
  const int thread = processor.thread.load(std::memory_order_acquire);
  if (!watched.asked) {
    // release pairs with the acquire in on_signal(): we have read the last answer.
    probe.answered.store(false, std::memory_order_release);
    watched.asked = true;
    if (catch_signal()) ::syscall(SYS_tgkill, ::getpid(), thread, kSignal);
    return;
  }
  const bool answered = probe.answered.load(std::memory_order_acquire);
  if (answered && (!probe.in_goroutine || probe.tick != watched.tick)) {
    watched.asked = false;  // it was in the scheduler just then
    return;
  }
  // Whoever waits for a core answers when it has one. Others may be blocked in the kernel: where
  // there is more than one processor, another may be lent without an answer.
  const bool will_answer = catch_signal() && waits_for_a_core(thread);
  if (!answered && (scheduler_.options.processors == 1 || will_answer)) return;
  // Told first: with the others out of its way it may end.
  if (answered && !watched.told) {
    tell(processor, watched, now);
    watched.told = true;
  }
  if (watched.lent == nullptr) lend(watched, answered ? probe.cpu : -1, thread);
}

void Monitor::tell(const Processor& processor, const Watched& watched, std::int64_t now) {
  scheduler_.hogs.fetch_add(1, std::memory_order_relaxed);
  if (!scheduler_.options.on_hog) return;
  const Probe& probe = processor.probe;
  TaskInfo info;
  {
    LockGuard guard(scheduler_.tasks_lock);
    info = scheduler_.info_of(*probe.task);
  }
  if (info.id != probe.id || info.state == Task::kFree) return;  // it has ended since
  if (!told_sites_.emplace(info.site.file, info.site.line).second) return;
  const auto begin = probe.frames.begin();
  scheduler_.options.on_hog({.task = std::move(info),
                             .ran = base::Duration(now - watched.since_ns),
                             .frames = {begin, begin + probe.frame_count}});
}

// On `cpu`, where the hog's thread is kept, too, when there is but one processor.
void Monitor::lend(Watched& watched, int cpu, int hog_thread) {
  const auto loan = std::find_if(loans_.begin(), loans_.end(),
                                 [](const Loan& one) { return one.processor == nullptr; });
  if (loan == loans_.end()) return;
  const std::size_t place = static_cast<std::size_t>(loan - loans_.begin());
  Processor& processor = *scheduler_.processors[scheduler_.options.processors + place];
  loan->processor = watched.lent = &processor;
  loan->since_ns = base::monotonic_ns();
  loan->over.store(false, std::memory_order_relaxed);
  cpu_set_t core;
  CPU_ZERO(&core);
  const bool one_core = scheduler_.options.processors == 1 && cpu >= 0 && cpu < CPU_SETSIZE;
  if (one_core) {
    cpu_set_t before;
    CPU_ZERO(&before);
    CPU_SET(static_cast<unsigned>(cpu), &core);
    if (::sched_getaffinity(hog_thread, sizeof before, &before) == 0 &&
        ::sched_setaffinity(hog_thread, sizeof core, &core) == 0) {
      loan->restrained = hog_thread;
      const auto* const bytes = reinterpret_cast<const char*>(&before);
      loan->affinity.assign(bytes, bytes + sizeof before);
    }
  }
  processor.retiring.store(false, std::memory_order_relaxed);
  share();
  {
    LockGuard guard(scheduler_.idle_lock);
    ++scheduler_.active;
    scheduler_.count_awake();
  }
  loan->thread = std::thread([this, &processor, loan, one_core, core] {
    ::pthread_setname_np(::pthread_self(), "processor-lent");
    if (one_core) ::sched_setaffinity(0, sizeof core, &core);
    scheduler_.processor_loop(processor);
    scheduler_.retire(processor);
    loan->over.store(true, std::memory_order_release);  // pairs with the acquire in collect()
  });
}

// The hog has come to a point.
void Monitor::call_back(Watched& watched) {
  if (watched.lent == nullptr) return;
  retire(*watched.lent);
  watched.lent = nullptr;
}

void Monitor::retire(Processor& processor) {
  processor.retiring.store(true, std::memory_order_relaxed);
  scheduler_.wake_if_asleep(processor);
}

// Those that have been called back, and have ended.
void Monitor::collect() {
  bool lent = false;
  bool ended = false;
  for (Loan& loan : loans_) {
    if (loan.processor == nullptr) continue;
    if (!loan.over.load(std::memory_order_acquire)) {
      lent = true;
      continue;
    }
    end(loan);
    ended = true;
  }
  // release pairs with the acquire in pick_due(): what the lent one has done is done.
  if (ended && !lent && scheduler_.options.processors == 1)
    scheduler_.unshares.store(scheduler_.processors[0].get(), std::memory_order_release);
}

void Monitor::end(Loan& loan) {
  loan.thread.join();
  const std::int64_t lent = base::monotonic_ns() - loan.since_ns;
  scheduler_.lent_ns.fetch_add(lent, std::memory_order_relaxed);
  if (scheduler_.observer != nullptr) scheduler_.observer->on_loan_end(base::Duration(lent));
  if (loan.restrained != 0)
    ::sched_setaffinity(loan.restrained, loan.affinity.size(),
                        reinterpret_cast<const cpu_set_t*>(loan.affinity.data()));
  loan.restrained = 0;
  loan.processor = nullptr;
}

void Monitor::look_for_circles() {
  if (!scheduler_.options.on_circle) return;
  const std::string circles = describe_circles(scheduler_.tasks(ParkReason::kMutex));
  if (!circles.empty() && told_circles_.insert(circles).second)
    scheduler_.options.on_circle(circles);
}

}  // namespace bulkhead::sched
