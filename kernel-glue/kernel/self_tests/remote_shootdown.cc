// CPUs that spin in an address space keep a stale entry until the shootdown reaches them; and, as
// the positive control, they keep it when there is none.
#include <array>

#include "kernel-glue/kernel/self_tests/self_tests.h"
#include "kernel-glue/kernel/self_tests/support.h"

namespace shootdown::kernel {
namespace {

/// What all spinning CPUs read at the three stages.
struct Observation {
  bool old_before{false};     // the first mapping
  bool stale_between{false};  // after the remap, before the flush: still the first one
  bool stale_after{false};    // after the flush: still the first one
  bool fresh_after{false};    // after the flush: the second one
  bool local_fresh{false};    // the same on the flusher
  std::uint64_t targets_queued{0};
  std::uint64_t answers{0};
};

std::uint64_t answers_so_far() {
  std::uint64_t sum = 0;
  for (CpuId cpu = 1; cpu < cpu_count(); ++cpu) sum += counters_of(cpu).remote_flush_received;
  return sum;
}

/// One remap under spinning readers, with or without telling them.
Observation observe(Shootdown how) {
  Observation seen;
  AddressSpace mm;
  MarkedFrame old_frame;
  MarkedFrame new_frame;
  const VirtAddr page = test_page(3);
  mm.map(page, old_frame.address());
  load(mm.core);
  {
    SpinningReaders readers{mm, other_cpus()};
    readers.read(page);
    seen.old_before =
        readers.all_found(old_frame.marker()) && read_marker(page) == old_frame.marker();

    mm.map(page, new_frame.address());
    readers.read(page);
    seen.stale_between =
        readers.all_found(old_frame.marker()) && read_marker(page) == old_frame.marker();

    const std::uint64_t queued_before = counters_of(0).targets_queued;
    const std::uint64_t answers_before = answers_so_far();
    flush_pages(mm, page, 1, how);
    seen.targets_queued = counters_of(0).targets_queued - queued_before;
    seen.answers = answers_so_far() - answers_before;
    readers.read(page);
    seen.stale_after = readers.all_found(old_frame.marker());
    seen.fresh_after = readers.all_found(new_frame.marker());
    seen.local_fresh = read_marker(page) == new_frame.marker();
  }
  load_kernel_mm();
  return seen;
}

}  // namespace

void test_remote_shootdown(Report& report) {
  const Observation seen = observe(Shootdown::complete);
  report.expect(seen.old_before, "every CPU reads the first mapping");
  report.expect(seen.stale_between, "without a flush every CPU uses its stale entry");
  report.expect(seen.fresh_after, "after the shootdown every CPU reads the new frame");
  report.expect(seen.local_fresh, "and so does the flusher");
  report.expect(seen.targets_queued == cpu_count() - 1, "every other CPU was told once");
  report.expect(seen.answers == cpu_count() - 1, "every other CPU ran the flush function once");
}

void test_positive_control(Report& report) {
  const Observation seen = observe(Shootdown::local_only);
  report.expect(seen.old_before, "every CPU reads the first mapping");
  report.expect(seen.local_fresh, "the flusher reads the new frame");
  report.expect(seen.stale_after,
                "with the shootdown disabled every other CPU reads the old frame");
  report.expect(seen.targets_queued == 0, "no CPU was told");
}

void test_generation_missing(Report& report) {
  AddressSpace mm;
  MarkedFrame old_frame;
  MarkedFrame new_frame;
  const VirtAddr first = test_page(3);
  const VirtAddr second = test_page(4);
  std::array<std::uint64_t, 2> found{};
  const auto read_both = [&](CpuId) { found = {read_marker(first), read_marker(second)}; };
  mm.map(first, old_frame.address());
  mm.map(second, old_frame.address());
  run_on(1, [&](CpuId cpu) {
    load(mm.core);
    read_both(cpu);
  });
  // A flush of the first page has got as far as to count its generation. It will interrupt later.
  mm.map(first, new_frame.address());
  mm.core.tlb_gen.fetch_add(1, std::memory_order_seq_cst);
  mm.map(second, new_frame.address());
  static_cast<void>(flush_tlb_page(tlb, mm.core, second));
  run_on(1, [&](CpuId cpu) {
    read_both(cpu);
    load_kernel_mm();
  });
  report.expect(found[1] == new_frame.marker(), "a flush of one page covers that page");
  report.expect(found[0] == new_frame.marker(),
                "a CPU that lacks another generation as well flushes everything");
}

}  // namespace shootdown::kernel
