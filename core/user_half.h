// Page-table isolation: the way to user mode and back.
//
// The kernel runs on a space's root under the slot's PCID, user mode on its user root under the
// twin. Flushes run in the kernel. What they owe the twin they do at once, or note; the notes are
// paid here, before the first instruction in user mode (R9).
#pragma once

#include "core/hal.h"
#include "core/local_flush.h"
#include "core/system.h"
#include "core/types.h"

namespace shootdown {

/// Loads the root for user mode and pays what was noted for its PCID. Without page-table isolation
/// it does nothing. Context: interrupts off until user mode runs, or a flush could be noted too
/// late. Every return to user mode goes through here, also from NMIs and exceptions.
template <Hal H>
void return_to_user(System<H>& system) {
  if (!system.config.pti) return;
  CpuPrivate<H>& own = system.self().own;
  const Slot slot = own.loaded_slot;
  const std::uint64_t cr3 = user_cr3_value(system, *own.loaded_mm.owner_load(), slot);
  const auto bit = static_cast<std::uint16_t>(1U << pcid_of(slot));
  if (!system.config.pcid || (own.user_flush & bit) != 0) {
    H::write_cr3(cr3);
    own.user_flush &= static_cast<std::uint16_t>(~bit);
    own.deferred = {};
    return;
  }
  H::write_cr3(cr3 | kCr3KeepEntries);
  // In the user's own PCID INVLPG reaches them, which is cheaper than INVPCID from the kernel's.
  const DeferredPages& pages = own.deferred;
  const std::uint64_t stride = std::uint64_t{1} << pages.stride_shift;
  for (VirtAddr address = pages.start; address < pages.end; address += stride) H::invlpg(address);
  own.deferred = {};
}

/// The value that CR3 gets at an entry from user mode, with the kernel root's entries kept. Under
/// page-table isolation an entry sees little but itself, not even the loaded space: it may be left
/// this value on the way out, because the space does not change while user mode runs. Context:
/// interrupts off.
template <Hal H>
[[nodiscard]] std::uint64_t entry_cr3(System<H>& system) {
  const CpuPrivate<H>& own = system.self().own;
  const std::uint64_t cr3 = cr3_value(system, *own.loaded_mm.owner_load(), own.loaded_slot);
  return system.config.pcid ? cr3 | kCr3KeepEntries : cr3;
}

/// Back on the kernel's root, for entries that can reach the loaded space. Context: interrupts off,
/// first thing after an entry from user mode.
template <Hal H>
void enter_from_user(System<H>& system) {
  if (system.config.pti) H::write_cr3(entry_cr3(system));
}

/// The way into an NMI handler. An NMI comes anywhere, also on the last steps to user mode and in
/// the middle of a switch, so only CR3 itself says what is loaded. Loads the kernel's root if it is
/// not, and returns what CR3 held, for `leave_nmi`. Context: an NMI handler, first thing.
template <Hal H>
[[nodiscard]] std::uint64_t enter_nmi(System<H>& system) {
  const std::uint64_t cr3 = H::read_cr3();
  const CpuPrivate<H>& own = system.self().own;
  const Mm<H>* loaded = own.loaded_mm.owner_load();
  // Null: inside a switch, and so on a kernel root, whichever it is.
  if (!system.config.pti || loaded == nullptr) return cr3;
  if (cr3 == user_cr3_value(system, *loaded, own.loaded_slot)) H::write_cr3(entry_cr3(system));
  return cr3;
}

/// The way out: CR3 gets back what it held, not what the bookkeeping says. Nothing was flushed in
/// between, so no debt of the user half is new. Context: the same handler, last thing.
template <Hal H>
void leave_nmi(System<H>& system, std::uint64_t cr3) {
  if (H::read_cr3() != cr3) H::write_cr3(system.config.pcid ? cr3 | kCr3KeepEntries : cr3);
}

namespace internal {

/// Notes the pages of a partial flush for the way to user mode. A second range before then becomes
/// a flush of the whole twin: one range is remembered, because more than one is rare.
template <Hal H>
void defer_user_pages(System<H>& system, VirtAddr start, VirtAddr end, std::uint8_t stride_shift) {
  CpuPrivate<H>& own = system.self().own;
  ++own.counters.user_half_deferred;
  if (own.deferred.empty()) {
    own.deferred = {.start = start, .end = end, .stride_shift = stride_shift};
    return;
  }
  own.deferred = {};
  mark_user_half(system, own.loaded_slot);
}

/// A switch to another slot: the remembered range belongs to the slot that is left.
template <Hal H>
void settle_deferred_pages(System<H>& system) {
  CpuPrivate<H>& own = system.self().own;
  if (own.deferred.empty()) return;
  own.deferred = {};
  mark_user_half(system, own.loaded_slot);
}

}  // namespace internal

}  // namespace shootdown
