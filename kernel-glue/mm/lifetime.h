// mms that begin and end.
#pragma once

#include <atomic>

#include "kernel-glue/mm/gather.h"
#include "kernel-glue/mm/manager.h"
#include "kernel-glue/mm/tables.h"

namespace shootdown::vm {

/// Gives an mm its roots and its identity. Returns false if there is no memory. Preconditions: no
/// CPU has it loaded and no other operation can reach it; it is new, or destroyed.
template <MemoryPlatform P>
bool create(Manager<P>& manager, AddressSpace<P>& mm) {
  P& platform = manager.platform;
  const PhysAddr root =
      platform.allocate_table({.mm = &mm.core, .address = 0, .level = kRootLevel});
  if (root == kNoFrame) return false;
  PhysAddr user_root = kNoFrame;
  if (manager.system.config().isolation.enabled) {
    user_root = platform.allocate_table({.mm = &mm.core, .address = 0, .level = kUserRootLevel});
    if (user_root == kNoFrame) {
      platform.discard_table(root);
      return false;
    }
  }
  initialize_mm(manager.system, mm.core, root, user_root);
  platform.begin_secondary(mm.core);
  return true;
}

namespace internal {

/// Unhooks `table` of `level` and all below it.
template <MemoryPlatform P>
void clear_table(Manager<P>& manager, AddressSpace<P>& mm, PhysAddr table, unsigned level,
                 VirtAddr start, Gather<P>& gather) {
  const unsigned entries = level == kRootLevel ? kEntries / 2 : kEntries;
  for (unsigned index = 0; index < entries; ++index) {
    auto&& entry = manager.platform.entry(table, index);
    const Pte now = entry.peek();
    if (!is_present(now)) continue;
    const VirtAddr address = start + (VirtAddr{index} << shift_of(level));
    if (level == 1 || is_large(now)) {
      gather.removed(address, level, entry.exchange(0, std::memory_order_seq_cst));
      continue;
    }
    clear_table(manager, mm, frame_of(now), level - 1, address, gather);
    if (level == kRootLevel && manager.system.config().isolation.enabled) {
      manager.platform.entry(mm.core.user_root, index).exchange(0, std::memory_order_seq_cst);
    }
    entry.exchange(0, std::memory_order_seq_cst);
    gather.unhooked(address, frame_of(now));
  }
}

/// Releases what no CPU has loaded. At once: lockless walkers need a task of the mm.
template <MemoryPlatform P>
void release_roots(Manager<P>& manager, const AddressSpace<P>& mm, const MmRetired& proof) {
  require_covered<P>(proof.covers(mm.core));
  manager.platform.release_table(mm.core.root);
  if (manager.system.config().isolation.enabled) manager.platform.release_table(mm.core.user_root);
}

}  // namespace internal

/// Ends an mm: no CPU has it loaded when this returns, and all its memory is released but the
/// pages that others share. Precondition: no task runs it and no other operation can reach it; CPUs
/// may still be lazy on it. Context: a task with interrupts on.
template <MemoryPlatform P>
void destroy(Manager<P>& manager, AddressSpace<P>& mm) {
  manager.platform.end_secondary(mm.core);
  Gather<P> gather(manager, mm);
  // No locks: only hardware walkers of lazy CPUs are left.
  internal::clear_table(manager, mm, mm.core.root, kRootLevel, 0, gather);
  internal::release_roots(manager, mm, gather.finish_whole());
}

}  // namespace shootdown::vm
