// The gather: what an operation has taken out of page tables, until it is flushed and released.
//
// Begin, change entries under their locks, finish. In between the entries are gone but CPUs may
// still use them, which is what everything here is about:
//   the mm's pending count is up from before the first change until after the flush (M13);
//   an operation that finds entries already changed by another flushes for them, if the other has
//   not yet (`finish` sees the count; `flush_batched` sees reclaim's mark; O21);
//   a page or a table leaves the gather only with the token of the flush.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>

#include "core/capacities.h"
#include "core/shootdown.h"
#include "kernel-glue/mm/flush.h"
#include "kernel-glue/mm/flush_pending.h"
#include "kernel-glue/mm/lock.h"
#include "kernel-glue/mm/manager.h"
#include "kernel-glue/mm/walkers.h"

namespace shootdown::vm {

namespace internal {

/// Ends a reference, and releases the page with the last one.
template <MemoryPlatform P>
void put_page(Manager<P>& manager, PhysAddr page) {
  auto& references = manager.platform.references(page);
  // Acquire and release: uses of the page through other references come before its release.
  if (references.fetch_add(~std::uint32_t{0}, std::memory_order_acq_rel) != 1) return;
  manager.platform.release_page(page);
}

}  // namespace internal

/// Ends a reference that a mapping in `mm` held to a page, which is released with the last one.
/// The token is of a flush of that mm after the mapping's entry was removed. Context: any in
/// which a page can be released.
template <MemoryPlatform P>
void drop_mapping(Manager<P>& manager, const AddressSpace<P>& mm, PhysAddr page,
                  const TranslationsQuiet& proof) {
  internal::require_covered<P>(proof.covers(mm.core));
  internal::put_page(manager, page);
}

/// The same for a page that waited for a reclaim batch: the mm may have ended meanwhile, so it
/// is named by its identity at the time.
template <MemoryPlatform P>
void drop_mapping(Manager<P>& manager, ContextId context, PhysAddr page, const BatchQuiet& proof) {
  internal::require_covered<P>(proof.covers(context));
  internal::put_page(manager, page);
}

/// Context of a gather, from its construction to `finish`: a task with interrupts on.
template <MemoryPlatform P>
class Gather {
 public:
  using H = typename P::Hal;

  Gather(Manager<P>& manager, AddressSpace<P>& mm) : manager_(manager), mm_(mm) {
    // M13: before any entry changes. An operation that looks at an entry under its lock sees the
    // count.
    mm.pending.fetch_add(1, std::memory_order_seq_cst);
  }
  ~Gather() { require<H>(finished_, Rule::r1, "a gather ends without its flush"); }
  Gather(const Gather&) = delete;
  Gather& operator=(const Gather&) = delete;

  /// The entry of `level` at `address` lost something. Under its lock.
  void changed(VirtAddr address, unsigned level) {
    start_ = std::min(start_, address);
    end_ = std::max(end_, address + (VirtAddr{1} << shift_of(level)));
    shift_ = std::min(shift_, shift_of(level));
  }

  /// The same, and it was removed: `old` is what it was. Under its lock, which stays held while a
  /// full gather is flushed.
  void removed(VirtAddr address, unsigned level, Pte old) {
    if (pages_held_ == capacities<H>().gather_pages) flush();
    if ((old & kPteDirty) != 0) {
      manager_.platform.note_dirty(frame_of(old));
      holds_dirty_ = true;
    }
    // The next page here may be a small one.
    if (level != 1) reaches_lazy_ = true;
    changed(address, level);
    pages_[pages_held_++] = frame_of(old);
  }

  /// The page table of the 2 MiB at `region` was unhooked. Under both locks.
  void unhooked(VirtAddr region, PhysAddr table) {
    if (tables_held_ == capacities<H>().gather_tables) flush();
    // Of cached pointers to this table the invalidation of one address would be enough. But a large
    // page may come next, and lazy CPUs were spared when the small ones went: what a hypervisor
    // flushes for them is this range.
    changed(region, 1);
    end_ = std::max(end_, region + kLargePage);
    tables_[tables_held_++] = table;
  }

  /// Before a table's lock is dropped. A page that was stored to must not look unmapped to the
  /// operation that cleans it while a CPU can still store to it, so dirty entries are flushed under
  /// the lock.
  void before_unlock() {
    if (holds_dirty_) flush();
  }

  /// Flushes what was gathered so far, releases it and starts anew.
  void flush() {
    if (end_ == 0) return;
    const FlushRange range{.start = start_, .end = end_, .stride_shift = shift_};
    if (tables_held_ != 0 || reaches_lazy_) {
      release_all(flush_tables(manager_, mm_, range));
    } else {
      release_pages(flush_range(manager_, mm_, range));
    }
    forget();
  }

  /// Flushes and releases everything. No lock is held.
  void finish() {
    if (is_alone()) {
      flush();
    } else {
      flush_for_others();
    }
    end();
  }

