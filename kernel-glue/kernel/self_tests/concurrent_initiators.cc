// Every CPU remaps a page of its own and flushes it, all at the same time; afterwards every CPU
// must see all changes. Also a deadlock test: each initiator waits for all the others.
#include <array>

#include "kernel-glue/kernel/self_tests/self_tests.h"
#include "kernel-glue/kernel/self_tests/support.h"

namespace shootdown::kernel {
namespace {

constexpr std::uint64_t kRounds = 40;

/// Two frames per CPU; in round r everybody's page maps frame r % 2.
struct Scene {
  AddressSpace space;
  std::array<std::array<MarkedFrame, x86::kMaxCpus>, 2> frames;
  Barrier barrier;
  x86::Atomic<std::uint64_t> stale_before_flush{0};
  x86::Atomic<std::uint64_t> stale_after_flush{0};

  void map_all() {
    for (CpuId cpu = 0; cpu < cpu_count(); ++cpu) {
      space.map(test_page(cpu), frames[0][cpu].address());
    }
  }

  /// Pages that do not show the frame of `round`.
  [[nodiscard]] std::uint64_t count_wrong(std::uint64_t round) const {
    std::uint64_t wrong = 0;
    for (CpuId cpu = 0; cpu < cpu_count(); ++cpu) {
      if (read_marker(test_page(cpu)) != frames[round % 2][cpu].marker()) ++wrong;
    }
    return wrong;
  }

  void operator()(CpuId cpu) {
    Random random{cpu + 1};
    load(space.mm);
    for (std::uint64_t round = 0; round < kRounds; ++round) {
      // Reading everything also fills the TLB with the entries that go stale now.
      stale_after_flush.fetch_add(count_wrong(round), std::memory_order_relaxed);
      barrier.wait();
      space.map(test_page(cpu), frames[(round + 1) % 2][cpu].address());
      if (read_marker(test_page(cpu)) == frames[round % 2][cpu].marker()) {
        stale_before_flush.fetch_add(1, std::memory_order_relaxed);
      }
      for (std::uint64_t pauses = random.below(64); pauses > 0; --pauses) x86::pause();
      flush_pages(space, test_page(cpu), 1);
      barrier.wait();
    }
    load_kernel_space();
  }
};

}  // namespace

void test_concurrent_initiators(Report& report) {
  Scene scene;
  scene.map_all();
  run_on_all(scene);
  report.expect(scene.stale_before_flush.load(std::memory_order_relaxed) >= kRounds,
                "stale entries were in use before the flushes");
  report.expect(scene.stale_after_flush.load(std::memory_order_relaxed) == 0,
                "no CPU used a stale entry after the flushes");
}

}  // namespace shootdown::kernel
