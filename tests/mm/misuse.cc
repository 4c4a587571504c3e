// Misuses of the memory manager, each behind a macro of its own.

#include "kernel-glue/mm/mm.h"
#include "tests/mm/fake_memory.h"

namespace shootdown::test {

using P = FakeMemory;

void misuse(vm::Manager<P>& manager, vm::AddressSpace<P>& mm, PhysAddr frame);

#ifdef MUST_NOT_COPY_A_GATHER
vm::Gather<P> copied(vm::Gather<P>& gather) { return gather; }
#endif

void misuse(vm::Manager<P>& manager, vm::AddressSpace<P>& mm, PhysAddr frame) {
  System<P::Hal>& system = manager.system;
  ReclaimBatch<P::Hal> batch;
  vm::drop_mapping(manager, mm, frame, flush_tlb_mm(system, mm.core));
  vm::drop_mapping(manager, mm.core.context, frame, batch.flush(system));
  vm::retire_table(manager, mm, frame, flush_tlb_mm_range_freed_tables(system, mm.core, {}));
#ifdef MUST_NOT_DROP_EARLY
  vm::drop_mapping(manager, mm, frame, flush_tlb_mm_range_early(system, mm.core, {}));
#endif
#ifdef MUST_NOT_DROP_WITHOUT_A_FLUSH
  vm::drop_mapping(manager, mm, frame);
#endif
#ifdef MUST_NOT_DROP_WITHOUT_AN_MM
  vm::drop_mapping(manager, frame, flush_tlb_mm(system, mm.core));
#endif
#ifdef MUST_NOT_DROP_AFTER_A_KERNEL_FLUSH
  vm::drop_mapping(manager, mm, frame, flush_tlb_kernel_range(system, 0, 0));
#endif
#ifdef MUST_NOT_RETIRE_AFTER_A_PLAIN_FLUSH
  vm::retire_table(manager, mm, frame, flush_tlb_mm(system, mm.core));
#endif
#ifdef MUST_NOT_RETIRE_AFTER_A_BATCH
  vm::retire_table(manager, mm, frame, batch.flush(system));
#endif
#ifdef MUST_NOT_RETIRE_AFTER_A_KERNEL_FLUSH
  vm::retire_table(manager, mm, frame, flush_tlb_all(system));
#endif
}

}  // namespace shootdown::test
