// Finding, hooking and locking page tables.
//
// Tables of levels 4 to 2 stay where they are until the mm is destroyed, so a pointer to one is
// good as long as the mm is. A page table (level 1) may be unhooked under its directory's lock
// and its own: an operation that finds one without a lock takes its lock and looks again.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <optional>

#include "kernel-glue/mm/flush_pending.h"
#include "kernel-glue/mm/lock.h"
#include "kernel-glue/mm/manager.h"

namespace shootdown::vm {

/// The table of `level`, at least 2, that covers `address`, or kNoFrame.
template <MemoryPlatform P>
[[nodiscard]] PhysAddr find_table(Manager<P>& manager, const AddressSpace<P>& mm, VirtAddr address,
                                  unsigned level) {
  PhysAddr table = mm.core.root;
  for (unsigned at = kRootLevel; at > level; --at) {
    const Pte entry = manager.platform.entry(table, entry_index(address, at)).glance();
    if (!is_table(entry)) return kNoFrame;
    table = frame_of(entry);
  }
  return table;
}

namespace internal {

/// Changes an entry that the walker does not write to meanwhile, or whose bits of the walker's mean
/// nothing: one that is not present, or one that points to a table. Under its lock. Release: what
/// the entry leads to comes before it, against walkers that follow it. `locked` is the order of the
/// locked change.
template <MemoryPlatform P, class Entry>
void set_entry(const Manager<P>& manager, Entry&& entry, Pte value,
               std::memory_order locked = std::memory_order_release) {
  if (manager.config.plain_stores) {
    entry.store(value, std::memory_order_release);
  } else {
    entry.exchange(value, locked);
  }
}

/// Hooks a new table below `parent`, which has level `at`. Returns the entry, which is another
/// operation's if that came first, and not present if there is no memory.
template <MemoryPlatform P>
Pte hook_table(Manager<P>& manager, AddressSpace<P>& mm, PhysAddr parent, unsigned at,
               VirtAddr address) {
  P& platform = manager.platform;
  const PhysAddr table = platform.allocate_table(
      {.mm = &mm.core, .address = entry_start(address, at), .level = at - 1});
  if (table == kNoFrame) return 0;
  const TableLock<P> lock(manager, parent);
  auto&& entry = platform.entry(parent, entry_index(address, at));
  const Pte now = entry.peek();
  if (is_present(now)) {
    platform.discard_table(table);
    return now;
  }
  // Tables of higher levels stay, so nothing can have been there before.
  if (at == 2) flush_pending_in_region(manager, mm);
  const Pte hooked = table | kTableBits;
  set_entry(manager, entry, hooked);
  if (at == kRootLevel && manager.system.config().isolation.enabled) {
    set_entry(manager, platform.entry(mm.core.user_root, entry_index(address, at)), hooked);
  }
  return hooked;
}

}  // namespace internal

/// The table of `level` that covers `address`, made if need be; kNoFrame if there is no memory or a
/// large page is in the way. Context: no lock of the mm is held.
template <MemoryPlatform P>
[[nodiscard]] PhysAddr make_table(Manager<P>& manager, AddressSpace<P>& mm, VirtAddr address,
                                  unsigned level) {
  PhysAddr table = mm.core.root;
  for (unsigned at = kRootLevel; at > level; --at) {
    Pte entry = manager.platform.entry(table, entry_index(address, at)).glance();
    if (!is_present(entry)) entry = internal::hook_table(manager, mm, table, at, address);
    if (!is_table(entry)) return kNoFrame;
    table = frame_of(entry);
  }
  return table;
}

/// Which regions a LockedRegion locks.
enum class Lock : std::uint8_t {
  any,
  /// Those with a page table; the others look empty. For an operation that holds another page
  /// table's lock already, after which a directory's must not be taken.
  tables,
};

/// What maps the 2 MiB around an address, with the lock held that guards it: the page table's if
/// there is one, else the directory's.
template <MemoryPlatform P>
class LockedRegion {
 public:
  using H = typename P::Hal;

  LockedRegion(Manager<P>& manager, AddressSpace<P>& mm, VirtAddr address, Lock which = Lock::any)
      : platform_(manager.platform),
        start_(entry_start(address, 2)),
        directory_(find_table(manager, mm, address, 2)) {
    // Without a directory nothing was ever mapped here, and there is nothing to lock.
    while (directory_ != kNoFrame) {
      const Pte hint = directory_entry().glance();
      if (which == Lock::tables && !is_table(hint)) return;
      lock_.emplace(manager, is_table(hint) ? frame_of(hint) : directory_);
      now_ = directory_entry().peek();
      if (is_table(hint) == is_table(now_) &&
          (!is_table(hint) || frame_of(hint) == frame_of(now_))) {
        return;
      }
      lock_.reset();
      // What was there under that lock may be gone when the region is looked at again.
      now_ = 0;
    }
  }

