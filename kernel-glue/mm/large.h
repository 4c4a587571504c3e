// Large pages: split into small ones, and made from them.
//
// Break before make: two translations of different sizes for one address are undefined, and some
// CPUs stop at them. So the old entry goes, every CPU flushes it, lazy CPUs included, which walk
// speculatively, and only then comes the new one.
#pragma once

#include <atomic>

#include "kernel-glue/mm/flush.h"
#include "kernel-glue/mm/gather.h"
#include "kernel-glue/mm/manager.h"
#include "kernel-glue/mm/tables.h"
#include "kernel-glue/mm/walkers.h"

namespace shootdown::vm {

namespace internal {

/// Fills a table that no other operation can reach with the parts of a large page. Returns how many
/// there are.
template <MemoryPlatform P>
unsigned fill_with_parts(Manager<P>& manager, PhysAddr table, Pte large) {
  unsigned parts = 0;
  for (unsigned index = 0; index < kEntries; ++index) {
    const PhysAddr part = manager.platform.part(frame_of(large), index);
    if (part == kNoFrame) continue;
    manager.platform.prepare_entry(table, index, part | (large & ~(kPteFrame | kPteLarge)));
    ++parts;
  }
  return parts;
}

}  // namespace internal

/// Splits the large page at `address` into small ones. Returns false if there is none, or no memory
/// for the table. Context: a task with interrupts on, no page-table lock held.
template <MemoryPlatform P>
bool split(Manager<P>& manager, AddressSpace<P>& mm, VirtAddr address) {
  const VirtAddr start = entry_start(address, 2);
  const PhysAddr directory = find_table(manager, mm, start, 2);
  if (directory == kNoFrame) return false;
  const PhysAddr table =
      manager.platform.allocate_table({.mm = &mm.core, .address = start, .level = 1});
  if (table == kNoFrame) return false;
  const TableLock<P> lock(manager, directory);
  auto&& entry = manager.platform.entry(directory, entry_index(start, 2));
  if (!is_large(entry.peek())) {
    manager.platform.discard_table(table);
    return false;
  }
  const Pte old = entry.exchange(0, std::memory_order_seq_cst);
  // No table is freed; the stronger flush is for the lazy CPUs.
  static_cast<void>(flush_tables(
      manager, mm, {.start = start, .end = start + kLargePage, .stride_shift = kLargePageShift}));
  manager.platform.looked(mm.core, start, start + kLargePage);
  const unsigned parts = internal::fill_with_parts(manager, table, old);
  // Each part's entry holds a reference of its own; one is the large entry's.
  manager.platform.references(frame_of(old)).fetch_add(parts - 1, std::memory_order_relaxed);
  internal::set_entry(manager, entry, table | kTableBits);
  return true;
}

namespace internal {

/// Whether the small pages of `table` can become `page`: each may be stored to, all else that their
/// entries say is the same, and there is a part for each. `common` is what they say.
template <MemoryPlatform P>
bool can_collapse(Manager<P>& manager, PhysAddr table, PhysAddr page, Pte& common) {
  constexpr Pte kMayDiffer =
      kPteFrame | kPteWritable | kPteCow | kPteAccessed | kPteDirty | kPteLarge;
  bool any = false;
  for (unsigned index = 0; index < kEntries; ++index) {
    const Pte entry = manager.platform.entry(table, index).peek();
    if (!is_present(entry)) continue;
    if ((entry & (kPteWritable | kPteCow)) == 0) return false;
    if (any && (entry & ~kMayDiffer) != common) return false;
    common = entry & ~kMayDiffer;
    if (manager.platform.part(page, index) == kNoFrame) return false;
    any = true;
  }
  return any;
}

/// Copies the small pages of an unhooked table to the parts of `page`, and drops them.
template <MemoryPlatform P>
void copy_parts(Manager<P>& manager, const AddressSpace<P>& mm, PhysAddr table, PhysAddr page,
                const TranslationsQuiet& quiet) {
  for (unsigned index = 0; index < kEntries; ++index) {
    const Pte entry = manager.platform.entry(table, index).peek();
    if (!is_present(entry)) continue;
    if ((entry & kPteDirty) != 0) manager.platform.note_dirty(frame_of(entry));
    manager.platform.copy_page(manager.platform.part(page, index), frame_of(entry), 1);
    drop_mapping(manager, mm, frame_of(entry), quiet);
  }
}

}  // namespace internal

/// Makes a large page of the small ones in the 2 MiB around `address`; holes read as zero. Returns
/// false if there are none, if one is read-only or has other rights than the rest, or without
/// memory. Context: as for `split`.
template <MemoryPlatform P>
bool collapse(Manager<P>& manager, AddressSpace<P>& mm, VirtAddr address) {
  const VirtAddr start = entry_start(address, 2);
  const PhysAddr directory = find_table(manager, mm, start, 2);
  if (directory == kNoFrame) return false;
  const TableLock<P> lock(manager, directory);
  auto&& entry = manager.platform.entry(directory, entry_index(start, 2));
  const Pte old = entry.peek();
  if (!is_table(old)) return false;
  const TableLock<P> table_lock(manager, frame_of(old));
  const PhysAddr page =
      manager.platform.allocate_page({.mm = &mm.core, .address = start, .level = 2});
  if (page == kNoFrame) return false;
  Pte common = 0;
  if (!internal::can_collapse(manager, frame_of(old), page, common)) {
    internal::put_page(manager, page);
    return false;
  }
  entry.exchange(0, std::memory_order_seq_cst);
  const TablesUnreachable quiet = flush_tables(
      manager, mm, {.start = start, .end = start + kLargePage, .stride_shift = kPageShift});
  internal::copy_parts(manager, mm, frame_of(old), page, quiet);
  manager.platform.looked(mm.core, start, start + kLargePage);
  internal::set_entry(manager, entry, page | common | kPteWritable | kPteLarge | kPteDirty);
  retire_table(manager, mm, frame_of(old), quiet);
  return true;
}

}  // namespace shootdown::vm
