#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <bulkhead/wire/crash_page.hpp>
#include <bulkhead/wire/text.hpp>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

namespace bulkhead::wire {
namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
constexpr int kLargestSignal = 64;

Result<CrashPage*> map(int fd) {
  void* memory = ::mmap(nullptr, sizeof(CrashPage), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) {
    return fail(Code::kIoError, "cannot map the crash page: {}", std::strerror(errno));
  }
  return static_cast<CrashPage*>(memory);
}

// One load of a plain field that the other process may be writing, so that what was checked is what
// is used.
template <class T>
T load_once(const T& field) {
  return __atomic_load_n(&field, __ATOMIC_RELAXED);
}

std::uint64_t add_saturating(std::uint64_t a, std::uint64_t b) {
  return a + b < a ? ~std::uint64_t{0} : a + b;
}

void copy_stack(const CrashPage::Stack& stack, CrashSnapshot::Fatal& fatal) {
  const std::size_t registers =
      std::min<std::size_t>(load_once(stack.register_count), kMaxRegisters);
  for (std::size_t i = 0; i < registers; ++i) {
    fatal.registers.push_back(load_once(stack.registers[i]));
  }
  fatal.stack_address = load_once(stack.address);
  const std::size_t size = std::min<std::size_t>(load_once(stack.size), kMaxStackBytes);
  fatal.stack.assign(reinterpret_cast<const char*>(stack.bytes.data()), size);
}

}  // namespace

std::string job_name(std::uint64_t job) {
  if (job == kSourceJob) return "the source";
  if (job == kReduceJob) return "the reduce step";
  return fmt::format("job {}", job);
}

CrashPageMapping::CrashPageMapping(CrashPageMapping&& other) noexcept
    : page_(std::exchange(other.page_, nullptr)), fd_(std::move(other.fd_)) {}

CrashPageMapping& CrashPageMapping::operator=(CrashPageMapping&& other) noexcept {
  if (this != &other) {
    if (page_ != nullptr) ::munmap(page_, sizeof(CrashPage));
    page_ = std::exchange(other.page_, nullptr);
    fd_ = std::move(other.fd_);
  }
  return *this;
}

CrashPageMapping::~CrashPageMapping() {
  if (page_ != nullptr) ::munmap(page_, sizeof(CrashPage));
}

Result<CrashPageMapping> CrashPageMapping::create() {
  base::UniqueFd fd(::memfd_create("bulkhead-crash-page", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) {
    return fail(errno == EMFILE || errno == ENFILE || errno == ENOMEM ? Code::kResourceExhausted
                                                                      : Code::kIoError,
                "cannot create a crash page: {}", std::strerror(errno));
  }
  if (::ftruncate(fd.get(), sizeof(CrashPage)) != 0) {
    return fail(Code::kResourceExhausted, "no memory for a crash page: {}", std::strerror(errno));
  }
  if (::fcntl(fd.get(), F_ADD_SEALS, kSeals) != 0) {
    return fail(Code::kIoError, "cannot seal the crash page: {}", std::strerror(errno));
  }
  const Result<CrashPage*> page = map(fd.get());
  if (!page) return fail(page.error());
  CrashPageMapping mapping;
  mapping.page_ = new (*page) CrashPage;
  mapping.fd_ = std::move(fd);
  return mapping;
}

Result<CrashPageMapping> CrashPageMapping::attach(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) {
    return fail(Code::kIoError, "descriptor {} is no crash page: {}", fd, std::strerror(errno));
  }
  if (!S_ISREG(status.st_mode) || status.st_size != static_cast<off_t>(sizeof(CrashPage))) {
    return fail(Code::kProtocolError, "descriptor {} is no crash page: {} bytes, not {}", fd,
                status.st_size, sizeof(CrashPage));
  }
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals) {
    return fail(Code::kProtocolError,
                "the crash page on descriptor {} is not sealed against resizing", fd);
  }
  const Result<CrashPage*> page = map(fd);
  if (!page) return fail(page.error());
  CrashPageMapping mapping;
  mapping.page_ = *page;
  // Relaxed: the page was initialised before its descriptor was passed on.
  const std::uint32_t version = mapping.page_->version.load(std::memory_order_relaxed);
  if (version != kCrashPageVersion) {
    return fail(Code::kVersionMismatch, "the crash page has version {}, not {}", version,
                kCrashPageVersion);
  }
  return mapping;
}

