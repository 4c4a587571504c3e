// Taking away the right to write from CPUs that write all the time: when the flush returns, no CPU
// does any more, whether targets answer before they flush or after.
#include "kernel-glue/kernel/self_tests/self_tests.h"
#include "kernel-glue/kernel/self_tests/support.h"

namespace shootdown::kernel {
namespace {

/// How the page is flushed after it has become read-only.
using Flush = void (*)(AddressSpace& mm, const FlushRange& range);

/// A page in which every CPU counts, each in a word of its own, until it is stopped.
class ProtectScene {
 public:
  ProtectScene() : programs_(mm_, other_cpus()), frame_(allocate_frame()) {
    mm_.map(page_, frame_);
  }
  ~ProtectScene() { free_frame(frame_); }
  ProtectScene(const ProtectScene&) = delete;
  ProtectScene& operator=(const ProtectScene&) = delete;

  void operator()(CpuId cpu) {
    load(mm_.core);
    exits_[cpu] = programs_.run(count_until_stopped, page_ + cpu * sizeof(std::uint64_t));
    ended_.fetch_add(1, std::memory_order_release);
    load_kernel_mm();
  }

  void run(Report& report, Flush flush) {
    for (CpuId cpu = 1; cpu < cpu_count(); ++cpu) start_on(cpu, *this);
    wait_for_progress();
    set_entry(mm_.page_entry(page_), frame_ | (kUserData & ~kWritable));
    // No CPU was told yet: stale entries still let all of them write.
    wait_for_progress();
    flush(mm_, {.start = page_, .end = page_ + kPageBytes});
    const auto counts = read_counts();
    give_time_to_fault();
    for (CpuId cpu = 1; cpu < cpu_count(); ++cpu) {
      programs_.page(cpu).stop.store(true, std::memory_order_release);
    }
    for (CpuId cpu = 1; cpu < cpu_count(); ++cpu) wait_for(cpu);
    report.expect(read_counts() == counts, "no CPU has written after the flush returned");
    for (CpuId cpu = 1; cpu < cpu_count(); ++cpu) check_exit(report, cpu);
  }

 private:
  using Counts = std::array<std::uint64_t, x86::kMaxCpus>;

  [[nodiscard]] Counts read_counts() const {
    Counts counts;
    const auto* words = direct_map<const volatile std::uint64_t>(frame_);
    for (std::size_t i = 0; i < counts.size(); ++i) counts[i] = words[i];
    return counts;
  }

  void wait_for_progress() const {
    constexpr std::uint64_t kSteps = 10;
    const Counts before = read_counts();
    const auto all_counted_on = [&] {
      const Counts now = read_counts();
      bool all = true;
      for (CpuId cpu = 1; cpu < cpu_count(); ++cpu) all = all && now[cpu] >= before[cpu] + kSteps;
      return all;
    };
    wait_until(all_counted_on, "CPUs that count in user mode");
  }

  /// A CPU that has answered early is not back in user mode yet. One that has not faulted in this
  /// time never will.
  void give_time_to_fault() const {
    constexpr std::uint64_t kPolls = 20'000;
    for (std::uint64_t polls = 0; polls < kPolls; ++polls) {
      if (ended_.load(std::memory_order_acquire) == cpu_count() - 1) return;
      x86::pause();
    }
  }

  void check_exit(Report& report, CpuId cpu) const {
    const UserExit& exit = exits_[cpu];
    report.expect(exit.faulted && exit.value == page_ + cpu * sizeof(std::uint64_t),
                  "every CPU's next write faults");
    report.expect(exit.error_code == (kFaultPresent | kFaultWrite | kFaultUser),
                  "because the page is read-only");
  }

  AddressSpace mm_;
  UserPrograms programs_;
  PhysAddr frame_;
  VirtAddr page_{test_page(11)};
  std::array<UserExit, x86::kMaxCpus> exits_{};
  x86::Atomic<CpuId> ended_{0};
};

}  // namespace

void test_protect(Report& report) {
  ProtectScene scene;
  scene.run(report,
            [](AddressSpace& mm, const FlushRange& range) { flush_pages(mm, range.start, 1); });
}

void test_protect_early(Report& report) {
  ProtectScene scene;
  scene.run(report, [](AddressSpace& mm, const FlushRange& range) {
    if (ordinary_shootdown == Shootdown::complete) {
      static_cast<void>(flush_tlb_mm_range_early(tlb, mm.core, range));
    }
  });
}

}  // namespace shootdown::kernel
