#include "kernel-glue/kernel/tlb.h"

#include "hal/x86_64/paravirt/hypercalls.h"
#include "kernel-glue/kernel/entry_area.h"
#include "kernel-glue/kernel/page_table.h"

namespace shootdown::kernel {

constinit System<Hal> tlb;

void initialize_tlb(const Config& config) {
  initialize_system(tlb, config, kernel_tables().root());
}

void initialize_tlb_on_this_cpu() {
  entry_area().isolates = tlb.config().isolation.enabled ? 1 : 0;
  // Before this CPU can be a target.
  x86::enable_paravirt_on_this_cpu();
  initialize_cpu(tlb);
}

void take_this_cpu_offline() {
  take_cpu_offline(tlb);
  x86::disable_paravirt_on_this_cpu();
}

void load(Mm& mm) {
  InterruptsOff<Hal> guard;
  switch_mm(tlb, mm);
}

void load_kernel_mm() {
  InterruptsOff<Hal> guard;
  leave_mm(tlb);
}

void become_lazy() {
  InterruptsOff<Hal> guard;
  enter_lazy_tlb(tlb);
}

}  // namespace shootdown::kernel
