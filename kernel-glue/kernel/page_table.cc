#include "kernel-glue/kernel/page_table.h"

#include "hal/x86_64/instructions.h"
#include "hal/x86_64/local_apic.h"

namespace shootdown::kernel {
namespace {

// Ends of the image's parts; kernel.ld defines them.
extern "C" const std::byte text_begin[];
extern "C" const std::byte text_end[];
extern "C" const std::byte rodata_end[];
extern "C" const std::byte image_end[];
extern "C" const std::byte entry_text_begin[];
extern "C" const std::byte entry_text_end[];
extern "C" const std::byte entry_data_begin[];
extern "C" const std::byte entry_data_end[];

constexpr PhysAddr kDirectMapBytes = PhysAddr{4} << 30;

constinit PhysAddr kernel_root = 0;

/// Under page-table isolation: tables of what user roots map of the kernel; else 0.
constinit PhysAddr entry_root = 0;

/// Kernel pages are global unless user roots must not show them.
std::uint64_t global_flag() { return isolated() ? 0 : kGlobal; }

Entry* table_at(PhysAddr frame) { return direct_map<Entry>(frame & kFrameMask); }

std::size_t index_at(VirtAddr address, unsigned level) {
  return (address >> (kPageShift + 9 * (level - 1))) % kEntries;
}

void map_image(PageTable tables, const std::byte* begin, const std::byte* end,
               std::uint64_t flags) {
  for (auto page = reinterpret_cast<VirtAddr>(begin); page < reinterpret_cast<VirtAddr>(end);
       page += kPageBytes) {
    set_entry(tables.page_entry(page, kPresent | kWritable),
              (page - SHOOTDOWN_KERNEL_BASE) | kPresent | global_flag() | flags);
  }
}

void map_direct(PageTable tables) {
  for (PhysAddr page = 0; page < kDirectMapBytes; page += kLargePageBytes) {
    std::uint64_t flags = kPresent | kWritable | kLarge | global_flag() | kNoExecute;
    if (page == (x86::kXapicPhysical & ~(kLargePageBytes - 1))) flags |= kUncached | kWriteThrough;
    set_entry(tables.large_entry(page + SHOOTDOWN_DIRECT_MAP_BASE, kPresent | kWritable),
              page | flags);
  }
}

/// Pages that the table of `level` for `start` maps, from its entry `first` on.
void visit_pages(PhysAddr table, unsigned level, std::size_t first, VirtAddr start,
                 void (*visit)(void*, VirtAddr, std::uint64_t), void* self) {
  for (std::size_t index = first; index < kEntries; ++index) {
    const std::uint64_t entry = table_at(table)[index].load(std::memory_order_relaxed);
    if ((entry & kPresent) == 0) continue;
    const VirtAddr address = start + (VirtAddr{index} << (kPageShift + 9 * (level - 1)));
    if (level == 1 || (entry & kLarge) != 0) {
      visit(self, address, entry);
    } else {
      visit_pages(entry & kFrameMask, level - 1, 0, address, visit, self);
    }
  }
}

ImagePart part(const std::byte* begin, const std::byte* end) {
  return {.begin = reinterpret_cast<VirtAddr>(begin), .end = reinterpret_cast<VirtAddr>(end)};
}

void copy_upper_half(PhysAddr from, PhysAddr to) {
  for (std::size_t i = kEntries / 2; i < kEntries; ++i) {
    set_entry(table_at(to)[i], table_at(from)[i].load(std::memory_order_relaxed));
  }
}

}  // namespace

Entry& PageTable::descend(VirtAddr address, unsigned level, std::uint64_t table_flags) const {
  Entry* table = table_at(root_);
  for (unsigned current = 4; current > level; --current) {
    Entry& entry = table[index_at(address, current)];
    if ((entry.load(std::memory_order_relaxed) & kPresent) == 0) {
      set_entry(entry, allocate_frame() | table_flags);
    }
    table = table_at(entry.load(std::memory_order_relaxed));
  }
  return table[index_at(address, level)];
}

void build_kernel_tables(bool isolate) {
  kernel_root = allocate_frame();
  if (isolate) {
    entry_root = allocate_frame();
    const PageTable entry{entry_root};
    map_image(entry, entry_text_begin, entry_text_end, 0);
    map_image(entry, entry_data_begin, entry_data_end, kWritable | kNoExecute);
  }
  const PageTable tables{kernel_root};
  map_direct(tables);
  map_image(tables, text_begin, text_end, 0);
  map_image(tables, text_end, rodata_end, kNoExecute);
  map_image(tables, rodata_end, image_end, kWritable | kNoExecute);
  x86::write_cr3(kernel_root);
}

bool isolated() { return entry_root != 0; }

PageTable kernel_tables() { return PageTable{kernel_root}; }

void map_kernel_half(PhysAddr root) { copy_upper_half(kernel_root, root); }

void map_entry_half(PhysAddr user_root) { copy_upper_half(entry_root, user_root); }

ImagePart entry_text() { return part(entry_text_begin, entry_text_end); }

ImagePart entry_data() { return part(entry_data_begin, entry_data_end); }

void for_each_kernel_page(PhysAddr root,
                          void (*visit)(void* self, VirtAddr address, std::uint64_t entry),
                          void* self) {
  // Addresses of the upper half begin with ones.
  constexpr VirtAddr kSignExtension = 0xffff'0000'0000'0000;
  visit_pages(root, 4, kEntries / 2, kSignExtension, visit, self);
}

bool is_mapped(PhysAddr root, VirtAddr address) {
  PhysAddr table = root;
  for (unsigned level = 4; level > 0; --level) {
    const std::uint64_t entry =
        table_at(table)[index_at(address, level)].load(std::memory_order_relaxed);
    if ((entry & kPresent) == 0) return false;
    if (level < 4 && (entry & kLarge) != 0) return true;
    table = entry & kFrameMask;
  }
  return true;
}

}  // namespace shootdown::kernel
