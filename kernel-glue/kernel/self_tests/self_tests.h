// The self-tests, one file each. registry.cc lists them in the order they run.
#pragma once

#include <cstddef>

#include "kernel-glue/kernel/ktap.h"

namespace shootdown::kernel {

void test_static_key(Report& report);
void test_ipi_sequential(Report& report);
void test_ipi_broadcast_count(Report& report);
void test_ipi_concurrent_broadcast(Report& report);
void test_ipi_unanswered(Report& report);
void test_local_range_flush(Report& report);
void test_remote_shootdown(Report& report);
void test_positive_control(Report& report);
void test_generation_missing(Report& report);
void test_lazy_cpu_skipped(Report& report);
void test_freed_tables_to_lazy_cpu(Report& report);
void test_initiators_in_turn(Report& report);
void test_concurrent_initiators(Report& report);
void test_pcid_asid_recycling(Report& report);
void test_user_mode(Report& report);
void test_nmis_on_the_way(Report& report);
void test_kernel_range(Report& report);
void test_kernel_range_control(Report& report);
void test_freed_kernel_tables(Report& report);
void test_reclaim_batch(Report& report);
void test_pending_batch(Report& report);
void test_leave_mm(Report& report);
void test_interrupt_in_switch(Report& report);
void test_temporary_mm(Report& report);
void test_user_access_in_nmis(Report& report);
void test_large_page(Report& report);
void test_huge_page(Report& report);
void test_protect(Report& report);
void test_protect_early(Report& report);
void test_cr4_shadow(Report& report);
void test_no_pcids_yet(Report& report);
void test_cpu_parked(Report& report);
void test_cpu_parked_with_a_call(Report& report);
void test_cpu_restarted(Report& report);
void test_page_moved(Report& report);
void test_page_copied(Report& report);
void test_page_unmapped(Report& report);
void test_page_shared(Report& report);
void test_page_reclaimed(Report& report);
void test_memory_manager(Report& report);
void test_counts(Report& report);

/// Runs them all; true if none failed.
[[nodiscard]] bool run_self_tests(const TestChoice& choice);

/// Runs the memory manager's load alone, so many steps of all CPUs together, with a seed.
[[nodiscard]] bool run_stress(std::uint64_t steps, std::uint64_t seed);

}  // namespace shootdown::kernel
