// The reclaim batch: one flush for pages of several mms, and the mark for operations that come
// before it.
#include "kernel-glue/kernel/self_tests/self_tests.h"
#include "kernel-glue/kernel/self_tests/support.h"

namespace shootdown::kernel {
namespace {

/// Two mms with the same page; CPU 1 runs the first, every other CPU runs the second.
struct ReclaimScene {
  AddressSpace first;
  AddressSpace second;
  MarkedFrame old_frame;
  MarkedFrame new_frame;
  VirtAddr page{test_page(5)};

  ReclaimScene() {
    first.map(page, old_frame.address());
    second.map(page, old_frame.address());
  }
  static Mask first_cpus() {
    Mask cpus;
    cpus.set(1);
    return cpus;
  }
  static Mask second_cpus() {
    Mask cpus = other_cpus();
    cpus.clear(1);
    return cpus;
  }
};

/// What `ReclaimBatch::flush` stands for in this boot.
void flush_batch(ReclaimBatch<Hal>& batch, VirtAddr page) {
  if (ordinary_shootdown == Shootdown::complete) {
    static_cast<void>(batch.flush(tlb));
  } else {
    x86::invlpg(page);
  }
}

}  // namespace

void test_reclaim_batch(Report& report) {
  ReclaimScene scene;
  load(scene.second.core);
  {
    SpinningReaders first{scene.first, ReclaimScene::first_cpus()};
    SpinningReaders second{scene.second, ReclaimScene::second_cpus()};
    const auto all_read = [&](const MarkedFrame& frame) {
      first.read(scene.page);
      second.read(scene.page);
      return first.all_found(frame.marker()) && second.all_found(frame.marker()) &&
             read_marker(scene.page) == frame.marker();
    };
    report.expect(all_read(scene.old_frame), "every CPU reads the first mapping");

    ReclaimBatch<Hal> batch;
    for (AddressSpace* mm : {&scene.first, &scene.second}) {
      mm->map(scene.page, scene.new_frame.address());
      batch.add(tlb, mm->core);
    }
    report.expect(all_read(scene.old_frame), "until the batch is flushed the entries are stale");
    const std::uint64_t queued = counters_of(0).targets_queued;
    const std::uint64_t sent = counters_of(0).remote_flush_sent;
    flush_batch(batch, scene.page);
    report.expect(all_read(scene.new_frame), "after the flush every CPU reads the new frame");
    report.expect(counters_of(0).remote_flush_sent - sent == 1, "it was one flush");
    report.expect(counters_of(0).targets_queued - queued == cpu_count() - 1,
                  "every other CPU was told once");
    report.expect(batch.empty(), "the batch is empty again");
  }
  load_kernel_mm();
}

void test_pending_batch(Report& report) {
  ReclaimScene scene;
  {
    SpinningReaders first{scene.first, ReclaimScene::first_cpus()};
    first.read(scene.page);
    report.expect(first.all_found(scene.old_frame.marker()), "CPU 1 reads the first mapping");

    // The reclaimer has added the mm and has not flushed yet.
    ReclaimBatch<Hal> batch;
    scene.first.map(scene.page, scene.new_frame.address());
    batch.add(tlb, scene.first.core);
    first.read(scene.page);
    report.expect(first.all_found(scene.old_frame.marker()), "until then its entry is stale");
    if (ordinary_shootdown == Shootdown::complete) flush_tlb_batched_pending(tlb, scene.first.core);
    first.read(scene.page);
    report.expect(first.all_found(scene.new_frame.marker()),
                  "an operation that depends on it flushes what is pending");

    const std::uint64_t queued = counters_of(0).targets_queued;
    flush_tlb_batched_pending(tlb, scene.first.core);
    flush_tlb_batched_pending(tlb, scene.second.core);
    report.expect(counters_of(0).targets_queued == queued, "nothing is pending any more");
    static_cast<void>(batch.flush(tlb));
  }
}

}  // namespace shootdown::kernel
