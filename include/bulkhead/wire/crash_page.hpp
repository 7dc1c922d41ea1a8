// The crash page: a memfd shared by one worker (writer) and whoever watches it (reader). Starting a
// job, progress and faults are stores here, not messages, and survive SIGKILL. The reader treats
// all of it as hints from an untrusted process: it copies once (snapshot) and checks the copy.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bulkhead/base/error.hpp>
#include <bulkhead/base/unique_fd.hpp>
#include <csignal>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bulkhead::wire {

inline constexpr std::uint32_t kCrashPageVersion = 5;
inline constexpr std::size_t kMaxSlots = 1024;  // processors, or threads, of one worker
// Jobs at once where each has a thread; the other slots are for tasks that jobs start themselves.
inline constexpr std::uint32_t kMaxThreads = 1000;
inline constexpr std::size_t kMaxFaults = 64;  // planned faults of one run
inline constexpr std::size_t kMaxFired = 512;  // faults by rate that one worker remembers
inline constexpr std::size_t kMaxFrames = 64;
inline constexpr std::size_t kKeptResults = 256;
inline constexpr std::size_t kKeptBytes = 504;  // of one encoded ResultMessage
inline constexpr std::size_t kMaxTaskName = 48;
inline constexpr std::size_t kMaxRegisters = 34;
inline constexpr std::size_t kMaxStackBytes = 16 * 1024;

// How a worker ends whose jobs wait for one another for ever; `exit_job` names one of them.
inline constexpr int kDeadlockExit = 113;

// The signals of a crash: the worker's handler leaves a record (`Fatal`) of each.
inline constexpr std::array kFatalSignals{SIGSEGV, SIGBUS,  SIGILL, SIGFPE,
                                          SIGABRT, SIGTRAP, SIGSYS};
inline constexpr bool is_fatal(int signal) {
  return std::find(kFatalSignals.begin(), kFatalSignals.end(), signal) != kFatalSignals.end();
}

// Job numbers that are not jobs. Real jobs count from 0.
inline constexpr std::uint64_t kNoJob = ~std::uint64_t{0};
inline constexpr std::uint64_t kSourceJob = kNoJob - 1;
inline constexpr std::uint64_t kReduceJob = kNoJob - 2;
inline constexpr bool is_real_job(std::uint64_t job) { return job < kReduceJob; }
std::string job_name(std::uint64_t job);  // "job 7", "the source", "the reduce step"

// One processor (or thread). Only its own thread writes.
struct alignas(64) CrashSlot {
  std::atomic<std::uint64_t> job{kNoJob};     // what runs here right now
  std::atomic<std::uint64_t> started{0};      // jobs begun here
  std::atomic<std::uint64_t> finished{0};     // jobs ended here (perhaps begun elsewhere)
  std::atomic<std::uint64_t> checkpoints{0};  // scheduling points passed: progress
};

// A result that its worker may not have got out when it dies. See keep_result().
struct alignas(512) KeptResult {
  std::atomic<std::uint32_t> busy{0};
  std::atomic<std::uint32_t> size{0};  // 0: nothing whole is here
  std::array<char, kKeptBytes> bytes{};
};

struct CrashPage {
  std::atomic<std::uint32_t> version{kCrashPageVersion};
  std::atomic<std::uint32_t> slots{0};          // in use
  std::atomic<std::int64_t> fault_stamp_ns{0};  // monotonic, just before an injected fault
  std::array<std::atomic<std::uint32_t>, kMaxFaults> fired{};

  // Written by the handler of a fatal signal; `claimed` makes the first crashing thread the only
  // one, `complete` (release) says that the rest may be read.
  struct alignas(64) Fatal {
    std::atomic<std::uint32_t> claimed{0};
    std::atomic<std::uint32_t> complete{0};
    std::int32_t signal = 0;
    std::int32_t si_code = 0;
    std::uint64_t address = 0;
    std::uint64_t instruction = 0;
    std::uint64_t job = kNoJob;
    std::uint64_t task = 0;
    std::uint32_t slot = 0;  // == slots: no processor's thread
    std::uint32_t frame_count = 0;
    std::int64_t stamp_ns = 0;
    std::array<std::uint64_t, kMaxFrames> frames{};
    std::uint32_t stack_overflow = 0;  // 1: the address lies in the guard of the stack that ran
    std::uint64_t stack_bytes = 0;     // of that stack; 0: unknown
    std::array<char, kMaxTaskName> task_name{};  // the beginning of it, then zeros
  } fatal;

  std::array<CrashSlot, kMaxSlots> slot{};

