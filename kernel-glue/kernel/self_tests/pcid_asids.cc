// More address spaces than ASIDs, visited in a different order by every CPU while their pages
// change. The emulator does not tag entries with PCIDs, so what is checked is the data read, and
// that the core's ASIDs name what the TLB may hold.
#include <array>

#include "kernel-glue/kernel/self_tests/self_tests.h"
#include "kernel-glue/kernel/self_tests/support.h"

namespace shootdown::kernel {
namespace {

constexpr std::size_t kRecycled = 9;
static_assert(kRecycled > kDynamicAsids);
constexpr std::uint64_t kPasses = 12;
constexpr std::uint64_t kVisits = 20;

struct AsidScene {
  std::array<AddressSpace, kRecycled> mms;
  std::array<std::array<MarkedFrame, kRecycled>, 2> frames;
  Barrier barrier;
  x86::Atomic<std::uint64_t> wrong_data{0};
  x86::Atomic<std::uint64_t> wrong_asids{0};
  x86::Atomic<std::uint64_t> stale_before_flush{0};

  AsidScene() {
    for (std::size_t i = 0; i < kRecycled; ++i) mms[i].map(test_page(0), frames[0][i].address());
  }

  void visit(std::size_t index, std::uint64_t round) {
    load(mms[index].core);
    if (read_marker(test_page(0)) != frames[round % 2][index].marker()) {
      wrong_data.fetch_add(1, std::memory_order_relaxed);
    }
    check_asids(mms[index].core);
  }

  /// The loaded ASID names the loaded mm; no space has two ASIDs; CR3 is what they say.
  void check_asids(const Mm& mm) {
    InterruptsOff<Hal> guard;
    const auto& own = tlb.cpus[Hal::this_cpu()].own;
    bool ok = own.asids[own.loaded_asid].context == mm.context;
    for (Asid a = 0; a < kDynamicAsids; ++a) {
      for (Asid b = a + 1; b < kDynamicAsids; ++b) {
        ok = ok &&
             (own.asids[a].context == kNoContext || own.asids[a].context != own.asids[b].context);
      }
    }
    const std::uint64_t pcid = tlb.config().processor.pcid ? own.loaded_asid + 1 : 0;
    ok = ok && x86::read_cr3() == (mm.root | pcid);
    if (!ok) wrong_asids.fetch_add(1, std::memory_order_relaxed);
  }

  /// The spaces are shared out among the CPUs; each CPU changes its own, with the mm loaded and
  /// the old entry cached.
  void change_own(CpuId cpu, std::uint64_t round) {
    for (std::size_t i = cpu; i < kRecycled; i += cpu_count()) {
      visit(i, round);
      mms[i].map(test_page(0), frames[(round + 1) % 2][i].address());
      if (read_marker(test_page(0)) == frames[round % 2][i].marker()) {
        stale_before_flush.fetch_add(1, std::memory_order_relaxed);
      }
      flush_pages(mms[i], test_page(0), 1);
    }
  }

  void operator()(CpuId cpu) {
    Random random{cpu + 7};
    for (std::uint64_t round = 0; round < kPasses; ++round) {
      for (std::uint64_t i = 0; i < kVisits; ++i) visit(random.below(kRecycled), round);
      barrier.wait();
      change_own(cpu, round);
      barrier.wait();
    }
    load_kernel_mm();
  }
};

/// On one CPU the ASIDs are a ring: the last mms visited have them, and a visit to one of those
/// changes nothing.
void check_ring(Report& report) {
  std::array<AddressSpace, kRecycled> mms;
  MarkedFrame frame;
  for (auto& mm : mms) {
    mm.map(test_page(0), frame.address());
    load(mm.core);
  }
  const auto& own = tlb.cpus[Hal::this_cpu()].own;
  const auto asids = own.asids;
  for (std::size_t i = kRecycled - kDynamicAsids; i < kRecycled; ++i) {
    bool found = false;
    for (const AsidState<Hal>& asid : asids) found = found || asid.context == mms[i].core.context;
    report.expect(found, "the mms visited last have the ASIDs");
  }
  const Asid cursor = own.next_asid;
  load(mms[kRecycled - 2].core);
  report.expect(read_marker(test_page(0)) == frame.marker(), "a kept ASID reads the right frame");
  report.expect(own.next_asid == cursor, "a kept ASID is found again");
  load_kernel_mm();
}

}  // namespace

void test_pcid_asid_recycling(Report& report) {
  {
    AsidScene scene;
    run_on_all(scene);
    report.expect(scene.stale_before_flush.load(std::memory_order_relaxed) > 0,
                  "stale entries were in use before the flushes");
    report.expect(scene.wrong_data.load(std::memory_order_relaxed) == 0,
                  "every visit reads its own mm's newest frame");
    report.expect(scene.wrong_asids.load(std::memory_order_relaxed) == 0,
                  "ASIDs, CR3 and loaded mm agree");
  }
  if (tlb.config().processor.pcid) check_ring(report);
}

}  // namespace shootdown::kernel
