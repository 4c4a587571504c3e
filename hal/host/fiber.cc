#include "hal/host/fiber.h"

#include <cstdint>

// Even where this file is compiled without ASan: others of the program run on these stacks.
#ifdef SHOOTDOWN_LINKED_WITH_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SHOOTDOWN_TSAN 1
#include <sanitizer/tsan_interface.h>

#include "hal/host/race_detector.h"
#endif
#endif

// Saves the callee-saved registers on the current stack, stores the stack pointer through the first
// argument and continues on the second. It ends in a `ret`, and there is one call of it: every
// fiber that has run was left there, so the processor's prediction of returns, which goes by the
// calls of the stack that is left, is right about this return and about those behind it, as long as
// the fibers stand at the same places. An indirect jump would leave it one call behind for good.
extern "C" void shootdown_fiber_switch(void** save, void* load);
asm(R"(
  .text
  .globl shootdown_fiber_switch
  .type shootdown_fiber_switch, @function
shootdown_fiber_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  retq
  .size shootdown_fiber_switch, . - shootdown_fiber_switch

  .type shootdown_fiber_start, @function
shootdown_fiber_start:
  movq %r12, %rdi
  jmpq *%rbx
  .size shootdown_fiber_start, . - shootdown_fiber_start
)");
extern "C" void shootdown_fiber_start();

namespace shootdown::host {

void fiber_entry(Fiber* self) {
  self->arrive();
  self->entry_(self->argument_);
  __builtin_trap();
}

Fiber::~Fiber() {
#ifdef SHOOTDOWN_LINKED_WITH_ASAN
  // The allocator must not find another run's redzones in the memory it gets back.
  if (stack_ != nullptr) __asan_unpoison_memory_region(stack_.get(), kStackBytes);
#endif
#ifdef SHOOTDOWN_TSAN
  // A fiber without a stack of its own only borrowed its thread's context.
  if (stack_ != nullptr && tsan_fiber_ != nullptr) __tsan_destroy_fiber(tsan_fiber_);
#endif
}

void Fiber::prepare(Entry entry, void* argument) {
  if (stack_ == nullptr) {
    stack_ = std::make_unique_for_overwrite<std::byte[]>(kStackBytes);
  }
  entry_ = entry;
  argument_ = argument;
#ifdef SHOOTDOWN_LINKED_WITH_ASAN
  __asan_unpoison_memory_region(stack_.get(), kStackBytes);
  asan_fake_stack_ = nullptr;
  asan_bottom_ = stack_.get();
  asan_bytes_ = kStackBytes;
#endif
#ifdef SHOOTDOWN_TSAN
  if (tsan_fiber_ != nullptr) __tsan_destroy_fiber(tsan_fiber_);
  tsan_fiber_ = __tsan_create_fiber(0);
#endif
  const auto top =
      reinterpret_cast<std::uintptr_t>(stack_.get() + kStackBytes) & ~std::uintptr_t{15};
  auto* slot = reinterpret_cast<std::uintptr_t*>(top);
  *--slot = 0;  // Keeps the alignment that a call would leave, and ends back traces.
  *--slot = reinterpret_cast<std::uintptr_t>(&shootdown_fiber_start);
  *--slot = 0;                                               // rbp
  *--slot = reinterpret_cast<std::uintptr_t>(&fiber_entry);  // rbx
  *--slot = reinterpret_cast<std::uintptr_t>(this);          // r12
  *--slot = 0;                                               // r13
  *--slot = 0;                                               // r14
  *--slot = 0;                                               // r15
  stack_pointer_ = slot;
}

#ifdef SHOOTDOWN_TSAN
__attribute__((no_sanitize("thread")))
#endif
void Fiber::switch_to(Fiber& from, Fiber& to, [[maybe_unused]] Order order) {
#ifdef SHOOTDOWN_LINKED_WITH_ASAN
  if (from.stack_ == nullptr && from.asan_bottom_ == nullptr) to.thread_to_learn_ = &from;
  __sanitizer_start_switch_fiber(&from.asan_fake_stack_, to.asan_bottom_, to.asan_bytes_);
#endif
#ifdef SHOOTDOWN_TSAN
  if (from.stack_ == nullptr) from.tsan_fiber_ = __tsan_get_current_fiber();
  const bool was_in_model = internal::set_in_model(false);
  __tsan_switch_to_fiber(to.tsan_fiber_, order == Order::none ? __tsan_switch_to_fiber_no_sync : 0);
#endif
  shootdown_fiber_switch(&from.stack_pointer_, to.stack_pointer_);
#ifdef SHOOTDOWN_TSAN
  internal::set_in_model(was_in_model);
#endif
  from.arrive();
}

void Fiber::arrive() {
#ifdef SHOOTDOWN_LINKED_WITH_ASAN
  // The bounds of the stack that was left are those of a thread only the first time; every prepared
  // fiber already knows its own.
  const void* left_bottom = nullptr;
  std::size_t left_bytes = 0;
  __sanitizer_finish_switch_fiber(asan_fake_stack_, &left_bottom, &left_bytes);
  if (thread_to_learn_ != nullptr) {
    thread_to_learn_->asan_bottom_ = left_bottom;
    thread_to_learn_->asan_bytes_ = left_bytes;
    thread_to_learn_ = nullptr;
  }
#endif
}

}  // namespace shootdown::host
