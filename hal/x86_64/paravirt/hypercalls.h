// The guest's side of each hypervisor on real hardware: registration, records, hypercalls.
#pragma once

#include <array>
#include <cstdint>

#include "core/paravirt/hyperv.h"
#include "core/paravirt/kvm.h"
#include "core/paravirt/xen.h"
#include "hal/x86_64/atomic.h"
#include "hal/x86_64/local_apic.h"
#include "hal/x86_64/paravirt/identify.h"
#include "hal/x86_64/paravirt/registers.h"
#include "hal/x86_64/per_cpu.h"

namespace shootdown::x86 {

/// What has to be told once, before a second CPU runs and before a backend is selected. Context:
/// boot CPU, interrupts off.
void prepare_paravirt(const Identity& identity);

/// What each CPU has to tell about itself. Context: that CPU, interrupts off, before it can be a
/// target.
void enable_paravirt_on_this_cpu();

/// Takes back what a CPU has told: the record must not be written to once its memory may be used
/// for something else. Context: that CPU, interrupts off, when it has left the core.
void disable_paravirt_on_this_cpu();

namespace internal {

/// Records and pages that hypervisors know by their physical addresses.
struct ParavirtState {
  Identity identity{};
  std::array<StealTime<Atomic>, kMaxCpus> steal_times{};
  std::array<std::uint32_t, kMaxCpus> processors{};
  alignas(4096) std::array<HypervPage, kMaxCpus> inputs{};
};
extern constinit ParavirtState paravirt;

}  // namespace internal

std::uint64_t hyperv_call(std::uint64_t control);
int xen_operation(const XenOperation& operation);

}  // namespace shootdown::x86
