#include "kernel-glue/kernel/tlb.h"

#include "kernel-glue/kernel/entry_area.h"
#include "kernel-glue/kernel/stop.h"

namespace shootdown::kernel {

// The way to user mode ends on the user root, and notes there that it has paid its debts.
SHOOTDOWN_ENTRY_DATA constinit System<Hal> tlb;

void initialize_tlb(const Config& config) {
  initialize_system(tlb, config, kernel_tables().root());
}

void initialize_tlb_on_this_cpu() {
  entry_area().isolates = tlb.config.pti ? 1 : 0;
  initialize_cpu(tlb);
}

AddressSpace::AddressSpace() {
  const UserTables made = make_user_tables();
  mm.initialize(tlb.allocate_context(), made.root, made.user_root);
}

AddressSpace::~AddressSpace() {
  // Lazily kept masks may hold CPUs that have long left.
  const bool exact = tlb.config.mask_policy == MaskPolicy::cleared_at_switch;
  bool in_use = exact && !mm.cpus.read().empty();
  for (const auto& cpu : tlb.cpus) {
    in_use = in_use || cpu.own.loaded_mm.load(std::memory_order_acquire) == &mm;
  }
  if (in_use) fatal("an address space is destroyed while a CPU has it loaded");
  free_user_tables(tables());
}

void load(Mm& mm) {
  InterruptsOff<Hal> guard;
  switch_mm(tlb, mm);
}

void load_kernel_space() {
  InterruptsOff<Hal> guard;
  leave_mm(tlb);
}

void become_lazy() {
  InterruptsOff<Hal> guard;
  enter_lazy_tlb(tlb);
}

}  // namespace shootdown::kernel
