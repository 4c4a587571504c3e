// Misuses of completion tokens, each behind a macro of its own.

#include "core/shootdown_all.h"
#include "tests/core/recording_hal.h"

namespace shootdown::test {

using H = RecordingHal<2>;

void release_data(const TranslationsQuiet& proof);
void release_batch(const BatchQuiet& proof);
void release_kernel_data(const KernelQuiet& proof);
void release_root(const MmRetired& proof);
void release_table(const WalkersQuiet& proof);
void release_kernel_table(const KernelWalkersQuiet& proof);
void misuse(System<H>& system, Mm<H>& mm, ReclaimBatch<H>& batch);

#ifdef MUST_NOT_DERIVE
struct Forged : TranslationsQuiet {
  Forged() : TranslationsQuiet(1) {}
};
#endif
#ifdef MUST_NOT_DERIVE_BATCH
struct Forged : BatchQuiet {
  Forged() : BatchQuiet(1) {}
};
#endif

void misuse(System<H>& system, Mm<H>& mm, ReclaimBatch<H>& batch) {
  release_data(flush_tlb_mm(system, mm));
  release_data(flush_tlb_mm_range_freed_tables(system, mm, {}));
  release_batch(batch.flush(system));
  release_kernel_data(flush_tlb_kernel_range(system, 0, 0));
  release_table(exclude_walkers(system, flush_tlb_mm_range_freed_tables(system, mm, {})));
  release_kernel_table(exclude_walkers(system, flush_tlb_all(system)));
  release_root(retire_mm(system, mm));
#ifdef MUST_NOT_MAKE
  release_data(TranslationsQuiet{});
#endif
#ifdef MUST_NOT_MAKE_FOR_AN_MM
  release_data(TranslationsQuiet{mm.context});
#endif
#ifdef MUST_NOT_MAKE_WALKERS
  release_table(WalkersQuiet{flush_tlb_mm_range_freed_tables(system, mm, {})});
#endif
#ifdef MUST_NOT_MAKE_KERNEL
  release_kernel_data(KernelQuiet{true});
#endif
#ifdef MUST_NOT_NAME_A_MAKER
  release_data(CompletionAccess::translations_quiet());
#endif
#ifdef MUST_NOT_DERIVE
  release_data(Forged{});
#endif
#ifdef MUST_NOT_DERIVE_BATCH
  release_batch(Forged{});
#endif
#ifdef MUST_NOT_ASSIGN_A_WEAKER_ONE
  MmRetired retired = retire_mm(system, mm);
  static_cast<UserReturnClosed&>(retired) = flush_tlb_mm_range_early(system, mm, {});
#endif
#ifdef MUST_NOT_ASSIGN_A_WEAKER_KERNEL_ONE
  KernelWalkersQuiet quiet_kernel = exclude_walkers(system, flush_tlb_all(system));
  static_cast<KernelQuiet&>(quiet_kernel) = flush_tlb_kernel_range(system, 0, 0);
#endif
#ifdef MUST_NOT_COPY
  const TranslationsQuiet quiet = flush_tlb_mm(system, mm);
  const TranslationsQuiet copy = quiet;
  release_data(copy);
#endif
#ifdef MUST_NOT_KEEP_WHAT_WAS_TURNED_INTO_MORE
  const TablesUnreachable tables = flush_tlb_mm_range_freed_tables(system, mm, {});
  release_table(exclude_walkers(system, tables));
#endif
#ifdef MUST_NOT_IGNORE
  flush_tlb_mm(system, mm);
#endif
#ifdef MUST_NOT_RELEASE_EARLY
  release_data(flush_tlb_mm_range_early(system, mm, {}));
#endif
#ifdef MUST_NOT_RELEASE_TABLE
  release_table(flush_tlb_mm(system, mm));
#endif
#ifdef MUST_NOT_RELEASE_TABLE_UNDER_WALKERS
  release_table(flush_tlb_mm_range_freed_tables(system, mm, {}));
#endif
#ifdef MUST_NOT_RELEASE_TABLE_AFTER_BATCH
  release_table(batch.flush(system));
#endif
#ifdef MUST_NOT_RELEASE_DATA_AFTER_KERNEL_FLUSH
  release_data(flush_tlb_all(system));
#endif
#ifdef MUST_NOT_RELEASE_KERNEL_DATA_AFTER_USER_FLUSH
  release_kernel_data(flush_tlb_mm(system, mm));
#endif
#ifdef MUST_NOT_RELEASE_KERNEL_TABLE_UNDER_WALKERS
  release_kernel_table(flush_tlb_all(system));
#endif
#ifdef MUST_NOT_RELEASE_LIVE_ROOT
  release_root(flush_tlb_mm_range_freed_tables(system, mm, {}));
#endif
}

}  // namespace shootdown::test
