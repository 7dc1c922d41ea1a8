// Explores the interleavings of a program: runs it again and again, each time with another choice
// of who runs at each scheduling point, until it ends badly.
//
//   std::optional<sched::Finding> finding = sched::explore({.schedules = 5000}, [] { transfer();
//   }); if (finding) std::cerr << finding->seed << ' ' << finding->what << '\n' << finding->steps;
//
// Bad ends: goroutines that nothing can wake any more (also some that are left over, for run()
// waits for all), an exception that nobody catches, a failed check, a signal, an exit, a schedule
// that takes too long. Each set of schedules runs in a child process, so nothing of this is lost.
// The program is a function of its schedule when it takes nothing from outside, and its time from
// now(): then the same seed is the same run.
#pragma once

#include <fmt/format.h>

#include <bulkhead/base/clock.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace bulkhead::sched {

// Each of those that could run is as likely as the others.
std::unique_ptr<Chooser> random_chooser(std::uint64_t seed);
// Probabilistic concurrency testing: goroutines have random priorities, and the highest runs; at
// `depth` − 1 random ones of the first `steps` choices whoever runs falls below all others. Finds a
// fault that takes `depth` ordered events among n goroutines with a chance of at least
// 1 ÷ (n × steps^(depth − 1)). Burckhardt et al., "A randomized scheduler with probabilistic
// guarantees of finding bugs" (2010).
std::unique_ptr<Chooser> priority_chooser(std::uint64_t seed, unsigned depth, std::uint64_t steps);

struct Exploration {
  std::uint64_t schedules = 1000;
  std::uint64_t first_seed = 1;                     // then the following ones
  unsigned depth = 0;                               // of priority_chooser(); 0: random_chooser()
  std::uint64_t steps = 1000;                       // likewise
  base::Duration limit = std::chrono::seconds(10);  // of one schedule
};

enum class BadEnd : std::uint8_t {
  kDeadlock,
  kWrongAnswer,  // see wrong_answer()
  kPanic,        // an exception that nobody catches
  kFailedCheck,  // or another abort()
  kSignal,
  kExit,
  kNoEnd,  // within the limit
};
const char* to_string(BadEnd kind);

struct Finding {
  std::uint64_t seed = 0;
  BadEnd kind = BadEnd::kDeadlock;
  std::string what;   // "deadlock", "signal 6 (Aborted)", "exit code 3", "no end within 10 s"
  std::string said;   // what the program, and we about it, wrote to standard output and error
  std::string steps;  // the last choices of that schedule, in words
};

struct Search {
  std::uint64_t schedules = 0;  // that were run, the bad one included
  std::uint64_t longest = 0;    // choices in the longest of them
  base::Duration took{};        // running them
  std::optional<Finding> finding;
};

// The first bad end; none: all schedules ended well. Forks: only from a process with one thread.
// Throws std::system_error where the machine gives no process.
std::optional<Finding> explore(const Exploration& exploration,
                               const std::function<void()>& program);
// The same, with how much was searched.
Search search(const Exploration& exploration, const std::function<void()>& program);
// One schedule again, in a child process, with all its steps in words: of very many the first
// 512 KiB and the last ones. `steps` is given also where it ends well, and then is all that counts.
struct Trace {
  std::optional<Finding> finding;
  std::string steps;
  std::uint64_t choices = 0;
  base::Duration took{};
};
Trace trace(const Exploration& exploration, std::uint64_t seed,
            const std::function<void()>& program);
// One schedule again, in this process: what it is that ends badly can be looked at in a debugger.
void replay(const Exploration& exploration, std::uint64_t seed,
            const std::function<void()>& program);

// For the program, which alone knows what is right: ends the process, and so the schedule, as a
// wrong answer, with this text.
[[noreturn]] void wrong_answer(std::string_view text);

// For the program: what the goroutine does, in words, between the steps of a trace. Without one it
// costs a load.
bool traced();
void add_note(std::string_view text);
template <class... Args>
void note(fmt::format_string<Args...> format, Args&&... args) {
  if (traced()) [[unlikely]]
    add_note(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace bulkhead::sched
