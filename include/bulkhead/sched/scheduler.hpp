// Goroutines: stackful fibers, many of them multiplexed on a few processor threads.
//
//   sched::Scheduler scheduler({.processors = 2});
//   scheduler.run([] {                       // the main goroutine
//     sched::WaitGroup group;
//     group.add(2);
//     for (int i = 0; i < 2; ++i) sched::go([&] { work(); group.done(); });
//     group.wait();
//   });                                      // returns when every goroutine has ended
//
// go(), yield(), sleep_for(), Channel, WaitGroup and Mutex also work from a plain OS thread: there
// they block the thread (go() needs a scheduler: the one that the thread was given by `Enter`).
#pragma once

#include <bulkhead/base/clock.hpp>
#include <bulkhead/base/source_site.hpp>
#include <bulkhead/sched/task.hpp>
#include <bulkhead/sched/trace.hpp>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace bulkhead::sched {

// Told by the scheduler, on a processor's own thread if nothing else is said; must neither block
// nor throw.
class Observer {
 public:
  virtual ~Observer() = default;
  // Before a goroutine runs on `processor`: the tag it carries; again at each checkpoint() of it.
  // When none is left to run: kNoTag.
  virtual void on_switch(unsigned processor, Tag tag) = 0;
  // On each processor's thread, before its first goroutine of each run() (alternate signal stacks
  // go here).
  // A processor that is lent (see Hog) has a number from Options::processors on.
  virtual void on_processor_start(unsigned processor) = 0;
  // A processor was lent for so long, and is given back now. (On a thread of the scheduler's own.)
  virtual void on_loan_end(base::Duration) {}
  // One processor has run alone for so long, and the others are back now. (Likewise.)
  virtual void on_alone_end(base::Duration) {}
  // On each new helper thread of blocking(), before its first call.
  virtual void on_helper_start() {}
};

// How goroutine stacks are guarded against overflow here.
enum class StackGuard : std::uint8_t {
  kMadvise,   // unmapped pages below the stack, at no cost in mappings (Linux 6.13)
  kMprotect,  // the same by mprotect: two mappings each, so only up to 80 % of vm.max_map_count
  kCanary,    // none: an overflow is noticed, after the damage, when the goroutine switches
};
const char* to_string(StackGuard guard);
StackGuard probe_stack_guard();  // what a new stack would get now

// What go() may be told about a goroutine beyond its body.
struct GoOptions {
  std::string name{};  // for dumps and reports
  std::size_t stack_bytes =
      0;  // at least so many, rounded up to a power of two; 0: as Options says
  // It runs on one processor only, the one that runs its go(): for code that must stay on a thread.
  // (On a processor that was lent, or from a plain thread: on processor 0.) It waits while a
  // neighbour there computes, for no other processor may take it.
  bool pin = false;
};

// One line of a dump.
struct TaskInfo {
  std::uint64_t id = 0;
  Tag tag = kNoTag;
  Task::State state = Task::kRunnable;
  ParkReason reason = ParkReason::kNone;
  bool outside = false;     // see ExternalWait
  base::SourceSite site{};  // of the go() that started it
  std::string name{};       // see GoOptions; mostly empty
  // While it waits, or sleeps:
  const void* object = nullptr;  // the primitive that it waits for; perhaps gone, never to be read
  int descriptor = -1;           // in wait_readable() or wait_writable(): the one it waits for
  base::SourceSite waits_at{};   // the operation
  base::TimePoint since{};       // to some 10 ms
  std::uint64_t holder = 0;  // the goroutine that holds the mutex it waits for; 0: none, or unknown
};
// For people: one line for each, at most 100. `name_of` tells what a tag means, `now` is now().
std::string describe(const std::vector<TaskInfo>& tasks,
                     const std::function<std::string(Tag)>& name_of,
                     base::TimePoint now = base::Clock::now());
