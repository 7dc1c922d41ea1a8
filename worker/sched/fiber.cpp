#include "sched/fiber.hpp"

#include <cxxabi.h>

#include <boost/context/detail/fcontext.hpp>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace bulkhead::sched {

namespace context = boost::context::detail;

// The first function on a fiber's stack.
struct FiberEntry {
  static void run(context::transfer_t from) noexcept {
    Fiber& fiber = *static_cast<Fiber*>(from.data);
    fiber.host_context_ = from.fctx;
    sanitizer::after_switch(fiber.stack_, &fiber.host_->stack);
    fiber.entry_(fiber.argument_);
    std::abort();  // entry must leave by exit(): there is nothing to return to
  }
};

Fiber::~Fiber() {
  if (sanitizer_fiber_ != nullptr) sanitizer::destroy_fiber(sanitizer_fiber_);
}

void Fiber::prepare(const Stack& stack, Entry entry, void* argument) {
  entry_ = entry;
  argument_ = argument;
  stack_ = {.low = stack.usable_low(), .bytes = stack.usable_bytes(), .fake_frames = nullptr};
  context_ = context::make_fcontext(stack.high, stack.usable_bytes(), &FiberEntry::run);
  sanitizer_fiber_ = sanitizer::create_fiber();
}

void Fiber::resume(FiberHost& host) {
  host_ = &host;
  // The address is the thread's: it may be kept over the jump only because the host stays put.
  void* const globals = abi::__cxa_get_globals();
  ExceptionState host_exceptions;
  std::memcpy(&host_exceptions, globals, sizeof host_exceptions);
  std::memcpy(globals, &exceptions_, sizeof exceptions_);
  void* const target = context_;

  sanitizer::before_switch(&host.stack, stack_);
  sanitizer::switch_fiber(sanitizer_fiber_);
  const context::transfer_t back = context::jump_fcontext(target, this);
  sanitizer::after_switch(host.stack, nullptr);

  context_ = back.fctx;
  std::memcpy(&exceptions_, globals, sizeof exceptions_);
  std::memcpy(globals, &host_exceptions, sizeof host_exceptions);
}

void Fiber::suspend() {
  void* const target = host_context_;
  sanitizer::before_switch(&stack_, host_->stack);
  sanitizer::switch_fiber(host_->sanitizer_fiber);
  const context::transfer_t back = context::jump_fcontext(target, nullptr);
  host_context_ = back.fctx;
  sanitizer::after_switch(stack_, &host_->stack);
}

void Fiber::exit() {
  void* const target = host_context_;
  sanitizer::before_switch(nullptr, host_->stack);
  sanitizer::switch_fiber(host_->sanitizer_fiber);
  context::jump_fcontext(target, nullptr);
  std::abort();  // nobody resumes a fiber that has ended
}

}  // namespace bulkhead::sched
