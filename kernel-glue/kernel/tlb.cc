#include "kernel-glue/kernel/tlb.h"

#include "kernel-glue/kernel/stop.h"

namespace shootdown::kernel {

constinit System<Hal> tlb;

void initialize_tlb(const x86::CpuFeatures& features) {
  initialize_system(tlb, Config{.pcid = features.pcid, .invpcid = features.invpcid},
                    kernel_tables().root());
}

void initialize_tlb_on_this_cpu() { initialize_cpu(tlb); }

AddressSpace::AddressSpace() { mm.initialize(tlb.allocate_context(), make_user_tables().root()); }

AddressSpace::~AddressSpace() {
  if (!mm.cpus.read().empty()) fatal("an address space is destroyed while a CPU has it loaded");
  free_user_tables(mm.root);
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
