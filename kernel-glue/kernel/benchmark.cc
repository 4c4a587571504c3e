// One line per kind of flush, for the runner to put into a table:
//   bench KIND PAGES cpus=N median=M min=A max=B
// Ticks are those of the time-stamp counter, read right before and after the call; nothing is
// subtracted, and what reading alone costs is a line of its own.
#include "kernel-glue/kernel/benchmark.h"

#include <algorithm>
#include <array>

#include "kernel-glue/kernel/self_tests/support.h"

namespace shootdown::kernel {
namespace {

constexpr std::size_t kRepetitions = 200;
using Samples = std::array<std::uint64_t, kRepetitions>;

template <class Operation>
Samples measure(Operation&& operation) {
  Samples samples;
  for (std::uint64_t& sample : samples) {
    const std::uint64_t begin = x86::read_tsc();
    operation();
    sample = x86::read_tsc() - begin;
  }
  std::sort(samples.begin(), samples.end());
  return samples;
}

void print_samples(const char* kind, std::uint64_t pages, const Samples& sorted) {
  print("# bench ", kind, " ", pages, " cpus=", cpu_count(), " median=", sorted[kRepetitions / 2],
        " min=", sorted.front(), " max=", sorted.back(), "\n");
}

void measure_range(AddressSpace& mm, std::uint64_t pages) {
  const FlushRange range{.start = test_page(0), .end = test_page(pages)};
  print_samples("range", pages,
                measure([&] { static_cast<void>(flush_tlb_mm_range(tlb, mm.core, range)); }));
}

}  // namespace

void run_benchmark(Report& report) {
  AddressSpace mm;
  MarkedFrame frame;
  for (std::uint64_t i = 0; i < 33; ++i) mm.map(test_page(i), frame.address());
  load(mm.core);
  {
    SpinningReaders readers{mm, other_cpus()};
    readers.read(test_page(0));
    const std::uint64_t queued_before = counters_of(0).targets_queued;

    print_samples("rdtsc", 0, measure([] {}));
    for (const std::uint64_t pages : {1, 10, 33}) measure_range(mm, pages);
    print_samples("all", 0, measure([&] { static_cast<void>(flush_tlb_mm(tlb, mm.core)); }));
    const FlushRange one{.start = test_page(0), .end = test_page(1)};
    print_samples("freed_tables", 1, measure([&] {
                    static_cast<void>(flush_tlb_mm_range_freed_tables(tlb, mm.core, one));
                  }));

    report.expect(
        counters_of(0).targets_queued - queued_before == 5 * kRepetitions * (cpu_count() - 1),
        "every flush reached every other CPU");
  }
  load_kernel_mm();
}

}  // namespace shootdown::kernel
