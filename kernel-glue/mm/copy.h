// Sharing pages between mms, and giving a page a new frame.
#pragma once

#include <atomic>

#include "kernel-glue/mm/flush.h"
#include "kernel-glue/mm/gather.h"
#include "kernel-glue/mm/manager.h"
#include "kernel-glue/mm/tables.h"

namespace shootdown::vm {

namespace internal {

/// Moves the page behind a present entry to the new page `fresh`, with `rights`, which are
/// kPteWritable or kPteCow or neither, in the place of what the entry has of these two. Under the
/// entry's lock, which the flush does not drop.
template <MemoryPlatform P, class Entry>
void give_new_page(Manager<P>& manager, AddressSpace<P>& mm, Entry&& entry, VirtAddr address,
                   unsigned level, PhysAddr fresh, Pte rights) {
  // Break, flush, copy, make. The flush also covers what other operations have taken from this
  // entry and not flushed yet: after it no CPU can store to the old page through the entry, so no
  // store misses the copy; and no CPU has the old page while another has the new one.
  const Pte old = entry.exchange(0, std::memory_order_seq_cst);
  const std::uint8_t shift = shift_of(level);
  const TranslationsQuiet quiet = flush_range(
      manager, mm,
      {.start = address, .end = address + (VirtAddr{1} << shift), .stride_shift = shift});
  if ((old & kPteDirty) != 0) manager.platform.note_dirty(frame_of(old));
  manager.platform.copy_page(fresh, frame_of(old), level);
  // Release: the copy comes before the entry. Dirty, because nothing else holds this content.
  const Pte kept = old & ~(kPteFrame | kPteWritable | kPteCow);
  set_entry(manager, entry, fresh | kept | rights | kPteDirty);
  drop_mapping(manager, mm, frame_of(old), quiet);
}

template <MemoryPlatform P>
PhysAddr allocate_for(Manager<P>& manager, AddressSpace<P>& mm, VirtAddr address, unsigned level) {
  return manager.platform.allocate_page({.mm = &mm.core, .address = address, .level = level});
}

/// Shares the page of a parent's present entry with a child's empty one. Under the parent's lock;
/// no other operation can reach the child.
template <MemoryPlatform P, class Entry, class ChildEntry>
bool share(Manager<P>& manager, Entry& entry, ChildEntry&& child) {
  Pte old = entry.peek();
  const bool writable = (old & kPteWritable) != 0;
  if (writable) {
    entry.fetch_or(kPteCow, std::memory_order_seq_cst);
    old = entry.fetch_and(~kPteWritable, std::memory_order_seq_cst);
  }
  manager.platform.references(frame_of(old)).fetch_add(1, std::memory_order_relaxed);
  // The dirty bit stays with the parent's entry, which speaks for all stores so far.
  set_entry(manager, child, old & ~(kPteWritable | kPteDirty | kPteAccessed));
  return needs_flush(old, old & ~(writable ? kPteWritable : 0));
}

}  // namespace internal

/// Prepares a store to the page that holds `address`, as the page-fault handler does: a shared page
/// is copied, one that is shared no longer becomes writable. Returns false if there is no memory.
/// Context: a task with interrupts on, no page-table lock held.
template <MemoryPlatform P>
bool copy_on_write(Manager<P>& manager, AddressSpace<P>& mm, VirtAddr address) {
  LockedRegion<P> region(manager, mm, address);
  if (!region.has_table() && !region.is_large_page()) return true;
  auto&& entry = region.entry(address);
  const Pte now = entry.peek();
  if (!is_present(now) || (now & kPteWritable) != 0 || (now & kPteCow) == 0) return true;
  if (manager.platform.references(frame_of(now)).load(std::memory_order_acquire) == 1) {
    // No other entry maps the page, and under this lock none can begin to. More rights need no
    // flush.
    entry.fetch_or(kPteWritable, std::memory_order_seq_cst);
    return true;
  }
  const VirtAddr start = entry_start(address, region.level());
  const PhysAddr fresh = internal::allocate_for(manager, mm, start, region.level());
  if (fresh == kNoFrame) return false;
  internal::give_new_page(manager, mm, entry, start, region.level(), fresh, kPteWritable);
  manager.platform.looked(mm.core, start, start + (VirtAddr{1} << shift_of(region.level())));
  return true;
}

/// Moves the content of the page that holds `address` to another frame, with the same rights, as
/// for compaction. When it returns, no CPU can use the old frame through this address. Returns
/// false if there is no memory. Context: as for `copy_on_write`.
template <MemoryPlatform P>
bool migrate(Manager<P>& manager, AddressSpace<P>& mm, VirtAddr address) {
  LockedRegion<P> region(manager, mm, address);
  if (!region.has_table() && !region.is_large_page()) return true;
  auto&& entry = region.entry(address);
  // A shared page has entries in other mms, which one lock does not guard.
  const Pte now = entry.peek();
  if (!is_present(now) ||
      manager.platform.references(frame_of(now)).load(std::memory_order_acquire) != 1) {
    return true;
  }
  const VirtAddr start = entry_start(address, region.level());
  const PhysAddr fresh = internal::allocate_for(manager, mm, start, region.level());
  if (fresh == kNoFrame) return false;
  // A page that only this entry is left of may still be to be copied at the next store.
  internal::give_new_page(manager, mm, entry, start, region.level(), fresh,
                          now & (kPteWritable | kPteCow));
  manager.platform.looked(mm.core, start, start + (VirtAddr{1} << shift_of(region.level())));
  return true;
}

/// Maps every page of `parent` in `child`, a new mm that no other operation can reach. Pages that
/// could be stored to are shared until the next store; when it returns, no CPU can store to one
/// through `parent` without a copy. Returns false if memory ran out: destroy the child then.
/// Context: as for `copy_on_write`.
template <MemoryPlatform P>
bool fork(Manager<P>& manager, AddressSpace<P>& parent, AddressSpace<P>& child) {
  bool complete = true;
  Gather<P> gather(manager, parent);
  for_each_hooked(manager, parent, [&](VirtAddr at) {
    LockedRegion<P> region(manager, parent, at);
    if (!complete || (!region.has_table() && !region.is_large_page())) return;
    const unsigned level = region.level();
    // A child's lock below a parent's: no other CPU holds a lock of the child.
    const PhysAddr table = make_table(manager, child, at, level);
    complete = table != kNoFrame;
    if (!complete) return;
    const Range whole{.start = region.start(), .end = region.end()};
    region.for_each_present(whole, [&](auto& entry, VirtAddr address) {
      auto&& target = manager.platform.entry(table, entry_index(address, level));
      if (internal::share(manager, entry, target)) gather.changed(address, level);
    });
    manager.platform.looked(parent.core, region.start(), region.end());
  });
  gather.finish();
  flush_batched(manager, parent);
  return complete;
}

}  // namespace shootdown::vm
