#include "report/backtrace.hpp"

#include <fmt/format.h>

#include <bulkhead/wire/text.hpp>
#include <string_view>
#include <utility>
#include <vector>

#include "report/table.hpp"
#include "report/units.hpp"

namespace bulkhead::coordinator {
namespace {

constexpr std::size_t kShownFrames = 8;
constexpr std::size_t kShownBacktraces = 5;
constexpr std::size_t kShownNameBytes = 76;

// What calls a job or task; from here on every backtrace of a model is the same, and none of it the
// user's.
constexpr std::array<std::string_view, 2> kRunsJobs{"bulkhead::worker::JobRunner::run",
                                                    "bulkhead::program::Net::run_task"};

std::string_view file_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

// How the standard library calls what it was given.
bool is_plumbing(const v1::BacktraceFrame& frame) {
  return frame.source().find("/include/c++/") != std::string::npos;
}

std::string place(const v1::BacktraceFrame& frame) {
  const std::string module(file_name(frame.module()));
  if (frame.symbol().empty()) {
    return module.empty()
               ? frame.address()
               : fmt::format("{}+{:#x}", module, static_cast<std::uint64_t>(frame.offset()));
  }
  const std::string_view where = frame.source().empty() ? module : file_name(frame.source());
  return fmt::format("{}  {}", wire::printable(short_name(frame.symbol()), kShownNameBytes), where);
}

// Frame by frame; a recursion is one line.
std::vector<std::pair<std::string, int>> lines_of(const v1::WorkerExit& exit) {
  std::vector<std::pair<std::string, int>> lines;
  for (const v1::BacktraceFrame& frame : exit.backtrace()) {
    if (is_plumbing(frame)) continue;
    if (std::find(kRunsJobs.begin(), kRunsJobs.end(), short_name(frame.symbol())) !=
        kRunsJobs.end())
      break;
    std::string line = place(frame);
    if (!lines.empty() && lines.back().first == line) {
      ++lines.back().second;
    } else {
      if (lines.size() == kShownFrames) break;
      lines.emplace_back(std::move(line), 1);
    }
  }
  return lines;
}

// Of a parameter list: the first '(' outside of <…> and {…} that belongs to no name itself.
std::size_t end_of_name(std::string_view symbol) {
  constexpr std::string_view kNameless = "(anonymous namespace)";
  constexpr std::string_view kCall = "operator()";
  int depth = 0;
  for (std::size_t i = 0; i < symbol.size(); ++i) {
    if (symbol.substr(i).starts_with(kCall)) {
      i += kCall.size() - 1;
    } else if (symbol.substr(i).starts_with(kNameless)) {
      i += kNameless.size() - 1;
    } else if (symbol[i] == '<' || symbol[i] == '{') {
      ++depth;
    } else if (symbol[i] == '>' || symbol[i] == '}') {
      --depth;
    } else if (symbol[i] == '(' && depth <= 0) {
      return i;
    }
  }
  return symbol.size();
}

}  // namespace

std::string short_name(const std::string& symbol) {
  std::string name = symbol.substr(0, end_of_name(symbol));
  if (name.empty()) return symbol;
  constexpr std::string_view kNameless = "(anonymous namespace)::";
  for (std::size_t at = name.find(kNameless); at != std::string::npos; at = name.find(kNameless)) {
    name.erase(at, kNameless.size());
  }
  return name;
}

std::string BacktraceListing::render(const v1::WorkerExit& exit) {
  if (exit.backtrace_size() == 0) return {};
  std::string text;
  std::size_t number = 0;
  for (const auto& [line, times] : lines_of(exit)) {
    text += fmt::format("    {}  {}", number++, wire::printable(line, kWidth));
    if (times > 1) text += fmt::format(", {} times", times);
    text += '\n';
  }
  if (!exit.backtrace_note().empty()) {
    text += wrap("    " + wire::printable(exit.backtrace_note()), kWidth, 4) + '\n';
  }
  if (!seen_.insert(text).second) return {};
  if (seen_.size() > kShownBacktraces) {
    ++left_out_;
    return {};
  }
  return text;
}

}  // namespace bulkhead::coordinator
