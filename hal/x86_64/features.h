// What this processor can do with translations, and switching it on.
#pragma once

#include "hal/x86_64/errata.h"
#include "hal/x86_64/instructions.h"
#include "hal/x86_64/invlpgb.h"

namespace shootdown::x86 {

struct CpuFeatures {
  bool pcid;
  bool invpcid;
  bool x2apic;
  std::uint32_t invlpgb_pages;  // that one INVLPGB can name; 0 where there is none
  bool invlpg_leaves_globals;
};

[[nodiscard]] inline CpuFeatures detect_features() {
  constexpr std::uint32_t kExtended = 0x8000'0000;
  constexpr std::uint32_t kSizes = 0x8000'0008;
  const CpuidResult sizes = cpuid(kExtended).eax >= kSizes ? cpuid(kSizes) : CpuidResult{};
  return {.pcid = ((cpuid(1).ecx >> 17) & 1) != 0,
          .invpcid = cpuid(0).eax >= 7 && ((cpuid(7).ebx >> 10) & 1) != 0,
          .x2apic = ((cpuid(1).ecx >> 21) & 1) != 0,
          .invlpgb_pages = invlpgb_max_pages(sizes.ebx, sizes.edx),
          .invlpg_leaves_globals = invlpg_leaves_globals(cpuid(0).ebx, cpuid(1).eax)};
}

/// Global pages always, PCIDs where the CPU has them. Context: each CPU at boot, long mode, with
/// zero in CR3 bits 11:0, else setting PCIDE faults (SDM vol. 3, 4.10.1).
inline void enable_translation_features(const CpuFeatures& features) {
  std::uint64_t cr4 = read_cr4() | kCr4GlobalPages;
  if (features.pcid) cr4 |= kCr4Pcid;
  write_cr4(cr4);
}

}  // namespace shootdown::x86
