// What one CPU does to its own TLB: the primitives under every flush. Under page-table isolation
// each has two halves (R9): the kernel's PCID now, the user's PCID now or before the next return to
// user mode.
#pragma once

#include "core/hal.h"
#include "core/range.h"
#include "core/system.h"
#include "core/types.h"

namespace shootdown {

/// Under page-table isolation each ASID has a user PCID as well, whose entries outlive the loads of
/// the kernel's root.
template <Hal H>
[[nodiscard]] bool has_user_pcids(const System<H>& system) {
  return !internal::holds<Question::one_half>(system);
}

/// Notes that the user PCID of `asid` must be flushed before user mode runs on it (R9). Without
/// PCIDs every load of the user root flushes, so there is nothing to note.
template <Hal H>
void mark_user_pcid(const System<H>& system, CpuPrivate<H>& own, Asid asid) {
  if (!has_user_pcids(system)) return;
  own.user_pcid_flush_mask |= static_cast<std::uint16_t>(1U << pcid_of(asid));
}

namespace internal {

/// Drops the loaded context from both halves, but for global entries. Context: interrupts off.
template <Hal H>
[[gnu::always_inline]] inline void flush_both_halves(System<H>& system, CpuPrivate<H>& own) {
  const Asid asid = own.loaded_asid;
  mark_user_pcid(system, own, asid);
  H::write_cr3(cr3_value(system, *own.loaded_mm.owner_load(), asid));
  ++own.counters.local_flush_all;
}

/// Drops the pages of `range` from the kernel's half. Context: interrupts off.
template <Hal H>
[[gnu::always_inline]] inline void flush_pages_in_kernel_half(CpuPrivate<H>& own,
                                                              const FlushRange& range) {
  own.counters.local_flush_one += range.strides();
  for_each_stride(range, [](VirtAddr address) { H::invlpg(address); });
}

/// Whether INVPCID may name a user PCID. It faults on one until CR4.PCIDE is on, which the CPU's
/// own register tells and the feature does not.
template <Hal H>
[[nodiscard, gnu::always_inline]] inline bool names_user_pcids(CpuPrivate<H>& own) {
  return (own.cr4 & kCr4Pcid) != 0;
}

/// Drops the pages of `range` from the PCIDs of both halves. Context: interrupts off.
template <Hal H>
[[gnu::always_inline]] inline void flush_pages_at_once(CpuPrivate<H>& own,
                                                       const FlushRange& range) {
  own.counters.local_flush_one += range.strides();
  const std::uint64_t user_pcid = user_pcid_of(own.loaded_asid);
  for_each_stride(range, [&](VirtAddr address) {
    H::invlpg(address);
    H::invpcid(InvpcidType::address, user_pcid, address);
  });
}

/// Drops the pages of `range` from both halves of the loaded context: the kernel's now, the user
/// PCID's now or before user mode. Context: interrupts off.
template <Hal H>
[[gnu::always_inline]] inline void flush_pages_in_both_halves(System<H>& system, CpuPrivate<H>& own,
                                                              const FlushRange& range) {
  if (!has_user_pcids(system)) return flush_pages_in_kernel_half(own, range);
  if (system.config().processor.invpcid && names_user_pcids(own)) {
    flush_pages_at_once(own, range);
  } else {
    flush_pages_in_kernel_half(own, range);
    mark_user_pcid(system, own, own.loaded_asid);
  }
}

/// The same for the 4 KiB page at `address`.
template <Hal H>
void flush_one_in_both_halves(System<H>& system, CpuPrivate<H>& own, VirtAddr address) {
  flush_pages_in_both_halves(system, own,
                             {.start = address, .end = address + (VirtAddr{1} << kPageShift)});
}

template <Hal H>
void native_flush_user(System<H>& system) {
  flush_both_halves(system, system.self().own);
}

template <Hal H>
void native_flush_one_user(System<H>& system, VirtAddr address) {
  flush_one_in_both_halves(system, system.self().own, address);
}

/// Nothing is owed any more after everything has been dropped.
template <Hal H>
void clear_pending_user_flushes(CpuPrivate<H>& own) {
  own.deferred = {};
  own.user_pcid_flush_mask = 0;
  own.invalidate_other = false;
}

/// Empties the TLB, uncounted: bring-up does so as well.
template <Hal H>
void drop_everything(System<H>& system) {
  CpuPrivate<H>& own = system.self().own;
  if (system.config().processor.invpcid) {
    H::invpcid(InvpcidType::everything, 0, 0);
  } else {
    // Any change of CR4.PGE flushes; the second write restores the register.
    H::write_cr4(own.cr4 ^ kCr4GlobalPages);
    H::write_cr4(own.cr4);
  }
  clear_pending_user_flushes(own);
}

template <Hal H>
void native_flush_kernel(System<H>& system) {
  drop_everything(system);
  ++system.self().own.counters.local_flush_all;
}

}  // namespace internal

/// Drops every non-global entry of the loaded context. Context: interrupts off.
template <Hal H>
void flush_loaded_context(System<H>& system) {
  if constexpr (HalParavirt<H>) {
    system.ops()->flush_user(system);
  } else {
    internal::native_flush_user(system);
  }
}

/// Drops every entry of every PCID, global ones included. Context: interrupts off, so that no
/// handler sees CR4 and its shadow differ (M15).
template <Hal H>
void flush_everything(System<H>& system) {
  if constexpr (HalParavirt<H>) {
    system.ops()->flush_kernel(system);
  } else {
    internal::native_flush_kernel(system);
  }
}

/// Drops the entry of one kernel address. Global entries go in every PCID at once. Others exist
/// once per ASID: the loaded one is reached here, and the rest is emptied before the next switch.
/// A load of an emptied ASID marks its user PCID, so the other user PCIDs are covered, too.
///
/// The loaded ASID's user PCID matters because user roots map a part of the kernel: the entry code
/// and what the processor reads at an entry. Which pages these are, only the kernel knows; an
/// INVPCID for a page that user roots do not map is the price. Context: interrupts off.
template <Hal H>
void flush_one_kernel(System<H>& system, VirtAddr address) {
  CpuPrivate<H>& own = system.self().own;
  internal::flush_one_in_both_halves(system, own, address);
  if (system.config().kernel_is_global() || !system.config().processor.pcid) return;
  own.invalidate_other = true;
}

/// Changes bits of CR4, in the register and its shadow. Interrupts are off in between, or a flush
/// that toggles CR4.PGE from the shadow would undo the change (M15).
template <Hal H>
void change_cr4(System<H>& system, std::uint64_t set, std::uint64_t clear) {
  InterruptsOff<H> guard;
  CpuPrivate<H>& own = system.self().own;
  require<H>(own.is_up, Rule::r2, "CR4 is changed from the shadow of a CPU that is not up");
  const std::uint64_t value = (own.cr4 | set) & ~clear;
  if (value == own.cr4) return;
  require<H>(((value ^ own.cr4) & kCr4Pcid) == 0, Rule::r2,
             "CR4.PCIDE stays what the configuration says");
  own.cr4 = value;
  H::write_cr4(value);
}

}  // namespace shootdown
