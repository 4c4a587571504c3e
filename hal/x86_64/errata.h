// Processors that do not do what the manual says. Pure functions of CPUID, tested on the build
// host.
#pragma once

#include <cstdint>

namespace shootdown::x86 {

/// With PCIDs, INVLPG leaves global entries where they are on the small cores of these processors,
/// and the large ones beside them share the mm: Alder Lake (models 97, 9A and BE) and Raptor Lake
/// (B7, BA and BF) of family 6; Intel's specification updates, "INVLPG may not flush all relevant
/// TLB entries". Microcode mends some, which CPUID does not tell. `vendor` is EBX of leaf 0,
/// `signature` EAX of leaf 1.
[[nodiscard]] constexpr bool invlpg_leaves_globals(std::uint32_t vendor, std::uint32_t signature) {
  constexpr std::uint32_t kIntel = 0x756e'6547;  // "Genu"
  const std::uint32_t family = (signature >> 8) & 0xf;
  const std::uint32_t model = ((signature >> 4) & 0xf) | ((signature >> 12) & 0xf0);
  if (vendor != kIntel || family != 6) return false;
  return model == 0x97 || model == 0x9a || model == 0xbe || model == 0xb7 || model == 0xba ||
         model == 0xbf;
}

}  // namespace shootdown::x86
