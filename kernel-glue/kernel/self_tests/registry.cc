#include <array>

#include "kernel-glue/kernel/self_tests/self_tests.h"

namespace shootdown::kernel {
namespace {

constexpr auto kTests = std::to_array<Test>({
    {"static key", test_static_key},
    {"interrupts: sequential", test_ipi_sequential, 2},
    {"interrupts: broadcast count", test_ipi_broadcast_count, 2},
    {"interrupts: concurrent broadcast", test_ipi_concurrent_broadcast, 2},
    {"interrupts: a CPU that does not answer", test_ipi_unanswered, 2},
    {"local range flush", test_local_range_flush},
    {"remote shootdown to spinning CPUs", test_remote_shootdown, 2},
    {"positive control: no shootdown, stale reads", test_positive_control, 2},
    {"a generation that is missing", test_generation_missing, 2},
    {"lazy CPU skipped, then fresh", test_lazy_cpu_skipped, 2},
    {"freed tables to a lazy CPU", test_freed_tables_to_lazy_cpu, 2},
    {"every CPU initiates in turn", test_initiators_in_turn, 2},
    {"concurrent initiators", test_concurrent_initiators, 2},
    {"PCID ASID recycling", test_pcid_asid_recycling},
    {"user mode", test_user_mode},
    {"NMIs on the way to user mode and back", test_nmis_on_the_way, 2},
    {"kernel range flush", test_kernel_range, 2},
    {"positive control: no kernel shootdown", test_kernel_range_control, 2},
    {"freed kernel tables", test_freed_kernel_tables, 2},
    {"reclaim batch", test_reclaim_batch, 2},
    {"pending batch", test_pending_batch, 2},
    {"leave_mm", test_leave_mm, 2},
    {"interrupt that waits for a switch", test_interrupt_in_switch, 2},
    {"temporary mm", test_temporary_mm},
    {"user access in NMIs", test_user_access_in_nmis, 2},
    {"page of 2 MiB", test_large_page, 2},
    {"page of 1 GiB", test_huge_page, 2},
    {"protect", test_protect, 2},
    {"protect, acknowledged early", test_protect_early, 2},
    {"CR4 and its shadow", test_cr4_shadow},
    {"page flush while CR4 has no PCIDs", test_no_pcids_yet},
    {"CPU parked and back", test_cpu_parked, 2},
    {"CPU parked with a call pending", test_cpu_parked_with_a_call, 2},
    {"CPU reset and started again", test_cpu_restarted, 2},
    {"page moved while cached", test_page_moved, 2},
    {"page copied while cached", test_page_copied, 2},
    {"page unmapped while cached", test_page_unmapped, 2},
    {"page of two mms unmapped while cached", test_page_shared, 2},
    {"page reclaimed while cached", test_page_reclaimed, 2},
    {"memory manager under load", test_memory_manager},
    {"counters", test_counts, 2},
});

}  // namespace

bool run_self_tests(const TestChoice& choice) {
  return run_tests(kTests.data(), kTests.size(), choice);
}

}  // namespace shootdown::kernel
