// The flush core, instantiated over the x86-64 HAL, and address spaces to use it on.
#pragma once

#include "core/shootdown.h"
#include "hal/x86_64/x86_hal.h"
#include "kernel-glue/kernel/page_table.h"

namespace shootdown::kernel {

using Hal = x86::X86Hal;
using Mm = shootdown::Mm<Hal>;
using Mask = CpuMask<Hal::kMaxCpus>;

/// The core's state for this machine.
extern constinit System<Hal> tlb;

/// Context: boot CPU, after `build_kernel_tables`, which the configuration has to match.
void initialize_tlb(const Config& config);

/// Context: each CPU, interrupts off, after `enable_translation_features`.
void initialize_tlb_on_this_cpu();

/// A user address space: the core's part and its page tables. Context: created and destroyed on
/// CPU 0, destroyed when no CPU has it loaded.
class AddressSpace {
 public:
  AddressSpace();
  ~AddressSpace();
  AddressSpace(const AddressSpace&) = delete;
  AddressSpace& operator=(const AddressSpace&) = delete;

  Mm mm{};

  /// The entry of the 4 KiB page at `address`, of the 2 MiB and of the 1 GiB that contain it.
  /// Tables on the way are made.
  [[nodiscard]] Entry& page_entry(VirtAddr address) const {
    return published(address, PageTable{mm.root}.page_entry(address, kUserTable));
  }
  [[nodiscard]] Entry& large_entry(VirtAddr address) const {
    return published(address, PageTable{mm.root}.large_entry(address, kUserTable));
  }
  [[nodiscard]] Entry& huge_entry(VirtAddr address) const {
    return published(address, PageTable{mm.root}.huge_entry(address, kUserTable));
  }

  /// Points the page at `address` to `frame`. Flushes nothing.
  void map(VirtAddr address, PhysAddr frame, std::uint64_t flags = kUserData) const {
    set_entry(page_entry(address), frame | flags);
  }

 private:
  [[nodiscard]] UserTables tables() const { return {.root = mm.root, .user_root = mm.user_root}; }
  [[nodiscard]] Entry& published(VirtAddr address, Entry& entry) const {
    publish_to_user_root(tables(), address);
    return entry;
  }
};

/// Makes `mm` the address space of this CPU, not lazy.
void load(Mm& mm);

/// Leaves whatever is loaded for the kernel's own space.
void load_kernel_space();

/// Promises not to use the user half until the next `load`.
void become_lazy();

}  // namespace shootdown::kernel
