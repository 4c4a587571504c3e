// Misuses of completion tokens, each behind a macro of its own.

#include "core/shootdown.h"
#include "tests/core/recording_hal.h"

namespace shootdown::test {

using H = RecordingHal<2>;

void release_data(const TranslationsQuiet& proof);
void release_table(const WalkersQuiet& proof);
void misuse(System<H>& system, Mm<H>& mm);

#ifdef MUST_NOT_DERIVE
struct Forged : TranslationsQuiet {};
#endif

void misuse(System<H>& system, Mm<H>& mm) {
  release_data(flush_tlb_mm(system, mm));
  release_data(flush_tlb_mm_range_freed_tables(system, mm, {}));
  release_table(flush_tlb_mm_range_freed_tables(system, mm, {}));
#ifdef MUST_NOT_MAKE
  release_data(TranslationsQuiet{});
#endif
#ifdef MUST_NOT_MAKE_WALKERS
  release_table(WalkersQuiet{});
#endif
#ifdef MUST_NOT_DERIVE
  release_data(Forged{});
#endif
#ifdef MUST_NOT_COPY
  const TranslationsQuiet quiet = flush_tlb_mm(system, mm);
  const TranslationsQuiet copy = quiet;
  release_data(copy);
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
}

}  // namespace shootdown::test
