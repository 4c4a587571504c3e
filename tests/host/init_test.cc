// INIT and startup interrupts: what a CPU that is reset at any step leaves, and what the core asks
// of a kernel that resets one.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>

#include "core/shootdown_all.h"
#include "tests/host/machine_fixture.h"

namespace shootdown::host {
namespace {

using Word = HostAtomic<std::uint64_t>;
constexpr VirtAddr kPage = 0x4000;
constexpr PhysAddr kUserRoot = 0;

void init(MachineFixture& fixture, CpuId cpu) {
  fixture.machine().interrupts().send_init(cpu, Site::current());
}
void start(MachineFixture& fixture, CpuId cpu) {
  fixture.machine().interrupts().send_startup(cpu, Site::current());
}

TEST(Init, LosesNoStoreAndEndsTheProgram) {
  MachineFixture fixture({.hardware = {.cpus = 2}, .memory = Memory::tso});
  Word word{0};
  bool goes_on = false;
  fixture.at(0, EventKind::preempt, 1);
  fixture.at(3, EventKind::preempt, 0);  // CPU 1 has stored, into its buffer
  fixture.on(0, [&] { init(fixture, 1); });
  fixture.on(1, [&] {
    word.store(1, std::memory_order_relaxed);
    HostHal::full_fence();
    goes_on = true;
  });
  const Report& report = fixture.run();
  EXPECT_FALSE(report.failed()) << report.title;
  EXPECT_EQ(word.peek(), 1u);
  EXPECT_FALSE(goes_on);
}

TEST(Init, KeepsTheTlbAndClearsTheControlRegisters) {
  MachineFixture fixture({.hardware = {.cpus = 2}});
  Tables tables(fixture.frames());
  tables.map(kPage);
  fixture.at(0, EventKind::preempt, 1);
  fixture.at(5, EventKind::preempt, 0);
  fixture.on(0, [&] { init(fixture, 1); });
  fixture.on(1, [&] {
    HostHal::write_cr3(tables.cr3(0));
    static_cast<void>(fixture.machine().translation().access(kPage, false));
    for (unsigned i = 0; i < 5; ++i) HostHal::full_fence();
  });
  const Report& report = fixture.run();
  EXPECT_FALSE(report.failed()) << report.title;
  const HostCpu& cpu = fixture.machine().cpu(1);
  EXPECT_NE(fixture.tlb(1).find(kPage, 0), nullptr);
  EXPECT_EQ(cpu.cr3, 0u);
  EXPECT_EQ(cpu.cr4, 0u);
  EXPECT_FALSE(cpu.interrupts_enabled);
}

TEST(Init, TheLocalApicForgetsAndTakesNothingUntilTheCpuStarts) {
  MachineFixture fixture({.hardware = {.cpus = 2}});
  unsigned taken = 0;
  HostCpuMask one;
  one.set(1);
  fixture.on_interrupt([&] { ++taken; });
  fixture.on(0, [&] {
    HostHal::send_call_function_ipi(one);  // pending when INIT comes
    init(fixture, 1);
    HostHal::send_call_function_ipi(one);
    start(fixture, 1);
    HostHal::send_call_function_ipi(one);
  });
  fixture.on_startup([] { HostHal::enable_interrupts(); });
  const Report& report = fixture.run();
  EXPECT_FALSE(report.failed()) << report.title;
  EXPECT_EQ(taken, 1u);
}

TEST(Init, AStartupInterruptIsForCpusThatWereResetAndTheNextRunIsAsAnyOther) {
  MachineFixture fixture({.hardware = {.cpus = 2}});
  std::string seen;
  const auto arrange = [&] {
    fixture.at(0, EventKind::preempt, 1);
    fixture.at(3, EventKind::preempt, 0);
    fixture.on(0, [&] {
      start(fixture, 1);
      init(fixture, 1);
      start(fixture, 1);
      start(fixture, 1);
    });
    fixture.on(1, [&] {
      HostHal::full_fence();
      seen += "p";
      HostHal::full_fence();
      seen += "q";
    });
    fixture.on_startup([&] { seen += "s" + std::to_string(HostHal::this_cpu()); });
  };
  for (unsigned run = 0; run < 2; ++run) {
    fixture.restart({.hardware = {.cpus = 2}});
    arrange();
    EXPECT_FALSE(fixture.run().failed());
  }
  EXPECT_EQ(seen, "ps1ps1");
}

// ---- With the core: CPU 1 runs an mm and goes offline, and is reset before one of its steps.

/// CPU 1 uses a page of an mm, goes offline, and stops. CPU 0 resets it after `steps` of its own
/// operations, or when it has gone, and takes the page away.
struct Kernel {
  static constexpr std::uint64_t kGone = 1;
  MachineFixture fixture;
  std::unique_ptr<System<HostHal>> system = std::make_unique<System<HostHal>>();
  std::unique_ptr<Mm<HostHal>> mm = std::make_unique<Mm<HostHal>>();
  Tables kernel_tables;
  Tables tables;
  Word state{0};
  Word up{0};
  bool awaits_offline;
  bool starts_again{true};
  unsigned flushed{0};
  std::uint32_t fresh{0};
  std::uint32_t used{0};  // by CPU 1 after its second start