// What on_deadlock is told, with the sentence that says so, and who waits for whom in a circle.
std::string describe_deadlock(const std::vector<TaskInfo>& tasks,
                              const std::function<std::string(Tag)>& name_of,
                              base::TimePoint now = base::Clock::now());
// What has not ended with the run, with the sentence that says so; "" if it is nothing.
std::string describe_leaks(const std::vector<TaskInfo>& tasks,
                           const std::function<std::string(Tag)>& name_of,
                           base::TimePoint now = base::Clock::now());
// Which of them wait in a circle for mutexes that the next one holds: a line for each circle, "" if
// there is none.
std::string describe_circles(const std::vector<TaskInfo>& tasks);
const char* to_string(Task::State state);
const char* to_string(ParkReason reason);

// Decides who runs, for exploring interleavings: see explore.hpp. Called by the only processor.
class Chooser {
 public:
  virtual ~Chooser() = default;
  // The place in `runnable`, which is never empty, of the one that runs next. `last` has just
  // stopped, for the reason that it tells; nullptr: the first choice, or time has passed.
  virtual std::size_t choose(const std::vector<TaskInfo>& runnable, const TaskInfo* last) = 0;
  // What else is random, such as the choice of select, begins with this.
  virtual std::uint64_t seed() const = 0;
};

// A goroutine that has not come to a scheduling point for 100 ms while others could run. Meanwhile
// another processor is lent for them.
struct Hog {
  TaskInfo task{};
  base::Duration ran{};                  // at least
  std::vector<std::uintptr_t> frames{};  // return addresses, the innermost first
};
std::string describe(const Hog& hog, const std::function<std::string(Tag)>& name_of);

// When one processor runs alone, though there are more.
enum class OneAlone : std::uint8_t {
  kNever,
  // Goroutines that hand over all the time, as long as that is faster: it is tried, see
  // worker/sched/parallelism.hpp.
  kWhileFaster,
  kByTurns,  // for tests: all the time it begins and ends
};

struct Options {
  unsigned processors = 1;
  std::size_t stack_bytes = 256 * 1024;  // rounded up to pages; multiplied under sanitizers
  Observer* observer = nullptr;          // borrowed, outlives the scheduler
  // Called when goroutines wait that nothing can wake any more: none can run, none of them sleeps,
  // waits for a descriptor or is in blocking(), and those in an ExternalWait are not counted. With
  // all that are alive; on a processor's thread, where nothing else runs; perhaps again and again
  // while it stays so, one call at a time. Other threads can wake goroutines, too: whoever lets
  // them do so uses ExternalWait, or leaves this empty.
  std::function<void(const std::vector<TaskInfo>&)> on_deadlock{};
  // Called once for each place that starts such goroutines; on a thread of the scheduler's own.
  std::function<void(const Hog&)> on_hog{};
  // Goroutines wait for one another's mutexes, though others still run: describe_circles() of them,
  // once. On a thread of the scheduler's own.
  std::function<void(const std::string& circles)> on_circle{};
  // Called by the destructor with what was started after the last run(): it never ran, and is
  // dropped when this returns. Empty: builds with assertions write it to standard error.
  std::function<void(const std::vector<TaskInfo>&)> on_leak{};
  // Borrowed, outlives the scheduler. With it a run is a function of what it decides: one
  // processor; each operation of a primitive, yield() and checkpoint() a scheduling point; and time
  // that passes, all at once until the next deadline, only while nobody can run (see now()).
  Chooser* chooser = nullptr;
  // With kWhileFaster: where a goroutine is pinned, all run.
  OneAlone one_alone = OneAlone::kWhileFaster;
  // For tests, at the price of speed: whoever has waited or yielded goes on on another processor,
  // if there is one, unless it is pinned. So what is kept over a switch and must not be shows: the
  // address of a thread-local variable, errno, who has which stack.
  bool migrate = false;
  // How many of its newest events each processor keeps for trace(), rounded up to a power of two,
  // of 40 bytes each. 0: none, at no cost.
  std::size_t trace_events = 0;
};