  [[nodiscard]] bool has_table() const { return is_table(now_); }
  [[nodiscard]] bool is_large_page() const { return is_large(now_); }
  [[nodiscard]] VirtAddr start() const { return start_; }
  [[nodiscard]] VirtAddr end() const { return start_ + kLargePage; }
  /// Level of the entries that map pages here. Precondition: has_table() or is_large_page().
  [[nodiscard]] unsigned level() const { return has_table() ? 1 : 2; }
  /// The entry that maps the page at `address`, or is to map it. Same precondition.
  [[nodiscard]] decltype(auto) entry(VirtAddr address) {
    return has_table() ? platform_.entry(frame_of(now_), entry_index(address, 1))
                       : platform_.entry(directory_, entry_index(address, 2));
  }

  /// Calls `visit(entry, address)` for each entry of [range) here that is present.
  template <class Visit>
  void for_each_present(Range range, Visit&& visit) {
    if (!has_table() && !is_large_page()) return;
    const VirtAddr last = std::min(range.end, end());
    VirtAddr address = std::max(range.start, start());
    if (is_large_page()) {
      require<H>(address == start() && last == end(), Rule::r13,
                 "a range covers part of a large page: split it first");
    }
    for (; address < last; address += VirtAddr{1} << shift_of(level())) {
      auto&& leaf = entry(address);
      // Under the lock only walkers write, and they never make an entry present.
      if (is_present(leaf.peek())) visit(leaf, address);
    }
  }

 private:
  [[nodiscard]] decltype(auto) directory_entry() {
    return platform_.entry(directory_, entry_index(start_, 2));
  }

  P& platform_;
  VirtAddr start_;
  PhysAddr directory_;
  Pte now_{0};
  std::optional<TableLock<P>> lock_;
};

namespace internal {

/// Which entries of a directory are in use, a bit for each. The lock is what makes the answer good:
/// where a large page is split, migrated or made, its entry is 0 for a moment under that lock.
template <MemoryPlatform P>
[[nodiscard]] std::array<std::uint64_t, kEntries / 64> hooked_in(Manager<P>& manager,
                                                                 PhysAddr directory) {
  std::array<std::uint64_t, kEntries / 64> hooked{};
  const TableLock<P> lock(manager, directory);
  for (unsigned index = 0; index < kEntries; ++index) {
    const bool used = is_present(manager.platform.entry(directory, index).peek());
    hooked[index / 64] |= std::uint64_t{used} << (index % 64);
  }
  return hooked;
}

}  // namespace internal

/// Calls `visit(address)` for the start of each 2 MiB of the user half that something is hooked
/// for. What is hooked meanwhile may be missed. Context: no lock of the mm is held.
template <MemoryPlatform P, class Visit>
void for_each_hooked(Manager<P>& manager, AddressSpace<P>& mm, Visit&& visit) {
  P& platform = manager.platform;
  const auto descend = [&](const auto& self, PhysAddr table, unsigned level,
                           VirtAddr start) -> void {
    if (level == 2) {
      const auto hooked = internal::hooked_in(manager, table);
      for (unsigned index = 0; index < kEntries; ++index) {
        if (((hooked[index / 64] >> (index % 64)) & 1) == 0) continue;
        visit(start + (VirtAddr{index} << kLargePageShift));
      }
      return;
    }
    // Entries of higher levels come and stay, so they need no lock.
    const unsigned entries = level == kRootLevel ? kEntries / 2 : kEntries;
    for (unsigned index = 0; index < entries; ++index) {
      const Pte entry = platform.entry(table, index).glance();
      if (!is_present(entry)) continue;
      const VirtAddr address = start + (VirtAddr{index} << shift_of(level));
      self(self, frame_of(entry), level - 1, address);
    }
  };
  descend(descend, mm.core.root, kRootLevel, 0);
}

/// Calls `visit(region)` for each 2 MiB that `range` touches, with its lock held, and tells the
/// platform what was looked at.
template <MemoryPlatform P, class Visit>
void for_each_region(Manager<P>& manager, AddressSpace<P>& mm, Range range, Visit&& visit) {
  for (VirtAddr at = range.start; at < range.end; at = entry_start(at, 2) + kLargePage) {
    LockedRegion<P> region(manager, mm, at);
    visit(region);
    manager.platform.looked(mm.core, at, std::min(range.end, region.end()));
  }
}

}  // namespace shootdown::vm
