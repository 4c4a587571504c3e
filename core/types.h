// The vocabulary of the flush core: identifiers, addresses and the limits that go with them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace shootdown {

/// Index of a logical CPU, 0 .. Hal::kMaxCpus - 1. CPU 0 is a CPU like any other (R13).
using CpuId = std::uint32_t;

/// "No CPU". It is never a valid index, so it cannot be confused with CPU 0 (R13).
inline constexpr CpuId kNoCpu = ~CpuId{0};

/// Generation of an address space's translations. Only ever grows. 0 means "none given" (R13).
using Generation = std::uint64_t;

/// First generation of every address space; a slot that recorded 0 is therefore always behind.
inline constexpr Generation kFirstGeneration = 1;
inline constexpr Generation kNoGeneration = 0;

/// Identity of an address space. 64 bits wide, never reused; 0 means "empty slot" (R13).
using ContextId = std::uint64_t;
inline constexpr ContextId kNoContext = 0;

/// Index into a CPU's table of cached address spaces. Slot s uses PCID s + 1, so that PCID 0
/// belongs only to code that knows nothing of PCIDs.
using Slot = std::uint32_t;
inline constexpr Slot kSlots = 6;

/// Slots from kSlots on are global: the same PCID on every CPU, given to one space until its end,
/// so that hardware can invalidate it everywhere (broadcast.h). No CPU keeps a generation for them.
/// Their PCIDs end before kUserPcidBit. Slot 0 is never global, so it stands for "none" (R13).
inline constexpr Slot kNoGlobalSlot = 0;
inline constexpr Slot kMaxGlobalSlots = 2047 - kSlots;
constexpr bool is_global_slot(Slot slot) { return slot >= kSlots; }

/// Virtual and physical addresses, in bytes.
using VirtAddr = std::uint64_t;
using PhysAddr = std::uint64_t;

/// End of a range that means "the whole address space" (R13).
inline constexpr VirtAddr kFlushAll = ~VirtAddr{0};

inline constexpr std::uint8_t kPageShift = 12;
inline constexpr std::uint8_t kLargePageShift = 21;
inline constexpr std::uint8_t kHugePageShift = 30;

/// Under page-table isolation each slot has a second PCID for its user half; they differ in this
/// bit.
inline constexpr std::uint64_t kUserPcidBit = std::uint64_t{1} << 11;

/// The PCID of a slot. PCID 0 belongs to code that knows nothing of PCIDs.
constexpr std::uint64_t pcid_of(Slot slot) { return std::uint64_t{slot} + 1; }

/// Contended words are placed on lines of this many bytes.
inline constexpr std::size_t kCacheLine = 64;

}  // namespace shootdown