// What goroutines that computed for long have cost, or rather what was lent for the others.
struct LentTime {
  std::uint64_t hogs = 0;
  base::Duration lent{};  // summed over the processors lent, each from its loan to its end
};

class Scheduler {
 public:
  explicit Scheduler(const Options& options);
  // No run() may be under way. What was started after the last run() is dropped, never run: see
  // Options::on_leak.
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Runs `main` as a goroutine and returns when it and all that it started have ended. The calling
  // thread becomes processor 0. An exception that leaves a goroutine ends the process
  // (std::terminate), as a panic does in Go: catch where you start it. May be called again, but not
  // while another run() is under way.
  void run(std::function<void()> main);

  // Starts a goroutine from any thread. Outside of a run() it waits for the next one.
  void go(std::function<void()> body, Tag tag = kNoTag,
          base::SourceSite site = base::SourceSite::current());
  void go(GoOptions options, std::function<void()> body, Tag tag,
          base::SourceSite site = base::SourceSite::current());

  std::uint64_t alive() const;  // goroutines started and not ended
  unsigned processors() const;
  LentTime lent_time() const;  // so far
  // How long one processor has run alone, see OneAlone; without what has not ended yet.
  base::Duration alone_time() const;
  // How often a sleeping processor was woken because there may be work for it, so far.
  std::uint64_t wake_ups() const;
  // All that are alive, oldest first, each as it was at some instant of the call; for dumps.
  std::vector<TaskInfo> tasks() const;
  // What they have done so far; empty without Options::trace_events. From any thread at any time;
  // nobody waits for it. While goroutines run, of what happens during the call a part may be there
  // without what caused it.
  TraceSnapshot trace() const;

  // The one that runs the calling goroutine, or that Enter named; nullptr elsewhere.
  static Scheduler* current();

 private:
  friend SchedulerImpl;

  std::unique_ptr<SchedulerImpl> impl_;
};

// Runs tasks on plain threads, one each; the other meaning that go() can have. Called on its own
// threads; only go() may throw.
class ThreadHost {
 public:
  virtual ~ThreadHost() = default;
  virtual void go(std::function<void()> body, Tag tag) = 0;
  // The calling thread is about to block in a primitive, in sleep_for() or in blocking().
  virtual void on_block() = 0;
  // It runs its task (again); also at each checkpoint() and yield().
  virtual void on_run(Tag tag) = 0;
};

// Names, for the calling plain thread and as long as it lives, who starts what go() is given, and
// the tag that current_tag() tells.
class Enter {
 public:
  explicit Enter(Scheduler& scheduler, Tag tag = kNoTag);
  explicit Enter(ThreadHost& host, Tag tag = kNoTag);
  ~Enter();
  Enter(const Enter&) = delete;
  Enter& operator=(const Enter&) = delete;

 private:
  Enter(Scheduler* scheduler, ThreadHost* host, Tag tag);

  Scheduler* const outer_;
  ThreadHost* const outer_host_;
  const Tag outer_tag_;
};

// Starts a goroutine that runs `body`, which inherits the caller's tag. No allocation for bodies of
// up to Task::kClosureBytes. An exception that leaves it ends the process.
template <std::invocable Body>
void go(Body body, base::SourceSite site = base::SourceSite::current());
// The same for one with a name, a stack of another size, or a place. Where each goroutine is a
// kernel thread (see ThreadHost) the options mean nothing.
template <std::invocable Body>
void go(GoOptions options, Body body, base::SourceSite site = base::SourceSite::current());
// With a tag of its own it is no part of what the caller does, and the caller does not wait for it:
// such goroutines start in the order of their go(), the oldest first however many wait. Those of
// the other kind may start in any order (many wait: the youngest first, so that a tree of
// goroutines is walked depth first).
template <std::convertible_to<std::function<void()>> Body>
void go(Body body, Tag tag);

