// Interrupts and exceptions of the kernel.
#pragma once

#include <cstdint>

#include "core/types.h"

namespace shootdown::kernel {

inline constexpr std::uint64_t kPageFault = 14;

/// What interrupt_entry.S leaves on the stack for an exception, lowest address first.
struct ExceptionFrame {
  std::uint64_t r15, r14, r13, r12, rbp, rbx;
  std::uint64_t r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax;
  std::uint64_t vector, error_code;
  std::uint64_t rip, cs, rflags, rsp, ss;
};

/// What it leaves there for an NMI.
struct NmiFrame {
  std::uint64_t r15, r14, r13, r12, rbp, rbx;
  std::uint64_t r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax;
  std::uint64_t rip, cs, rflags, rsp, ss;
};

/// Ends the run with what is known about an exception that no handler expects.
[[noreturn]] void report_exception(const ExceptionFrame& frame);

/// What an NMI does; null: it is fatal. The handler runs with NMIs blocked, so it must not fault:
/// the return from the fault would let the next one in. Context: no NMI is on its way.
void set_nmi_handler(void (*handler)());

/// Fills the interrupt table and masks the legacy interrupt controllers. Context: boot CPU.
void prepare_interrupts();

/// What the call-function interrupt does. Context: its handler, interrupts off.
extern "C" void handle_call_function();

/// Ends the run with a fatal error unless `disarm_watchdog` comes in time. It needs interrupts on,
/// as every wait in the core and the kernel has. Context: CPU 0.
void arm_watchdog();
void disarm_watchdog();
/// Gives it its whole time again if it is armed.
void restart_watchdog();

/// Wakes a CPU that halts; its interrupt does nothing else.
void send_wake(CpuId cpu);

/// Reads eight bytes that may not be mapped. False if that faulted.
[[nodiscard]] inline bool probe_read(VirtAddr address, std::uint64_t& value) {
  std::uint32_t read_completed = 0;
  asm volatile(
      "1: movq (%2), %1\n"
      "movl $1, %0\n"
      "2:\n"
      ".pushsection fault_fixups, \"a?\", @progbits\n"
      ".balign 8\n"
      ".quad 1b, 2b\n"
      ".popsection"
      : "+&r"(read_completed), "+&r"(value)
      : "r"(address)
      : "memory");
  return read_completed != 0;
}

/// Writes one byte that may not be writable. False if that faulted.
[[nodiscard]] inline bool probe_write(VirtAddr address, std::uint8_t value) {
  std::uint32_t write_completed = 0;
  asm volatile(
      "1: movb %1, (%2)\n"
      "movl $1, %0\n"
      "2:\n"
      ".pushsection fault_fixups, \"a?\", @progbits\n"
      ".balign 8\n"
      ".quad 1b, 2b\n"
      ".popsection"
      : "+&r"(write_completed)
      : "q"(value), "r"(address)
      : "memory");
  return write_completed != 0;
}

}  // namespace shootdown::kernel