  static Setup setup() {
    // Without CR4.PGE nothing drops the TLB as CR4 is loaded.
    return {.hardware = {.cpus = 2, .global_pages = false}};
  }
  static Config config() {
    Config config;
    config.processor.global_pages = false;
    return config;
  }

  explicit Kernel(std::uint64_t steps, bool offline_first)
      : fixture(setup()),
        kernel_tables(fixture.frames()),
        tables(fixture.frames()),
        awaits_offline(offline_first) {
    tables.map(kPage);
    initialize_system(*system, config(), kernel_tables.cr3(0));
    initialize_mm(*system, *mm, tables.cr3(0), kUserRoot);
    fixture.on_interrupt([this] { handle_call_function_interrupt(*system); });
    fixture.at(0, EventKind::preempt, 1);
    fixture.at(steps, EventKind::preempt, 0);
    fixture.on(0, [this] { reset_the_other(); });
    fixture.on(1, [this] {
      run_mm();
      HostHal::disable_interrupts();
      take_cpu_offline(*system);
      state.store(kGone, std::memory_order_release);
    });
    fixture.on_startup([this] {
      HostHal::write_cr4(kCr4Pcid);
      run_mm();
      used = fixture.tlb(1).find(kPage, fixture.machine().cpu(1).pcid())->frame;
    });
  }

  void run_mm() {
    HostHal::disable_interrupts();
    initialize_cpu(*system);
    switch_mm(*system, *mm);
    HostHal::enable_interrupts();
    static_cast<void>(fixture.machine().translation().access(kPage, false));
  }

  void reset_the_other() {
    HostHal::disable_interrupts();
    initialize_cpu(*system);
    HostHal::enable_interrupts();
    while (awaits_offline && state.load(std::memory_order_acquire) != kGone) HostHal::pause();
    init(fixture, 1);
    fresh = fixture.frames().allocate(FrameKind::data, 0, 0, 0);
    tables.entry(kPage, 1) = FramePool::address(fresh) | Tables::kLeaf;
    static_cast<void>(flush_tlb_mm(*system, *mm));
    ++flushed;
    if (starts_again) start(fixture, 1);
  }

  /// More operations than CPU 1 has.
  static constexpr std::uint64_t kSteps = 80;
};

TEST(Init, ACpuThatHasGoneOfflineIsResetAndComesBackWithoutOldTranslations) {
  for (std::uint64_t steps = 0; steps < Kernel::kSteps; ++steps) {
    Kernel kernel(steps, /*offline_first=*/true);
    const Report& report = kernel.fixture.run();
    ASSERT_FALSE(report.failed()) << steps << ": " << report.title << ": " << report.detail;
    ASSERT_EQ(kernel.flushed, 1u);
    ASSERT_EQ(kernel.used, kernel.fresh) << "a translation from before the reset, at " << steps;
  }
}

TEST(Init, ACpuInTheMiddleOfSomethingIsAwaitedForEverOrRefusedWhenItComesBack) {
  unsigned awaited = 0;
  unsigned refused = 0;
  unsigned unharmed = 0;
  for (std::uint64_t steps = 0; steps < Kernel::kSteps; ++steps) {
    Kernel kernel(steps, /*offline_first=*/false);
    const Report& report = kernel.fixture.run();
    if (report.kind == &kStuck) {
      EXPECT_EQ(kernel.flushed, 0u) << "an initiator that has its answer does not wait";
      ++awaited;
    } else if (report.failed()) {
      EXPECT_EQ(report.kind, &kCheck);
      EXPECT_EQ(report.title, "a CPU is brought up that has not gone offline") << steps;
      ++refused;
    } else {
      EXPECT_EQ(kernel.used, kernel.fresh);
      ++unharmed;
    }
  }
  // It has not come up yet or has gone; it is in the mask of the mm; or neither.
  EXPECT_GT(unharmed, 0u);
  EXPECT_GT(awaited, 0u);
  EXPECT_GT(refused, 0u);
}

}  // namespace
}  // namespace shootdown::host
