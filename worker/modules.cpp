#include "modules.hpp"

#include <elf.h>
#include <limits.h>
#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>

namespace bulkhead::worker {
namespace {

constexpr int kMaxModules = 256;

std::string own_path() {
  char path[PATH_MAX];
  const ssize_t size = readlink("/proc/self/exe", path, sizeof path);
  return size > 0 ? std::string(path, static_cast<std::size_t>(size)) : std::string();
}

// The identity that the linker gave the file, from a segment of notes; empty when it has none.
std::string_view build_id(const char* notes, std::size_t size) {
  constexpr std::size_t kAlign = 4;
  const auto padded = [](std::size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; };
  while (size >= sizeof(ElfW(Nhdr))) {
    ElfW(Nhdr) header;
    std::memcpy(&header, notes, sizeof header);
    const std::size_t name = sizeof header;
    const std::size_t content = name + padded(header.n_namesz);
    const std::size_t end = content + padded(header.n_descsz);
    if (end > size) break;
    if (header.n_type == NT_GNU_BUILD_ID && header.n_namesz == sizeof ELF_NOTE_GNU &&
        std::memcmp(notes + name, ELF_NOTE_GNU, sizeof ELF_NOTE_GNU) == 0) {
      return {notes + content, header.n_descsz};
    }
    notes += end;
    size -= end;
  }
  return {};
}

int add_module(dl_phdr_info* info, std::size_t, void* into) {
  auto& hello = *static_cast<v1::Hello*>(into);
  if (hello.modules_size() == kMaxModules) return 1;
  v1::Module& module = *hello.add_modules();
  // The first one is the program itself, and has no name.
  module.set_path(hello.modules_size() == 1 ? own_path() : std::string(info->dlpi_name));
  module.set_bias(info->dlpi_addr);
  module.set_low(~std::uint64_t{0});
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = info->dlpi_phdr[i];
    const std::uint64_t address = info->dlpi_addr + segment.p_vaddr;
    if (segment.p_type == PT_LOAD) {
      module.set_low(std::min<std::uint64_t>(module.low(), address));
      module.set_high(std::max<std::uint64_t>(module.high(), address + segment.p_memsz));
    } else if (segment.p_type == PT_NOTE && module.build_id().empty()) {
      module.set_build_id(
          std::string(build_id(reinterpret_cast<const char*>(address), segment.p_memsz)));
    }
  }
  return 0;
}

}  // namespace

void tell_modules(v1::Hello& hello) { dl_iterate_phdr(add_module, &hello); }

}  // namespace bulkhead::worker
