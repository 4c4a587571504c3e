// Looking a page up without locks.
#pragma once

#include <atomic>

#include "kernel-glue/mm/gather.h"
#include "kernel-glue/mm/manager.h"
#include "kernel-glue/mm/walkers.h"

namespace shootdown::vm {

namespace internal {

/// Takes a reference unless the page is being released.
template <MemoryPlatform P>
bool try_get_page(Manager<P>& manager, PhysAddr page) {
  auto& references = manager.platform.references(page);
  std::uint32_t count = references.load(std::memory_order_relaxed);
  do {
    if (count == 0) return false;
  } while (!references.compare_exchange(count, count + 1, std::memory_order_acq_rel));
  return true;
}

/// The bits that a reference was taken for. Walkers may set the others meanwhile.
constexpr bool same_mapping(Pte before, Pte now) {
  return ((before ^ now) & ~(kPteAccessed | kPteDirty)) == 0;
}

}  // namespace internal

/// A reference to the page mapped at `address`, or kNoFrame. It keeps the frame from being reused,
/// not the mapping from going away. Give it back with `put`. Context: a task of `mm`, on the CPU
/// that has it loaded; interrupts may be on or off.
template <MemoryPlatform P>
[[nodiscard]] PhysAddr get_page(Manager<P>& manager, AddressSpace<P>& mm, VirtAddr address) {
  P& platform = manager.platform;
  const LocklessWalk<P> walk(manager);
  PhysAddr table = mm.core.root;
  unsigned level = kRootLevel;
  Pte upper = 0;
  // Acquire: a table's content comes before the pointer to it.
  Pte entry = platform.entry(table, entry_index(address, level)).load(std::memory_order_acquire);
  PhysAddr directory = kNoFrame;
  while (level > 1 && is_table(entry)) {
    directory = table;
    upper = entry;
    table = frame_of(entry);
    platform.walker_holds(table);
    --level;
    entry = platform.entry(table, entry_index(address, level)).load(std::memory_order_acquire);
  }
  const bool is_page = level == 1 ? is_present(entry) : level == 2 && is_large(entry);
  if (!is_page || !internal::try_get_page(manager, frame_of(entry))) return kNoFrame;
  // The page may have been unmapped, released and allocated anew before the reference was
  // taken. If it is still mapped here, the reference came in time.
  const bool same_table =
      level == 2 ||
      internal::same_mapping(
          upper,
          platform.entry(directory, entry_index(address, 2)).load(std::memory_order_acquire));
  const Pte again =
      platform.entry(table, entry_index(address, level)).load(std::memory_order_acquire);
  if (same_table && internal::same_mapping(entry, again)) return frame_of(entry);
  internal::put_page(manager, frame_of(entry));
  return kNoFrame;
}

/// Gives a reference of `get_page` back. If it was the last, the page is released: the operation
/// that ended the last mapping's reference had the token of its flush. Context: any in which a page
/// can be released.
template <MemoryPlatform P>
void put(Manager<P>& manager, PhysAddr page) {
  internal::put_page(manager, page);
}

}  // namespace shootdown::vm
