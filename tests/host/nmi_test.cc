// Non-maskable interrupts: anywhere, but not inside each other (SDM vol. 3, 6.7).
#include <gtest/gtest.h>

#include <atomic>
#include <string>

#include "tests/host/machine_fixture.h"

namespace shootdown::host {
namespace {

using Word = HostAtomic<std::uint64_t>;
constexpr VirtAddr kWhere = 0x1234'5000;

/// The NMI handler writes down what it finds.
struct Bench {
  MachineFixture fixture;
  std::string seen;
  explicit Bench(const Setup& options = {}) : fixture(options) {
    fixture.on_nmi([this] {
      HostHal::full_fence();
      seen += HostHal::interrupts_enabled() ? "I" : "i";
      seen += HostHal::in_interrupt() ? "h" : "H";
      seen += std::to_string(fixture.machine().running().id);
    });
  }
  void run() {
    const Report& report = fixture.run();
    EXPECT_FALSE(report.failed()) << report.title << ": " << report.detail;
  }
};

TEST(Nmi, ArrivesBeforeTheNextOperationAndIsTheRightCpus) {
  Bench bench;
  bench.fixture.at(1, EventKind::nmi, 0, kWhere);
  bench.fixture.on(0, [&] {
    bench.seen += "a";
    HostHal::full_fence();
    bench.seen += "b";
    HostHal::full_fence();
    bench.seen += "c";
    EXPECT_TRUE(HostHal::interrupts_enabled());
    EXPECT_FALSE(HostHal::in_interrupt());
  });
  bench.run();
  EXPECT_EQ(bench.seen, "aih0bc");
  EXPECT_EQ(bench.fixture.machine().interrupts().nmis_delivered(), 1u);
  EXPECT_EQ(bench.fixture.machine().cpu(0).nmi_address, kWhere);
}

TEST(Nmi, ArrivesWithInterruptsOffAndLeavesThemOff) {
  Bench bench;
  bench.fixture.at(2, EventKind::nmi, 0);
  bench.fixture.on(0, [&] {
    HostHal::disable_interrupts();
    HostHal::full_fence();
    EXPECT_EQ(bench.seen, "ih0");
    EXPECT_FALSE(HostHal::interrupts_enabled());
  });
  bench.run();
}

TEST(Nmi, ComesInsideAnInterruptHandlerWhichGoesOn) {
  Bench bench({.hardware = {.cpus = 2}});
  bench.fixture.on_interrupt([&] {
    bench.seen += "{";
    // The first operation here is the third since the interrupt was sent.
    HostHal::full_fence();
    EXPECT_TRUE(HostHal::in_interrupt()) << "still in the handler of the interrupt";
    bench.seen += "}";
  });
  bench.fixture.on(0, [] {
    HostCpuMask target;
    target.set(1);
    HostHal::send_call_function_ipi(target);
  });
  bench.fixture.at(2, EventKind::nmi, 1);
  bench.run();
  EXPECT_EQ(bench.seen, "{ih1}");
}

TEST(Nmi, WaitsForTheEndOfTheOneBefore) {
  Bench bench;
  bench.fixture.on_nmi([&] {
    bench.seen += "(";
    HostHal::full_fence();
    HostHal::full_fence();
    HostHal::full_fence();
    bench.seen += ")";
  });
  bench.fixture.at(1, EventKind::nmi, 0);
  bench.fixture.at(1, EventKind::nmi, 0);
  bench.fixture.at(1, EventKind::nmi, 0);  // One waits at most.
  bench.fixture.on(0, [] {
    HostHal::full_fence();
    HostHal::full_fence();
  });
  bench.run();
  EXPECT_EQ(bench.seen, "()()");
}

TEST(Nmi, AMaskableInterruptWaitsForItsEnd) {
  Bench bench({.hardware = {.cpus = 2}});
  bench.fixture.on_interrupt([&] { bench.seen += "{}"; });
  bench.fixture.on_nmi([&] {
    bench.seen += "(";
    HostHal::full_fence();
    HostHal::full_fence();
    bench.seen += ")";
  });
  // CPU 0 takes the NMI; in the middle of it CPU 1 interrupts CPU 0 and goes on to its end.
  bench.fixture.at(1, EventKind::nmi, 0);
  bench.fixture.at(1, EventKind::preempt, 1);
  bench.fixture.on(0, [&] { HostHal::full_fence(); });
  bench.fixture.on(1, [&] {
    HostCpuMask target;
    target.set(0);
    HostHal::send_call_function_ipi(target);
  });
  bench.run();
  EXPECT_EQ(bench.seen, "(){}");
}

TEST(Nmi, ReachesACpuThatWaitsOrHasFinished) {
  Bench bench({.hardware = {.cpus = 2}});
  Word word;
  bench.fixture.on(0, [&] {
    while (word.load(std::memory_order_acquire) == 0) HostHal::pause();
  });
  bench.fixture.on(1, [&] {
    for (unsigned i = 0; i < 8; ++i) HostHal::full_fence();
    word.store(1, std::memory_order_release);
  });
  bench.fixture.at(10, EventKind::nmi, 0);
  bench.run();
  EXPECT_EQ(bench.seen, "ih0");

  Bench other({.hardware = {.cpus = 2}});
  other.fixture.on(1, [] {
    HostHal::full_fence();
    HostHal::full_fence();
  });
  other.fixture.at(1, EventKind::nmi, 0);
  other.run();
  EXPECT_EQ(other.seen, "ih0");
}

TEST(Nmi, DrainsTheStoreBufferOnItsWayInAndOut) {
  Bench bench({.memory = Memory::tso});
  Word before;
  Word inside;
  bench.fixture.on_nmi([&] {
    EXPECT_EQ(before.peek(), 1u);
    inside.store(1, std::memory_order_relaxed);
    EXPECT_EQ(inside.peek(), 0u) << "the handler's own store is buffered";
  });
  bench.fixture.at(2, EventKind::nmi, 0);
  bench.fixture.on(0, [&] {
    before.store(1, std::memory_order_relaxed);
    EXPECT_EQ(before.peek(), 0u);
    static_cast<void>(before.load(std::memory_order_relaxed));
    EXPECT_EQ(inside.peek(), 1u);
  });
  bench.run();
  EXPECT_EQ(bench.fixture.machine().interrupts().nmis_delivered(), 1u);
}

TEST(Nmi, AHandlerThatWaitsEndsTheRun) {
  Bench bench;
  bench.fixture.on_nmi([] { HostHal::pause(); });
  bench.fixture.at(1, EventKind::nmi, 0);
  bench.fixture.on(0, [] { HostHal::full_fence(); });
  EXPECT_EQ(bench.fixture.run().title, "a CPU waits with interrupts off");
}

}  // namespace
}  // namespace shootdown::host
