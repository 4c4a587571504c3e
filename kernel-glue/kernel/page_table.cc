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

constexpr PhysAddr kDirectMapBytes = PhysAddr{4} << 30;
constexpr PhysAddr kLargePageBytes = PhysAddr{1} << kLargePageShift;

constinit PhysAddr kernel_root = 0;

Entry* table_at(PhysAddr frame) { return direct_map<Entry>(frame & kFrameMask); }

std::size_t index_at(VirtAddr address, unsigned level) {
  return (address >> (kPageShift + 9 * (level - 1))) % kEntries;
}

void map_image(PageTable tables, const std::byte* begin, const std::byte* end,
               std::uint64_t flags) {
  for (auto page = reinterpret_cast<VirtAddr>(begin); page < reinterpret_cast<VirtAddr>(end);
       page += kPageBytes) {
    set_entry(tables.page_entry(page, kPresent | kWritable),
              (page - SHOOTDOWN_KERNEL_BASE) | kPresent | kGlobal | flags);
  }
}

void map_direct(PageTable tables) {
  for (PhysAddr page = 0; page < kDirectMapBytes; page += kLargePageBytes) {
    std::uint64_t flags = kPresent | kWritable | kLarge | kGlobal | kNoExecute;
    if (page == (x86::kXapicPhysical & ~(kLargePageBytes - 1))) flags |= kUncached | kWriteThrough;
    set_entry(tables.large_entry(page + SHOOTDOWN_DIRECT_MAP_BASE, kPresent | kWritable),
              page | flags);
  }
}

void free_table(PhysAddr frame, unsigned level, std::size_t entries) {
  for (std::size_t i = 0; level > 1 && i < entries; ++i) {
    const std::uint64_t entry = table_at(frame)[i].load(std::memory_order_relaxed);
    if ((entry & kPresent) != 0) free_table(entry & kFrameMask, level - 1, kEntries);
  }
  free_frame(frame);
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

void free_user_tables(PhysAddr root) { free_table(root, 4, kEntries / 2); }

void build_kernel_tables() {
  kernel_root = allocate_frame();
  const PageTable tables{kernel_root};
  map_direct(tables);
  map_image(tables, text_begin, text_end, 0);
  map_image(tables, text_end, rodata_end, kNoExecute);
  map_image(tables, rodata_end, image_end, kWritable | kNoExecute);
  x86::write_cr3(kernel_root);
}

PageTable kernel_tables() { return PageTable{kernel_root}; }

PageTable make_user_tables() {
  const PhysAddr root = allocate_frame();
  for (std::size_t i = kEntries / 2; i < kEntries; ++i) {
    set_entry(table_at(root)[i], table_at(kernel_root)[i].load(std::memory_order_relaxed));
  }
  return PageTable{root};
}

}  // namespace shootdown::kernel
