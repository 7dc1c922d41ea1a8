// Everything reached from on_fatal_signal is async-signal-safe: stores to the page and system
// calls, no allocation, no lock, no stdio. Thread-locals it reads have constant initialisers.
#include "crash_handler.hpp"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <bulkhead/base/check.hpp>
#include <bulkhead/base/clock.hpp>
#include <bulkhead/base/frames.hpp>
#include <bulkhead/base/opaque.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <bulkhead/wire/codec.hpp>
#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <iterator>
#include <string_view>
#include <utility>

namespace bulkhead::worker {
namespace {

constexpr std::size_t kAlternateStackBytes = 64 * 1024;

wire::CrashPage* g_page = nullptr;
// initial-exec: no lazy allocation on first use, which a signal handler could not survive.
[[gnu::tls_model("initial-exec")]] thread_local constinit int t_slot = -1;
thread_local constinit std::uintptr_t t_stack_low = 0;
thread_local constinit std::uintptr_t t_stack_high = 0;

struct Registers {
  std::uintptr_t instruction = 0;
  std::uintptr_t frame = 0;
  std::uintptr_t stack = 0;
  // All of them, numbered as in DWARF.
  std::uint32_t count = 0;
  std::uint64_t all[wire::kMaxRegisters] = {};
};

Registers registers_of(const void* context) {
  const auto& machine = static_cast<const ucontext_t*>(context)->uc_mcontext;
  Registers result;
#if defined(__x86_64__)
  constexpr int kOrder[] = {REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI,
                            REG_RBP, REG_RSP, REG_R8,  REG_R9,  REG_R10, REG_R11,
                            REG_R12, REG_R13, REG_R14, REG_R15, REG_RIP};
  for (const int number : kOrder) {
    result.all[result.count++] = static_cast<std::uint64_t>(machine.gregs[number]);
  }
  result.instruction = result.all[16];
  result.frame = result.all[6];
  result.stack = result.all[7];
#elif defined(__aarch64__)
  for (const auto value : machine.regs) result.all[result.count++] = value;
  result.all[result.count++] = machine.sp;
  result.instruction = machine.pc;
  result.frame = machine.regs[29];
  result.stack = machine.sp;
#else
  static_cast<void>(machine);
#endif
  return result;
}

// The stack that a goroutine or thread of ours runs on, without its guard; {0, 0}: unknown.
struct Bounds {
  std::uintptr_t low = 0;
  std::uintptr_t high = 0;
};

Bounds stack_bounds() {
  const sched::StackBounds goroutine = sched::current_stack();
  if (goroutine.high != 0) return {goroutine.low + goroutine.guard_bytes, goroutine.high};
  return {t_stack_low, t_stack_high};
}

// By a system call, which refuses what can't be read instead of faulting: a thread that the user's
// code started has bounds that nobody told us, and a stack pointer may be anything.
void keep_stack(const Registers& registers) {
  constexpr std::uintptr_t kRedZone = 128;  // of a leaf function, below the stack pointer
  constexpr std::uintptr_t kOverrun = 1u << 20;
  const auto [low, high] = stack_bounds();
  std::uintptr_t from = registers.stack - std::min(registers.stack, kRedZone);
  std::uintptr_t to = from + wire::kMaxStackBytes;
  if (registers.stack < high && registers.stack + kOverrun >= low) {  // also when it overflowed
    from = std::max(from, low);
    to = std::min(from + wire::kMaxStackBytes, high);
  }
  wire::CrashPage::Stack& kept = g_page->stack;
  const iovec here{kept.bytes.data(), to - from};
  const iovec there{reinterpret_cast<void*>(from), to - from};
  const long size = syscall(SYS_process_vm_readv, static_cast<long>(getpid()), &here, 1L, &there,
                            1L, 0L);  // partly, where what follows can't be read
  kept.address = from;
  kept.size = size > 0 ? static_cast<std::uint64_t>(size) : 0;
  kept.register_count = registers.count;
  std::copy(std::begin(registers.all), std::end(registers.all), kept.registers.begin());
  kept.complete.store(1, std::memory_order_release);  // pairs with snapshot()
}

// A goroutine's guard is known; below a thread's stack the kernel keeps a page or more free.
bool in_stack_guard(std::uint64_t address) {
  constexpr std::uintptr_t kBelowThread = 64 * 1024;
  const sched::StackBounds goroutine = sched::current_stack();
  if (goroutine.high != 0) {
    return address >= goroutine.low && address < goroutine.low + goroutine.guard_bytes;
  }
  return t_stack_low != 0 && address >= t_stack_low - kBelowThread &&
         address < t_stack_low + kBelowThread;
}

// What an overflow needs to be told: whose stack, how large.
void note_overflow(wire::CrashPage::Fatal& fatal) {
  fatal.stack_overflow = 1;
  const auto [low, high] = stack_bounds();
  fatal.stack_bytes = high - low;
  const std::string_view name = sched::current_task_name();
  std::copy_n(name.begin(), std::min(name.size(), fatal.task_name.size()), fatal.task_name.begin());
}

// exit() in the middle of a job is the job's end and the worker's: which job, this says. Then the
// process goes, before static destructors meet threads that still run.
void on_exit_call(int status, void*) {
  // Relaxed: read after our death.
  g_page->exit_job.store(sched::current_tag(), std::memory_order_relaxed);
  _exit(status);
}

void on_fatal_signal(int signal_number, siginfo_t* info, void* context) {
  wire::CrashPage::Fatal& fatal = g_page->fatal;
  std::uint32_t expected = 0;
  // Pairs with nothing but itself: the first thread wins.
  if (!fatal.claimed.compare_exchange_strong(expected, 1, std::memory_order_relaxed)) {
    for (;;) pause();  // the winner is about to end the process
  }
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const Registers registers = registers_of(context);
  const int slot = thread_slot();
  const std::uint32_t slots = g_page->slots.load(std::memory_order_relaxed);
  fatal.signal = signal_number;
  fatal.si_code = info->si_code;
  // For a signal that somebody sent, the address field holds the sender's pid.
  fatal.address = info->si_code > 0 ? reinterpret_cast<std::uint64_t>(info->si_addr) : 0;
  fatal.instruction = registers.instruction;
  fatal.stamp_ns = static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
  fatal.task = sched::current_task_id();
  // A signal from another process lands on any thread: it says nothing about who is at fault.
  const bool own_fault = info->si_code > 0 || info->si_pid == getpid();
  if (own_fault && slot >= 0 && static_cast<std::uint32_t>(slot) < slots) {
    fatal.slot = static_cast<std::uint32_t>(slot);
    fatal.job = g_page->slot[fatal.slot].job.load(std::memory_order_relaxed);
    // A job thread inside blocking(): its slot says that it waits.
    if (fatal.job == wire::kNoJob) fatal.job = sched::current_tag();
  } else {
    fatal.slot = slots;
    fatal.job = own_fault ? sched::current_tag() : wire::kNoJob;  // of a thread beyond the slots
  }
  if (signal_number == SIGSEGV && in_stack_guard(fatal.address)) note_overflow(fatal);
  const auto [low, high] = stack_bounds();
  fatal.frame_count = base::walk_frames({registers.instruction, registers.frame}, low, high,
                                        fatal.frames.data(), wire::kMaxFrames);
  fatal.complete.store(1, std::memory_order_release);  // pairs with snapshot()

  // Wakes the coordinator now: taking this process apart may take the kernel milliseconds.
  const char mark = '!';
  static_cast<void>(!send(wire::kLifelineFd, &mark, 1, MSG_NOSIGNAL | MSG_DONTWAIT));
  keep_stack(registers);

  signal(signal_number, SIG_DFL);
  // A fault of the hardware happens again on return and then kills; a sent signal would not.
  if (info->si_code <= 0) raise(signal_number);
}

// Mapped with its thread and unmapped with it.
class AlternateStack {
 public:
  AlternateStack()
      : memory_(mmap(nullptr, kAlternateStackBytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {
    BULKHEAD_CHECK(memory_ != MAP_FAILED, "mmap of an alternate signal stack: errno {}", errno);
    stack_t stack{};
    stack.ss_sp = memory_;
    stack.ss_size = kAlternateStackBytes;
    BULKHEAD_CHECK(sigaltstack(&stack, nullptr) == 0, "sigaltstack: errno {}", errno);
  }
  ~AlternateStack() {
    stack_t none{};
    none.ss_flags = SS_DISABLE;
    sigaltstack(&none, nullptr);
    munmap(memory_, kAlternateStackBytes);
  }
  AlternateStack(const AlternateStack&) = delete;
  AlternateStack& operator=(const AlternateStack&) = delete;

 private:
  void* const memory_;
};

}  // namespace

BULKHEAD_OPAQUE void set_thread_slot(int slot) noexcept {
  t_slot = slot;
  asm volatile("" ::: "memory");
}

BULKHEAD_OPAQUE int thread_slot() noexcept {
  asm volatile("" ::: "memory");
  return t_slot;
}

void install_crash_handler(wire::CrashPage* page) {
  g_page = page;
  struct sigaction action {};
  action.sa_sigaction = on_fatal_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  BULKHEAD_CHECK(on_exit(on_exit_call, nullptr) == 0, "on_exit");
  for (const int signal_number : wire::kFatalSignals) {
    BULKHEAD_CHECK(sigaction(signal_number, &action, nullptr) == 0, "sigaction: errno {}", errno);
  }
}

void prepare_thread_for_crashes() {
  static thread_local bool prepared = false;
  if (std::exchange(prepared, true)) return;
  static thread_local AlternateStack stack;

  pthread_attr_t attributes;
  if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
    void* low = nullptr;
    std::size_t bytes = 0;
    if (pthread_attr_getstack(&attributes, &low, &bytes) == 0) {
      t_stack_low = reinterpret_cast<std::uintptr_t>(low);
      t_stack_high = t_stack_low + bytes;
    }
    pthread_attr_destroy(&attributes);
  }
}

}  // namespace bulkhead::worker
