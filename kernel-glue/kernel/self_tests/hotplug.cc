// A CPU that goes offline is no target, keeps nothing stale when it comes back, and is a target
// again then: whether it waited with its TLB as it was, or was reset.
#include "kernel-glue/kernel/self_tests/kernel_window.h"
#include "kernel-glue/kernel/self_tests/self_tests.h"

namespace shootdown::kernel {
namespace {

/// The CPU that goes and comes.
CpuId traveller() { return cpu_count() - 1; }

struct HotplugScene {
  KernelWindow window;
  MarkedFrame old_frame;
  MarkedFrame new_frame;
  x86::Atomic<bool> offline{false};
  x86::Atomic<bool> may_return{false};
  std::uint64_t before{0};
  std::uint64_t while_offline{0};
  std::uint64_t after{0};

  HotplugScene() { KernelWindow::map(0, old_frame.address()); }

  void go_offline() {
    x86::disable_interrupts();
    before = read_marker(KernelWindow::page(0));
    take_this_cpu_offline();
    offline.store(true, std::memory_order_release);
  }
};

/// Changes the page while the traveller is away. Returns how many CPUs were told.
std::uint64_t change_meanwhile(HotplugScene& scene) {
  wait_until([&] { return scene.offline.load(std::memory_order_acquire); }, "a CPU to go offline");
  const std::uint64_t queued = counters_of(0).targets_queued;
  KernelWindow::map(0, scene.new_frame.address());
  flush_kernel_pages(KernelWindow::page(0), 1, Shootdown::complete);
  return counters_of(0).targets_queued - queued;
}

/// The CPU is a target as any other.
void check_back(Report& report) {
  AddressSpace mm;
  MarkedFrame old_frame;
  MarkedFrame new_frame;
  mm.map(test_page(0), old_frame.address());
  Mask reader;
  reader.set(traveller());
  SpinningReaders readers{mm, reader};
  readers.read(test_page(0));
  report.expect(readers.all_found(old_frame.marker()), "the CPU that came back runs user code");
  mm.map(test_page(0), new_frame.address());
  static_cast<void>(flush_tlb_page(tlb, mm.core, test_page(0)));
  readers.read(test_page(0));
  report.expect(readers.all_found(new_frame.marker()), "a shootdown reaches it again");
}

}  // namespace

void test_cpu_parked(Report& report) {
  HotplugScene scene;
  auto park = [&](CpuId) {
    scene.go_offline();
    while (!scene.may_return.load(std::memory_order_acquire)) x86::pause();
    scene.while_offline = read_marker(KernelWindow::page(0));
    initialize_tlb_on_this_cpu();
    scene.after = read_marker(KernelWindow::page(0));
    x86::enable_interrupts();
  };
  start_on(traveller(), park);
  const std::uint64_t told = change_meanwhile(scene);
  scene.may_return.store(true, std::memory_order_release);
  wait_for(traveller());
  report.expect(scene.before == scene.old_frame.marker(), "the CPU reads the first mapping");
  report.expect(told == cpu_count() - 2, "no CPU waits for one that has gone");
  report.expect(scene.while_offline == scene.old_frame.marker(), "what it has kept is stale");
  report.expect(scene.after == scene.new_frame.marker(), "it comes back with nothing stale");
  check_back(report);
}

void test_cpu_parked_with_a_call(Report& report) {
  AddressSpace left;
  AddressSpace mm;
  x86::Atomic<bool> deaf{false};
  x86::Atomic<bool> offline{false};
  x86::Atomic<bool> may_return{false};
  auto park = [&](CpuId) {
    load(left.core);
    load(mm.core);
    const InterruptsOff<Hal> guard;
    const Generation before = mm.core.tlb_gen.load(std::memory_order_acquire);
    deaf.store(true, std::memory_order_release);
    wait_until([&] { return mm.core.tlb_gen.load(std::memory_order_acquire) != before; },
               "a flush to begin");
    // In this time the flusher pushes its call, whose interrupt this CPU does not take.
    for (int pauses = 0; pauses < 2000; ++pauses) x86::pause();
    take_this_cpu_offline();
    offline.store(true, std::memory_order_release);
    while (!may_return.load(std::memory_order_acquire)) x86::pause();
    initialize_tlb_on_this_cpu();
  };
  start_on(traveller(), park);
  wait_until([&] { return deaf.load(std::memory_order_acquire); }, "a CPU to become deaf");
  const std::uint64_t queued = counters_of(0).targets_queued;
  static_cast<void>(flush_tlb_mm_range(tlb, mm.core, {}));
  report.expect(counters_of(0).targets_queued - queued == 1, "the call came before the CPU went");
  wait_until([&] { return offline.load(std::memory_order_acquire); }, "the CPU to go offline");
  static_cast<void>(flush_tlb_mm_range(tlb, left.core, {}));
  report.expect(counters_of(0).targets_queued - queued == 1,
                "no call comes later, though a lazily kept mask may name the CPU");
  may_return.store(true, std::memory_order_release);
  wait_for(traveller());
  check_back(report);
}

void test_cpu_restarted(Report& report) {
  HotplugScene scene;
  auto stop = [&](CpuId) {
    scene.go_offline();
    for (;;) asm volatile("hlt");
  };
  start_on(traveller(), stop);
  const std::uint64_t told = change_meanwhile(scene);
  restart_cpu(traveller());
  report.expect(told == cpu_count() - 2, "no CPU waits for one that has gone");
  report.expect(read_on(traveller(), KernelWindow::page(0)) == scene.new_frame.marker(),
                "it comes back with nothing stale");
  check_back(report);
}

}  // namespace shootdown::kernel
