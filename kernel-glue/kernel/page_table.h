// Page tables of four levels.
//
// Nothing here flushes: the caller changes entries, then tells the flush core. Entries are atomic
// words, because other CPUs' walkers read them at any time.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/types.h"
#include "hal/x86_64/atomic.h"
#include "kernel-glue/kernel/memory.h"

namespace shootdown::kernel {

using Entry = x86::Atomic<std::uint64_t>;
inline constexpr std::size_t kEntries = 512;

// Bits of an entry (SDM vol. 3, 4.5).
inline constexpr std::uint64_t kPresent = 1U << 0;
inline constexpr std::uint64_t kWritable = 1U << 1;
inline constexpr std::uint64_t kUser = 1U << 2;
inline constexpr std::uint64_t kWriteThrough = 1U << 3;
inline constexpr std::uint64_t kUncached = 1U << 4;
inline constexpr std::uint64_t kLarge = 1U << 7;
inline constexpr std::uint64_t kGlobal = 1U << 8;
inline constexpr std::uint64_t kNoExecute = std::uint64_t{1} << 63;
inline constexpr std::uint64_t kFrameMask = 0x000f'ffff'ffff'f000;

/// Code that user mode may run, and data that it may read and write.
inline constexpr std::uint64_t kUserCode = kPresent | kUser;
inline constexpr std::uint64_t kUserData = kPresent | kWritable | kUser | kNoExecute;

/// A tree of tables; `root` is the top one's frame. Plain handle, copied freely.
class PageTable {
 public:
  explicit constexpr PageTable(PhysAddr root) : root_(root) {}

  [[nodiscard]] PhysAddr root() const { return root_; }

  /// The entry of level 1 that maps the 4 KiB page at `address`; missing tables are allocated.
  /// `table_flags` go into the entries of upper levels that it creates.
  [[nodiscard]] Entry& page_entry(VirtAddr address, std::uint64_t table_flags) const {
    return descend(address, 1, table_flags);
  }

  /// The entry of level 3: a 1 GiB page, or the table of the next level.
  [[nodiscard]] Entry& huge_entry(VirtAddr address, std::uint64_t table_flags) const {
    return descend(address, 3, table_flags);
  }

  /// The entry of level 2 for `address`: a 2 MiB page, or the table of 4 KiB pages.
  [[nodiscard]] Entry& large_entry(VirtAddr address, std::uint64_t table_flags) const {
    return descend(address, 2, table_flags);
  }

 private:
  [[nodiscard]] Entry& descend(VirtAddr address, unsigned level, std::uint64_t table_flags) const;

  PhysAddr root_;
};

/// Replaces an entry. Release: what was written to the frame or the table comes first.
inline void set_entry(Entry& entry, std::uint64_t value) {
  entry.store(value, std::memory_order_release);
}

/// Builds the kernel's own tables, text without write access and data without execute access, and
/// loads them. With `isolate` nothing of the kernel is global, and user mode gets roots of its own.
/// Context: boot CPU, on the boot tables.
void build_kernel_tables(bool isolate);

/// Page-table isolation is on.
[[nodiscard]] bool isolated();

/// Top table of the kernel's own address space; its lower half is empty.
[[nodiscard]] PageTable kernel_tables();

/// Gives a new top table the upper half of the kernel's own.
void map_kernel_half(PhysAddr root);

/// Gives a new top table for user mode, under page-table isolation, what entering the kernel needs.
void map_entry_half(PhysAddr user_root);

/// A part of the image.
struct ImagePart {
  VirtAddr begin;
  VirtAddr end;
  [[nodiscard]] bool contains(VirtAddr address) const { return begin <= address && address < end; }
  [[nodiscard]] std::uint64_t pages() const { return (end - begin) / kPageBytes; }
};

/// The parts that entering the kernel needs.
[[nodiscard]] ImagePart entry_text();
[[nodiscard]] ImagePart entry_data();

/// Calls `visit(self, address, entry)` for each entry that maps a page, small or large, in the
/// upper half of `root`.
void for_each_kernel_page(PhysAddr root,
                          void (*visit)(void* self, VirtAddr address, std::uint64_t entry),
                          void* self);

/// Does a walk from `root` find a page at `address`?
[[nodiscard]] bool is_mapped(PhysAddr root, VirtAddr address);

}  // namespace shootdown::kernel