void yield();
void sleep_for(base::Duration duration, base::SourceSite site = base::SourceSite::current());
// The time that deadlines count in: base::Clock's, but for goroutines under a Chooser.
base::TimePoint now();
// While it lives, the goroutine that made it may wait for something that no goroutine does: a
// message from outside, another thread. It is then no part of a deadlock. Such a goroutine must not
// be what others wait for. On a plain thread, or within another one, it means nothing.
class ExternalWait {
 public:
  ExternalWait();
  ~ExternalWait();
  ExternalWait(const ExternalWait&) = delete;
  ExternalWait& operator=(const ExternalWait&) = delete;

 private:
  Task* const task_;
};

// For long computations: tells the observer again who runs, so that it is not taken for a hang, and
// lets others run if they have waited for 10 ms. (Under a Chooser: a scheduling point like others.)
void checkpoint();
Tag current_tag();
std::uint64_t current_task_id();  // 0 on a plain thread
// The name that go() gave the calling goroutine, mostly ""; lives as long as it. Async-signal-safe.
std::string_view current_task_name() noexcept;
// The processor whose thread this is, or -1. Async-signal-safe.
int current_processor() noexcept;
// Bounds of the running goroutine's stack, its guard included; {0,0} on a plain thread.
// Async-signal-safe.
struct StackBounds {
  std::uintptr_t low = 0;   // lowest address, start of the guard
  std::uintptr_t high = 0;  // one past the highest
  std::size_t guard_bytes = 0;
};
StackBounds current_stack() noexcept;

// go() from a plain thread.
void go_elsewhere(GoOptions&& options, std::function<void()> body, Tag tag, base::SourceSite site);

template <class Body>
void run_body(Task& task, bool run) {
  constexpr bool kInPlace =
      sizeof(Body) <= Task::kClosureBytes && alignof(Body) <= alignof(std::max_align_t);
  Body* body = nullptr;
  if constexpr (kInPlace)
    body = std::launder(reinterpret_cast<Body*>(task.closure));
  else
    body = *std::launder(reinterpret_cast<Body**>(task.closure));
  if (run) (*body)();
  // What it holds is destroyed by the goroutine: destructors may block.
  if constexpr (kInPlace)
    body->~Body();
  else
    delete body;
}

void go_tagged(std::function<void()> body, Tag tag);

template <std::convertible_to<std::function<void()>> Body>
void go(Body body, Tag tag) {
  go_tagged(std::move(body), tag);
}

// The body of a goroutine that is begun; moved from.
template <class Body>
void launch_with(Task& task, Body& body) {
  if constexpr (sizeof(Body) <= Task::kClosureBytes && alignof(Body) <= alignof(std::max_align_t))
    new (task.closure) Body(std::move(body));
  else
    new (task.closure) Body*(new Body(std::move(body)));
  task.body = &run_body<Body>;
  launch_task(task);
}

// std::function wants to copy.
template <class Body>
void go_elsewhere_with(GoOptions&& options, Body& body, base::SourceSite site) {
  if constexpr (std::copy_constructible<Body>)
    go_elsewhere(std::move(options), std::move(body), current_tag(), site);
  else
    go_elsewhere(
        std::move(options), [shared = std::make_shared<Body>(std::move(body))] { (*shared)(); },
        current_tag(), site);
}

template <std::invocable Body>
void go(Body body, base::SourceSite site) {
  if (current_task() == nullptr) return go_elsewhere_with({}, body, site);
  launch_with(begin_task(site), body);
}

template <std::invocable Body>
void go(GoOptions options, Body body, base::SourceSite site) {
  if (current_task() == nullptr) return go_elsewhere_with(std::move(options), body, site);
  launch_with(begin_task(std::move(options), site), body);
}

}  // namespace bulkhead::sched
