#include "evidence/loaded_modules.hpp"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwelf.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <bulkhead/base/demangle.hpp>
#include <bulkhead/base/unique_fd.hpp>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

namespace bulkhead::coordinator {
namespace {

constexpr std::size_t kMaxUnwound = 64;
constexpr std::size_t kMaxSymbolBytes = 512;
constexpr std::size_t kMaxSourceBytes = 256;

// Debug information is taken from the files themselves alone: a search elsewhere may ask servers.
int find_nothing(Dwfl_Module*, void**, const char*, Dwarf_Addr, const char*, const char*, GElf_Word,
                 char**) {
  return -1;
}
int find_no_elf(Dwfl_Module*, void**, const char*, Dwarf_Addr, char**, Elf**) { return -1; }

const Dwfl_Callbacks kCallbacks{.find_elf = find_no_elf,
                                .find_debuginfo = find_nothing,
                                .section_address = dwfl_offline_section_address,
                                .debuginfo_path = nullptr};

// An ordinary file, or none: the open of a pipe or a device may wait, or do something.
base::UniqueFd open_file(const std::string& path) {
  if (!path.starts_with('/') || path.size() > 4096 || path.find('\0') != std::string::npos) {
    return {};
  }
  base::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  struct stat status {};
  if (!fd || ::fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode)) return {};
  return fd;
}

// A program or shared object with the build id that was told: a file that was built anew since
// would give wrong names.
bool is_loaded_file(int fd, const std::string& build_id) {
  Elf* const elf = elf_begin(fd, ELF_C_READ_MMAP, nullptr);
  if (elf == nullptr) return false;
  GElf_Ehdr header;
  bool same = elf_kind(elf) == ELF_K_ELF && gelf_getehdr(elf, &header) != nullptr &&
              (header.e_type == ET_EXEC || header.e_type == ET_DYN);
  if (same) {
    const void* bytes = nullptr;
    const ssize_t size = dwelf_elf_gnu_build_id(elf, &bytes);
    const std::string has(static_cast<const char*>(bytes),
                          static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
    same = has == build_id;
  }
  elf_end(elf);
  return same;
}

std::string demangled(const char* name) {
  if (name == nullptr) return {};
  std::string result = base::demangled(name);
  if (result.size() > kMaxSymbolBytes) result.resize(kMaxSymbolBytes);
  return result;
}

std::string place(const char* file, int line) {
  if (file == nullptr) return {};
  std::string_view name(file);
  if (name.size() > kMaxSourceBytes) name.remove_prefix(name.size() - kMaxSourceBytes);
  return std::string(name) + (line > 0 ? ":" + std::to_string(line) : "");
}

// The compilation unit at an address. Some compilers (clang) write no table of addresses: the table
// then gives a neighbour, or nothing, and each unit has to be asked.
Dwarf_Die* unit_at(Dwfl_Module* module, Dwarf_Addr address, Dwarf_Addr* bias) {
  Dwarf_Die* const likely = dwfl_module_addrdie(module, address, bias);
  if (likely != nullptr && dwarf_haspc(likely, address - *bias) > 0) return likely;
  for (Dwarf_Die* unit = dwfl_module_nextcu(module, nullptr, bias); unit != nullptr;
       unit = dwfl_module_nextcu(module, unit, bias)) {
    if (dwarf_haspc(unit, address - *bias) > 0) return unit;
  }
  return nullptr;
}

// What encloses an address within its unit, innermost first, as it lies in the machine code.
class Scopes {
 public:
  Scopes(Dwarf_Die* unit, Dwarf_Addr address) {
    Dwarf_Die* lexical = nullptr;
    if (dwarf_getscopes(unit, address, &lexical) > 0) {
      // Those of the innermost one itself: the first answer follows an inlined function to where it
      // was written.
      count_ = dwarf_getscopes_die(&lexical[0], &dies_);
    }
    std::free(lexical);
  }
  ~Scopes() { std::free(dies_); }
  Scopes(const Scopes&) = delete;
  Scopes& operator=(const Scopes&) = delete;

  Dwarf_Die* begin() const { return dies_; }
  Dwarf_Die* end() const { return dies_ + std::max(count_, 0); }

 private:
  Dwarf_Die* dies_ = nullptr;
  int count_ = 0;
};

std::string function_name(Dwarf_Die* die) {
  Dwarf_Attribute attribute;
  if (dwarf_attr_integrate(die, DW_AT_linkage_name, &attribute) != nullptr) {
    return demangled(dwarf_formstring(&attribute));
  }
  return demangled(dwarf_diename(die));
}

// Where an inlined function was called.
std::string call_place(Dwarf_Die* unit, Dwarf_Die* inlined) {
  Dwarf_Attribute attribute;
  Dwarf_Word file = 0;
  Dwarf_Word line = 0;
  Dwarf_Files* files = nullptr;
  if (dwarf_formudata(dwarf_attr(inlined, DW_AT_call_file, &attribute), &file) != 0 ||
      dwarf_formudata(dwarf_attr(inlined, DW_AT_call_line, &attribute), &line) != 0 ||
      dwarf_getsrcfiles(unit, &files, nullptr) != 0) {
    return {};
  }
  return place(dwarf_filesrc(files, file, nullptr, nullptr), static_cast<int>(line));
}

// --- unwinding: libdw asks, the copy answers ---

// What an unwinding reads and finds.
struct Walk {
  const v1::CrashedStack& stack;
  std::vector<Dwarf_Word> registers;
  std::vector<std::uint64_t> found;
};

std::optional<std::uint64_t> word_at(const v1::CrashedStack& stack, std::uint64_t address) {
  const std::string& bytes = stack.stack();
  const std::uint64_t at = address - stack.stack_address();
  std::uint64_t word = 0;
  if (address < stack.stack_address() || bytes.size() < sizeof word ||
      at > bytes.size() - sizeof word) {
    return std::nullopt;
  }
  std::memcpy(&word, bytes.data() + at, sizeof word);
  return word;
}

pid_t next_thread(Dwfl*, void* walk, void** thread) {
  if (*thread != nullptr) return 0;
  *thread = walk;
  return 1;
}

bool read_memory(Dwfl*, Dwarf_Addr address, Dwarf_Word* result, void* walk) {
  const auto word = word_at(static_cast<Walk*>(walk)->stack, address);
  if (word) *result = *word;
  return word.has_value();
}

bool set_registers(Dwfl_Thread* thread, void* argument) {
  const auto& walk = *static_cast<Walk*>(argument);
#if defined(__aarch64__)
  dwfl_thread_state_register_pc(thread, walk.stack.instruction());
#endif
  return dwfl_thread_state_registers(thread, 0, static_cast<unsigned>(walk.registers.size()),
                                     walk.registers.data());
}

int take_frame(Dwfl_Frame* frame, void* argument) {
  auto& walk = *static_cast<Walk*>(argument);
  Dwarf_Addr address = 0;
  if (!dwfl_frame_pc(frame, &address, nullptr)) return DWARF_CB_ABORT;
  walk.found.push_back(address);
  return walk.found.size() < kMaxUnwound ? DWARF_CB_OK : DWARF_CB_ABORT;
}

const Dwfl_Thread_Callbacks kThreadCallbacks{.next_thread = next_thread,
                                             .get_thread = nullptr,
                                             .memory_read = read_memory,
                                             .set_initial_registers = set_registers,
                                             .detach = nullptr,
                                             .thread_detach = nullptr};

}  // namespace

LoadedModules::LoadedModules(const v1::CrashedStack& stack)
    : stack_(stack), dwfl_(dwfl_begin(&kCallbacks)) {
  elf_version(EV_CURRENT);
  if (!dwfl_) return;
  dwfl_report_begin(dwfl_.get());
  for (const v1::Module& module : stack.modules()) report(module);
  dwfl_report_end(dwfl_.get(), nullptr, nullptr);
}

void LoadedModules::report(const v1::Module& module) {
  base::UniqueFd fd = open_file(module.path());
  if (!fd || !is_loaded_file(fd.get(), module.build_id())) return;
  const Dwfl_Module* const reported = dwfl_report_elf(
      dwfl_.get(), module.path().c_str(), module.path().c_str(), fd.get(), module.bias(), true);
  if (reported != nullptr) static_cast<void>(fd.release());  // libdw has it now
}

bool LoadedModules::contains(std::uint64_t address) const {
  return dwfl_ && dwfl_addrmodule(dwfl_.get(), address) != nullptr;
}

std::vector<std::uint64_t> LoadedModules::unwind() const {
  Walk walk{stack_, {stack_.registers().begin(), stack_.registers().end()}, {}};
  std::vector<std::uint64_t> called;
#if defined(__x86_64__)
  constexpr std::size_t kStackPointer = 7;
  constexpr std::size_t kInstruction = 16;
  if (walk.registers.size() <= kInstruction) return {};
  // A call through a wild pointer: there is no code, but the caller's address was pushed.
  const auto caller = word_at(stack_, walk.registers[kStackPointer]);
  if (!contains(stack_.instruction()) && caller && contains(*caller)) {
    called.push_back(stack_.instruction());
    walk.registers[kInstruction] = *caller;
    walk.registers[kStackPointer] += sizeof(std::uint64_t);
  }
#endif
  if (walk.registers.empty() ||
      !dwfl_attach_state(dwfl_.get(), nullptr, 1, &kThreadCallbacks, &walk)) {
    return {};
  }
  // An error is the end of what can be unwound, as at the first function of a goroutine.
  static_cast<void>(dwfl_getthread_frames(dwfl_.get(), 1, take_frame, &walk));
  called.insert(called.end(), walk.found.begin(), walk.found.end());
  return called;
}

std::vector<std::uint64_t> LoadedModules::frames() const {
  std::vector<std::uint64_t> walked(stack_.frames().begin(), stack_.frames().end());
  if (walked.empty()) walked.push_back(stack_.instruction());
  std::vector<std::uint64_t> unwound = dwfl_ ? unwind() : std::vector<std::uint64_t>();
  // Where both know a return address, frame pointers go on from there.
  for (std::size_t i = unwound.size(); i-- > 1;) {
    const auto same = std::find(walked.begin() + 1, walked.end(), unwound[i]);
    if (same == walked.end()) continue;
    const auto left = static_cast<std::size_t>(walked.end() - same);
    if (i + left > unwound.size()) {
      unwound.resize(i);
      unwound.insert(unwound.end(), same, walked.end());
    }
    break;
  }
  std::vector<std::uint64_t>& best = unwound.size() >= walked.size() ? unwound : walked;
  while (best.size() > 1 && !contains(best.back())) best.pop_back();  // beyond the first function
  return std::move(best);
}

void LoadedModules::name(std::uint64_t address, bool returns, v1::NamedStack& into) const {
  const std::uint64_t looked_up = returns ? address - 1 : address;
  Dwfl_Module* const module = dwfl_ ? dwfl_addrmodule(dwfl_.get(), looked_up) : nullptr;
  if (module == nullptr) {
    into.add_frames()->set_address(address);
    return;
  }
  std::string source;
  std::string outer;
  Dwarf_Addr bias = 0;
  if (Dwarf_Die* const unit = unit_at(module, looked_up, &bias)) {
    if (Dwarf_Line* const line = dwarf_getsrc_die(unit, looked_up - bias)) {
      int number = 0;
      dwarf_lineno(line, &number);
      source = place(dwarf_linesrc(line, nullptr, nullptr), number);
    }
    for (Dwarf_Die& scope : Scopes(unit, looked_up - bias)) {
      if (dwarf_tag(&scope) == DW_TAG_subprogram) {
        outer = function_name(&scope);
        break;
      }
      if (dwarf_tag(&scope) != DW_TAG_inlined_subroutine) continue;
      v1::NamedFrame& frame = *into.add_frames();
      frame.set_address(address);
      frame.set_symbol(function_name(&scope));
      frame.set_source(source);
      frame.set_inlined(true);
      source = call_place(unit, &scope);
    }
  }
  v1::NamedFrame& frame = *into.add_frames();
  frame.set_address(address);
  frame.set_source(source);
  GElf_Off offset = 0;
  GElf_Sym symbol;
  const char* const name =
      dwfl_module_addrinfo(module, looked_up, &offset, &symbol, nullptr, nullptr, nullptr);
  frame.set_symbol(name != nullptr ? demangled(name) : outer);
  if (name != nullptr) frame.set_offset(offset + (address - looked_up));
}

}  // namespace bulkhead::coordinator
