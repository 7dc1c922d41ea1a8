#include "faults/fault_plan.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <vector>

#include "cli/values.hpp"

namespace bulkhead::coordinator {
namespace {

struct Kind {
  const char* name;
  v1::FaultKind value;
};
constexpr std::array kKinds{Kind{"segv", v1::FAULT_SEGV},
                            Kind{"abort", v1::FAULT_ABORT},
                            Kind{"kill", v1::FAULT_KILL},
                            Kind{"exit", v1::FAULT_EXIT},
                            Kind{"throw", v1::FAULT_THROW},
                            Kind{"hang", v1::FAULT_HANG},
                            Kind{"stack-overflow", v1::FAULT_STACK_OVERFLOW},
                            Kind{"oom", v1::FAULT_OOM}};

// One parse: the whole text is kept for the messages, columns count from 1 in bytes.
class FaultParser {
 public:
  explicit FaultParser(std::string_view text) : text_(text) {}

  Result<FaultSpec> parse() {
    fault_.text = std::string(text_);
    const std::size_t at = text_.find('@');
    if (const auto kind = parse_kind(text_.substr(0, at)); !kind) return fail(kind.error());
    if (at == std::string_view::npos || at + 1 == text_.size()) {
      return wrong(text_.size(), "where is missing; write {}@job=20 or {}@worker=2,after=500ms",
                   to_string(fault_.kind), to_string(fault_.kind));
    }
    for (std::size_t begin = at + 1; begin <= text_.size();) {
      const std::size_t end = std::min(text_.find(',', begin), text_.size());
      if (const auto part = parse_part(begin, end); !part) return fail(part.error());
      begin = end + 1;
    }
    if (!fault_.job && !fault_.worker && fault_.rate == 0 && fault_.task.empty()) {
      return wrong(at + 1,
                   "neither job, worker, rate nor task is given; write {0}@job=20, {0}@worker=2, "
                   "{0}@rate=0.01 or {0}@task=NAME",
                   to_string(fault_.kind));
    }
    const bool one = fault_.job || !fault_.task.empty();
    if (times_at_ && !one) return wrong(*times_at_, "times goes with job=N or task=NAME only");
    if (operation_at_ && fault_.task.empty())
      return wrong(*operation_at_, "operation goes with task=NAME only");
    if (after_at_ && !fault_.worker) return wrong(*after_at_, "after goes with worker=N only");
    return fault_;
  }

 private:
  template <class... Args>
  tl::unexpected<Error> wrong(std::size_t offset, fmt::format_string<Args...> format,
                              Args&&... args) const {
    return fail(Code::kInvalidArgument, "{}: {}: {}", in_quotes(text_), offset + 1,
                fmt::format(format, std::forward<Args>(args)...));
  }

  Result<void> parse_kind(std::string_view name) {
    std::vector<std::string> names;
    for (const Kind& kind : kKinds) {
      if (name == kind.name) {
        fault_.kind = kind.value;
        return {};
      }
      names.emplace_back(kind.name);
    }
    if (name.empty()) return wrong(0, "the fault kind is missing; kinds: {}", join(names));
    return wrong(0, "unknown fault kind {}{}", in_quotes(name), suggestion(name, "kinds", names));
  }

  Result<void> parse_part(std::size_t begin, std::size_t end) {
    static const std::vector<std::string> kKeys{"job",  "times", "worker",   "after",
                                                "rate", "task",  "operation"};
    const std::string_view part = text_.substr(begin, end - begin);
    const std::size_t equals = part.find('=');
    const std::string_view key = part.substr(0, equals);
    if (key.empty()) return wrong(begin, "a key is missing; keys: {}", join(kKeys));
    if (std::find(kKeys.begin(), kKeys.end(), key) == kKeys.end()) {
      return wrong(begin, "unknown key {}{}", in_quotes(key), suggestion(key, "keys", kKeys));
    }
    const std::size_t value_at = begin + key.size() + 1;
    if (equals == std::string_view::npos || equals + 1 == part.size()) {
      return wrong(end, "{} needs a value; write {}={}", key, key,
                   key == "after"  ? "500ms"
                   : key == "rate" ? "0.01"
                   : key == "task" ? "NAME"
                                   : "1");
    }
    const std::string_view value = part.substr(equals + 1);
    if (key == "job") return parse_job(begin, value_at, value);
    if (key == "worker") return parse_worker(begin, value_at, value);
    if (key == "rate") return parse_rate(begin, value_at, value);
    if (key == "task") return parse_task(begin, value);
    if (key == "times") return parse_times(begin, value_at, value);
    if (key == "operation") return parse_operation(begin, value_at, value);
    return parse_after(begin, value_at, value);
  }

