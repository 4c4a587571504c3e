// The vocabulary of the flush core: identifiers, addresses and the limits that go with them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/compiler.h"  // IWYU pragma: export

namespace shootdown {

/// Index of a logical CPU, 0 .. Hal::kMaxCpus - 1. CPU 0 is a CPU like any other (R13).
using CpuId = std::uint32_t;

/// "No CPU". It is never a valid index, so it cannot be confused with CPU 0 (R13).
inline constexpr CpuId kNoCpu = ~CpuId{0};

/// Generation of an address space's translations. Only ever grows. 0 means "none given" (R13).
using Generation = std::uint64_t;

/// First generation of every address space; an ASID that recorded 0 is therefore always behind.
inline constexpr Generation kFirstGeneration = 1;
inline constexpr Generation kNoGeneration = 0;

/// Identity of an address space. 64 bits wide, never reused; 0 means "empty ASID" (R13).
using ContextId = std::uint64_t;
inline constexpr ContextId kNoContext = 0;

/// Index into a CPU's table of cached address spaces. ASID s uses PCID s + 1, so that PCID 0
/// belongs only to code that knows nothing of PCIDs.
using Asid = std::uint32_t;
inline constexpr Asid kDynamicAsids = 6;

/// ASIDs from kDynamicAsids on are global: the same PCID on every CPU, given to one mm until its
/// end, so that hardware can invalidate it everywhere (broadcast.h). No CPU keeps a generation for
/// them. Their PCIDs end before kUserPcidBit. ASID 0 is never global, so it stands for "none"
/// (R13).
inline constexpr Asid kNoGlobalAsid = 0;
inline constexpr Asid kMaxGlobalAsids = 2047 - kDynamicAsids;
constexpr bool is_global_asid(Asid asid) { return asid >= kDynamicAsids; }

/// Virtual and physical addresses, in bytes.
using VirtAddr = std::uint64_t;
using PhysAddr = std::uint64_t;

/// End of a range that means "the whole address space" (R13).
inline constexpr VirtAddr kFlushAll = ~VirtAddr{0};

inline constexpr std::uint8_t kPageShift = 12;
inline constexpr std::uint8_t kLargePageShift = 21;
inline constexpr std::uint8_t kHugePageShift = 30;

/// Under page-table isolation each ASID has a second PCID for its user half; they differ in this
/// bit.
inline constexpr std::uint64_t kUserPcidBit = std::uint64_t{1} << 11;

/// The PCID of an ASID. PCID 0 belongs to code that knows nothing of PCIDs.
constexpr std::uint64_t pcid_of(Asid asid) { return std::uint64_t{asid} + 1; }

/// The PCID of its user half.
constexpr std::uint64_t user_pcid_of(Asid asid) { return pcid_of(asid) + kUserPcidBit; }

/// Contended words are placed on lines of this many bytes.
inline constexpr std::size_t kCacheLine = 64;

}  // namespace shootdown
