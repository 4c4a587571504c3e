// Page-table isolation: the way to user mode and back, and NMIs that hit it.
//
// The kernel runs on an mm's root under the ASID's PCID, user mode on its user root under the
// user PCID. Flushes run in the kernel. What they owe the user PCID they do at once, or note; the
// notes are paid here, before the first instruction in user mode (R9).
//
// A user root maps of the kernel what an entry needs and nothing else, so that user mode has no
// address for the rest. The core's state belongs to the rest. So what has to be known while a user
// root is loaded is copied into an EntryBlock, and everything behind the load works from there.
#pragma once

#include <atomic>

#include "core/hal.h"
#include "core/local_flush.h"
#include "core/range.h"
#include "core/system.h"
#include "core/types.h"

namespace shootdown {

/// What one CPU needs while a user root is loaded: the only data here that user roots map. A kernel
/// has one for each CPU, zeroed at its start and written by its CPU only, with interrupts off.
template <Hal H>
struct EntryBlock {
  /// What CR3 gets at an entry, keeping what is cached, while a user root is or may be loaded; else
  /// 0. NMIs of this CPU read it, so it is one atomic word. The mm does not change while user
  /// mode runs, so the value holds until the entry.
  ///
  /// M20, on this CPU, against its NMIs: stored before the user root is loaded, and cleared after
  /// the kernel's root is. The other way round, an NMI in between would find 0, stay on the user
  /// root and fault at the first word of the kernel. A value that outlived the entry would name a
  /// root that may be released by the time the NMI comes.
  typename H::template Atomic<std::uint64_t> kernel_cr3{0};
  /// What CR3 gets on the way out, and what is to be invalidated behind it.
  std::uint64_t user_cr3{0};
  DeferredPages pages{};
};

/// The first half of the way to user mode, on the kernel's root: takes what the user PCID is owed
/// over into `block`. Context: interrupts off from here until user mode runs, or a flush could be
/// noted too late; then `load_user_root`.
///
/// The notes are gone before they are paid, and yet none is lost: flushes are noted by interrupts
/// and threads of this CPU only, and until user mode runs nothing comes in between but NMIs, which
/// note nothing and return to where they were. What this block says is done in any case.
template <Hal H>
void prepare_return_to_user(System<H>& system, EntryBlock<H>& block) {
  if (!system.config().isolation.enabled) return;
  CpuPrivate<H>& own = system.self().own;
  const Mm<H>& loaded = *own.loaded_mm.owner_load();
  const Asid asid = own.loaded_asid;
  const auto bit = static_cast<std::uint16_t>(1U << pcid_of(asid));
  const bool flushes = !system.config().processor.pcid || (own.user_pcid_flush_mask & bit) != 0;
  block.user_cr3 = user_cr3_value(system, loaded, asid) | (flushes ? 0 : kCr3KeepEntries);
  block.pages = flushes ? DeferredPages{} : DeferredPages(own.deferred);
  own.user_pcid_flush_mask &= static_cast<std::uint16_t>(~bit);
  own.deferred = {};
  const std::uint64_t keep = system.config().processor.pcid ? kCr3KeepEntries : 0;
  block.kernel_cr3.store(cr3_value(system, loaded, asid) | keep, std::memory_order_relaxed);
}

/// The second half: loads the user root and pays. It uses nothing but `block` and its own stack,
/// because nothing else of the kernel is mapped behind the load. Context: as the first half, on a
/// stack that user roots map; page-table isolation is on.
template <Hal H>
void load_user_root(const EntryBlock<H>& block) {
  const DeferredPages pages = block.pages;
  H::write_cr3(block.user_cr3);
  if (pages.empty()) return;
  // In the user's own PCID INVLPG reaches them, which is cheaper than INVPCID from the kernel's.
  for_each_stride({.start = pages.start, .end = pages.end},
                  [](VirtAddr address) { H::invlpg(address); });
}

/// Both halves at once, for a machine whose stack and code stay in sight. Without page-table
/// isolation it does nothing. Every return to user mode goes this way, but for those of NMIs.
/// Context: interrupts off until user mode runs.
template <Hal H>
void return_to_user(System<H>& system, EntryBlock<H>& block) {
  if (!system.config().isolation.enabled) return;
  prepare_return_to_user(system, block);
  load_user_root(block);
}

/// Back on the kernel's root. Context: interrupts off, first thing after an entry from user mode,
/// before anything that user roots do not map.
template <Hal H>
void enter_from_user(EntryBlock<H>& block) {
  const std::uint64_t cr3 = block.kernel_cr3.owner_load();
  if (cr3 == 0) return;
  H::write_cr3(cr3);
  block.kernel_cr3.store(0, std::memory_order_relaxed);
}

/// The way into an NMI handler. An NMI comes anywhere, also on the last steps to user mode and in
/// the middle of a switch; the block says whether a user root may be loaded. Loads the kernel's
/// root then, and returns what CR3 held, for `leave_nmi`. Context: an NMI handler, first thing, on
/// a stack that user roots map.
template <Hal H>
[[nodiscard]] std::uint64_t enter_nmi(const EntryBlock<H>& block) {
  const std::uint64_t held = H::read_cr3();
  const std::uint64_t kernel = block.kernel_cr3.owner_load();
  if (kernel != 0 && held != (kernel & ~kCr3KeepEntries)) H::write_cr3(kernel);
  return held;
}

/// The way out, also to user mode: CR3 gets back what it held, not what the bookkeeping says, and
/// what is cached is kept. A debt cannot be new: an NMI flushes nothing, and what arrives during it
/// waits until interrupts are on. Context: the same handler, last thing.
template <Hal H>
void leave_nmi(const EntryBlock<H>& block, std::uint64_t held) {
  if (H::read_cr3() == held) return;
  H::write_cr3(held | (block.kernel_cr3.owner_load() & kCr3KeepEntries));
}

namespace internal {

/// Notes the pages of a partial flush for the way to user mode. A second range before then becomes
/// a flush of the whole user PCID: one range is remembered, because more than one is rare.
template <Hal H>
void defer_user_pages(const System<H>& system, CpuPrivate<H>& own, VirtAddr start, VirtAddr end) {
  ++own.counters.user_pcid_deferred;
  if (DeferredPages(own.deferred).empty()) {
    own.deferred = DeferredPages{.start = start, .end = end};
    return;
  }
  own.deferred = {};
  mark_user_pcid(system, own, own.loaded_asid);
}

/// Drops pages of the kernel's half and leaves those of the user's half for the way to user mode.
template <Hal H>
void flush_pages_and_defer(const System<H>& system, CpuPrivate<H>& own, const FlushRange& pages) {
  flush_pages_in_kernel_half(own, pages);
  defer_user_pages(system, own, pages.start, pages.end);
}

/// A switch to another ASID: the remembered range belongs to the ASID that is left.
template <Hal H>
void escalate_deferred_pages(System<H>& system) {
  CpuPrivate<H>& own = system.self().own;
  if (DeferredPages(own.deferred).empty()) return;
  own.deferred = {};
  mark_user_pcid(system, own, own.loaded_asid);
}

}  // namespace internal

}  // namespace shootdown
