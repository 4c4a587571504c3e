// Where the pages of a scenario lie, and the tags that frames carry.
#pragma once

#include <cstdint>

#include "core/types.h"
#include "fuzz/scenario/scenario.h"

namespace shootdown::fuzz {

/// Small pages straddle a 2 MiB boundary; large pages follow in the same page directory.
inline constexpr VirtAddr kSmallBase = 0x4000'0000 + 0x20'0000 - (8 << kPageShift);
inline constexpr VirtAddr kLargeBase = 0x4000'0000 + 0x40'0000;
inline constexpr unsigned kPagesPerTable = 8;
inline constexpr unsigned kTables = kSmallPages / kPagesPerTable;

constexpr VirtAddr page_address(unsigned page) {
  if (page < kSmallPages) return kSmallBase + (VirtAddr{page} << kPageShift);
  return kLargeBase + (VirtAddr{page - kSmallPages} << kLargePageShift);
}

constexpr std::uint8_t page_shift(unsigned page) {
  return page < kSmallPages ? kPageShift : kLargePageShift;
}

/// The address at which a page is read, written and filled. A large page has memory in one of its
/// 4 KiB parts only, and not in the first: an invalidation that steps by the wrong size misses it.
inline constexpr unsigned kLargePagePart = 5;
constexpr VirtAddr probe_address(unsigned page) {
  return page_address(page) + (page < kSmallPages ? 0 : VirtAddr{kLargePagePart} << kPageShift);
}

/// The page an address lies in, or kPages.
constexpr unsigned page_of(VirtAddr address) {
  if (address >= kSmallBase && address < kSmallBase + (kSmallPages << kPageShift)) {
    return static_cast<unsigned>((address - kSmallBase) >> kPageShift);
  }
  if (address >= kLargeBase && address < kLargeBase + (VirtAddr{kLargePages} << kLargePageShift)) {
    return kSmallPages + static_cast<unsigned>((address - kLargeBase) >> kLargePageShift);
  }
  return kPages;
}

/// Whether the 4 KiB from `page` on hold a byte of [start, end), as a flush understands these two.
constexpr bool holds_part_of(VirtAddr page, VirtAddr start, VirtAddr end) {
  if (end == kFlushAll) return true;
  return page <= end - 1 && start <= page + ((VirtAddr{1} << kPageShift) - 1);
}

/// The kernel's own pages lie behind one table of the upper half, which every root shares. They are
/// the last of the address space, so that a range up to the end of them ends at 2^64, which is 0.
/// Ghost state counts them after the user pages.
inline constexpr VirtAddr kKernelBase = 0 - (VirtAddr{kKernelPages} << kPageShift);

constexpr VirtAddr kernel_address(unsigned page) {
  return kKernelBase + (VirtAddr{page} << kPageShift);
}

/// Under page-table isolation user roots map the last of them, too: what an entry into the kernel
/// needs, such as descriptor tables. The processor reads the very last at each entry.
inline constexpr unsigned kEntryPages = 2;
inline constexpr unsigned kPageOfEntries = kKernelPages - 1;
constexpr bool is_entry_page(unsigned page) { return page >= kKernelPages - kEntryPages; }

/// The address of a page by its number, where the kernel's own count behind the user pages.
constexpr VirtAddr numbered_address(unsigned page) {
  return page < kPages ? probe_address(page) : kernel_address(page - kPages);
}

/// The kernel page an address lies in, or kKernelPages.
constexpr unsigned kernel_page_of(VirtAddr address) {
  if (address < kKernelBase) return kKernelPages;
  return static_cast<unsigned>((address - kKernelBase) >> kPageShift);
}

/// Frame owners: the mm in the high byte (kKernelMm for none), and in the low byte the page
/// of a data frame, or what `table_what` says of a table.
inline constexpr unsigned kKernelMm = 0xff;
constexpr std::uint16_t owner_tag(unsigned mm, unsigned what) {
  return static_cast<std::uint16_t>((mm << 8) | what);
}
constexpr unsigned owner_mm(std::uint16_t tag) { return tag >> 8; }
constexpr unsigned owner_what(std::uint16_t tag) { return tag & 0xff; }

/// A table's level, and for a page table which 2 MiB it covers.
constexpr unsigned table_what(unsigned level, VirtAddr address) {
  const auto region = static_cast<unsigned>(
      (address - (kSmallBase >> kLargePageShift << kLargePageShift)) >> kLargePageShift);
  return level == 1 ? level | (region << 4) : level;
}
/// The level of user roots, one above the four that walks know.
inline constexpr unsigned kUserRootLevel = 5;
constexpr unsigned owner_level(std::uint16_t tag) { return owner_what(tag) & 0xf; }
/// The first address that a page table covers.
constexpr VirtAddr owner_region(std::uint16_t tag) {
  return (kSmallBase >> kLargePageShift << kLargePageShift) +
         (VirtAddr{owner_what(tag) >> 4} << kLargePageShift);
}

/// What the entry `word` of a page table or directory maps, whose first word is `words`.
constexpr VirtAddr mapped_by(std::uint16_t owner, const std::uint64_t* words,
                             const std::uint64_t* word) {
  const auto index = static_cast<VirtAddr>(word - words);
  if (owner_level(owner) == 1) return owner_region(owner) + (index << kPageShift);
  return (page_address(0) >> kHugePageShift << kHugePageShift) + (index << kLargePageShift);
}

}  // namespace shootdown::fuzz
