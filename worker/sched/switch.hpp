// The context switch, and nothing else: two functions, written twice.
//
// A context is a stack pointer under which the registers that a function call must keep are saved.
// The floating-point control words (MXCSR, x87) belong to the thread: who changes them must restore
// them before anything that may block.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(BULKHEAD_SWITCH_BOOST)
#include <boost/context/detail/fcontext.hpp>
#endif

namespace bulkhead::sched {

// The first function of a context; `argument` is what the first switch to it was given. Never
// returns.
using ContextEntry = void (*)(void* argument);

#if defined(BULKHEAD_SWITCH_BOOST)

struct Hop {
  void** save;
  void* argument;
};

template <ContextEntry Entry>
void* make_context(std::byte* high, std::size_t bytes) {
  return boost::context::detail::make_fcontext(
      high, bytes, [](boost::context::detail::transfer_t from) {
        const Hop hop = *static_cast<const Hop*>(from.data);
        *hop.save = from.fctx;
        Entry(hop.argument);
      });
}

inline void* switch_context(void** save, void* to, void* argument) {
  Hop hop{save, argument};
  const boost::context::detail::transfer_t from = boost::context::detail::jump_fcontext(to, &hop);
  const Hop back = *static_cast<const Hop*>(from.data);
  *back.save = from.fctx;
  return back.argument;
}

#elif defined(__x86_64__)

// On a stack that ends at `high`; answers the context.
template <ContextEntry Entry>
void* make_context(std::byte* high, std::size_t) {
  auto* words = reinterpret_cast<std::uintptr_t*>(reinterpret_cast<std::uintptr_t>(high) & ~15ull);
  *--words = 0;  // the return address: debuggers and unwinders stop here
  *--words = reinterpret_cast<std::uintptr_t>(Entry);
  *--words = 0;  // the frame pointer
  return words;
}

// Saves the calling context in `*save`, goes on in `to`, and answers, when somebody switches back,
// what that switch was given. Inline, with every register named as clobbered: the compiler saves
// those in use, mostly few, and each place that switches has its own entry in the branch predictor.
// The red zone below the stack pointer is stepped over. (The idea is libfringe's and Photon's.)
[[gnu::always_inline]] inline void* switch_context(void** save, void* to, void* argument) {
  asm volatile(
      "leaq -128(%%rsp), %%rsp\n\t"
      "leaq 1f(%%rip), %%rax\n\t"
      "pushq %%rax\n\t"
      "pushq %%rbp\n\t"
      "movq %%rsp, (%%rsi)\n\t"
      "movq %%rdx, %%rsp\n\t"
      "popq %%rbp\n\t"
      "popq %%rax\n\t"
      "jmpq *%%rax\n"
      "1:\n\t"
      "leaq 128(%%rsp), %%rsp"
      : "+D"(argument), "+S"(save), "+d"(to)
      :
      : "rax", "rbx", "rcx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "xmm0", "xmm1",
        "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
        "xmm13", "xmm14", "xmm15", "cc", "memory");
  return argument;
}

#else
#error "no context switch for this machine: configure with -DBULKHEAD_SWITCH=boost"
#endif

}  // namespace bulkhead::sched
