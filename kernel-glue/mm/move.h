// Moving a page to another address of its mm.
#pragma once

#include <algorithm>
#include <atomic>
#include <optional>

#include "kernel-glue/mm/flush.h"
#include "kernel-glue/mm/flush_pending.h"
#include "kernel-glue/mm/gather.h"
#include "kernel-glue/mm/manager.h"
#include "kernel-glue/mm/tables.h"

namespace shootdown::vm {

namespace internal {

/// Moves what one entry maps to another, which is that of `to_address`, both under their locks.
/// Returns whether it did.
template <MemoryPlatform P, class From, class To>
bool move_entry(Manager<P>& manager, AddressSpace<P>& mm, From&& from, To&& to,
                VirtAddr to_address) {
  if (!is_present(from.peek()) || is_present(to.peek())) return false;
  flush_pending_in(manager, mm, {.start = to_address, .end = to_address + kSmallPage});
  // The old value as it was when it went: the walker may have set its dirty bit just before.
  set_entry(manager, to, from.exchange(0, std::memory_order_seq_cst), std::memory_order_seq_cst);
  return true;
}

}  // namespace internal

/// Moves the 4 KiB page at `from` to `to`, where nothing is mapped. Returns whether it did. Either
/// way, when it returns no CPU can use what was mapped at `from`. A large page has to be split
/// first. Context: a task with interrupts on, no page-table lock held.
template <MemoryPlatform P>
bool move_page(Manager<P>& manager, AddressSpace<P>& mm, VirtAddr from, VirtAddr to) {
  bool moved = false;
  if (make_table(manager, mm, to, 1) != kNoFrame) {
    LockedRegion<P> low(manager, mm, std::min(from, to), Lock::tables);
    std::optional<LockedRegion<P>> high;
    if (entry_start(from, 2) != entry_start(to, 2)) {
      high.emplace(manager, mm, std::max(from, to), Lock::tables);
    }
    LockedRegion<P>& other = high ? *high : low;
    LockedRegion<P>& from_region = from < to ? low : other;
    LockedRegion<P>& to_region = from < to ? other : low;
    if (from_region.has_table() && to_region.has_table()) {
      moved = internal::move_entry(manager, mm, from_region.entry(from), to_region.entry(to), to);
      // The page is at its new address now. As soon as that lock is free another operation may find
      // it there, unmap it, flush the new address and release the page, or clean it, while a CPU
      // that still has the old address cached stores to it. So the flush comes before the locks go,
      // be the page dirty or not.
      if (moved) flush_page(manager, mm, from);
      manager.platform.looked(mm.core, from, from + kSmallPage);
    }
  }
  flush_all_pending(manager, mm);
  return moved;
}

}  // namespace shootdown::vm