  /// The same for an mm that ends: retires it, after which no CPU has it loaded, and releases all
  /// that was gathered. No task runs the mm, and no later operation flushes it.
  [[nodiscard]] MmRetired finish_whole() {
    MmRetired quiet = retire();
    release_all(quiet);
    forget();
    end();
    return quiet;
  }

  /// As `finish`, if only rights were taken away: CPUs may answer before they flush
  /// (`core/flush.h`).
  void finish_early() {
    require<H>(pages_held_ == 0 && tables_held_ == 0, Rule::r1, "nothing is released early");
    if (!is_alone()) {
      flush_for_others();
    } else if (end_ != 0) {
      flush_range_early(manager_, mm_, {.start = start_, .end = end_, .stride_shift = shift_});
    }
    end();
  }

  /// Two halves of `finish`. The first asks CPUs to flush; until `is_done` the pages and tables
  /// stay as they are, and the mm lives.
  void submit() {
    const bool alone = is_alone();
    if (alone && end_ == 0) return;
    const FlushRange range{.start = start_, .end = end_, .stride_shift = shift_};
    const FlushContext<P> context(manager_);
    if (alone && tables_held_ == 0 && !reaches_lazy_) {
      pages_quiet_ = submit_flush_tlb_mm_range(manager_.system, mm_.core, range);
    } else {
      // Not alone: as in `flush_for_others`.
      tables_quiet_ = submit_flush_tlb_mm_range_freed_tables(manager_.system, mm_.core,
                                                             alone ? range : FlushRange{});
    }
  }
  [[nodiscard]] bool is_done() {
    return pages_quiet_.is_done(manager_.system) && tables_quiet_.is_done(manager_.system);
  }
  /// The second waits for the rest, and releases everything.
  void finish_submitted() {
    const FlushRange range{.start = start_, .end = end_, .stride_shift = shift_};
    if (pages_quiet_.is_of_an_mm()) {
      const TranslationsQuiet quiet = std::move(pages_quiet_).complete(manager_.system);
      manager_.platform.flush_secondary(mm_.core, range.start, range.end);
      release_pages(quiet);
    } else if (tables_quiet_.is_of_an_mm()) {
      const TablesUnreachable quiet = std::move(tables_quiet_).complete(manager_.system);
      manager_.platform.flush_secondary(mm_.core, 0, kFlushAll);
      release_all(quiet);
    }
    forget();
    end();
  }

 private:
  [[nodiscard]] MmRetired retire() {
    const FlushContext<P> context(manager_);
    return retire_mm(manager_.system, mm_.core);
  }

  /// Acquire pairs with the release in `end`: if the others are seen gone, so are their flushes
  /// done.
  [[nodiscard]] bool is_alone() const { return mm_.pending.load(std::memory_order_acquire) == 1; }

  /// Another operation works on this mm. It may have changed what this one found gone or
  /// weakened, and its range is not known, nor whether it frees tables: all translations and
  /// pointers to tables are flushed.
  void flush_for_others() {
    release_all(flush_tables(manager_, mm_, {}));
    forget();
  }

  void release_pages(const TranslationsQuiet& quiet) {
    for (std::size_t i = 0; i < pages_held_; ++i) {
      drop_mapping(manager_, mm_, pages_[i], quiet);
    }
  }
  void release_all(const TablesUnreachable& quiet) {
    release_pages(quiet);
    for (std::size_t i = 0; i < tables_held_; ++i) {
      retire_table(manager_, mm_, tables_[i], quiet);
    }
  }
  void forget() {
    pages_held_ = tables_held_ = 0;
    start_ = kFlushAll;
    end_ = 0;
    shift_ = kHugePageShift;
    holds_dirty_ = false;
    reaches_lazy_ = false;
  }
  void end() {
    finished_ = true;
    // M13: after the flush. Release pairs with the acquire in `is_alone`.
    mm_.pending.fetch_add(~std::uint32_t{0}, std::memory_order_acq_rel);
  }

  Manager<P>& manager_;
  AddressSpace<P>& mm_;
  VirtAddr start_{kFlushAll};
  VirtAddr end_{0};
  std::uint8_t shift_{kHugePageShift};
  bool holds_dirty_{false};
  /// A page went whose address may get one of another size. Lazy CPUs walk speculatively: one that
  /// is spared would cache the new size beside the old one, so the stronger flush is theirs.
  bool reaches_lazy_{false};
  bool finished_{false};
  std::size_t pages_held_{0};
  std::size_t tables_held_{0};
  PendingFlush<H, TranslationsQuiet> pages_quiet_{};
  PendingFlush<H, TablesUnreachable> tables_quiet_{};
  std::array<PhysAddr, kCapacities.gather_pages> pages_;
  std::array<PhysAddr, kCapacities.gather_tables> tables_;
};

}  // namespace shootdown::vm
