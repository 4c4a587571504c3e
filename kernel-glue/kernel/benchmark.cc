// One line per kind of flush, for the runner to put into a table:
//   bench KIND PAGES cpus=N median=M min=A max=B
// Ticks are those of the time-stamp counter, read right before and after the call; nothing is
// subtracted, and what reading alone costs is a line of its own. Two lines more have the sums of
// other runs:
//   bench-sum KIND PAGES cpus=N times=T ticks=S       of the flush, begun in every phase
//   bench-handler KIND PAGES cpus=N times=T ticks=S   of the handler on a target
#include "kernel-glue/kernel/benchmark.h"

#include <algorithm>
#include <array>

#include "kernel-glue/kernel/self_tests/support.h"
#include "kernel-glue/kernel/timed_handler.h"

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

template <class Operation>
std::uint64_t sum_over_phases(Operation&& operation) {
  std::uint64_t sum = 0;
  for (std::size_t sample = 0; sample < kRepetitions; ++sample) {
    shift_phase(sample);
    const std::uint64_t begin = x86::read_tsc();
    operation();
    sum += x86::read_tsc() - begin;
  }
  return sum;
}

void print_samples(const char* kind, std::uint64_t pages, const Samples& sorted) {
  print("# bench ", kind, " ", pages, " cpus=", cpu_count(), " median=", sorted[kRepetitions / 2],
        " min=", sorted.front(), " max=", sorted.back(), "\n");
}

/// `what`: of the flush, or of the handler on a target.
void print_sum(const char* what, const char* kind, std::uint64_t pages, std::uint64_t sum) {
  print("# ", what, " ", kind, " ", pages, " cpus=", cpu_count(), " times=", kRepetitions,
        " ticks=", sum, "\n");
}

FlushRange pages_from_0(std::uint64_t pages) {
  return {.start = test_page(0), .end = test_page(pages)};
}

/// Calls `run(kind, pages, flush)` for each kind of flush.
template <class Run>
void for_each_flush(AddressSpace& mm, Run&& run) {
  for (const std::uint64_t pages : {1, 10, 33}) {
    const FlushRange range = pages_from_0(pages);
    run("range", pages, [&] { static_cast<void>(flush_tlb_mm_range(tlb, mm.core, range)); });
  }
  run("all", 0, [&] { static_cast<void>(flush_tlb_mm(tlb, mm.core)); });
  const FlushRange one = pages_from_0(1);
  run("freed_tables", 1,
      [&] { static_cast<void>(flush_tlb_mm_range_freed_tables(tlb, mm.core, one)); });
}

/// How often each kind of flush is carried out.
constexpr std::uint64_t kFlushes = 3 * kRepetitions;

void measure_flushes(AddressSpace& mm) {
  for_each_flush(mm, [](const char* kind, std::uint64_t pages, auto&& flush) {
    print_samples(kind, pages, measure(flush));
    print_sum("bench-sum", kind, pages, sum_over_phases(flush));
  });
}

void measure_handlers(AddressSpace& mm) {
  for_each_flush(mm, [](const char* kind, std::uint64_t pages, auto&& flush) {
    const TimedHandler timed;
    for (std::uint32_t i = 1; i <= kRepetitions; ++i) {
      flush();
      TimedHandler::wait_for(i);
    }
    print_sum("bench-handler", kind, pages, TimedHandler::sum());
  });
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
    measure_flushes(mm);
    if (cpu_count() > 1) measure_handlers(mm);

    report.expect(counters_of(0).targets_queued - queued_before == 5 * kFlushes * (cpu_count() - 1),
                  "every flush reached every other CPU");
  }
  load_kernel_mm();
}

}  // namespace shootdown::kernel