CrashSnapshot CrashPageMapping::snapshot() const {
  CrashSnapshot seen;
  if (page_ == nullptr) return seen;
  const CrashPage& page = *page_;

  // Acquire loads pair with the stores of the worker, release or stronger. `finished` is read
  // before `started`, so that a job that ends meanwhile is not counted as finished but never
  // started.
  const std::size_t slots =
      std::min<std::size_t>(page.slots.load(std::memory_order_acquire), kMaxSlots);
  for (std::size_t i = 0; i < slots; ++i) {
    seen.finished =
        add_saturating(seen.finished, page.slot[i].finished.load(std::memory_order_acquire));
  }
  for (std::size_t i = 0; i < slots; ++i) {
    const CrashSlot& slot = page.slot[i];
    seen.started = add_saturating(seen.started, slot.started.load(std::memory_order_acquire));
    seen.checkpoints =
        add_saturating(seen.checkpoints, slot.checkpoints.load(std::memory_order_acquire));
    const std::uint64_t job = slot.job.load(std::memory_order_acquire);
    if (job != kNoJob) {
      seen.running.push_back(job);
      seen.slots.push_back({i, job, slot.checkpoints.load(std::memory_order_acquire)});
    }
  }
  seen.finished = std::min(seen.finished, seen.started);
  seen.kept = std::min(page.kept_count.load(std::memory_order_acquire), seen.finished);
  std::sort(seen.running.begin(), seen.running.end());
  seen.running.erase(std::unique(seen.running.begin(), seen.running.end()), seen.running.end());

  seen.fault_stamp_ns =
      std::max<std::int64_t>(page.fault_stamp_ns.load(std::memory_order_acquire), 0);
  for (std::size_t i = 0; i < kMaxFaults; ++i) {
    seen.fired[i] = page.fired[i].load(std::memory_order_acquire);
  }

  const std::size_t fired_jobs =
      std::min<std::size_t>(page.fired_jobs_count.load(std::memory_order_acquire), kMaxFired);
  for (std::size_t i = 0; i < fired_jobs; ++i) {
    const std::uint64_t entry = page.fired_jobs[i].load(std::memory_order_acquire);
    // Counted, and not written yet when the worker died: its fault is index 0, job 0 then, so the
    // entry says one more than the job.
    const std::uint64_t job = entry & ((std::uint64_t{1} << 56) - 1);
    if (job == 0 || (entry >> 56) >= kMaxFaults) continue;
    seen.fired_jobs.emplace_back(static_cast<std::uint32_t>(entry >> 56), job - 1);
  }
  seen.exit_job = page.exit_job.load(std::memory_order_acquire);
  seen.overdue_job = page.overdue_job.load(std::memory_order_acquire);
  seen.lent_ns = std::max<std::int64_t>(page.lent_ns.load(std::memory_order_acquire), 0);
  seen.alone_ns = std::max<std::int64_t>(page.alone_ns.load(std::memory_order_acquire), 0);

  // Acquire pairs with the crash handler's release: all other fields were written before.
  if (page.fatal.complete.load(std::memory_order_acquire) == 1) {
    CrashSnapshot::Fatal& fatal = seen.fatal;
    fatal.signal = load_once(page.fatal.signal);
    fatal.si_code = load_once(page.fatal.si_code);
    fatal.address = load_once(page.fatal.address);
    fatal.job = load_once(page.fatal.job);
    fatal.task = load_once(page.fatal.task);
    fatal.stamp_ns = std::max<std::int64_t>(load_once(page.fatal.stamp_ns), 0);
    fatal.stack_overflow = load_once(page.fatal.stack_overflow) == 1;
    fatal.stack_bytes = load_once(page.fatal.stack_bytes);
    for (const char& c : page.fatal.task_name) fatal.task_name += load_once(c);
    fatal.task_name = printable(fatal.task_name.c_str(), kMaxTaskName);
    const std::size_t frames = std::min<std::size_t>(load_once(page.fatal.frame_count), kMaxFrames);
    for (std::size_t i = 0; i < frames; ++i) {
      fatal.frames.push_back(load_once(page.fatal.frames[i]));
    }
    fatal.instruction = load_once(page.fatal.instruction);
    seen.has_fatal = fatal.signal >= 1 && fatal.signal <= kLargestSignal;
    if (!seen.has_fatal) fatal = {};
  }
  // Acquire: likewise.
  if (seen.has_fatal && page.stack.complete.load(std::memory_order_acquire) == 1) {
    copy_stack(page.stack, seen.fatal);
  }
  return seen;
}

}  // namespace bulkhead::wire
