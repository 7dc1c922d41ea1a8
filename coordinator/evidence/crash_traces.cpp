#include "evidence/crash_traces.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bulkhead/wire/text.hpp>
#include <cstring>
#include <string_view>

#include "evidence/symbols.hpp"

namespace bulkhead::coordinator {
namespace {

constexpr std::size_t kMaxModules = 256;
constexpr std::size_t kMaxPathBytes = 4096;
constexpr std::size_t kMaxBuildIdBytes = 64;

const v1::Module* module_at(const std::vector<v1::Module>& modules, std::uint64_t address) {
  const auto found = std::find_if(modules.begin(), modules.end(), [&](const v1::Module& module) {
    return address >= module.low() && address < module.high();
  });
  return found == modules.end() ? nullptr : &*found;
}

// An address without what differs from process to process.
std::string relative(const std::vector<v1::Module>& modules, std::uint64_t address) {
  const v1::Module* const module = module_at(modules, address);
  if (module == nullptr) return {};
  return fmt::format("{}+{:x} ", module - modules.data(), address - module->bias());
}

// Two crashes with one key have one stack. Frame pointers may be garbage in code that has none:
// what looks like a return address near the top of the stack tells those apart.
std::string key_of(const std::vector<v1::Module>& modules,
                   const wire::CrashSnapshot::Fatal& fatal) {
  constexpr std::size_t kNear = 512;
  std::string key = fmt::format("{} ", fatal.signal);
  for (const v1::Module& module : modules) {
    // With their lengths: they may hold anything, and equal keys must mean equal lists.
    key += fmt::format("{}:{}{}:{}", module.path().size(), module.path(), module.build_id().size(),
                       module.build_id());
  }
  for (const std::uint64_t frame : fatal.frames) key += relative(modules, frame);
  for (std::size_t at = 0; at + 8 <= std::min(fatal.stack.size(), kNear); at += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, fatal.stack.data() + at, sizeof word);
    key += relative(modules, word);
  }
  return key;
}

v1::CrashedStack evidence_of(const std::vector<v1::Module>& modules,
                             const wire::CrashSnapshot::Fatal& fatal) {
  v1::CrashedStack stack;
  for (const v1::Module& module : modules) *stack.add_modules() = module;
  stack.set_instruction(fatal.instruction);
  for (const std::uint64_t frame : fatal.frames) stack.add_frames(frame);
  for (const std::uint64_t value : fatal.registers) stack.add_registers(value);
  stack.set_stack_address(fatal.stack_address);
  stack.set_stack(fatal.stack);
  return stack;
}

void set_place(v1::BacktraceFrame& frame, std::uint64_t address, const v1::Module* module) {
  frame.set_address(fmt::format("{:#x}", address));
  if (module == nullptr) return;
  frame.set_module(wire::printable(module->path()));
  frame.set_offset(static_cast<double>(address - module->bias()));
}

}  // namespace

std::vector<v1::Module> checked_modules(const v1::Hello& hello) {
  std::vector<v1::Module> checked;
  for (const v1::Module& module : hello.modules()) {
    if (checked.size() == kMaxModules) break;
    if (module.path().size() > kMaxPathBytes || module.build_id().size() > kMaxBuildIdBytes ||
        module.low() >= module.high()) {
      continue;
    }
    checked.push_back(module);
  }
  return checked;
}

TraceRef CrashTraces::add(const std::vector<v1::Module>& modules,
                          const wire::CrashSnapshot::Fatal& fatal, v1::WorkerExit& exit) {
  TraceRef trace;
  constexpr int kFromAProcess = 0;  // si_code SI_USER: kill(), which strikes any thread
  if (fatal.si_code == kFromAProcess) {
    exit.set_backtrace_note("the signal was sent by a process: it says nothing of where");
    return trace;
  }
  for (const std::uint64_t address : fatal.frames) {
    if (exit.backtrace_size() == kMaxTraceFrames) break;
    set_place(*exit.add_backtrace(), address, module_at(modules, address));
  }
  if (modules.empty()) {
    exit.set_backtrace_note("the worker had not told yet what it had loaded");
    return trace;
  }
  const auto [known, is_new] = known_.try_emplace(key_of(modules, fatal), question_.stacks_size());
  if (is_new && known_.size() > kMaxStacks) {
    known_.erase(known);
    exit.set_backtrace_note(
        fmt::format("not named: only the first {} different stacks of a command are", kMaxStacks));
    return trace;
  }
  if (is_new) *question_.add_stacks() = evidence_of(modules, fatal);
  trace.stack = known->second;
  for (const v1::Module& module : modules) trace.biases.push_back(module.bias());
  return trace;
}

void CrashTraces::complete(const TraceRef& trace, v1::WorkerExit& exit) const {
  if (!trace.stack) return;
  if (!answer_) return exit.set_backtrace_note("not named: " + answer_.error().text);
  const auto index = static_cast<int>(*trace.stack);
  if (index >= answer_->stacks_size()) return;
  const auto& told = question_.stacks(index).modules();
  const std::vector<v1::Module> modules(told.begin(), told.end());
  exit.clear_backtrace();
  for (const v1::NamedFrame& named : answer_->stacks(index).frames()) {
    v1::BacktraceFrame& frame = *exit.add_backtrace();
    const v1::Module* const module = module_at(modules, named.address());
    std::uint64_t address = named.address();
    if (module != nullptr) {  // to where it lay in this process
      set_place(frame, address, module);
      address += trace.biases[static_cast<std::size_t>(module - modules.data())] - module->bias();
    }
    frame.set_address(fmt::format("{:#x}", address));
    frame.set_symbol(wire::printable(named.symbol(), 512));
    frame.set_source(wire::printable(named.source(), 300));
    frame.set_inlined(named.inlined());
    if (named.inlined()) {
      frame.clear_offset();
    } else if (!named.symbol().empty()) {
      frame.set_offset(static_cast<double>(named.offset()));
    }
  }
}

}  // namespace bulkhead::coordinator
