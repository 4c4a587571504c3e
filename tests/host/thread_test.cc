// Threads that two CPUs exchange: where they may leave, what goes with them, and what stays.
#include <gtest/gtest.h>

#include <atomic>
#include <string>

#include "tests/host/machine_fixture.h"

namespace shootdown::host {
namespace {

using Word = HostAtomic<std::uint64_t>;

/// A kernel whose scheduler does nothing but hand threads over.
struct Bench {
  MachineFixture fixture;
  std::string seen;
  explicit Bench(const Setup& options = {.hardware = {.cpus = 2}}) : fixture(options) {
    fixture.on_reschedule([this] {
      HostHal::enable_interrupts();
      fixture.machine().scheduler().exchange_threads();
      HostHal::disable_interrupts();
    });
  }
  /// The thread tells on which CPU it is.
  void tell(const char* thread) { seen += thread + std::to_string(HostHal::this_cpu()); }
  void run() {
    const Report& report = fixture.run();
    EXPECT_FALSE(report.failed()) << report.title << ": " << report.detail;
  }
};

TEST(Thread, GoesOnOnTheOtherCpuAndTheOthersThreadHere) {
  Bench bench;
  bench.fixture.at(1, EventKind::migrate, 0, 1);
  bench.fixture.on(0, [&] {
    bench.tell("a");
    HostHal::full_fence();
    HostHal::full_fence();
    bench.tell("a");
  });
  bench.fixture.on(1, [&] {
    bench.tell("b");
    HostHal::full_fence();
    bench.tell("b");
  });
  bench.run();
  EXPECT_EQ(bench.seen, "a0b1b0a1");
  EXPECT_EQ(bench.fixture.machine().cpu(0).exchange.done, 1u);
  EXPECT_EQ(bench.fixture.machine().cpu(0).preemption_off, 0u);
  EXPECT_EQ(bench.fixture.machine().cpu(1).preemption_off, 0u);
}

TEST(Thread, StaysWhilePreemptionIsOffAndLeavesAsItIsTurnedOn) {
  Bench bench;
  bench.fixture.at(0, EventKind::migrate, 0, 1);
  bench.fixture.on(0, [&] {
    {
      const PreemptionOff<HostHal> guard;
      HostHal::full_fence();
      HostHal::full_fence();
      bench.tell("a");
    }
    bench.tell("a");
  });
  bench.run();
  EXPECT_EQ(bench.seen, "a0a1");
}

TEST(Thread, StaysWhileInterruptsAreOff) {
  Bench bench;
  bench.fixture.at(2, EventKind::migrate, 0, 1);
  bench.fixture.on(0, [&] {
    HostHal::disable_interrupts();
    HostHal::full_fence();
    bench.tell("a");
    HostHal::enable_interrupts();
    bench.tell("a");
    HostHal::full_fence();
    bench.tell("a");
  });
  bench.run();
  EXPECT_EQ(bench.seen, "a0a0a1");
}

TEST(Thread, StaysWhileAHandlerRuns) {
  Bench bench;
  bench.fixture.at(1, EventKind::duplicate, 0);
  bench.fixture.at(1, EventKind::migrate, 0, 1);
  bench.fixture.on_interrupt([&] {
    HostHal::full_fence();
    HostHal::full_fence();
    bench.tell("h");
  });
  bench.fixture.on(0, [&] {
    HostHal::full_fence();
    bench.tell("a");
  });
  bench.run();
  EXPECT_EQ(bench.seen, "h0a1");
}

TEST(Thread, IsNotTakenOffAHandlerThatComesWhileItsCpuWaits) {
  Bench bench;
  bench.fixture.at(0, EventKind::migrate, 0, 1);
  // CPU 0 waits, idle; its handler is in the middle when CPU 1's thread comes off.
  bench.fixture.at(3, EventKind::duplicate, 0);
  bench.fixture.at(2, EventKind::preempt, 1);
  bench.fixture.on_interrupt([&] {
    bench.tell("h");
    HostHal::full_fence();
    HostHal::full_fence();
    HostHal::full_fence();
    bench.tell("h");
    EXPECT_TRUE(HostHal::in_interrupt());
  });
  bench.fixture.on(0, [&] {
    HostHal::full_fence();
    bench.tell("a");
    EXPECT_FALSE(HostHal::in_interrupt());
  });
  bench.fixture.on(1, [&] {
    HostHal::full_fence();
    HostHal::full_fence();
    HostHal::full_fence();
    bench.tell("b");
  });
  bench.run();
  EXPECT_FALSE(bench.fixture.machine().cpu(0).in_interrupt);
  EXPECT_FALSE(bench.fixture.machine().cpu(1).in_interrupt);
}

TEST(Thread, TakesItsStoresWithItAndFindsTheOtherThreads) {
  Bench bench({.hardware = {.cpus = 2}, .memory = Memory::tso});
  Word mine;
  Word other;
  bench.fixture.at(2, EventKind::migrate, 0, 1);
  bench.fixture.on(0, [&] {
    mine.store(1, std::memory_order_relaxed);
    HostHal::enable_interrupts();
    EXPECT_EQ(HostHal::this_cpu(), 1u);
    EXPECT_EQ(mine.load(std::memory_order_relaxed), 1u);
    EXPECT_EQ(mine.peek(), 1u) << "no store of the thread is left in the buffer of the CPU before";
  });
  bench.fixture.on(1, [&] { other.store(1, std::memory_order_relaxed); });
  bench.run();
}

TEST(Thread, GoesOnWhereItWasIfTheOtherCpuNeverHasTime) {
  Bench bench;
  bench.fixture.at(0, EventKind::migrate, 0, 1);
  bench.fixture.on(0, [&] {
    HostHal::full_fence();
    bench.tell("a");
  });
  // It ends with interrupts off, as a CPU does that goes offline.
  bench.fixture.on(1, [&] {
    const PreemptionOff<HostHal> guard;
    HostHal::disable_interrupts();
    HostHal::full_fence();
  });
  bench.run();
  EXPECT_EQ(bench.seen, "a0");
}

TEST(Thread, ThatHasFinishedMakesRoomForAnother) {
  Bench bench;
  bench.fixture.at(3, EventKind::preempt, 1);
  bench.fixture.at(2, EventKind::migrate, 0, 1);
  bench.fixture.on(0, [&] { bench.tell("a"); });
  bench.fixture.on(1, [&] {
    for (int i = 0; i < 8; ++i) HostHal::full_fence();
    bench.tell("b");
  });
  bench.run();
  EXPECT_EQ(bench.seen, "a0b0");
}

}  // namespace
}  // namespace shootdown::host
