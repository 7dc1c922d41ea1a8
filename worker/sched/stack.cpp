#include "sched/stack.hpp"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <bit>
#include <bulkhead/base/check.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "sched/sanitizer.hpp"

namespace bulkhead::sched {
namespace {

// Linux 6.13 and 6.14; glibc's headers here do not name them.
constexpr int kMadvGuardInstall = 102;
constexpr int kPidfdSelfThreadGroup = -10001;
constexpr std::uint64_t kCanary = 0x5afe57ac4b0a7ull;
constexpr std::size_t kCanaryWords = 16;

// Guards by mprotect in this process, whatever their pool: the limit on mappings is the process's.
std::atomic<std::size_t> protected_stacks{0};

std::size_t page_bytes() {
  static const std::size_t bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}

std::size_t round_to_pages(std::size_t bytes) {
  return (bytes + page_bytes() - 1) / page_bytes() * page_bytes();
}

std::size_t read_max_map_count() {
  std::size_t count = 65530;  // the kernel's default, where /proc is not mounted
  if (std::FILE* file = std::fopen("/proc/sys/vm/max_map_count", "re")) {
    if (std::fscanf(file, "%zu", &count) != 1) count = 65530;
    std::fclose(file);
  }
  return count;
}

// A guard splits its slab's mapping: two more mappings.
bool mapping_to_spare() {
  static const std::size_t limit = read_max_map_count();
  // relaxed: a count near a limit that leaves a fifth of room.
  return 2 * (protected_stacks.load(std::memory_order_relaxed) + 1) < limit / 10 * 8;
}

std::byte* map_pages(std::size_t bytes) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  return memory == MAP_FAILED ? nullptr : static_cast<std::byte*>(memory);
}

// The same advice for the same part of each stack in a slab, by one system call. (64 guards so, and
// 64 first pages populated, cost 2,235 ns a stack; by a call and a fault each 2,684.) False: the
// kernel did not do it, or not for all.
bool advise_each(std::byte* first, std::size_t bytes, std::size_t stride, int advice) {
  std::array<iovec, StackPool::kStacksPerSlab> parts;
  for (std::size_t i = 0; i < parts.size(); ++i)
    parts[i] = {.iov_base = first + i * stride, .iov_len = bytes};
  const long done =
      ::syscall(SYS_process_madvise, kPidfdSelfThreadGroup, parts.data(), parts.size(), advice, 0);
  return done == static_cast<long>(parts.size() * bytes);
}

bool madvise_guards_work() {
  static const bool works = [] {
    std::byte* page = map_pages(page_bytes());
    if (page == nullptr) return false;
    const bool installed = ::madvise(page, page_bytes(), kMadvGuardInstall) == 0;
    ::munmap(page, page_bytes());
    return installed;
  }();
  return works;
}

}  // namespace

const char* to_string(StackGuard guard) {
  switch (guard) {
    case StackGuard::kMadvise:
      return "madvise";
    case StackGuard::kMprotect:
      return "mprotect";
    case StackGuard::kCanary:
      return "canary";
  }
  return "unknown";
}

StackGuard probe_stack_guard() {
  if (madvise_guards_work()) return StackGuard::kMadvise;
  return mapping_to_spare() ? StackGuard::kMprotect : StackGuard::kCanary;
}

std::byte* Stack::usable_low() const { return low + StackPool::kGuardBytes; }
std::size_t Stack::usable_bytes() const { return static_cast<std::size_t>(high - usable_low()); }

StackPool::StackPool(std::size_t usable_bytes, StackGuard best)
    : stack_bytes_(kGuardBytes + round_to_pages(usable_bytes)),
      best_(best),
      slab_used_(kStacksPerSlab) {}

StackPool::~StackPool() {
  base::MutexLock guard(mutex_);
  BULKHEAD_CHECK(given_out_ == 0, "{} stacks are still in use", given_out_);
  for (const Slab& slab : slabs_) ::munmap(slab.low, kStacksPerSlab * stack_bytes_);
  // relaxed: see mapping_to_spare().
  protected_stacks.fetch_sub(protected_, std::memory_order_relaxed);
}

