// A range flush on the CPU that asks for it: exactly the pages of the range, or everything above
// the ceiling; and an unmapped page faults afterwards.
#include "kernel-glue/kernel/interrupts.h"
#include "kernel-glue/kernel/self_tests/self_tests.h"
#include "kernel-glue/kernel/self_tests/support.h"

namespace shootdown::kernel {
namespace {

constexpr std::uint64_t kLocalPages = 5;

bool all_pages_read(std::uint64_t first, std::uint64_t count, std::uint64_t marker) {
  bool all = true;
  for (std::uint64_t i = first; i < first + count; ++i) {
    all = all && read_marker(test_page(i)) == marker;
  }
  return all;
}

void map_pages(AddressSpace& mm, const MarkedFrame& frame) {
  for (std::uint64_t i = 0; i < kLocalPages; ++i) mm.map(test_page(i), frame.address());
}

void check_range(Report& report, AddressSpace& mm) {
  MarkedFrame old_frame;
  MarkedFrame new_frame;
  map_pages(mm, old_frame);
  load(mm.core);
  report.expect(all_pages_read(0, kLocalPages, old_frame.marker()), "the first mapping is read");

  map_pages(mm, new_frame);
  report.expect(all_pages_read(0, kLocalPages, old_frame.marker()),
                "without a flush the stale entries are used");

  const Counters before = counters_of(0);
  flush_pages(mm, test_page(1), 3);
  report.expect(all_pages_read(1, 3, new_frame.marker()), "the flushed pages are fresh");
  if (invalidates_single_pages() && tlb.config().limits.ceiling_strides >= 3) {
    report.expect(read_marker(test_page(0)) == old_frame.marker(), "the page before was kept");
    report.expect(read_marker(test_page(4)) == old_frame.marker(), "the page behind was kept");
  }
  flush_pages(mm, test_page(4), 1);
  report.expect(read_marker(test_page(4)) == new_frame.marker(), "a second flush works as well");
  if (tlb.config().limits.ceiling_strides >= 3) {
    report.expect(counters_of(0).local_flush_one - before.local_flush_one == 4,
                  "four pages were invalidated");
    report.expect(counters_of(0).local_flush_all == before.local_flush_all,
                  "neither flush became a full one");
  }

  const Counters below = counters_of(0);
  flush_pages(mm, test_page(0), tlb.config().limits.ceiling_strides + 1);
  report.expect(all_pages_read(0, kLocalPages, new_frame.marker()),
                "above the ceiling all are fresh");
  report.expect(counters_of(0).local_flush_all - below.local_flush_all == 1,
                "above the ceiling it was one full flush");
}

void check_unmap(Report& report, AddressSpace& mm) {
  MarkedFrame frame;
  std::uint64_t value = 0;
  mm.map(test_page(0), frame.address());
  flush_pages(mm, test_page(0), 1);
  report.expect(read_marker(test_page(0)) == frame.marker(), "the page is mapped");
  set_entry(mm.page_entry(test_page(0)), 0);
  report.expect(probe_read(test_page(0), value), "without a flush the unmapped page is readable");
  flush_pages(mm, test_page(0), 1);
  report.expect(!probe_read(test_page(0), value), "after the flush it faults");
}

}  // namespace

void test_local_range_flush(Report& report) {
  AddressSpace mm;
  check_range(report, mm);
  check_unmap(report, mm);
  load_kernel_mm();
}

}  // namespace shootdown::kernel
