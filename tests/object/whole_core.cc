// The whole core in one object, so that its symbol table tells what the core needs from outside.
// undefined_test demands that every function template of core/ is in it; a new entry point that
// nothing here uses is added below.
#include "core/shootdown_all.h"
#include "hal/x86_64/x86_hal.h"

namespace shootdown {

using H = x86::X86Hal;

template struct Mm<H>;
template struct System<H>;
template class SmpCall<H>;
template class ReclaimBatch<H>;
template class TemporaryMm<H>;
template class InterruptsOff<H>;
template class InterruptsOffInThread<H>;
template class PreemptionOff<H>;
template class internal::PostInUse<H>;
template class PendingFlush<H, TranslationsQuiet>;
template class PendingFlush<H, TablesUnreachable>;

template void initialize_system(System<H>&, const Config&, PhysAddr);
template void initialize_mm(System<H>&, Mm<H>&, PhysAddr, PhysAddr);
template void initialize_cpu(System<H>&);
template void take_cpu_offline(System<H>&);

template void switch_mm(System<H>&, Mm<H>&);
template void enter_lazy_tlb(System<H>&);
template void leave_mm(System<H>&);
template bool user_access_ok(System<H>&, const Mm<H>&);

template TranslationsQuiet flush_tlb_mm_range(System<H>&, Mm<H>&, const FlushRange&);
template TablesUnreachable flush_tlb_mm_range_freed_tables(System<H>&, Mm<H>&, const FlushRange&);
template UserReturnClosed flush_tlb_mm_range_early(System<H>&, Mm<H>&, const FlushRange&);
template PendingFlush<H, TranslationsQuiet> submit_flush_tlb_mm_range(System<H>&, Mm<H>&,
                                                                      const FlushRange&);
template PendingFlush<H, TablesUnreachable> submit_flush_tlb_mm_range_freed_tables(
    System<H>&, Mm<H>&, const FlushRange&);
template TranslationsQuiet flush_tlb_page(System<H>&, Mm<H>&, VirtAddr);
template TranslationsQuiet flush_tlb_mm(System<H>&, Mm<H>&);
template MmRetired retire_mm(System<H>&, Mm<H>&);
template KernelQuiet flush_tlb_kernel_range(System<H>&, VirtAddr, VirtAddr);
template KernelTablesUnreachable flush_tlb_all(System<H>&);
template void wait_for_walkers(System<H>&);
template WalkersQuiet exclude_walkers(System<H>&, TablesUnreachable);
template KernelWalkersQuiet exclude_walkers(System<H>&, KernelTablesUnreachable);
template void flush_tlb_batched_pending(System<H>&, Mm<H>&);
template Counters sum_counters(const System<H>&);
template void handle_call_function_interrupt(System<H>&);

// What backends call.
template void flush_function(System<H>&, const FlushRequest<H>&);
template void flush_loaded_context(System<H>&);
template void internal::native_flush_user(System<H>&);
template bool flush_interrupts_targets(const System<H>&);
template FlushOps<H> remote_only(FlushOps<H>);

template void prepare_return_to_user(System<H>&, EntryBlock<H>&);
template void load_user_root(const EntryBlock<H>&);
template void return_to_user(System<H>&, EntryBlock<H>&);
template std::uint64_t enter_nmi(const EntryBlock<H>&);
template void leave_nmi(const EntryBlock<H>&, std::uint64_t);
template void enter_from_user(EntryBlock<H>&);
template void change_cr4(System<H>&, std::uint64_t, std::uint64_t);

}  // namespace shootdown
