// The per-CPU block that GS points to.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/types.h"
#include "hal/x86_64/instructions.h"

namespace shootdown::x86 {

/// Written by its own CPU only. The interrupt entry code of the kernel counts `interrupt_depth`; it
/// knows the offset from `kInterruptDepthOffset`.
struct alignas(kCacheLine) PerCpu {
  CpuId cpu{kNoCpu};
  /// Number of nested PreemptionOff scopes. Nothing preempts yet; the count is checked all the
  /// same.
  std::uint32_t preemption_depth{0};
  /// Number of interrupt and exception handlers this CPU is in.
  std::uint32_t interrupt_depth{0};
  /// The core's state of this CPU.
  void* core{nullptr};
};

inline constexpr std::size_t kCpuOffset = offsetof(PerCpu, cpu);
inline constexpr std::size_t kPreemptionDepthOffset = offsetof(PerCpu, preemption_depth);
inline constexpr std::size_t kInterruptDepthOffset = offsetof(PerCpu, interrupt_depth);
inline constexpr std::size_t kCoreOffset = offsetof(PerCpu, core);

inline constexpr std::uint32_t kMsrGsBase = 0xc000'0101;

/// Makes `block` the one of this CPU. Before this call nothing in this file works.
inline void install_per_cpu(PerCpu& block) {
  write_msr(kMsrGsBase, reinterpret_cast<std::uint64_t>(&block));
}

namespace internal {

template <std::size_t kOffset>
std::uint32_t read_per_cpu() {
  std::uint32_t value;
  asm volatile("movl %%gs:%c1, %0" : "=r"(value) : "i"(kOffset));
  return value;
}

/// One instruction, so an interrupt sees the count before or after, never between.
template <std::size_t kOffset>
void increment_per_cpu() {
  asm volatile("incl %%gs:%c0" ::"i"(kOffset) : "cc", "memory");
}
template <std::size_t kOffset>
void decrement_per_cpu() {
  asm volatile("decl %%gs:%c0" ::"i"(kOffset) : "cc", "memory");
}

}  // namespace internal

/// Whether this CPU is in a handler: one comparison, without a register.
inline bool in_interrupt() {
  bool is_in;
  asm volatile("cmpl $0, %%gs:%c1" : "=@ccne"(is_in) : "i"(kInterruptDepthOffset));
  return is_in;
}

inline void* cpu_pointer() {
  void* value;
  asm volatile("movq %%gs:%c1, %0" : "=r"(value) : "i"(kCoreOffset));
  return value;
}
inline void set_cpu_pointer(void* value) {
  asm volatile("movq %0, %%gs:%c1" ::"r"(value), "i"(kCoreOffset) : "memory");
}

inline CpuId this_cpu() { return internal::read_per_cpu<kCpuOffset>(); }
inline std::uint32_t preemption_depth() { return internal::read_per_cpu<kPreemptionDepthOffset>(); }
inline std::uint32_t interrupt_depth() { return internal::read_per_cpu<kInterruptDepthOffset>(); }
inline void disable_preemption() { internal::increment_per_cpu<kPreemptionDepthOffset>(); }
inline void enable_preemption() { internal::decrement_per_cpu<kPreemptionDepthOffset>(); }

}  // namespace shootdown::x86
