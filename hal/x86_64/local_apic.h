// The local APIC: which CPUs can be interrupted, and how.
//
// x2APIC mode is used where the CPU has it, else the memory-mapped xAPIC. Which one is a static
// key, so the interrupt path does not ask at run time.
#pragma once

#include <cstdint>

#include "core/cpu_mask.h"
#include "core/types.h"
#include "hal/x86_64/instructions.h"
#include "hal/x86_64/static_key.h"

namespace shootdown::x86 {

/// The most CPUs the HAL serves; one x2APIC cluster.
inline constexpr CpuId kMaxCpus = 16;

/// The interrupt of the SMP function call. High, so it is served before device interrupts.
inline constexpr std::uint8_t kCallFunctionVector = 0xf0;
inline constexpr std::uint8_t kSpuriousVector = 0xff;

/// On: x2APIC. `prepare_local_apics` switches it off where the CPU has none.
extern constinit StaticKey x2apic_key;

// Registers, as x2APIC MSRs (SDM vol. 3, table 11-6). The xAPIC has the same at 16 bytes each.
inline constexpr std::uint32_t kMsrX2apicBase = 0x800;
enum class ApicRegister : std::uint8_t {
  id = 0x02,
  end_of_interrupt = 0x0b,
  logical_destination = 0x0d,
  spurious = 0x0f,
  command = 0x30,       // x2APIC: all 64 bits
  command_high = 0x31,  // xAPIC only
  timer = 0x32,
  timer_initial_count = 0x38,
  timer_current_count = 0x39,
  timer_divider = 0x3e,
};

/// Chooses the mode for all CPUs. `xapic_page` is where the kernel maps the registers at
/// kXapicPhysical, uncached; unused with x2APIC. Context: boot CPU, as for `StaticKey::set`.
inline constexpr PhysAddr kXapicPhysical = 0xfee0'0000;
void prepare_local_apics(void* xapic_page);

/// Switches the local APIC of this CPU, `cpu`, on, and notes how to interrupt it. Context: each
/// CPU, one after the other, interrupts off.
void enable_local_apic(CpuId cpu);

/// The hardware's name of this CPU.
[[nodiscard]] std::uint32_t local_apic_id();

/// Start-up messages to one CPU (SDM vol. 3, 9.4.4); `page` is the physical page to start in, <
/// 256.
void send_init(std::uint32_t apic_id);
void send_startup(std::uint32_t apic_id, std::uint8_t page);

/// Interrupts this CPU once with `vector`, `count` timer ticks from now. 0 cancels. The unit is the
/// hardware's: 128 ticks of the timer's clock, whose rate the kernel has to measure.
void start_apic_timer(std::uint8_t vector, std::uint32_t count);
/// What is left of the count.
[[nodiscard]] std::uint32_t apic_timer_left();

namespace internal {

/// How to reach each CPU. Written by `enable_local_apic`, read by senders once the CPU is online.
struct IpiState {
  /// x2APIC: the logical destination. xAPIC: the physical id.
  std::uint32_t destination[kMaxCpus]{};
  /// x2APIC: every CPU's destination is the bit of its index. Then a CPU mask is a destination as
  /// it stands, and one ICR write reaches any set.
  bool mask_is_destination{true};
  /// CPUs whose local APIC is on: the ones that "all but self" reaches. A CPU that is on but has
  /// left the core is among them, so while it is away the shorthand is never exact.
  std::uint64_t enabled{0};
};
extern constinit IpiState ipi_targets;

/// One ICR write. `command` has the vector, the delivery mode and the destination mode.
inline void write_x2apic_command(std::uint32_t destination, std::uint32_t command) {
  write_msr(kMsrX2apicBase + static_cast<std::uint32_t>(ApicRegister::command),
            (std::uint64_t{destination} << 32) | command);
}
inline constexpr std::uint32_t kLogicalDestination = 1U << 11;

/// The cheapest of the ways that hal/common/ipi_choice.h knows: by clusters, one by one, or all but
/// self.
void send_by_clusters(std::uint64_t mask, std::uint8_t vector);
void send_by_xapic(std::uint64_t mask, std::uint8_t vector);
void write_xapic(ApicRegister index, std::uint32_t value);

}  // namespace internal

/// Interrupts the CPUs of `targets`. In x2APIC mode it orders nothing: see
/// `X86Hal::order_stores_before_ipi`. Context: this CPU's ICR is not in use by an interrupted send;
/// with the xAPIC that takes two writes, and the function keeps interrupts off in between.
inline void send_ipi(const CpuMask<kMaxCpus>& targets, std::uint8_t vector) {
  const std::uint64_t mask = targets.word(0);
  if (!key_enabled<x2apic_key>()) return internal::send_by_xapic(mask, vector);
  if (!internal::ipi_targets.mask_is_destination) [[unlikely]] {
    return internal::send_by_clusters(mask, vector);
  }
  // One cluster: one command names any set, and no other way is cheaper.
  internal::write_x2apic_command(static_cast<std::uint32_t>(mask),
                                 internal::kLogicalDestination | vector);
}

/// Interrupts another CPU whether its interrupts are on or off. One that arrives while another is
/// pending is merged with it. Orders and context as for `send_ipi`.
void send_nmi(CpuId cpu);

/// Ends the interrupt in service. Context: its handler.
inline void end_of_interrupt() {
  if (!key_enabled<x2apic_key>()) {
    return internal::write_xapic(ApicRegister::end_of_interrupt, 0);
  }
  write_msr(kMsrX2apicBase + static_cast<std::uint32_t>(ApicRegister::end_of_interrupt), 0);
}

}  // namespace shootdown::x86
