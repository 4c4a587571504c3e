// Reclaim: pages of any spaces are unmapped one by one, and flushed together.
#pragma once

#include <array>
#include <atomic>

#include "core/capacities.h"
#include "core/shootdown.h"
#include "kernel-glue/mm/flush.h"
#include "kernel-glue/mm/gather.h"
#include "kernel-glue/mm/manager.h"
#include "kernel-glue/mm/tables.h"

namespace shootdown::vm {

/// One reclaiming task's batch. CPUs may still use its pages until `flush`; an operation that meets
/// one of their entries sees the mm's mark (`flush_batched`, M12). Context: a task with interrupts
/// on.
template <MemoryPlatform P>
class Reclaimer {
 public:
  using H = typename P::Hal;

  /// Unmaps the page that holds `address`. Returns whether there was one.
  bool reclaim(Manager<P>& manager, AddressSpace<P>& mm, VirtAddr address) {
    if (held_ == capacities<H>().reclaim_pages) flush(manager);
    LockedRegion<P> region(manager, mm, address);
    if (!region.has_table() && !region.is_large_page()) return false;
    auto&& entry = region.entry(address);
    if (!is_present(entry.peek())) return false;
    const Pte old = entry.exchange(0, std::memory_order_seq_cst);
    if ((old & kPteDirty) != 0) manager.platform.note_dirty(frame_of(old));
    if (region.is_large_page()) {
      flush_large(manager, mm, address, old);
    } else if ((old & kPteDirty) != 0) {
      flush_dirty(manager, mm, address, old);
    } else {
      // M12: the mark is set before the lock goes, so an operation that finds the entry gone finds
      // the mark.
      batch_.add(manager.system, mm.core);
      // Only CPUs wait for the batch: secondary TLBs are flushed at once, and so the operation that
      // settles the batch later has only CPUs to flush.
      const VirtAddr start = entry_start(address, 1);
      manager.platform.flush_secondary(mm.core, start, start + kSmallPage);
      pages_[held_++] = {.frame = frame_of(old), .context = mm.core.context};
    }
    return true;
  }

  /// Flushes the batch and releases its pages.
  void flush(Manager<P>& manager) {
    if (held_ == 0) return;
    const BatchQuiet quiet = flush_batch(manager);
    for (std::size_t i = 0; i < held_; ++i) {
      drop_mapping(manager, pages_[i].context, pages_[i].frame, quiet);
    }
    held_ = 0;
  }

 private:
  struct Page {
    PhysAddr frame;
    ContextId context;  // whose mapping held it
  };

  BatchQuiet flush_batch(Manager<P>& manager) {
    const FlushContext<P> context(manager);
    return batch_.flush(manager.system);
  }

  /// A dirty page is about to be written back, and must not be stored to afterwards through an
  /// entry that keeps the store to itself. So it does not wait for the batch.
  static void flush_dirty(Manager<P>& manager, AddressSpace<P>& mm, VirtAddr address, Pte old) {
    const VirtAddr start = entry_start(address, 1);
    const TranslationsQuiet quiet = flush_range(
        manager, mm, {.start = start, .end = start + kSmallPage, .stride_shift = kPageShift});
    drop_mapping(manager, mm, frame_of(old), quiet);
  }

  /// Nor does a large page: the next one here may be small, and a lazy CPU, which a batch spares,
  /// would cache both (`Gather::reaches_lazy_`).
  static void flush_large(Manager<P>& manager, AddressSpace<P>& mm, VirtAddr address, Pte old) {
    const VirtAddr start = entry_start(address, 2);
    const TablesUnreachable quiet = flush_tables(
        manager, mm, {.start = start, .end = start + kLargePage, .stride_shift = kLargePageShift});
    drop_mapping(manager, mm, frame_of(old), quiet);
  }

  ReclaimBatch<H> batch_;
  std::array<Page, kCapacities.reclaim_pages> pages_{};
  std::size_t held_{0};
};

}  // namespace shootdown::vm
