// The privileged instructions, one function each. No policy.
//
// Every asm is volatile, so the compiler keeps their order among each other; those that change what
// memory accesses mean, or what may come between them, clobber memory as well.
#pragma once

// clang-format off
#include "core/macros_begin.inc"
// clang-format on

#include <cstdint>

#include "core/hal.h"

namespace shootdown::x86 {

// Control registers.

inline constexpr std::uint64_t kCr0WriteProtect = std::uint64_t{1} << 16;

inline std::uint64_t read_cr0() {
  std::uint64_t value;
  asm volatile("mov %%cr0, %0" : "=r"(value));
  return value;
}
inline void write_cr0(std::uint64_t value) {
  asm volatile("mov %0, %%cr0" ::"r"(value) : "memory");
}

inline std::uint64_t read_cr2() {
  std::uint64_t value;
  asm volatile("mov %%cr2, %0" : "=r"(value));
  return value;
}

inline std::uint64_t read_cr3() {
  std::uint64_t value;
  asm volatile("mov %%cr3, %0" : "=r"(value));
  return value;
}
inline void write_cr3(std::uint64_t value) {
  asm volatile("mov %0, %%cr3" ::"r"(value) : "memory");
}

inline std::uint64_t read_cr4() {
  std::uint64_t value;
  asm volatile("mov %%cr4, %0" : "=r"(value));
  return value;
}
inline void write_cr4(std::uint64_t value) {
  asm volatile("mov %0, %%cr4" ::"r"(value) : "memory");
}

// Translations.

inline void invlpg(std::uint64_t address) { asm volatile("invlpg (%0)" ::"r"(address) : "memory"); }

inline void invpcid(InvpcidType type, std::uint64_t pcid, std::uint64_t address) {
  const struct {
    std::uint64_t pcid;
    std::uint64_t address;
  } descriptor{pcid, address};
  asm volatile("invpcid %0, %1" ::"m"(descriptor), "r"(static_cast<std::uint64_t>(type))
               : "memory");
}

// Model-specific registers and identification.

inline std::uint64_t read_msr(std::uint32_t index) {
  std::uint32_t low;
  std::uint32_t high;
  asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
  return (std::uint64_t{high} << 32) | low;
}
inline void write_msr(std::uint32_t index, std::uint64_t value) {
  asm volatile("wrmsr" ::"c"(index), "a"(static_cast<std::uint32_t>(value)),
               "d"(static_cast<std::uint32_t>(value >> 32))
               : "memory");
}

struct CpuidResult {
  std::uint32_t eax, ebx, ecx, edx;
};

/// Serialises as a side effect (SDM vol. 3, 9.3).
inline CpuidResult cpuid(std::uint32_t leaf, std::uint32_t subleaf = 0) {
  CpuidResult r;
  asm volatile("cpuid"
               : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
               : "a"(leaf), "c"(subleaf)
               : "memory");
  return r;
}

// Interrupt flag.

inline constexpr std::uint64_t kFlagInterrupts = std::uint64_t{1} << 9;

inline bool interrupts_enabled() {
  std::uint64_t flags;
  asm volatile("pushfq\n\tpopq %0" : "=r"(flags));
  return (flags & kFlagInterrupts) != 0;
}
inline void disable_interrupts() { asm volatile("cli" ::: "memory"); }
inline void enable_interrupts() { asm volatile("sti" ::: "memory"); }
/// Lets an interrupt in only after HLT has begun (the shadow of STI), so no wake-up is lost.
inline void enable_interrupts_and_halt() { asm volatile("sti\n\thlt" ::: "memory"); }

inline void pause() { asm volatile("pause" ::: "memory"); }

/// The time-stamp counter. Nothing is ordered: it may be read before earlier instructions have
/// executed (SDM vol. 2, RDTSC), which a duration of many instructions does not notice.
inline std::uint64_t read_tsc() {
  std::uint32_t low;
  std::uint32_t high;
  asm volatile("rdtsc" : "=a"(low), "=d"(high)::"memory");
  return (std::uint64_t{high} << 32) | low;
}

// Ports.

inline void out8(std::uint16_t port, std::uint8_t value) {
  asm volatile("outb %0, %1" ::"a"(value), "Nd"(port) : "memory");
}
inline std::uint8_t in8(std::uint16_t port) {
  std::uint8_t value;
  asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
  return value;
}

}  // namespace shootdown::x86

#include "core/macros_end.inc"
