#include "support/buggy.hpp"

#include <signal.h>
#include <unistd.h>

#include <bulkhead/wire/crash_page.hpp>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <thread>

namespace bulkhead::test {

// Of external linkage and never inlined: the tests look for their names. Sanitizers would report
// the write and exit.
__attribute__((noinline, no_sanitize("undefined", "address", "thread"))) void innermost(
    volatile int* where) {
  *where = 1;
}
__attribute__((noinline)) void middle(volatile int* where) {
  innermost(where);
  asm volatile("");  // no tail call
}
__attribute__((noinline)) void outermost() {
  volatile int* volatile nowhere = nullptr;
  middle(nowhere);
  asm volatile("");
}

void crash_on_own_thread() { std::thread(outermost).join(); }

__attribute__((noinline)) void call_nothing() {
  void (*volatile nothing)() = nullptr;
  nothing();
  asm volatile("");
}

namespace {

// As this worker has mapped it.
wire::CrashPage* own_page() {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find("memfd:bulkhead-crash-page") == std::string::npos) continue;
    return reinterpret_cast<wire::CrashPage*>(std::stoull(line, nullptr, 16));
  }
  abort();
}

}  // namespace

void lie_and_die(std::uint64_t job) {
  const char* const seed = std::getenv("BULKHEAD_TEST_SEED");
  std::mt19937_64 random(seed == nullptr ? 1 : std::strtoull(seed, nullptr, 10));
  // Some words are nonsense, some lie in the code that is told, some in the stack that is told.
  constexpr std::uint64_t kStack = 0x7f0000000000;
  const auto word = [&]() -> std::uint64_t {
    switch (random() % 4) {
      case 0:
        return random();
      case 1:
        return random() % 3 - 1;
      case 2:
        return kStack + random() % (2 * wire::kMaxStackBytes);
      default:
        return reinterpret_cast<std::uint64_t>(&outermost) + random() % 0x40000 - 0x20000;
    }
  };
  wire::CrashPage& page = *own_page();
  page.fatal.job = job;
  page.fatal.signal = SIGSEGV;
  page.fatal.si_code = SEGV_MAPERR;
  page.fatal.instruction = word();
  page.fatal.frame_count = static_cast<std::uint32_t>(word());
  for (auto& frame : page.fatal.frames) frame = word();
  page.stack.register_count = random() % 2 == 0 ? 17 : static_cast<std::uint32_t>(word());
  page.stack.address = random() % 8 == 0 ? word() : kStack;
  page.stack.size = random() % 2 == 0 ? wire::kMaxStackBytes : word();
  for (auto& value : page.stack.registers) value = word();
  for (std::size_t at = 0; at + 8 <= wire::kMaxStackBytes; at += 8) {
    const std::uint64_t value = word();
    std::memcpy(page.stack.bytes.data() + at, &value, sizeof value);
  }
  page.stack.complete = 1;
  page.fatal.complete = 1;
  kill(getpid(), SIGKILL);
}

}  // namespace bulkhead::test
