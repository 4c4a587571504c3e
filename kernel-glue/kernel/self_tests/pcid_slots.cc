// More address spaces than PCID slots, visited in a different order by every CPU while their pages
// change. The emulator does not tag entries with PCIDs, so what is checked is the data read, and
// that the core's slots name what the TLB may hold.
#include <array>

#include "kernel-glue/kernel/self_tests/self_tests.h"
#include "kernel-glue/kernel/self_tests/support.h"

namespace shootdown::kernel {
namespace {

constexpr std::size_t kRecycled = 9;
static_assert(kRecycled > kSlots);
constexpr std::uint64_t kPasses = 12;
constexpr std::uint64_t kVisits = 20;

struct SlotScene {
  std::array<AddressSpace, kRecycled> spaces;
  std::array<std::array<MarkedFrame, kRecycled>, 2> frames;
  Barrier barrier;
  x86::Atomic<std::uint64_t> wrong_data{0};
  x86::Atomic<std::uint64_t> wrong_slots{0};
  x86::Atomic<std::uint64_t> stale_before_flush{0};

  SlotScene() {
    for (std::size_t i = 0; i < kRecycled; ++i) spaces[i].map(test_page(0), frames[0][i].address());
  }

  void visit(std::size_t index, std::uint64_t round) {
    load(spaces[index].mm);
    if (read_marker(test_page(0)) != frames[round % 2][index].marker()) {
      wrong_data.fetch_add(1, std::memory_order_relaxed);
    }
    check_slots(spaces[index].mm);
  }

  /// The loaded slot names the loaded space; no space has two slots; CR3 is what they say.
  void check_slots(const Mm& mm) {
    InterruptsOff<Hal> guard;
    const auto& own = tlb.cpus[Hal::this_cpu()].own;
    bool ok = own.slots[own.loaded_slot].context == mm.context;
    for (Slot a = 0; a < kSlots; ++a) {
      for (Slot b = a + 1; b < kSlots; ++b) {
        ok = ok &&
             (own.slots[a].context == kNoContext || own.slots[a].context != own.slots[b].context);
      }
    }
    const std::uint64_t pcid = tlb.config.processor.pcid ? own.loaded_slot + 1 : 0;
    ok = ok && x86::read_cr3() == (mm.root | pcid);
    if (!ok) wrong_slots.fetch_add(1, std::memory_order_relaxed);
  }

  /// The spaces are shared out among the CPUs; each CPU changes its own, with the space loaded and
  /// the old entry cached.
  void change_own(CpuId cpu, std::uint64_t round) {
    for (std::size_t i = cpu; i < kRecycled; i += cpu_count()) {
      visit(i, round);
      spaces[i].map(test_page(0), frames[(round + 1) % 2][i].address());
      if (read_marker(test_page(0)) == frames[round % 2][i].marker()) {
        stale_before_flush.fetch_add(1, std::memory_order_relaxed);
      }
      flush_pages(spaces[i], test_page(0), 1);
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
    load_kernel_space();
  }
};

/// On one CPU the slots are a ring: the last spaces visited have them, and a visit to one of those
/// changes nothing.
void check_ring(Report& report) {
  std::array<AddressSpace, kRecycled> spaces;
  MarkedFrame frame;
  for (auto& space : spaces) {
    space.map(test_page(0), frame.address());
    load(space.mm);
  }
  const auto& own = tlb.cpus[Hal::this_cpu()].own;
  const auto slots = own.slots;
  for (std::size_t i = kRecycled - kSlots; i < kRecycled; ++i) {
    bool found = false;
    for (const SlotState& slot : slots) found = found || slot.context == spaces[i].mm.context;
    report.expect(found, "the spaces visited last have the slots");
  }
  const Slot cursor = own.next_slot;
  load(spaces[kRecycled - 2].mm);
  report.expect(read_marker(test_page(0)) == frame.marker(), "a kept slot reads the right frame");
  report.expect(own.next_slot == cursor, "a kept slot is found again");
  load_kernel_space();
}

}  // namespace

void test_pcid_slot_recycling(Report& report) {
  {
    SlotScene scene;
    run_on_all(scene);
    report.expect(scene.stale_before_flush.load(std::memory_order_relaxed) > 0,
                  "stale entries were in use before the flushes");
    report.expect(scene.wrong_data.load(std::memory_order_relaxed) == 0,
                  "every visit reads its own space's newest frame");
    report.expect(scene.wrong_slots.load(std::memory_order_relaxed) == 0,
                  "slots, CR3 and loaded space agree");
  }
  if (tlb.config.processor.pcid) check_ring(report);
}

}  // namespace shootdown::kernel
