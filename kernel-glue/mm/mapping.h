// Mapping, unmapping and changing the rights of pages.
//
// Every operation here may run on any CPU, for any mm that its caller keeps alive, at the same
// time as any other. Context: a task with interrupts on, no page-table lock held. A range may hold
// large pages, if it covers them whole.
#pragma once

#include <atomic>

#include "kernel-glue/mm/flush.h"
#include "kernel-glue/mm/flush_pending.h"
#include "kernel-glue/mm/gather.h"
#include "kernel-glue/mm/lock.h"
#include "kernel-glue/mm/manager.h"
#include "kernel-glue/mm/tables.h"

namespace shootdown::vm {

namespace internal {

/// Gives `entry`, which maps nothing, a new page. Under its lock, and settled. False if there is no
/// memory.
template <MemoryPlatform P, class Entry>
bool map_entry(Manager<P>& manager, AddressSpace<P>& mm, Entry&& entry, VirtAddr address,
               unsigned level, Pte bits) {
  const PhysAddr page =
      manager.platform.allocate_page({.mm = &mm.core, .address = address, .level = level});
  if (page == kNoFrame) return false;
  // The page's zeroes come before the entry. No flush afterwards: that nothing was mapped here is
  // never cached, and what was mapped before is settled.
  set_entry(manager, entry, page | bits | kPtePresent);
  return true;
}

/// Takes the right from a present entry. Returns what the entry was at that moment.
template <class Entry>
Pte take_right(Entry& entry, Right right) {
  // What is removed from an entry with all bits, and what is added to one without any.
  const Pte kept = without(~Pte{0}, right);
  return kept != ~Pte{0} ? entry.fetch_and(kept, std::memory_order_seq_cst)
                         : entry.fetch_or(without(0, right), std::memory_order_seq_cst);
}

/// Takes the right away in the range. Returns with the gather unfinished.
template <MemoryPlatform P>
void take_rights(Manager<P>& manager, AddressSpace<P>& mm, Range range, Right right,
                 Gather<P>& gather) {
  for_each_region(manager, mm, range, [&](LockedRegion<P>& region) {
    region.for_each_present(range, [&](auto& entry, VirtAddr address) {
      // Compare with what the entry was at the moment of the change, not before or after it.
      const Pte old = take_right(entry, right);
      const bool weaker = needs_flush(old, without(old, right));
      if (weaker) gather.changed(address, region.level());
    });
  });
}

}  // namespace internal

namespace internal {

/// Maps a new page wherever `range`, which lies in `region`, has none. False if there is no memory.
template <MemoryPlatform P>
bool map_region(Manager<P>& manager, AddressSpace<P>& mm, LockedRegion<P>& region, Range range,
                Pte bits) {
  bool settled = false;
  for (VirtAddr at = range.start; at < range.end; at += kSmallPage) {
    auto&& entry = region.entry(at);
    if (is_present(entry.peek())) continue;
    // Once is enough: under the lock no operation removes anything more.
    if (!settled) flush_pending_in(manager, mm, {.start = at, .end = range.end});
    settled = true;
    if (!map_entry(manager, mm, entry, at, 1, bits)) return false;
  }
  return true;
}

}  // namespace internal

/// Maps new 4 KiB pages where nothing is mapped. `bits` are the rights, of pte.h. Returns false if
/// memory ran out, or if a large page is in the way; then only a part is mapped.
template <MemoryPlatform P>
bool map(Manager<P>& manager, AddressSpace<P>& mm, Range range, Pte bits) {
  bool complete = true;
  for (VirtAddr at = range.start; complete && at < range.end;) {
    const VirtAddr end = std::min(range.end, entry_start(at, 2) + kLargePage);
    complete = make_table(manager, mm, at, 1) != kNoFrame;
    LockedRegion<P> region(manager, mm, at);
    // Another operation has found the table empty and unhooked it meanwhile: make a new one.
    if (complete && !region.has_table() && !region.is_large_page()) continue;
    complete = complete && region.has_table() &&
               internal::map_region(manager, mm, region, {.start = at, .end = end}, bits);
    at = end;
  }
  return complete;
}

/// Maps new 2 MiB pages where nothing is mapped and no page table is. Returns as `map` does.
template <MemoryPlatform P>
bool map_large(Manager<P>& manager, AddressSpace<P>& mm, Range range, Pte bits) {
  for (VirtAddr at = range.start; at < range.end; at += kLargePage) {
    const PhysAddr directory = make_table(manager, mm, at, 2);
    if (directory == kNoFrame) return false;
    const TableLock<P> lock(manager, directory);
    auto&& entry = manager.platform.entry(directory, entry_index(at, 2));
    if (is_table(entry.peek())) return false;
    if (is_large(entry.peek())) continue;
    flush_pending_in_region(manager, mm);
    if (!internal::map_entry(manager, mm, entry, at, 2, bits | kPteLarge)) return false;
  }
  return true;
}

namespace internal {

/// Removes every page of the range.
template <MemoryPlatform P>
void clear_pages(Manager<P>& manager, AddressSpace<P>& mm, Range range, Gather<P>& gather) {
  for_each_region(manager, mm, range, [&](LockedRegion<P>& region) {
    region.for_each_present(range, [&](auto& entry, VirtAddr address) {
      gather.removed(address, region.level(), entry.exchange(0, std::memory_order_seq_cst));
    });
    gather.before_unlock();
  });
}

template <MemoryPlatform P>
[[nodiscard]] bool is_empty(Manager<P>& manager, PhysAddr table) {
  for (unsigned index = 0; index < kEntries; ++index) {
    if (is_present(manager.platform.entry(table, index).peek())) return false;
  }
  return true;
}

/// Unhooks the page table of the 2 MiB at `region` if it maps nothing.
template <MemoryPlatform P>
void unhook_if_empty(Manager<P>& manager, AddressSpace<P>& mm, VirtAddr region, Gather<P>& gather) {
  const PhysAddr directory = find_table(manager, mm, region, 2);
  if (directory == kNoFrame) return;
  auto&& entry = manager.platform.entry(directory, entry_index(region, 2));
  if (!is_table(entry.glance())) return;
  const TableLock<P> directory_lock(manager, directory);
  const Pte now = entry.peek();
  if (!is_table(now)) return;
  const TableLock<P> table_lock(manager, frame_of(now));
  if (!is_empty(manager, frame_of(now))) return;
  set_entry(manager, entry, 0, std::memory_order_seq_cst);
  gather.unhooked(region, frame_of(now));
}

}  // namespace internal

/// What becomes of page tables that map nothing any more.
enum class EmptyTables : std::uint8_t { keep, release };

namespace internal {

/// Removes every page of the range, and its tables. Returns with the gather unfinished.
template <MemoryPlatform P>
void clear_range(Manager<P>& manager, AddressSpace<P>& mm, Range range, EmptyTables tables,
                 Gather<P>& gather) {
  clear_pages(manager, mm, range, gather);
  if (tables == EmptyTables::keep) return;
  for (VirtAddr at = entry_start(range.start, 2); at < range.end; at += kLargePage) {
    unhook_if_empty(manager, mm, at, gather);
  }
}

}  // namespace internal

/// Unmaps every page of the range. When it returns no CPU can use one through this range, and the
/// pages that have no other reference are released.
template <MemoryPlatform P>
void unmap(Manager<P>& manager, AddressSpace<P>& mm, Range range,
           EmptyTables tables = EmptyTables::keep) {
  Gather<P> gather(manager, mm);
  internal::clear_range(manager, mm, range, tables, gather);
  gather.finish();
  flush_batched(manager, mm);
}

/// An unmap that does not wait for its flush. Made in its place, ended by `finish`. The mm lives as
/// long as this. Context of all: as for `unmap`, on any CPU.
template <MemoryPlatform P>
class SubmittedUnmap {
 public:
  SubmittedUnmap(Manager<P>& manager, AddressSpace<P>& mm, Range range,
                 EmptyTables tables = EmptyTables::keep)
      : manager_(manager), mm_(mm), gather_(manager, mm) {
    internal::clear_range(manager, mm, range, tables, gather_);
    gather_.submit();
  }
  /// Whether `finish` would not wait for a CPU.
  [[nodiscard]] bool is_done() { return gather_.is_done(); }
  /// What `unmap` promises is true when it returns.
  void finish() {
    gather_.finish_submitted();
    flush_batched(manager_, mm_);
  }

