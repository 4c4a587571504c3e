// The firmware's list of CPUs.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "hal/x86_64/local_apic.h"

namespace shootdown::kernel {

struct CpuList {
  std::array<std::uint32_t, x86::kMaxCpus> apic_ids{};
  std::size_t count{0};
  /// Usable CPUs beyond the kernel's maximum; they stay off.
  std::size_t left_out{0};
};

/// Reads the multiple APIC description table. Fatal error if there is none.
[[nodiscard]] CpuList find_cpus();

}  // namespace shootdown::kernel