  // Which jobs faults by rate have fired in: fault index << 56 | (job + 1), the first kMaxFired of
  // them.
  std::atomic<std::uint32_t> fired_jobs_count{0};
  std::array<std::atomic<std::uint64_t>, kMaxFired> fired_jobs{};
  std::atomic<std::uint64_t> exit_job{kNoJob};     // called exit(), or see kDeadlockExit
  std::atomic<std::uint64_t> overdue_job{kNoJob};  // has run for longer than a job may
  std::atomic<std::int64_t> lent_ns{0};  // of processors lent beside goroutines that compute

  std::atomic<std::uint64_t> kept_next{0};
  std::atomic<std::uint64_t> kept_count{0};
  std::atomic<std::int64_t> alone_ns{0};        // one processor ran alone, as that was faster
  std::array<KeptResult, kKeptResults> kept{};  // the last ones: a ring
  // What it takes to unwind the crashed thread after its death. The same handler writes it after
  // `fatal`; an own `complete`, as the process may be killed in between.
  struct alignas(64) Stack {
    std::atomic<std::uint32_t> complete{0};
    std::uint32_t register_count = 0;
    std::uint64_t address = 0;                             // of the first byte that was copied
    std::uint64_t size = 0;                                // bytes copied
    std::array<std::uint64_t, kMaxRegisters> registers{};  // in the order of DWARF
    // Not initialised, for a new memfd is zero: nobody touches these pages in vain.
    std::array<unsigned char, kMaxStackBytes> bytes;
  } stack;
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

// One slot that a job is in.
struct SlotProgress {
  std::size_t slot = 0;
  std::uint64_t job = kNoJob;
  std::uint64_t checkpoints = 0;
};

// What a reader saw, checked.
struct CrashSnapshot {
  std::uint64_t started = 0;
  std::uint64_t finished = 0;  // never more than started
  std::uint64_t checkpoints = 0;
  std::uint64_t kept = 0;              // results ever kept, never more than finished
  std::vector<std::uint64_t> running;  // jobs in slots: real and pseudo, no kNoJob, no duplicates
  std::vector<SlotProgress> slots;     // the same, slot by slot
  std::int64_t fault_stamp_ns = 0;
  std::array<std::uint32_t, kMaxFaults> fired{};
  std::vector<std::pair<std::uint32_t, std::uint64_t>> fired_jobs;  // fault by rate, job
  std::uint64_t exit_job = kNoJob;
  std::uint64_t overdue_job = kNoJob;
  std::int64_t lent_ns = 0;
  std::int64_t alone_ns = 0;
  struct Fatal {
    std::int32_t signal = 0;
    std::int32_t si_code = 0;
    std::uint64_t address = 0;
    std::uint64_t job = kNoJob;  // of the crashing thread; kNoJob when it ran none
    std::uint64_t task = 0;
    std::int64_t stamp_ns = 0;
    bool stack_overflow = false;
    std::uint64_t stack_bytes = 0;  // 0: unknown
    std::string task_name;          // printable; "": it has none, or runs in no goroutine
    std::uint64_t instruction = 0;
    std::vector<std::uint64_t> frames;     // by frame pointers, the instruction first
    std::vector<std::uint64_t> registers;  // in the order of DWARF; empty: not kept
    std::uint64_t stack_address = 0;
    std::string stack;  // the bytes that lay there and above
  };
  bool has_fatal = false;
  Fatal fatal;

  // Set by a reader that knows better than the page: the job that hung.
  std::uint64_t hung_job = kNoJob;
  bool by_limit = false;  // that it went beyond its memory
  // The job that is to blame beyond doubt; kNoJob: nobody knows.
  std::uint64_t culprit() const {
    if (hung_job != kNoJob) return hung_job;
    if (has_fatal) return fatal.job;
    return exit_job;
  }
};

// A copy of an encoded ResultMessage, so that it outlives the worker wherever it was on its way: in
// a batch that gathered, in a socket. The newest kKeptResults are there; one of more than
// kKeptBytes is not kept. Any thread of the worker; wait-free.
void keep_result(CrashPage& page, std::string_view encoded);
// What a dead worker kept, whole results only, in no order. Not trusted: any bytes.
std::vector<std::string> kept_results(const CrashPage& page);

// Owns the mapping (not the descriptor). Movable.
class CrashPageMapping {
 public:
  CrashPageMapping() = default;
  CrashPageMapping(CrashPageMapping&& other) noexcept;
  CrashPageMapping& operator=(CrashPageMapping&& other) noexcept;
  ~CrashPageMapping();

  // A new memfd of the right size, sealed against resizing (so that no peer can make the other die
  // of SIGBUS), close-on-exec, mapped and initialised.
  static Result<CrashPageMapping> create();
  // Maps a received descriptor after checking its size and seals.
  static Result<CrashPageMapping> attach(int fd);

  CrashPage* page() const { return page_; }
  int fd() const { return fd_.get(); }  // -1 after attach()
  CrashSnapshot snapshot() const;

 private:
  CrashPage* page_ = nullptr;
  base::UniqueFd fd_;
};

}  // namespace bulkhead::wire