  Result<void> parse_job(std::size_t key_at, std::size_t value_at, std::string_view value) {
    if (fault_.job) return wrong(key_at, "job is given twice; give --fault once for each job");
    if (fault_.worker || fault_.rate > 0 || !fault_.task.empty()) return only_one(key_at);
    // A report counts jobs in doubles: beyond 2^53 neighbours could not be told apart.
    const auto number = parse_count(value, 0, std::uint64_t{1} << 53);
    if (!number) return wrong(value_at, "{}", number.error().text);
    fault_.job = *number;
    return {};
  }

  Result<void> parse_worker(std::size_t key_at, std::size_t value_at, std::string_view value) {
    if (fault_.worker) {
      return wrong(key_at, "worker is given twice; give --fault once for each worker");
    }
    if (fault_.job || fault_.rate > 0 || !fault_.task.empty()) return only_one(key_at);
    const auto number = parse_count(value, 1, 1024);
    if (!number) return wrong(value_at, "{}", number.error().text);
    fault_.worker = static_cast<std::uint32_t>(*number);
    return {};
  }

  Result<void> parse_rate(std::size_t key_at, std::size_t value_at, std::string_view value) {
    if (fault_.rate > 0) return wrong(key_at, "rate is given twice");
    if (fault_.job || fault_.worker || !fault_.task.empty()) return only_one(key_at);
    double rate = 0;
    const auto [end, error] =
        std::from_chars(value.data(), value.data() + value.size(), rate, std::chars_format::fixed);
    if (error != std::errc() || end != value.data() + value.size() || !(rate > 0 && rate <= 1)) {
      return wrong(value_at, "{} is no rate; write a share of the jobs, above 0 and at most 1",
                   in_quotes(value));
    }
    fault_.rate = rate;
    return {};
  }

  tl::unexpected<Error> only_one(std::size_t key_at) const {
    return wrong(key_at, "job, worker, rate and task exclude each other; give one");
  }

  // Which tasks there are, the program says.
  Result<void> parse_task(std::size_t key_at, std::string_view value) {
    if (!fault_.task.empty()) {
      return wrong(key_at, "task is given twice; give --fault once for each task");
    }
    if (fault_.job || fault_.worker || fault_.rate > 0) return only_one(key_at);
    fault_.task = std::string(value);
    return {};
  }

  Result<void> parse_operation(std::size_t key_at, std::size_t value_at, std::string_view value) {
    if (operation_at_) return wrong(key_at, "operation is given twice");
    const auto number = parse_count(value, 1, std::uint64_t{1} << 53);
    if (!number) return wrong(value_at, "{}", number.error().text);
    fault_.operation = *number;
    operation_at_ = key_at;
    return {};
  }

  Result<void> parse_times(std::size_t key_at, std::size_t value_at, std::string_view value) {
    if (times_at_) return wrong(key_at, "times is given twice");
    const auto number = parse_count(value, 1, 1'000'000);
    if (!number) return wrong(value_at, "{}", number.error().text);
    fault_.times = static_cast<std::uint32_t>(*number);
    times_at_ = key_at;
    return {};
  }

  Result<void> parse_after(std::size_t key_at, std::size_t value_at, std::string_view value) {
    if (after_at_) return wrong(key_at, "after is given twice");
    const auto duration = parse_duration(value);
    if (!duration) return wrong(value_at, "{}", duration.error().text);
    fault_.after = *duration;
    after_at_ = key_at;
    return {};
  }

  const std::string_view text_;
  FaultSpec fault_;
  std::optional<std::size_t> times_at_;
  std::optional<std::size_t> after_at_;
  std::optional<std::size_t> operation_at_;
};

}  // namespace

const std::vector<FaultKindText>& fault_kinds() {
  static constexpr const char* kAll = "everything at risk";
  static constexpr const char* kOne = "what one worker has at risk";
  static const std::vector<FaultKindText> kTexts{
      {"segv", "a write to address 0; SIGSEGV, the job named by the crash handler", kAll, kOne},
      {"abort", "abort(); SIGABRT, the job named likewise", kAll, kOne},
      {"kill", "SIGKILL; jobs in slots are suspects", kAll, kOne},
      {"exit", "exit(0) in mid-job: a crash all the same, the job named", kAll, kOne},
      {"throw", "an exception: fails the attempt, which is tried again", "one attempt",
       "one attempt"},
      {"hang", "blocks for ever; needs --stall or --job-timeout, which name the job", kAll, kOne},
      {"stack-overflow", "recursion without end; told apart from other faults", kAll, kOne},
      {"oom", "allocates beyond --worker-memory; verdict limit", kAll, kOne}};
  return kTexts;
}

Result<FaultSpec> parse_fault(std::string_view text) { return FaultParser(text).parse(); }

const char* to_string(v1::FaultKind kind) {
  for (const Kind& known : kKinds) {
    if (known.value == kind) return known.name;
  }
  return "unspecified";
}

}  // namespace bulkhead::coordinator