 private:
  Manager<P>& manager_;
  AddressSpace<P>& mm_;
  Gather<P> gather_;
};

/// Releases the page tables of the range that map nothing.
template <MemoryPlatform P>
void reclaim_tables(Manager<P>& manager, AddressSpace<P>& mm, Range range) {
  Gather<P> gather(manager, mm);
  for (VirtAddr at = entry_start(range.start, 2); at < range.end; at += kLargePage) {
    internal::unhook_if_empty(manager, mm, at, gather);
  }
  gather.finish();
}

/// Takes a right from every page of the range. When it returns no program can use it through this
/// range.
template <MemoryPlatform P>
void protect(Manager<P>& manager, AddressSpace<P>& mm, Range range, Right right = Right::store) {
  Gather<P> gather(manager, mm);
  internal::take_rights(manager, mm, range, right, gather);
  gather.finish();
  flush_batched(manager, mm);
}

/// The same with early acknowledgement, where the configuration permits it: when it returns no CPU
/// will use the right in user mode.
template <MemoryPlatform P>
void protect_early(Manager<P>& manager, AddressSpace<P>& mm, Range range,
                   Right right = Right::store) {
  Gather<P> gather(manager, mm);
  internal::take_rights(manager, mm, range, right, gather);
  gather.finish_early();
  flush_batched(manager, mm);
}

namespace internal {

/// Permits stores to a page that is present; a shared one is copied at the first.
template <MemoryPlatform P, class Entry>
void permit_stores(Manager<P>& manager, Entry& entry) {
  const Pte now = entry.peek();
  if ((now & (kPteWritable | kPteCow)) != 0) return;
  // One reference is this entry's own, and its lock is held: no operation can share the page
  // now.
  const bool shared =
      manager.platform.references(frame_of(now)).load(std::memory_order_acquire) != 1;
  entry.fetch_or(shared ? kPteCow : kPteWritable, std::memory_order_seq_cst);
}

}  // namespace internal

/// Gives a right to every page of the range. No flush: an entry with fewer rights than memory
/// grants causes a fault that drops it.
template <MemoryPlatform P>
void unprotect(Manager<P>& manager, AddressSpace<P>& mm, Range range, Right right = Right::store) {
  for_each_region(manager, mm, range, [&](LockedRegion<P>& region) {
    region.for_each_present(range, [&](auto& entry, VirtAddr /*address*/) {
      switch (right) {
        case Right::store:
          internal::permit_stores(manager, entry);
          break;
        case Right::fetch:
          entry.fetch_and(~kPteNoExecute, std::memory_order_seq_cst);
          break;
        case Right::access:
          entry.fetch_or(kPteUser, std::memory_order_seq_cst);
          break;
      }
    });
  });
}

/// Makes every page of the range clean: the next store to one sets its dirty bit. For write-back,
/// which finds pages by their frames and not by the mm's operations; so it looks
/// at entries only, and what it finds unmapped is clean because dirty entries are never unflushed
/// outside their lock.
template <MemoryPlatform P>
void clean(Manager<P>& manager, AddressSpace<P>& mm, Range range) {
  for (VirtAddr at = range.start; at < range.end; at = entry_start(at, 2) + kLargePage) {
    LockedRegion<P> region(manager, mm, at);
    bool dirty = false;
    region.for_each_present(range, [&](auto& entry, VirtAddr /*address*/) {
      const Pte old = entry.fetch_and(~kPteDirty, std::memory_order_seq_cst);
      if ((old & kPteDirty) == 0) return;
      manager.platform.note_dirty(frame_of(old));
      dirty = true;
    });
    const VirtAddr end = std::min(range.end, region.end());
    if (dirty) {
      // Before the lock is dropped: a cached entry with the dirty bit stores without setting it.
      const auto shift = shift_of(region.level());
      static_cast<void>(flush_range(manager, mm, {.start = at, .end = end, .stride_shift = shift}));
    }
    manager.platform.cleaned(mm.core, at, end);
  }
}

}  // namespace shootdown::vm
