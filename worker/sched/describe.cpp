// What goroutines do, in words.
#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <bulkhead/base/demangle.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <map>
#include <string_view>

namespace bulkhead::sched {
namespace {

using NameOf = std::function<std::string(Tag)>;

constexpr std::size_t kMost = 100;

// Objects are told by number, in the order in which they are first named: an address says nothing
// more, and is another one in each run.
class Objects {
 public:
  std::size_t number(const void* object) {
    return numbers_.try_emplace(object, numbers_.size() + 1).first->second;
  }

 private:
  std::map<const void*, std::size_t> numbers_;
};

std::string name_of_task(const TaskInfo& task) {
  std::string text = fmt::format("goroutine {}", task.id);
  if (!task.name.empty()) text += fmt::format(" '{}'", task.name);
  return text;
}

std::string with_tag(const TaskInfo& task, const NameOf& name_of) {
  return name_of_task(task) + (task.tag != kNoTag ? " of " + name_of(task.tag) : "");
}

std::string origin_of(const TaskInfo& task) {
  if (task.site.line == 0) return "\n";
  return fmt::format("; started at {}:{}\n", task.site.file, task.site.line);
}

std::string what_for(const TaskInfo& task, Objects& objects, base::TimePoint now) {
  std::string text = fmt::format(", {}", to_string(task.reason));
  if (task.descriptor >= 0) text += fmt::format(" {}", task.descriptor);
  if (task.object != nullptr) text += fmt::format(" #{}", objects.number(task.object));
  if (task.holder != 0) text += fmt::format(", held by goroutine {}", task.holder);
  if (task.waits_at.line != 0)
    text += fmt::format(", at {}:{}", task.waits_at.file, task.waits_at.line);
  const base::Duration waited = now - task.since;
  if (waited >= std::chrono::milliseconds(100))
    text += fmt::format(", for {:.1f} s", base::to_seconds(waited));
  return text;
}

// As far as the dynamic linker knows: the function, or the place in its file.
std::string name_of_frame(std::uintptr_t address) {
  Dl_info info{};
  if (::dladdr(reinterpret_cast<const void*>(address), &info) == 0)
    return fmt::format("{:#x}", address);
  const std::string_view path = info.dli_fname;
  const std::string_view file = path.substr(path.rfind('/') + 1);
  std::string place =
      fmt::format("{}+{:#x}", file, address - reinterpret_cast<std::uintptr_t>(info.dli_fbase));
  if (info.dli_sname == nullptr) return place;
  return fmt::format("{} ({})", base::demangled(info.dli_sname), place);
}

// Who waits for a mutex that the next one holds, and the last for one of the first: indices.
std::vector<std::vector<std::size_t>> circles(const std::vector<TaskInfo>& tasks) {
  std::map<std::uint64_t, std::size_t> places;
  for (std::size_t i = 0; i < tasks.size(); ++i) places[tasks[i].id] = i;
  std::vector<std::vector<std::size_t>> found;
  std::vector<std::size_t> seen_from(tasks.size(), tasks.size());
  for (std::size_t start = 0; start < tasks.size(); ++start) {
    std::vector<std::size_t> path;
    std::size_t at = start;
    for (;;) {
      if (seen_from[at] != tasks.size()) break;
      seen_from[at] = start;
      path.push_back(at);
      const auto next = places.find(tasks[at].holder);
      if (tasks[at].holder == 0 || next == places.end()) {
        at = tasks.size();
        break;
      }
      at = next->second;
    }
    if (at == tasks.size() || seen_from[at] != start) continue;
    found.emplace_back(std::find(path.begin(), path.end(), at), path.end());
  }
  return found;
}

}  // namespace

const char* to_string(Task::State state) {
  switch (state) {
    case Task::kFree:
      return "free";
    case Task::kRunnable:
      return "runnable";
    case Task::kRunning:
      return "running";
    case Task::kParked:
      return "parked";
    case Task::kSleeping:
      return "sleeping";
  }
  return "unknown";
}

const char* to_string(ParkReason reason) {
  switch (reason) {
    case ParkReason::kNone:
      return "none";
    case ParkReason::kSend:
      return "channel send";
    case ParkReason::kReceive:
      return "channel receive";
    case ParkReason::kSelect:
      return "select";
    case ParkReason::kSelectTimeout:
      return "select with a timeout";
    case ParkReason::kWaitGroup:
      return "wait group";
    case ParkReason::kMutex:
      return "mutex";
    case ParkReason::kSleep:
      return "sleep";
    case ParkReason::kRWMutexRead:
      return "rwmutex read lock";
    case ParkReason::kRWMutexWrite:
      return "rwmutex write lock";
    case ParkReason::kOnce:
      return "once";
    case ParkReason::kCond:
      return "cond";
    case ParkReason::kSemaphore:
      return "semaphore";
    case ParkReason::kJoin:
      return "join";
    case ParkReason::kBlocking:
      return "blocking call";
    case ParkReason::kBlockingPoolFull:
      return "blocking call, pool full";
    case ParkReason::kErrGroup:
      return "errgroup";
    case ParkReason::kNilSend:
      return "send on no channel, for ever";
    case ParkReason::kNilReceive:
      return "receive from no channel, for ever";
    case ParkReason::kSelectNothing:
      return "select without cases, for ever";
    case ParkReason::kReadable:
      return "readable fd";
    case ParkReason::kWritable:
      return "writable fd";
  }
  return "unknown";
}

std::string describe(const std::vector<TaskInfo>& tasks, const NameOf& name_of,
                     base::TimePoint now) {
  Objects objects;
  std::string text;
  for (std::size_t i = 0; i < tasks.size() && i < kMost; ++i) {
    const TaskInfo& task = tasks[i];
    text += fmt::format("  {}: {}", with_tag(task, name_of), to_string(task.state));
    if (task.reason != ParkReason::kNone) text += what_for(task, objects, now);
    if (task.outside) text += ", waits for the outside";
    text += origin_of(task);
  }
  if (tasks.size() > kMost) text += fmt::format("  and {} more\n", tasks.size() - kMost);
  return text;
}

std::string describe(const Hog& hog, const NameOf& name_of) {
  std::string text = fmt::format(
      "{} has run for {} ms without a scheduling point while others wait{}",
      with_tag(hog.task, name_of), hog.ran / std::chrono::milliseconds(1), origin_of(hog.task));
  for (const std::uintptr_t frame : hog.frames) text += "    " + name_of_frame(frame) + '\n';
  return text;
}

std::string describe_circles(const std::vector<TaskInfo>& tasks) {
  std::string text;
  for (const std::vector<std::size_t>& circle : circles(tasks)) {
    if (circle.size() == 1) {
      text += fmt::format("{} waits for a mutex that it holds itself\n",
                          name_of_task(tasks[circle[0]]));
      continue;
    }
    std::string sentence = name_of_task(tasks[circle[0]]);
    for (std::size_t i = 1; i <= circle.size(); ++i)
      sentence += fmt::format("{} waits for a mutex of {}", i == 1 ? "" : ", which",
                              name_of_task(tasks[circle[i % circle.size()]]));
    text += sentence + '\n';
  }
  return text;
}

std::string describe_leaks(const std::vector<TaskInfo>& tasks, const NameOf& name_of,
                           base::TimePoint now) {
  if (tasks.empty()) return "";
  const std::string how_many =
      tasks.size() == 1 ? "a goroutine has" : fmt::format("{} goroutines have", tasks.size());
  return fmt::format("leak: {} not ended with the run\n", how_many) + describe(tasks, name_of, now);
}

std::string describe_deadlock(const std::vector<TaskInfo>& tasks, const NameOf& name_of,
                              base::TimePoint now) {
  return "deadlock: all goroutines are asleep, and none can wake another\n" +
         describe(tasks, name_of, now) + describe_circles(tasks);
}

}  // namespace bulkhead::sched
