// The flush core, instantiated over the x86-64 HAL.
#pragma once

#include "core/broadcast.h"
#include "core/shootdown.h"
#include "hal/x86_64/x86_hal.h"

namespace shootdown::kernel {

using Hal = x86::X86Hal;
using Mm = shootdown::Mm<Hal>;
using Mask = CpuMask<Hal::kMaxCpus>;

/// The core's state for this machine.
extern constinit System<Hal> tlb;

/// Context: boot CPU, after `build_kernel_tables`, which the configuration has to match.
void initialize_tlb(const Config& config);

/// Context: each CPU, interrupts off, after `enable_translation_features`.
void initialize_tlb_on_this_cpu();

/// This CPU leaves the core, and takes back what it has told a hypervisor: the record is not
/// written to any more. Context: interrupts off until it stops or comes back.
void take_this_cpu_offline();

/// Makes `mm` the address space of this CPU, not lazy.
void load(Mm& mm);

/// Leaves the loaded mm for the kernel's own.
void load_kernel_mm();

/// Promises not to use the user half until the next `load`.
void become_lazy();

}  // namespace shootdown::kernel
