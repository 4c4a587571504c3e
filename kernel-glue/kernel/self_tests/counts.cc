// What the CPUs have counted in all tests together fits.
#include "kernel-glue/kernel/self_tests/self_tests.h"
#include "kernel-glue/kernel/self_tests/support.h"

namespace shootdown::kernel {

void test_counts(Report& report) {
  const Counters sum = sum_counters(tlb);
  report.expect(sum.targets_queued == sum.remote_flush_received,
                "every CPU that was asked has run the flush function once");
  report.expect(sum.local_flush_all > 0 && sum.targets_queued > 0, "there was something to count");
  report.expect(sum.unanswered == 0, "every CPU answered in time");
}

}  // namespace shootdown::kernel
