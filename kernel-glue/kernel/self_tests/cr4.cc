// CR4 and its shadow, while flushes of everything, which may toggle a bit of it, arrive all the
// time.
#include "kernel-glue/kernel/self_tests/self_tests.h"
#include "kernel-glue/kernel/self_tests/support.h"

namespace shootdown::kernel {
namespace {

/// User mode may read performance counters: harmless, and no other code changes it.
constexpr std::uint64_t kCr4PerformanceCounters = std::uint64_t{1} << 8;

constexpr std::uint64_t kChanges = 200;

struct Cr4Scene {
  x86::Atomic<std::uint64_t> differences{0};
  x86::Atomic<std::uint64_t> lost_bits{0};

  /// CPU 0 flushes everything everywhere; the others change CR4.
  void operator()(CpuId cpu) {
    for (std::uint64_t round = 0; round < kChanges; ++round) {
      if (cpu == 0) {
        static_cast<void>(flush_tlb_all(tlb));
      } else {
        const bool set = round % 2 == 0;
        change_cr4(tlb, set ? kCr4PerformanceCounters : 0, set ? 0 : kCr4PerformanceCounters);
        look(set);
      }
    }
  }

  void look(bool set) {
    InterruptsOff<Hal> guard;
    const std::uint64_t cr4 = x86::read_cr4();
    std::uint64_t wanted = kCr4GlobalPages | (tlb.config().processor.pcid ? kCr4Pcid : 0);
    if (set) wanted |= kCr4PerformanceCounters;
    constexpr std::uint64_t kWatched = kCr4GlobalPages | kCr4Pcid | kCr4PerformanceCounters;
    if (cr4 != tlb.self().own.cr4) differences.fetch_add(1, std::memory_order_relaxed);
    if ((cr4 & kWatched) != wanted) lost_bits.fetch_add(1, std::memory_order_relaxed);
  }
};

}  // namespace

void test_cr4_shadow(Report& report) {
  Cr4Scene scene;
  run_on_all(scene);
  report.expect(scene.differences.load(std::memory_order_relaxed) == 0,
                "the register is what its shadow says");
  report.expect(scene.lost_bits.load(std::memory_order_relaxed) == 0,
                "no flush undoes a change, and none loses a bit");
}

void test_no_pcids_yet(Report& report) {
  const Config& config = tlb.config();
  if (!config.processor.pcid || !config.isolation.enabled) {
    return report.note("no user PCIDs in this configuration");
  }
  AddressSpace mm;
  MarkedFrame old_frame;
  MarkedFrame new_frame;
  mm.map(test_page(0), old_frame.address());
  load(mm.core);
  std::uint64_t found = 0;
  {
    const InterruptsOff<Hal> guard;
    auto& own = tlb.self().own;
    const std::uint64_t cr4 = own.cr4;
    const std::uint64_t cr3 = x86::read_cr3();
    // As in bring-up. PCIDs can only be enabled again with PCID 0 in CR3.
    x86::write_cr3(cr3 & kFrameMask);
    own.cr4 = cr4 & ~kCr4Pcid;
    x86::write_cr4(own.cr4);
    report.expect(read_marker(test_page(0)) == old_frame.marker(), "the page is cached");
    mm.map(test_page(0), new_frame.address());
    shootdown::internal::native_flush_one_user(tlb, test_page(0));
    found = read_marker(test_page(0));
    own.cr4 = cr4;
    x86::write_cr4(cr4);
    x86::write_cr3(cr3);
  }
  report.expect(found == new_frame.marker(), "a page is flushed without naming a PCID");
  load_kernel_mm();
}

}  // namespace shootdown::kernel
