#include "kernel-glue/kernel/vm.h"

#include "kernel-glue/kernel/stop.h"

namespace shootdown::kernel {
namespace {

constinit KernelMemory kernel_memory{};

}  // namespace

constinit void (*memory_hook)(MemoryMoment moment) = nullptr;

constinit vm::Manager<KernelMemory> memory_manager{tlb, kernel_memory, {}};

PhysAddr KernelMemory::allocate_table(const vm::FrameHint<Hal>& hint) {
  const PhysAddr table = try_allocate_frame();
  if (table == 0) return vm::kNoFrame;
  if (hint.level == vm::kRootLevel) map_kernel_half(table);
  if (hint.level == vm::kUserRootLevel) map_entry_half(table);
  return table;
}

PhysAddr KernelMemory::allocate_page(const vm::FrameHint<Hal>& hint) {
  const PhysAddr page = hint.level == 1 ? try_allocate_frame() : try_allocate_large_frame();
  if (page == 0) return vm::kNoFrame;
  state_of(page).references.store(1, std::memory_order_relaxed);
  return page;
}

void KernelMemory::copy_page(PhysAddr to, PhysAddr from, unsigned level) {
  at(MemoryMoment::copying);
  __builtin_memcpy(direct_map<void>(to), direct_map<const void>(from),
                   level == 1 ? kPageBytes : kLargePageBytes);
}

void KernelMemory::release_page(PhysAddr page) {
  if (is_large_frame(page)) {
    free_large_frame(page);
  } else {
    free_frame(page);
  }
}

AddressSpace::AddressSpace() {
  if (!vm::create(memory_manager, *this)) fatal("no memory for an address space");
}

AddressSpace::~AddressSpace() {
  for (const auto& cpu : tlb.cpus) {
    if (cpu.own.loaded_mm.load(std::memory_order_acquire) == &core) {
      fatal("an address space is destroyed while a CPU has it loaded");
    }
  }
  vm::destroy(memory_manager, *this);
}

Entry& AddressSpace::entry_at(VirtAddr address, unsigned level) {
  const PhysAddr table = vm::make_table(memory_manager, *this, address, level);
  if (table == vm::kNoFrame) fatal("no page table for address ", Hex{address});
  // In the kernel's root user memory cannot be executed: a return to user mode that forgot to
  // change roots faults at once.
  if (isolated()) {
    const unsigned index = vm::entry_index(address, vm::kRootLevel);
    direct_map<Entry>(core.root)[index].fetch_or(kNoExecute, std::memory_order_relaxed);
  }
  return direct_map<Entry>(table)[vm::entry_index(address, level)];
}

}  // namespace shootdown::kernel
