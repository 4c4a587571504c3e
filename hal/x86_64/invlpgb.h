// INVLPGB and TLBSYNC: how an invalidation becomes register contents, and the two instructions.
// What is here is AMD64 manual vol. 3, INVLPGB and TLBSYNC, and vol. 3, E.4.7 (CPUID 8000_0008h).
#pragma once

#include <cstdint>

#include "core/hal.h"

namespace shootdown::x86 {

/// The registers of one INVLPGB.
struct InvlpgbOperands {
  std::uint64_t rax;  // address and what is valid
  std::uint32_t ecx;  // pages behind the first, and the stride
  std::uint32_t edx;  // PCID and ASID
  friend bool operator==(const InvlpgbOperands&, const InvlpgbOperands&) = default;
};

// rAX, bits 5:0.
inline constexpr std::uint64_t kInvlpgbAddressValid = 1U << 0;
inline constexpr std::uint64_t kInvlpgbPcidValid = 1U << 1;
inline constexpr std::uint64_t kInvlpgbAsidValid = 1U << 2;
inline constexpr std::uint64_t kInvlpgbIncludeGlobal = 1U << 3;
inline constexpr std::uint64_t kInvlpgbFinalOnly = 1U << 4;
inline constexpr std::uint64_t kInvlpgbIncludeNested = 1U << 5;
// ECX.
inline constexpr std::uint32_t kInvlpgbLargeStride = std::uint32_t{1} << 31;
// EDX.
inline constexpr unsigned kInvlpgbPcidShift = 16;

/// Never "final only": page tables may have been unhooked, so cached pointers to them must go too.
/// The ASID is 0, that of code outside any guest. A clear "PCID valid" means every PCID, a clear
/// "address valid" every address.
[[nodiscard]] constexpr InvlpgbOperands encode_invlpgb(const Invlpgb& what) {
  InvlpgbOperands operands{.rax = kInvlpgbAsidValid, .ecx = 0, .edx = 0};
  const bool by_address =
      what.scope == InvlpgbScope::pages || what.scope == InvlpgbScope::kernel_pages;
  const bool by_pcid = what.scope == InvlpgbScope::pages || what.scope == InvlpgbScope::context;
  if (by_address) {
    operands.rax |= kInvlpgbAddressValid | (what.address & ~std::uint64_t{0xfff});
    operands.ecx = what.count - 1;
    if (what.stride_shift == kLargePageShift) operands.ecx |= kInvlpgbLargeStride;
  }
  if (by_pcid) {
    operands.rax |= kInvlpgbPcidValid;
    operands.edx = static_cast<std::uint32_t>(what.pcid) << kInvlpgbPcidShift;
  }
  if (what.scope == InvlpgbScope::kernel_pages || what.scope == InvlpgbScope::everything) {
    operands.rax |= kInvlpgbIncludeGlobal;
  }
  return operands;
}

/// What CPUID leaf 8000_0008h says of the instructions: how many pages one INVLPGB can name, or 0
/// if there is none.
[[nodiscard]] constexpr std::uint32_t invlpgb_max_pages(std::uint32_t ebx, std::uint32_t edx) {
  return ((ebx >> 3) & 1) != 0 ? (edx & 0xffff) + 1 : 0;
}

/// Bytes, because not every assembler knows the names. Faults where the processor has no such
/// instruction, and on more pages than it can name.
inline void invlpgb(const InvlpgbOperands& operands) {
  asm volatile(".byte 0x0f, 0x01, 0xfe" ::"a"(operands.rax), "c"(operands.ecx), "d"(operands.edx)
               : "memory");
}
inline void tlbsync() { asm volatile(".byte 0x0f, 0x01, 0xff" ::: "memory"); }

}  // namespace shootdown::x86
