#include <fmt/format.h>
#include <google/protobuf/stubs/common.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <boost/version.hpp>
#include <bulkhead/base/cores.hpp>
#include <bulkhead/wire/text.hpp>
#include <fstream>
#include <string>

#include "report/report.hpp"

namespace bulkhead::coordinator {
namespace {

std::string kernel_text(const utsname& system) {
  return fmt::format("{} {} {}", system.sysname, system.release, system.machine);
}

// x86 names the model; where the kernel does not, the architecture must do.
std::string cpu_text(const utsname& system) {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    const std::size_t colon = line.find(": ");
    if (colon != std::string::npos && line.starts_with("model name")) return line.substr(colon + 2);
  }
  return system.machine;
}

std::string library_text() {
  return fmt::format("protobuf {}, boost {}.{}.{}, fmt {}.{}.{}",
                     google::protobuf::internal::VersionString(GOOGLE_PROTOBUF_VERSION),
                     BOOST_VERSION / 100000, BOOST_VERSION / 100 % 1000, BOOST_VERSION % 100,
                     FMT_VERSION / 10000, FMT_VERSION / 100 % 100, FMT_VERSION % 100);
}

}  // namespace

v1::Machine describe_machine(const std::string& stack_guard) {
  utsname system{};
  ::uname(&system);  // fails only for a bad pointer
  v1::Machine machine;
  machine.set_kernel(wire::printable(kernel_text(system)));
  machine.set_cpu(wire::printable(cpu_text(system)));
  machine.set_cores(base::usable_cores());
  machine.set_memory_bytes(static_cast<double>(::sysconf(_SC_PHYS_PAGES)) *
                           static_cast<double>(::sysconf(_SC_PAGESIZE)));
  machine.set_build(BULKHEAD_BUILD_TEXT);
  machine.set_libraries(library_text());
  machine.set_stack_guard(stack_guard);
  return machine;
}

}  // namespace bulkhead::coordinator
