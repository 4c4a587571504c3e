// Spaces that begin and end.
#pragma once

#include <atomic>

#include "kernel-glue/mm/gather.h"
#include "kernel-glue/mm/manager.h"
#include "kernel-glue/mm/tables.h"

namespace shootdown::vm {

/// Gives a space its roots and its identity. Returns false if there is no memory. Preconditions: no
/// CPU has it loaded and no other operation can reach it; it is new, or destroyed.
template <MemoryPlatform P>
bool create(Manager<P>& manager, Space<P>& space) {
  P& platform = manager.platform;
  const PhysAddr root =
      platform.allocate_table({.mm = &space.mm, .address = 0, .level = kRootLevel});
  if (root == kNoFrame) return false;
  PhysAddr user_root = kNoFrame;
  if (manager.system.config.isolation.enabled) {
    user_root = platform.allocate_table({.mm = &space.mm, .address = 0, .level = kUserRootLevel});
    if (user_root == kNoFrame) {
      platform.discard_table(root);
      return false;
    }
  }
  initialize_mm(manager.system, space.mm, root, user_root);
  platform.begin_secondary(space.mm);
  return true;
}

namespace internal {

/// Unhooks `table` of `level` and all below it.
template <MemoryPlatform P>
void clear_table(Manager<P>& manager, Space<P>& space, PhysAddr table, unsigned level,
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
    clear_table(manager, space, frame_of(now), level - 1, address, gather);
    if (level == kRootLevel && manager.system.config.isolation.enabled) {
      manager.platform.entry(space.mm.user_root, index).exchange(0, std::memory_order_seq_cst);
    }
    entry.exchange(0, std::memory_order_seq_cst);
    gather.unhooked(address, frame_of(now));
  }
}

/// Releases what no CPU has loaded. At once: lockless walkers need a task of the space.
template <MemoryPlatform P>
void release_roots(Manager<P>& manager, const Space<P>& space, const SpaceRetired& proof) {
  require_covered<P>(proof.covers(space.mm));
  manager.platform.release_table(space.mm.root);
  if (manager.system.config.isolation.enabled) manager.platform.release_table(space.mm.user_root);
}

}  // namespace internal

/// Ends a space: no CPU has it loaded when this returns, and all its memory is released but the
/// pages that others share. Precondition: no task runs it and no other operation can reach it; CPUs
/// may still be lazy on it. Context: a task with interrupts on.
template <MemoryPlatform P>
void destroy(Manager<P>& manager, Space<P>& space) {
  manager.platform.end_secondary(space.mm);
  Gather<P> gather(manager, space);
  // No locks: only hardware walkers of lazy CPUs are left.
  internal::clear_table(manager, space, space.mm.root, kRootLevel, 0, gather);
  internal::release_roots(manager, space, gather.finish_whole());
}

}  // namespace shootdown::vm
