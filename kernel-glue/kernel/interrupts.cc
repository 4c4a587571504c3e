#include "kernel-glue/kernel/interrupts.h"

#include <cstddef>

#include "hal/x86_64/local_apic.h"
#include "hal/x86_64/per_cpu.h"
#include "kernel-glue/kernel/clock.h"
#include "kernel-glue/kernel/cpus.h"
#include "kernel-glue/kernel/descriptors.h"
#include "kernel-glue/kernel/layout.h"
#include "kernel-glue/kernel/stop.h"
#include "kernel-glue/kernel/tlb.h"

namespace shootdown::kernel {
namespace {

constexpr std::size_t kExceptions = 32;
constexpr std::uint64_t kNmi = 2;
constexpr std::uint64_t kDoubleFault = 8;

/// What one self-test or benchmark may take.
constexpr std::uint32_t kWatchdogMilliseconds = 100'000;

constinit void (*nmi_handler)() = nullptr;

/// An instruction that may fault, and where to go on if it does.
struct FaultFixup {
  std::uint64_t instruction;
  std::uint64_t landing;
};

// The entry points of interrupt_entry.S. What they are is no function: they have no C++ signature.
extern "C" const void* const exception_entries[kExceptions];
extern "C" const std::byte call_function_entry[];
extern "C" const std::byte wake_entry[];
extern "C" const std::byte spurious_entry[];
extern "C" const std::byte watchdog_entry[] asm("exception_242");
extern "C" const std::byte system_call_entry[] asm("exception_128");
static_assert(SHOOTDOWN_WATCHDOG_VECTOR == 242 && SHOOTDOWN_SYSTEM_CALL_VECTOR == 128);

// The linker defines these.
extern "C" const FaultFixup fixups_begin[] asm("__start_fault_fixups");
extern "C" const FaultFixup fixups_end[] asm("__stop_fault_fixups");

bool fix_up(ExceptionFrame& frame) {
  for (const FaultFixup* fixup = fixups_begin; fixup != fixups_end; ++fixup) {
    if (fixup->instruction != frame.rip) continue;
    frame.rip = fixup->landing;
    return true;
  }
  return false;
}

InterruptStack stack_for(std::uint64_t vector) {
  if (vector == kDoubleFault) return InterruptStack::double_fault;
  if (vector == kNmi) return InterruptStack::nmi;
  return InterruptStack::current;
}

/// No device interrupts here: everything the legacy controllers could send is masked.
void mask_legacy_controllers() {
  constexpr std::uint16_t kMasterMask = 0x21;
  constexpr std::uint16_t kSlaveMask = 0xa1;
  x86::out8(kMasterMask, 0xff);
  x86::out8(kSlaveMask, 0xff);
}

}  // namespace

extern "C" void handle_exception(ExceptionFrame* frame) {
  if (frame->vector == kPageFault && fix_up(*frame)) return;
  report_exception(*frame);
}

extern "C" void handle_nmi(const NmiFrame* frame) {
  if (fatal_has_begun()) stay_stopped(frame->rip);
  if (nmi_handler == nullptr) fatal("an NMI on CPU ", x86::this_cpu());
  nmi_handler();
}

void set_nmi_handler(void (*handler)()) { nmi_handler = handler; }

void report_exception(const ExceptionFrame& frame) {
  if (frame.vector == SHOOTDOWN_WATCHDOG_VECTOR) {
    fatal("watchdog: no end within ", kWatchdogMilliseconds, " ms; CPU 0 was at rip ",
          Hex{frame.rip});
  }
  const CpuId overflowed = frame.vector == kDoubleFault ? guarded_cpu(x86::read_cr2()) : kNoCpu;
  if (overflowed != kNoCpu) {
    fatal("the stack of CPU ", overflowed,
          " has overflowed, by calls or by exceptions in handlers "
          "of exceptions, at rip ",
          Hex{frame.rip}, ", rsp ", Hex{frame.rsp});
  }
  fatal("exception ", frame.vector, " on CPU ", x86::this_cpu(), " at rip ", Hex{frame.rip},
        ", error code ", Hex{frame.error_code}, ", cr2 ", Hex{x86::read_cr2()}, ", cr3 ",
        Hex{x86::read_cr3()}, ", rsp ", Hex{frame.rsp});
}

extern "C" void handle_call_function() {
  handle_call_function_interrupt(tlb);
  // Last, because senders wait for the answers and not for this. A call that is pushed behind the
  // look at its word is not lost: onto a word in use, the handler looks again; onto an empty one,
  // its interrupt stays pending in the local APIC until this one has ended.
  x86::end_of_interrupt();
}

extern "C" void handle_wake() { x86::end_of_interrupt(); }

void prepare_interrupts() {
  mask_legacy_controllers();
  for (std::size_t vector = 0; vector < kExceptions; ++vector) {
    set_interrupt_entry(static_cast<std::uint8_t>(vector), exception_entries[vector],
                        stack_for(vector));
  }
  set_interrupt_entry(x86::kCallFunctionVector, call_function_entry);
  set_interrupt_entry(SHOOTDOWN_WAKE_VECTOR, wake_entry);
  set_interrupt_entry(SHOOTDOWN_WATCHDOG_VECTOR, watchdog_entry);
  set_interrupt_entry(SHOOTDOWN_SYSTEM_CALL_VECTOR, system_call_entry, InterruptStack::current,
                      GateUser::user_mode);
  set_interrupt_entry(x86::kSpuriousVector, spurious_entry);
}

void arm_watchdog() {
  x86::start_apic_timer(SHOOTDOWN_WATCHDOG_VECTOR, timer_ticks_in(kWatchdogMilliseconds));
}

void restart_watchdog() {
  if (x86::apic_timer_left() != 0) arm_watchdog();
}

void disarm_watchdog() { x86::start_apic_timer(SHOOTDOWN_WATCHDOG_VECTOR, 0); }

void send_wake(CpuId cpu) {
  CpuMask<x86::kMaxCpus> target;
  target.set(cpu);
  // The waker's store of the work to do must be visible first, as in the flush core (R11).
  x86::X86Hal::order_stores_before_ipi();
  x86::send_ipi(target, SHOOTDOWN_WAKE_VECTOR);
}

}  // namespace shootdown::kernel
