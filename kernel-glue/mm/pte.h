// Page-table entries: their bits, and which change of one needs a flush.
#pragma once

#include <cstdint>

#include "core/types.h"

namespace shootdown::vm {

/// An entry of any level (SDM vol. 3, tables 4-14 to 4-20).
using Pte = std::uint64_t;

inline constexpr Pte kPtePresent = Pte{1} << 0;
inline constexpr Pte kPteWritable = Pte{1} << 1;
inline constexpr Pte kPteUser = Pte{1} << 2;
inline constexpr Pte kPteWriteThrough = Pte{1} << 3;
inline constexpr Pte kPteUncached = Pte{1} << 4;
inline constexpr Pte kPteAccessed = Pte{1} << 5;
inline constexpr Pte kPteDirty = Pte{1} << 6;
inline constexpr Pte kPteLarge = Pte{1} << 7;
inline constexpr Pte kPteGlobal = Pte{1} << 8;
/// Ignored by hardware: stores are permitted, but the page is shared and must be copied first.
inline constexpr Pte kPteCow = Pte{1} << 9;
inline constexpr Pte kPteFrame = 0x000f'ffff'ffff'f000;
inline constexpr Pte kPteProtectionKey = Pte{0xf} << 59;
inline constexpr Pte kPteNoExecute = Pte{1} << 63;

/// What an entry that points to a table has: rights are taken away in the last entry only.
inline constexpr Pte kTableBits = kPtePresent | kPteWritable | kPteUser;

/// Four levels; 1 is the page table, 2 the directory, 4 the root.
inline constexpr unsigned kRootLevel = 4;
/// For allocation hints: the root of user mode under page-table isolation.
inline constexpr unsigned kUserRootLevel = 5;
inline constexpr unsigned kEntries = 512;

inline constexpr VirtAddr kSmallPage = VirtAddr{1} << kPageShift;
inline constexpr VirtAddr kLargePage = VirtAddr{1} << kLargePageShift;

/// "No frame", where an allocator has none and an entry maps none. Frame 0 is never handed out.
inline constexpr PhysAddr kNoFrame = 0;

constexpr bool is_present(Pte entry) { return (entry & kPtePresent) != 0; }
/// For entries of level 2: whether it points to a page table.
constexpr bool is_table(Pte entry) { return is_present(entry) && (entry & kPteLarge) == 0; }
constexpr bool is_large(Pte entry) { return is_present(entry) && (entry & kPteLarge) != 0; }
constexpr PhysAddr frame_of(Pte entry) { return entry & kPteFrame; }

/// log2 of what an entry of `level` covers: 12, 21, 30, 39.
constexpr std::uint8_t shift_of(unsigned level) {
  return static_cast<std::uint8_t>(kPageShift + (9 * (level - 1)));
}
/// Index of `address` in a table of `level`.
constexpr unsigned entry_index(VirtAddr address, unsigned level) {
  return static_cast<unsigned>((address >> shift_of(level)) % kEntries);
}
/// The first address that an entry of `level` for `address` covers.
constexpr VirtAddr entry_start(VirtAddr address, unsigned level) {
  return address >> shift_of(level) << shift_of(level);
}

/// A right to a page that is taken from programs, or given back.
enum class Right : std::uint8_t {
  store,
  fetch,   // instructions
  access,  // at all; the kernel keeps it
};

/// What is left of an entry without the right. A page that is shared loses the claim to a copy.
constexpr Pte without(Pte entry, Right right) {
  switch (right) {
    case Right::store:
      return entry & ~(kPteWritable | kPteCow);
    case Right::fetch:
      return entry | kPteNoExecute;
    case Right::access:
      break;
  }
  return entry & ~kPteUser;
}

/// Whether a TLB may hold a translation made from `before` that `after` no longer justifies.
///
/// An entry that is not present is never cached itself, so making it present needs no flush, if
/// what it mapped before has been flushed (flush_pending.h). One that lacks a right which memory
/// grants causes a fault that drops it, so widening needs nothing. Accessed and dirty bits matter
/// when they are cleared: a cached entry with the dirty bit set stores without setting it again.
/// Frame, size, caching and protection key mean something else after any change. Software's bits
/// mean nothing to hardware. (SDM vol. 3, 4.10.2 to 4.10.4.)
constexpr bool needs_flush(Pte before, Pte after) {
  if (!is_present(before)) return false;
  if (!is_present(after)) return true;
  constexpr Pte kIfLost = kPteWritable | kPteUser | kPteAccessed | kPteDirty;
  constexpr Pte kIfGained = kPteNoExecute;
  constexpr Pte kIfChanged =
      kPteFrame | kPteWriteThrough | kPteUncached | kPteLarge | kPteGlobal | kPteProtectionKey;
  const Pte lost = before & ~after;
  const Pte gained = after & ~before;
  return ((lost & kIfLost) | (gained & kIfGained) | ((lost | gained) & kIfChanged)) != 0;
}

}  // namespace shootdown::vm
