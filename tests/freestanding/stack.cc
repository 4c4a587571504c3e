// One function for each kind of entry point, so that sizes.py finds what each needs of the stack.
#include "tests/freestanding/hal.h"

namespace port {

#ifdef PORT_CPUS
struct Machine : PlainHal {
  static constexpr sd::CpuId kMaxCpus = PORT_CPUS;
  static void(send_call_function_ipi)(const sd::CpuMask<kMaxCpus>& targets) {
    port_send_interrupt(nullptr, targets.count());
  }
};
#else
using Machine = PlainHal;
#endif

constinit sd::System<Machine> plain_system;
constinit sd::Mm<Machine> mm;
constinit sd::EntryBlock<Machine> block;

}  // namespace port

extern "C" {

void stack_bring_up() {
  shootdown::initialize_system(port::plain_system, shootdown::Config{}, 0x1000);
  shootdown::initialize_cpu(port::plain_system);
  shootdown::initialize_mm(port::plain_system, port::mm, 0x2000);
}
void stack_flush() {
  static_cast<void>(shootdown::flush_tlb_mm_range(port::plain_system, port::mm,
                                                  {.start = 0x1000, .end = 0x3000}));
}
void stack_freed_tables() {
  static_cast<void>(shootdown::exclude_walkers(
      port::plain_system, shootdown::flush_tlb_mm_range_freed_tables(
                              port::plain_system, port::mm, {.start = 0x1000, .end = 0x3000})));
}
void stack_kernel_range() {
  static_cast<void>(shootdown::flush_tlb_kernel_range(port::plain_system, 0x1000, 0x3000));
}
void stack_retire() { static_cast<void>(shootdown::retire_mm(port::plain_system, port::mm)); }
void stack_switch() { shootdown::switch_mm(port::plain_system, port::mm); }
void stack_interrupt() { shootdown::handle_call_function_interrupt(port::plain_system); }
void stack_to_user() { shootdown::return_to_user(port::plain_system, port::block); }

void port_use() {
  stack_bring_up();
  stack_flush();
  stack_freed_tables();
  stack_kernel_range();
  stack_retire();
  stack_switch();
  stack_interrupt();
  stack_to_user();
  // Hooks that only a HAL with backends calls.
  static_cast<void>(port_hypercall(0, nullptr));
}

}  // extern "C"
