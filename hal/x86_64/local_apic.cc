#include "hal/x86_64/local_apic.h"

#include <bit>

#include "hal/common/ipi_choice.h"
#include "hal/x86_64/instructions.h"
#include "hal/x86_64/per_cpu.h"

namespace shootdown::x86 {

constinit StaticKey x2apic_key;

namespace internal {
constinit IpiState ipi_targets;
}

namespace {

constexpr std::uint32_t kMsrApicBase = 0x1b;
constexpr std::uint64_t kApicBaseX2apic = 1U << 10;
constexpr std::uint64_t kApicBaseEnable = 1U << 11;
constexpr std::uint32_t kSpuriousEnable = 1U << 8;

// Interrupt commands (SDM vol. 3, 11.6.1).
constexpr std::uint32_t kDeliverNmi = 4U << 8;
constexpr std::uint32_t kDeliverInit = 5U << 8;
constexpr std::uint32_t kDeliverStartup = 6U << 8;
constexpr std::uint32_t kDeliveryPending = 1U << 12;
constexpr std::uint32_t kLevelAssert = 1U << 14;
constexpr std::uint32_t kAllButSelf = 3U << 18;  // the destination is not looked at

/// An xAPIC command waits for the last one, and writes the destination first unless there is none.
/// An uncached access costs about the same in both directions.
constexpr IpiCosts kXapicCosts{.one = 3, .group = 3, .all_but_self = 2};

/// An x2APIC logical destination: which cluster, and a bit for each member (SDM vol.
/// 3, 11.12.10.2).
constexpr std::uint32_t kClusterOfDestination = 0xffff'0000;

/// Written once at boot.
constinit volatile std::uint8_t* xapic_registers = nullptr;

volatile std::uint32_t& xapic_register(ApicRegister index) {
  return *reinterpret_cast<volatile std::uint32_t*>(xapic_registers +
                                                    static_cast<std::size_t>(index) * 16);
}

void write_register(ApicRegister index, std::uint32_t value) {
  if (!key_enabled<x2apic_key>()) return internal::write_xapic(index, value);
  write_msr(kMsrX2apicBase + static_cast<std::uint32_t>(index), value);
}

std::uint32_t read_register(ApicRegister index) {
  if (!key_enabled<x2apic_key>()) return xapic_register(index);
  return static_cast<std::uint32_t>(read_msr(kMsrX2apicBase + static_cast<std::uint32_t>(index)));
}

/// The xAPIC has one command register: wait until the last message has left, then write the
/// destination, then the command, which sends. An interrupt between the two writes whose handler
/// sends would change the destination.
void write_xapic_command(std::uint32_t apic_id, std::uint32_t command) {
  const bool were_enabled = interrupts_enabled();
  disable_interrupts();
  while ((xapic_register(ApicRegister::command) & kDeliveryPending) != 0) pause();
  xapic_register(ApicRegister::command_high) = apic_id << 24;
  xapic_register(ApicRegister::command) = command;
  if (were_enabled) enable_interrupts();
}

void send_command(std::uint32_t apic_id, std::uint32_t command) {
  if (!key_enabled<x2apic_key>()) return write_xapic_command(apic_id, command);
  internal::write_x2apic_command(apic_id, command);
}

}  // namespace

namespace internal {

void write_xapic(ApicRegister index, std::uint32_t value) { xapic_register(index) = value; }

/// The CPUs that the shorthand would interrupt.
CpuId others() {
  const std::uint64_t self = std::uint64_t{1} << this_cpu();
  return count_bits(ipi_targets.enabled & ~self);
}

void send_by_xapic(std::uint64_t mask, std::uint8_t vector) {
  const CpuId targets = count_bits(mask);
  const IpiTargets who{.targets = targets, .groups = 0, .others = others()};
  if (choose_ipi(who, kXapicCosts) == IpiMethod::all_but_self) {
    return write_xapic_command(0, kAllButSelf | vector);
  }
  for (; mask != 0; mask &= mask - 1) {
    write_xapic_command(ipi_targets.destination[std::countr_zero(mask)], vector);
  }
}

void send_by_clusters(std::uint64_t mask, std::uint8_t vector) {
  // One destination for each cluster that has a target.
  std::uint32_t destinations[kMaxCpus];
  CpuId clusters = 0;
  for (std::uint64_t rest = mask; rest != 0; rest &= rest - 1) {
    const std::uint32_t member = ipi_targets.destination[std::countr_zero(rest)];
    CpuId index = 0;
    while (index < clusters && ((destinations[index] ^ member) & kClusterOfDestination) != 0) {
      ++index;
    }
    if (index == clusters) destinations[clusters++] = 0;
    destinations[index] |= member;
  }
  const CpuId targets = count_bits(mask);
  const IpiTargets who{.targets = targets, .groups = clusters, .others = others()};
  if (choose_ipi(who) == IpiMethod::all_but_self) {
    return write_x2apic_command(0, kAllButSelf | vector);
  }
  // A cluster with one target is the same command as that target alone.
  for (CpuId index = 0; index < clusters; ++index) {
    write_x2apic_command(destinations[index], kLogicalDestination | vector);
  }
}

}  // namespace internal

void prepare_local_apics(void* xapic_page) {
  constexpr std::uint32_t kCpuidX2apic = 1U << 21;
  xapic_registers = static_cast<volatile std::uint8_t*>(xapic_page);
  if ((cpuid(1).ecx & kCpuidX2apic) == 0) x2apic_key.set(false);
}

void enable_local_apic(CpuId cpu) {
  // x2APIC is entered from the enabled xAPIC state only; both bits at once fault (SDM vol. 3,
  // 11.12.5).
  const std::uint64_t enabled = read_msr(kMsrApicBase) | kApicBaseEnable;
  write_msr(kMsrApicBase, enabled);
  internal::IpiState& targets = internal::ipi_targets;
  targets.enabled |= std::uint64_t{1} << cpu;
  if (x2apic_key.enabled()) {
    write_msr(kMsrApicBase, enabled | kApicBaseX2apic);
    // Without effect on hardware. Bochs 2.7 computes the logical destination only when the register
    // is written while x2APIC mode is on already.
    write_msr(kMsrApicBase, enabled | kApicBaseX2apic);
    targets.destination[cpu] = static_cast<std::uint32_t>(
        read_msr(kMsrX2apicBase + static_cast<std::uint32_t>(ApicRegister::logical_destination)));
    if (targets.destination[cpu] != 1U << cpu) targets.mask_is_destination = false;
  } else {
    targets.destination[cpu] = local_apic_id();
  }
  write_register(ApicRegister::spurious, kSpuriousEnable | kSpuriousVector);
}

std::uint32_t local_apic_id() {
  const std::uint32_t value = read_register(ApicRegister::id);
  return key_enabled<x2apic_key>() ? value : value >> 24;
}

void start_apic_timer(std::uint8_t vector, std::uint32_t count) {
  constexpr std::uint32_t kDivideBy128 = 0x0a;
  write_register(ApicRegister::timer_divider, kDivideBy128);
  write_register(ApicRegister::timer, vector);  // one-shot, not masked
  write_register(ApicRegister::timer_initial_count, count);
}

std::uint32_t apic_timer_left() { return read_register(ApicRegister::timer_current_count); }

void send_nmi(CpuId cpu) {
  const std::uint32_t destination = internal::ipi_targets.destination[cpu];
  if (!key_enabled<x2apic_key>()) return write_xapic_command(destination, kDeliverNmi);
  internal::write_x2apic_command(destination, internal::kLogicalDestination | kDeliverNmi);
}

void send_init(std::uint32_t apic_id) { send_command(apic_id, kDeliverInit | kLevelAssert); }

void send_startup(std::uint32_t apic_id, std::uint8_t page) {
  send_command(apic_id, kDeliverStartup | kLevelAssert | page);
}

}  // namespace shootdown::x86
