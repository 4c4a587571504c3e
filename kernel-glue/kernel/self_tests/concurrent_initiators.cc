// Every CPU is an initiator: one after the other, and all at the same time. Afterwards every CPU
// must see all changes. The second is also a deadlock test, because each initiator waits for all
// others.
#include <array>

#include "kernel-glue/kernel/self_tests/self_tests.h"
#include "kernel-glue/kernel/self_tests/support.h"

namespace shootdown::kernel {
namespace {

constexpr std::uint64_t kRounds = 40;

/// Each CPU has a page and two frames for it; the page maps frame `version % 2`.
class InitiatorScene {
 public:
  /// In a round the CPUs for which `is_initiator(cpu, round)` holds change and flush their page.
  using Initiators = bool (*)(CpuId cpu, std::uint64_t round);

  explicit InitiatorScene(Initiators is_initiator) : is_initiator_(is_initiator) {
    for (CpuId cpu = 0; cpu < cpu_count(); ++cpu) {
      mm_.map(test_page(cpu), frames_[0][cpu].address());
    }
  }

  [[nodiscard]] std::uint64_t stale_before_flush() const {
    return stale_before_flush_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t stale_after_flush() const {
    return stale_after_flush_.load(std::memory_order_relaxed);
  }

  /// The work of one CPU. Both barriers keep the rounds apart, so `versions` changes only while no
  /// CPU reads it.
  void operator()(CpuId cpu) {
    Random random{cpu + 1};
    load(mm_.core);
    for (std::uint64_t round = 0; round < kRounds; ++round) {
      // Reading everything also fills the TLB with the entries that go stale now.
      stale_after_flush_.fetch_add(count_stale(), std::memory_order_relaxed);
      barrier_.wait();
      if (is_initiator_(cpu, round)) change_own_page(cpu, random);
      barrier_.wait();
    }
    stale_after_flush_.fetch_add(count_stale(), std::memory_order_relaxed);
    load_kernel_mm();
  }

 private:
  /// Pages that do not show what their CPU has mapped last.
  [[nodiscard]] std::uint64_t count_stale() const {
    std::uint64_t stale = 0;
    for (CpuId cpu = 0; cpu < cpu_count(); ++cpu) {
      if (read_marker(test_page(cpu)) != frame_of(cpu, versions_[cpu]).marker()) ++stale;
    }
    return stale;
  }

  void change_own_page(CpuId cpu, Random& random) {
    const std::uint64_t version = ++versions_[cpu];
    mm_.map(test_page(cpu), frame_of(cpu, version).address());
    if (read_marker(test_page(cpu)) == frame_of(cpu, version - 1).marker()) {
      stale_before_flush_.fetch_add(1, std::memory_order_relaxed);
    }
    for (std::uint64_t pauses = random.below(64); pauses > 0; --pauses) x86::pause();
    flush_pages(mm_, test_page(cpu), 1);
  }

  [[nodiscard]] const MarkedFrame& frame_of(CpuId cpu, std::uint64_t version) const {
    return frames_[version % 2][cpu];
  }

  AddressSpace mm_;
  Initiators is_initiator_;
  std::array<std::array<MarkedFrame, x86::kMaxCpus>, 2> frames_;
  std::array<std::uint64_t, x86::kMaxCpus> versions_{};
  x86::Atomic<std::uint64_t> stale_before_flush_{0};
  x86::Atomic<std::uint64_t> stale_after_flush_{0};
  Barrier barrier_;
};

void run_scene(Report& report, InitiatorScene::Initiators is_initiator) {
  InitiatorScene scene{is_initiator};
  run_on_all(scene);
  report.expect(scene.stale_before_flush() >= kRounds || !keeps_entries(),
                "stale entries were in use before the flushes");
  report.expect(scene.stale_after_flush() == 0, "no CPU used a stale entry after the flushes");
}

}  // namespace

void test_initiators_in_turn(Report& report) {
  run_scene(report, [](CpuId cpu, std::uint64_t round) { return round % cpu_count() == cpu; });
}

void test_concurrent_initiators(Report& report) {
  run_scene(report, [](CpuId, std::uint64_t) { return true; });
}

}  // namespace shootdown::kernel
