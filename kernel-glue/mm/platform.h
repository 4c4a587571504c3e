// What the memory manager asks of its kernel beyond the flush core's HAL.
//
// One object of such a type stands for physical memory: its page-table words, its allocator, and
// what a kernel knows of each frame. All calls may come from any CPU at the same time.
#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>

#include "core/hal.h"
#include "core/mm.h"
#include "core/types.h"
#include "kernel-glue/mm/pte.h"

namespace shootdown::vm {

/// One word of a page table in memory, which every CPU's walker reads at any time and writes
/// accessed and dirty bits to. `peek` is an acquire load whose answer the table's lock makes
/// stable; exploring tools need not schedule at it. `glance` is one without that lock: the caller
/// confirms the answer under the lock, or it is a pointer to a table that stays. Other CPUs may act
/// right before it.
template <class E>
concept TableEntry = requires(E& entry, Pte value) {
  { entry.load(std::memory_order_acquire) } -> std::same_as<Pte>;
  { entry.peek() } -> std::same_as<Pte>;
  { entry.glance() } -> std::same_as<Pte>;
  { entry.store(value, std::memory_order_release) };
  { entry.exchange(value, std::memory_order_seq_cst) } -> std::same_as<Pte>;
  { entry.fetch_or(value, std::memory_order_seq_cst) } -> std::same_as<Pte>;
  { entry.fetch_and(value, std::memory_order_seq_cst) } -> std::same_as<Pte>;
};

/// The entry of a kernel that sees page tables as arrays of the HAL's atomic words.
template <HalAtomics H>
class AtomicEntry {
 public:
  explicit AtomicEntry(typename H::template Atomic<Pte>& word) : word_(word) {}
  Pte load(std::memory_order order) const { return word_.load(order); }
  Pte peek() const { return word_.load(std::memory_order_acquire); }
  Pte glance() const { return peek(); }
  void store(Pte value, std::memory_order order) { word_.store(value, order); }
  Pte exchange(Pte value, std::memory_order order) { return word_.exchange(value, order); }
  Pte fetch_or(Pte bits, std::memory_order order) { return word_.fetch_or(bits, order); }
  Pte fetch_and(Pte bits, std::memory_order order) { return word_.fetch_and(bits, order); }

 private:
  typename H::template Atomic<Pte>& word_;
};

/// What a frame is for. Allocators may use it for placement, and tools for reports.
template <Hal H>
struct FrameHint {
  const Mm<H>* mm;   // the mm that asks
  VirtAddr address;  // the first address that it will map or cover
  /// Of a table: its own level, kRootLevel and kUserRootLevel being the roots. Of a page: the level
  /// of the entry that maps it, 1 for 4 KiB and 2 for 2 MiB.
  unsigned level;
};

/// A page table that waits for lockless walkers. The memory manager fills it; the platform only
/// provides the memory.
template <Hal H>
struct DeferredTable;

/// Physical memory, except for what releases and observes it.
///
/// `allocate_table`  a zeroed table, or kNoFrame. A root comes with the kernel's half in place. May
///                   be called with a table lock held, so it must not wait.
/// `allocate_page`   a zeroed page with one reference, or kNoFrame. In the same contexts.
/// `prepare_entry`   a plain store to a table that no other operation can reach yet.
/// `copy_page`       copies to a page from a page or part, of the size that an entry of a level
///                   maps. No CPU can store to the source meanwhile.
/// `part`            the 4 KiB part number `index` of a large page, or kNoFrame where it has no
///                   memory (a model's large pages need not be large).
/// `table_lock`      a lock word for each frame, which outlives the frame's use as a table: an
///                   operation that comes late locks it, looks again and finds the table gone.
/// `references`      the page's reference count. All parts of a large page share one. It outlives
///                   the page's use, too, and is then 0.
template <class P>
concept PlatformMemory =
    Hal<typename P::Hal> && requires(P& platform, const FrameHint<typename P::Hal>& hint,
                                     PhysAddr frame, unsigned index, Pte value) {
      { platform.allocate_table(hint) } -> std::same_as<PhysAddr>;
      { platform.allocate_page(hint) } -> std::same_as<PhysAddr>;
      { platform.prepare_entry(frame, index, value) };
      { platform.copy_page(frame, frame, index) };
      { platform.part(frame, index) } -> std::same_as<PhysAddr>;
      {
        platform.table_lock(frame)
      } -> std::same_as<typename P::Hal::template Atomic<std::uint32_t>&>;
      {
        platform.references(frame)
      } -> std::same_as<typename P::Hal::template Atomic<std::uint32_t>&>;
      requires TableEntry<std::remove_reference_t<decltype(platform.entry(frame, index))>>;
    };

/// The memory manager calls these when it has the completion token that each needs; no other code
/// does. `release_page` gets any part of a large page for the whole. `discard_table` is for a table
/// that was never hooked. `allocate_record` may fail.
template <class P>
concept PlatformRelease =
    requires(P& platform, PhysAddr frame, DeferredTable<typename P::Hal>* record) {
      { platform.release_page(frame) };
      { platform.release_table(frame) };
      { platform.discard_table(frame) };
      { platform.allocate_record() } -> std::same_as<DeferredTable<typename P::Hal>*>;
      { platform.release_record(record) };
    };

/// What a kernel may want to know, and oracles do. All may do nothing; none may change memory.
///
/// `note_dirty`    a store through an entry that is being removed is to be remembered.
/// `looked`        under the lock: the running operation has seen the entries of [start, end) and
///                 will promise, when it returns, that nothing older is left.
/// `cleaned`       under the lock: the pages of [start, end) are clean, and the next store to one
///                 will set its dirty bit.
/// `walker_holds`  a lockless walker has read a pointer to this table.
/// `walker_done`   ... and holds none any more.
template <class P>
concept PlatformHooks =
    requires(P& platform, const Mm<typename P::Hal>& mm, VirtAddr address, PhysAddr frame) {
      { platform.note_dirty(frame) };
      { platform.looked(mm, address, address) };
      { platform.cleaned(mm, address, address) };
      { platform.walker_holds(frame) };
      { platform.walker_done() };
    };

/// Secondary TLBs: devices walk the page tables, too, and keep the translations that they find. A
/// kernel without any does nothing here. Context: a task with interrupts on; locks of page tables
/// may be held. A call returns when it is done.
///
/// `begin_secondary`         the mm exists: walks may begin.
/// `end_secondary`           before the first table of the mm goes: nothing is kept of the mm
///                           when it returns, and no device walks it any more.
/// `flush_secondary`         entries or tables of [start, end) are gone or weaker, CPUs have been
///                           flushed, and nothing is released yet. When it returns, no translation
///                           of the range is kept, and no pointer to a table on the way there.
///                           The range is every page that holds a byte of it; an `end` of 0 is
///                           2^64, and kFlushAll stands for everything.
/// `flush_secondary_kernel`  the same for the kernel's half, which every mm shares.
template <class P>
concept PlatformSecondary = requires(P& platform, const Mm<typename P::Hal>& mm, VirtAddr address) {
  { platform.begin_secondary(mm) };
  { platform.end_secondary(mm) };
  { platform.flush_secondary(mm, address, address) };
  { platform.flush_secondary_kernel(address, address) };
};

template <class P>
concept MemoryPlatform =
    PlatformMemory<P> && PlatformRelease<P> && PlatformHooks<P> && PlatformSecondary<P>;

}  // namespace shootdown::vm
