// Kernel pages: cached by every CPU, lazy or not, and global unless page-table isolation is on.
#include "kernel-glue/kernel/self_tests/kernel_window.h"
#include "kernel-glue/kernel/self_tests/self_tests.h"

namespace shootdown::kernel {
namespace {

constexpr std::uint64_t kPages = 4;

struct KernelScene {
  KernelWindow window;
  MarkedFrame old_frame;
  MarkedFrame new_frame;

  KernelScene() {
    for (std::uint64_t i = 0; i < kPages; ++i) KernelWindow::map(i, old_frame.address());
  }
  void change() const {
    for (std::uint64_t i = 0; i < kPages; ++i) KernelWindow::map(i, new_frame.address());
  }
  [[nodiscard]] bool all_read(std::uint64_t first, std::uint64_t count, bool fresh) const {
    const std::uint64_t marker = fresh ? new_frame.marker() : old_frame.marker();
    bool all = true;
    for (std::uint64_t i = first; i < first + count; ++i) {
      all = all && all_cpus_read(KernelWindow::page(i), marker);
    }
    return all;
  }
};

std::uint64_t full_flushes() { return sum_counters(tlb).local_flush_all; }

/// The last CPU idles in lazy mode: flushes of kernel pages are meant for it all the same.
class LazyBystander {
 public:
  LazyBystander() {
    run_on(cpu_, [this](CpuId) {
      load(mm_.core);
      become_lazy();
    });
  }
  ~LazyBystander() {
    run_on(cpu_, [](CpuId) { load_kernel_mm(); });
  }
  LazyBystander(const LazyBystander&) = delete;
  LazyBystander& operator=(const LazyBystander&) = delete;

 private:
  AddressSpace mm_;
  CpuId cpu_{cpu_count() - 1};
};

/// Pages 1 and 2 were flushed one by one, after `full` flushes of everything.
void check_single_pages(Report& report, const KernelScene& scene, std::uint64_t full) {
  // Under isolation the user PCID's entry goes by INVPCID, at which the emulator drops more.
  const bool drops_more = !keeps_entries() || (isolated() && tlb.config().processor.pcid &&
                                               tlb.config().processor.invpcid);
  report.expect(drops_more || scene.all_read(0, 1, false), "the page before was kept");
  report.expect(drops_more || scene.all_read(3, 1, false), "the page behind was kept");
  report.expect(full_flushes() == full, "no CPU flushed everything");
  // Not global, an entry may be left in the PCID of any other ASID.
  const bool owes = !tlb.config().kernel_is_global() && tlb.config().processor.pcid;
  for (CpuId cpu = 0; cpu < cpu_count(); ++cpu) {
    report.expect(tlb.cpus[cpu].own.invalidate_other == owes,
                  "other ASIDs are emptied later exactly if kernel pages are not global");
  }
}

}  // namespace

void test_kernel_range(Report& report) {
  const KernelScene scene;
  const LazyBystander lazy;
  report.expect(scene.all_read(0, kPages, false), "every CPU reads the first mapping");
  scene.change();
  report.expect(scene.all_read(0, kPages, false), "without a flush every CPU uses stale entries");

  const std::uint64_t queued = counters_of(0).targets_queued;
  const std::uint64_t full = full_flushes();
  flush_kernel_pages(KernelWindow::page(1), 2);
  report.expect(scene.all_read(1, 2, true), "after the flush every CPU reads the new frame");
  report.expect(counters_of(0).targets_queued - queued == cpu_count() - 1,
                "every other CPU was told, the lazy one too");
  if (tlb.config().limits.ceiling_strides >= 2) check_single_pages(report, scene, full);

  const std::uint64_t below = full_flushes();
  flush_kernel_pages(KernelWindow::page(0), tlb.config().limits.ceiling_strides + 1);
  report.expect(scene.all_read(0, kPages, true), "above the ceiling everything is fresh");
  report.expect(full_flushes() - below == cpu_count(),
                "above the ceiling every CPU flushed it all");
}

void test_kernel_range_control(Report& report) {
  const KernelScene scene;
  report.expect(scene.all_read(0, kPages, false), "every CPU reads the first mapping");
  scene.change();
  flush_kernel_pages(KernelWindow::page(0), kPages, Shootdown::local_only);
  const VirtAddr page = KernelWindow::page(0);
  report.expect(read_on(0, page) == scene.new_frame.marker(), "the flusher reads the new frame");
  report.expect(others_read(page, scene.old_frame.marker()),
                "with the shootdown disabled every other CPU reads the old frame");
  static_cast<void>(flush_tlb_all(tlb));
  report.expect(scene.all_read(0, kPages, true), "a flush of everything reaches all of them");
}

void test_freed_kernel_tables(Report& report) {
  KernelScene scene;
  const VirtAddr page = KernelWindow::page(0);
  report.expect(scene.all_read(0, kPages, false), "every CPU reads the first mapping");
  scene.window.unhook();
  report.expect(scene.all_read(0, 1, false), "without a flush every CPU uses stale entries");
  scene.window.release(exclude_walkers(tlb, flush_tlb_all(tlb)));
  report.expect(all_cpus_read(page, 0), "the page is out of every CPU's reach");
}

}  // namespace shootdown::kernel