Stack StackPool::acquire() {
  base::MutexLock guard(mutex_);
  ++given_out_;
  if (!warm_.empty()) {
    Stack stack = warm_.back();
    warm_.pop_back();
    return stack;
  }
  if (!cold_.empty()) {
    const std::uint32_t number = cold_.back();
    Slab& slab = slabs_[number];
    const auto place = static_cast<std::uint32_t>(std::countr_zero(slab.cold));
    slab.cold &= slab.cold - 1;
    if (slab.cold == 0) cold_.pop_back();
    return cut(number, place);
  }
  if (slab_used_ == kStacksPerSlab) add_slab();
  const auto number = static_cast<std::uint32_t>(slabs_.size() - 1);
  const auto place = static_cast<std::uint32_t>(slab_used_++);
  if (!slabs_.back().guarded) {
    StackGuard& installed = slabs_.back().guards[place];
    installed = install_guard(cut(number, place).low);
    if (installed == StackGuard::kMprotect) ++protected_;
  }
  return cut(number, place);
}

Stack StackPool::cut(std::uint32_t slab, std::uint32_t place) const {
  Stack stack;
  stack.low = slabs_[slab].low + place * stack_bytes_;
  stack.high = stack.low + stack_bytes_;
  stack.guard = slabs_[slab].guards[place];
  stack.slab = slab;
  return stack;
}

void StackPool::release(Stack stack, Pages pages) {
  // Its last goroutine left without returning, so ASan still holds those frames poisoned.
  sanitizer::forget_frames(stack.usable_low(), stack.usable_bytes());
  // Guards stay. A kernel that refuses keeps the pages: fine.
  if (pages == Pages::kGiveBack)
    (void)::madvise(stack.usable_low(), stack.usable_bytes(), MADV_DONTNEED);
  base::MutexLock guard(mutex_);
  --given_out_;
  if (pages == Pages::kKeep) return warm_.push_back(stack);
  Slab& slab = slabs_[stack.slab];
  if (slab.cold == 0) cold_.push_back(stack.slab);
  slab.cold |= std::uint64_t{1} << (static_cast<std::size_t>(stack.low - slab.low) / stack_bytes_);
}

void StackPool::add_slab() {
  const std::size_t bytes = kStacksPerSlab * stack_bytes_;
  std::byte* slab = map_pages(bytes);
  BULKHEAD_CHECK(slab != nullptr, "no memory for {} stacks of {} bytes ({} in use): {}",
                 kStacksPerSlab, stack_bytes_, given_out_, std::strerror(errno));
  // A huge page would back eight stacks that use a page each. Kernels without them refuse: fine.
  (void)::madvise(slab, bytes, MADV_NOHUGEPAGE);
  slabs_.push_back({.low = slab});
  slab_used_ = 0;
  if (best_ == StackGuard::kMadvise &&
      advise_each(slab, kGuardBytes, stack_bytes_, kMadvGuardInstall)) {
    slabs_.back().guarded = true;
    slabs_.back().guards.fill(StackGuard::kMadvise);
  }
  // Where so many are in use, those will be soon: the page that each touches first, without a fault
  // for each. Kernels before 5.14 refuse: fine.
  if (given_out_ > kStacksPerSlab)
    (void)advise_each(slab + stack_bytes_ - page_bytes(), page_bytes(), stack_bytes_,
                      MADV_POPULATE_WRITE);
}

StackGuard StackPool::install_guard(std::byte* low) {
  if (best_ == StackGuard::kMadvise && ::madvise(low, kGuardBytes, kMadvGuardInstall) == 0)
    return StackGuard::kMadvise;
  if (best_ != StackGuard::kCanary && mapping_to_spare() &&
      ::mprotect(low, kGuardBytes, PROT_NONE) == 0) {
    // relaxed: see mapping_to_spare().
    protected_stacks.fetch_add(1, std::memory_order_relaxed);
    return StackGuard::kMprotect;
  }
  // At the guard's top: the first bytes that an overflow reaches.
  for (std::size_t word = 1; word <= kCanaryWords; ++word)
    std::memcpy(low + kGuardBytes - word * sizeof kCanary, &kCanary, sizeof kCanary);
  return StackGuard::kCanary;
}

bool StackPool::canary_whole(const Stack& stack) {
  if (stack.guard != StackGuard::kCanary) return true;
  for (std::size_t word = 1; word <= kCanaryWords; ++word)
    if (std::memcmp(stack.low + kGuardBytes - word * sizeof kCanary, &kCanary, sizeof kCanary) != 0)
      return false;
  return true;
}

}  // namespace bulkhead::sched
