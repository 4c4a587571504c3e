// What an operation owes to entries that another has changed and not flushed yet.
//
// A removal leaves its entry's lock long before its flush: a gather flushes at its end, a reclaim
// batch later still. An operation that looks at such an entry under its lock finds a mark that says
// so, the mm's `pending` count (M13) or its `batch_marks` (M12). Two things must not happen over
// it: an operation must not promise that nothing older is left, and the entry must not become
// present again. What an entry mapped last may be cached although it is not present any more.
#pragma once

#include <atomic>

#include "core/shootdown.h"
#include "kernel-glue/mm/flush.h"
#include "kernel-glue/mm/manager.h"

namespace shootdown::vm {

/// Before an operation on `mm` says that nothing older is left: an entry that it found gone may
/// be in a reclaim batch. Context: as for a flush, after the locks.
template <MemoryPlatform P>
void flush_batched(Manager<P>& manager, AddressSpace<P>& mm) {
  flush_tlb_batched_pending(manager.system, mm.core);
}

/// The same for operations that are not gathers themselves: unflushed changes of gathers, too.
template <MemoryPlatform P>
void flush_all_pending(Manager<P>& manager, AddressSpace<P>& mm) {
  if (mm.pending.load(std::memory_order_acquire) != 0) {
    static_cast<void>(flush_tables(manager, mm, {}));
  }
  flush_batched(manager, mm);
}

/// Before the 4 KiB entries of `range` are made present. Otherwise a CPU that still uses what one
/// of them mapped before uses another frame than all others under the same address. Context: as for
/// a flush, but with the entries' lock held, which stays held until they are made: without it the
/// removal could come in between. No gather of the caller's own is on the way.
template <MemoryPlatform P>
void flush_pending_in(Manager<P>& manager, AddressSpace<P>& mm, Range range) {
  // Acquire pairs with the release at a gather's end: if it is seen gone, so is its flush done.
  if (mm.pending.load(std::memory_order_acquire) != 0) {
    static_cast<void>(flush_range(
        manager, mm, {.start = range.start, .end = range.end, .stride_shift = kPageShift}));
  }
  flush_batched(manager, mm);
}

/// Before an entry of a directory is made present, be it a large page or a page table: what was
/// removed there may have been of the other size, and two sizes of one address must never be
/// cached together. So lazy CPUs are flushed, too: they walk speculatively, and would keep the old
/// size until they leave lazy mode. Context: as for `flush_pending_in`, with the directory's lock.
template <MemoryPlatform P>
void flush_pending_in_region(Manager<P>& manager, AddressSpace<P>& mm) {
  bool flushed = false;
  const auto flush = [&] {
    static_cast<void>(flush_tables(manager, mm, {}));
    flushed = true;
  };
  // The batch first: its marks have to be read before the flush that settles them.
  flush_batched_pending(mm.core, flush);
  // Acquire: as in `flush_pending_in`.
  if (!flushed && mm.pending.load(std::memory_order_acquire) != 0) flush();
}

}  // namespace shootdown::vm
