// Lazy CPUs: skipped by a flush of leaf entries and fresh when they come back; not skipped when
// page tables are freed, because they may walk them speculatively.
#include "kernel-glue/kernel/interrupts.h"
#include "kernel-glue/kernel/self_tests/self_tests.h"
#include "kernel-glue/kernel/self_tests/support.h"

namespace shootdown::kernel {
namespace {

constexpr CpuId kLazyCpu = 1;

/// CPUs that are neither the flusher nor the lazy one.
Mask bystanders() {
  Mask cpus = other_cpus();
  cpus.clear(kLazyCpu);
  return cpus;
}

/// Loads the space on the lazy CPU, lets it cache the page, and leaves it idle in lazy mode.
void make_lazy(AddressSpace& mm, VirtAddr page, std::uint64_t& found) {
  run_on(kLazyCpu, [&](CpuId) {
    load(mm.core);
    found = read_marker(page);
    become_lazy();
  });
}

/// Reads through the user half on the lazy CPU, to see what it caches. While it is lazy, that
/// breaks its promise on purpose. 0 if the page is out of its reach.
std::uint64_t peek(VirtAddr page) {
  std::uint64_t value = 0;
  run_on(kLazyCpu, [&](CpuId) {
    if (!probe_read(page, value)) value = 0;
  });
  return value;
}

}  // namespace

void test_lazy_cpu_skipped(Report& report) {
  AddressSpace mm;
  MarkedFrame old_frame;
  MarkedFrame new_frame;
  const VirtAddr page = test_page(7);
  std::uint64_t found = 0;
  mm.map(page, old_frame.address());
  load(mm.core);
  {
    SpinningReaders readers{mm, bystanders()};
    readers.read(page);
    make_lazy(mm, page, found);
    report.expect(found == old_frame.marker(), "the lazy CPU has cached the first mapping");

    const Counters before = counters_of(0);
    const Counters lazy_before = counters_of(kLazyCpu);
    mm.map(page, new_frame.address());
    flush_pages(mm, page, 1);
    readers.read(page);
    report.expect(readers.all_found(new_frame.marker()), "the others are fresh");
    report.expect(counters_of(0).targets_queued - before.targets_queued == bystanders().count(),
                  "every CPU but the lazy one was told");
    report.expect(counters_of(kLazyCpu).remote_flush_received == lazy_before.remote_flush_received,
                  "the lazy CPU was not interrupted");
    report.expect(peek(page) == old_frame.marker(), "the lazy CPU still has its stale entry");
  }
  run_on(kLazyCpu, [&](CpuId) {
    load(mm.core);
    found = read_marker(page);
  });
  report.expect(found == new_frame.marker(), "the lazy CPU is fresh when it comes back");

  mm.map(page, old_frame.address());
  report.expect(peek(page) == new_frame.marker(), "it has cached the new mapping");
  flush_pages(mm, page, 1);
  report.expect(peek(page) == old_frame.marker(), "a CPU that came back is not skipped any more");
  run_on(kLazyCpu, [](CpuId) { load_kernel_mm(); });
  load_kernel_mm();
}

void test_freed_tables_to_lazy_cpu(Report& report) {
  AddressSpace mm;
  MarkedFrame frame;
  const VirtAddr page = test_page(9);
  std::uint64_t found = 0;
  mm.map(page, frame.address());
  load(mm.core);
  make_lazy(mm, page, found);
  report.expect(found == frame.marker(), "the lazy CPU has cached the page");

  Entry& table = mm.large_entry(page);
  const PhysAddr table_frame = table.load(std::memory_order_relaxed) & kFrameMask;
  set_entry(table, 0);
  report.expect(peek(page) == frame.marker(), "without a flush the lazy CPU uses its stale entry");

  const Counters before = counters_of(0);
  const Counters lazy_before = counters_of(kLazyCpu);
  if (ordinary_shootdown == Shootdown::complete) {
    static_cast<void>(
        flush_tlb_mm_range_freed_tables(tlb, mm.core, {.start = page, .end = page + kPageBytes}));
  }
  const Mm* loaded = tlb.cpus[kLazyCpu].own.loaded_mm.load(std::memory_order_relaxed);
  std::uint64_t cr3 = 0;
  bool readable = true;
  run_on(kLazyCpu, [&](CpuId) {
    cr3 = x86::read_cr3();
    readable = probe_read(page, found);
    load_kernel_mm();
  });
  report.expect(!readable, "the page is out of the lazy CPU's reach");
  report.expect((cr3 & kFrameMask) == kernel_tables().root(), "its CR3 is the kernel's");
  report.expect(loaded == &tlb.kernel_mm, "it has the kernel's own mm loaded");
  report.expect(counters_of(0).targets_queued - before.targets_queued == 1, "it was told once");
  report.expect(counters_of(kLazyCpu).lazy_left_by_flush - lazy_before.lazy_left_by_flush == 1,
                "the flush took it out of lazy mode");
  load_kernel_mm();
  free_frame(table_frame);
}

}  // namespace shootdown::kernel
