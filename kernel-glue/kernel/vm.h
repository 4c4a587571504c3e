// The reference memory manager over this kernel's memory, and address spaces to use it on.
#pragma once

#include "kernel-glue/kernel/memory.h"
#include "kernel-glue/kernel/page_table.h"
#include "kernel-glue/kernel/tlb.h"
#include "kernel-glue/mm/mm.h"

namespace shootdown::kernel {

/// Moments in the middle of an operation of the memory manager.
enum class MemoryMoment : std::uint8_t {
  looked,     // entries were seen or changed, and their lock is about to go
  dirty,      // a page that was stored to has lost its entry
  copying,    // a page is about to be copied
  secondary,  // CPUs were flushed, devices would be next
};

/// What a self-test does there; null: nothing. Changed while no CPU uses the memory manager.
extern constinit void (*memory_hook)(MemoryMoment moment);

/// What the memory manager asks for (kernel-glue/mm/platform.h).
class KernelMemory {
 public:
  using Hal = kernel::Hal;
  using Record = vm::DeferredTable<Hal>;

  [[nodiscard]] PhysAddr allocate_table(const vm::FrameHint<Hal>& hint);
  [[nodiscard]] PhysAddr allocate_page(const vm::FrameHint<Hal>& hint);

  [[nodiscard]] vm::AtomicEntry<Hal> entry(PhysAddr table, unsigned index) {
    return vm::AtomicEntry<Hal>(direct_map<Entry>(table)[index]);
  }
  void prepare_entry(PhysAddr table, unsigned index, vm::Pte value) {
    direct_map<Entry>(table)[index].store(value, std::memory_order_relaxed);
  }
  void copy_page(PhysAddr to, PhysAddr from, unsigned level);
  [[nodiscard]] PhysAddr part(PhysAddr frame, unsigned index) {
    return frame + PhysAddr{index} * kPageBytes;
  }
  [[nodiscard]] x86::Atomic<std::uint32_t>& table_lock(PhysAddr table) {
    return state_of(table).lock;
  }
  [[nodiscard]] x86::Atomic<std::uint32_t>& references(PhysAddr page) {
    return state_of(page).references;
  }

  void release_page(PhysAddr page);
  void release_table(PhysAddr table) { free_frame(table); }
  void discard_table(PhysAddr table) { free_frame(table); }
  /// Here every flush interrupts its targets: no table ever waits for a walker.
  [[nodiscard]] Record* allocate_record() { return nullptr; }
  void release_record(Record* /*record*/) {}

  // Nothing is written back, and only self-tests watch.
  void note_dirty(PhysAddr /*page*/) { at(MemoryMoment::dirty); }
  void looked(const Mm& /*mm*/, VirtAddr /*start*/, VirtAddr /*end*/) { at(MemoryMoment::looked); }
  void cleaned(const Mm& /*mm*/, VirtAddr /*start*/, VirtAddr /*end*/) {}
  void walker_holds(PhysAddr /*table*/) {}
  void walker_done() {}
  void begin_secondary(const Mm& /*mm*/) {}
  void end_secondary(const Mm& /*mm*/) {}
  void flush_secondary(const Mm& /*mm*/, VirtAddr /*start*/, VirtAddr /*end*/) {
    at(MemoryMoment::secondary);
  }
  void flush_secondary_kernel(VirtAddr /*start*/, VirtAddr /*end*/) {}

 private:
  static void at(MemoryMoment moment) {
    if (memory_hook != nullptr) memory_hook(moment);
  }
};

static_assert(vm::MemoryPlatform<KernelMemory>);

extern constinit vm::Manager<KernelMemory> memory_manager;

/// A user address space. Context: created and destroyed by one thread, with interrupts on,
/// destroyed when no CPU has it loaded. The memory manager's operations take it as it is; the
/// functions here are for tests that change entries without flushing.
class AddressSpace : public vm::AddressSpace<KernelMemory> {
 public:
  AddressSpace();
  ~AddressSpace();
  AddressSpace(const AddressSpace&) = delete;
  AddressSpace& operator=(const AddressSpace&) = delete;

  /// The entry of the 4 KiB page at `address`, of the 2 MiB and of the 1 GiB that contain it.
  /// Tables on the way are made.
  [[nodiscard]] Entry& page_entry(VirtAddr address) { return entry_at(address, 1); }
  [[nodiscard]] Entry& large_entry(VirtAddr address) { return entry_at(address, 2); }
  [[nodiscard]] Entry& huge_entry(VirtAddr address) { return entry_at(address, 3); }

  /// Points the page at `address` to `frame`, which the mm does not own. Flushes nothing.
  void map(VirtAddr address, PhysAddr frame, std::uint64_t flags = kUserData) {
    set_entry(page_entry(address), frame | flags);
  }

 private:
  [[nodiscard]] Entry& entry_at(VirtAddr address, unsigned level);
};

}  // namespace shootdown::kernel
