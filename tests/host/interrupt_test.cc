// Interrupts between simulated CPUs: gating, merging, delay, and the state in which handlers run.
#include <gtest/gtest.h>

#include <atomic>
#include <initializer_list>
#include <string>
#include <vector>

#include "tests/host/machine_fixture.h"

namespace shootdown::host {
namespace {

using Word = HostAtomic<std::uint64_t>;

void interrupt(CpuId target) {
  HostCpuMask targets;
  targets.set(target);
  HostHal::send_call_function_ipi(targets);
}

void wait_for(const Word& word, std::uint64_t value) {
  while (word.load(std::memory_order_acquire) != value) HostHal::pause();
}

/// Two CPUs; the handler counts its runs in a shared word.
struct Pair {
  MachineFixture fixture{{.hardware = {.cpus = 2}}};
  Word count;
  Pair() {
    fixture.on_interrupt([this] { count.fetch_add(1, std::memory_order_release); });
  }
  void run() {
    const Report& report = fixture.run();
    EXPECT_FALSE(report.failed()) << report.title << ": " << report.detail;
  }
};

void interrupt_all(std::initializer_list<CpuId> cpus) {
  HostCpuMask targets;
  for (const CpuId cpu : cpus) targets.set(cpu);
  HostHal::send_call_function_ipi(targets);
}

TEST(Interrupt, GoesTheCheapestWay) {
  MachineFixture fixture({.hardware = {.cpus = 6}});
  fixture.on(0, [] {
    interrupt_all({3});
    interrupt_all({1, 2, 3});
    interrupt_all({1, 2, 3, 4});
    interrupt_all({1, 2, 3, 4, 5});
  });
  EXPECT_FALSE(fixture.run().failed());
  const IpiCounts& counts = fixture.machine().interrupts().counts();
  EXPECT_EQ(counts.sends[static_cast<unsigned>(IpiMethod::one_by_one)], 1u);
  EXPECT_EQ(counts.sends[static_cast<unsigned>(IpiMethod::by_group)], 2u);
  EXPECT_EQ(counts.sends[static_cast<unsigned>(IpiMethod::all_but_self)], 1u) << "all five others";
  EXPECT_EQ(counts.commands, 1u + 1u + 2u + 1u);
}

TEST(Interrupt, ThatIsHeldBackArrivesBetweenLoadsOfTheCpusOwnWords) {
  for (const bool enabled : {true, false}) {
    Pair pair;
    Word ready;
    std::vector<std::uint64_t> seen;
    pair.fixture.at(0, EventKind::hold, 1, 2);
    pair.fixture.on(0, [&] {
      interrupt(1);
      ready.store(1, std::memory_order_release);
    });
    pair.fixture.on(1, [&] {
      if (!enabled) HostHal::disable_interrupts();
      // The interrupt waits for two operations, of whichever kind.
      static_cast<void>(ready.load(std::memory_order_acquire));
      for (unsigned i = 0; i < 3; ++i) seen.push_back(pair.count.owner_load());
      if (!enabled) HostHal::enable_interrupts();
    });
    pair.run();
    EXPECT_EQ(seen, enabled ? (std::vector<std::uint64_t>{0, 1, 1})
                            : (std::vector<std::uint64_t>{0, 0, 0}));
    EXPECT_EQ(pair.count.peek(), 1u);
  }
}

/// Two words of one CPU, which both CPUs of a run here treat as their own.
struct TwoWords {
  std::uint64_t first{0};
  std::uint64_t second{0};
};

/// What CPU 1 finds if an interrupt that adds one to both words is held back for `steps` of its
/// operations: a visible one, then `use` of the words.
template <class Use>
std::uint64_t after_hold(bool own_fields, std::uint64_t steps, Use use) {
  MachineFixture fixture({.hardware = {.cpus = 2}, .exploration = {.own_fields = own_fields}});
  Word ready;
  HostOwn<std::uint64_t> number;
  HostOwn<TwoWords> words;
  std::uint64_t seen = 0;
  fixture.on_interrupt([&] {
    number = number + 1;
    words = TwoWords{.first = 1, .second = 1};
  });
  fixture.at(0, EventKind::hold, 1, steps);
  fixture.on(0, [&] {
    interrupt(1);
    ready.store(1, std::memory_order_release);
  });
  fixture.on(1, [&] {
    static_cast<void>(ready.load(std::memory_order_acquire));
    seen = use(number, words);
  });
  EXPECT_FALSE(fixture.run().failed());
  return seen;
}

TEST(Interrupt, ThatIsHeldBackArrivesBetweenAccessesToPlainFields) {
  const auto add = [](auto& number, auto& /*words*/) {
    number = number + 1;
    return std::uint64_t{number};
  };
  EXPECT_EQ(after_hold(true, 1, add), 2u) << "before the read";
  EXPECT_EQ(after_hold(true, 2, add), 1u) << "between the read and the write: an addition is lost";
  EXPECT_EQ(after_hold(true, 3, add), 2u) << "behind the write";
  for (const std::uint64_t steps : {1, 2, 3}) EXPECT_EQ(after_hold(false, steps, add), 1u);
}

TEST(Interrupt, FindsALongPlainFieldHalfChanged) {
  const auto read = [](auto& /*number*/, auto& words) {
    const TwoWords found = words;
    return (found.first * 2) + found.second;
  };
  EXPECT_EQ(after_hold(true, 1, read), 3u);
  EXPECT_EQ(after_hold(true, 2, read), 1u) << "the first word from before, the second from after";
  EXPECT_EQ(after_hold(true, 3, read), 0u);
  EXPECT_EQ(after_hold(false, 2, read), 0u);
}

TEST(Interrupt, ThatGetsLostIsSentAgainWhenSomebodyHasWaitedForLong) {
  for (const bool reports : {true, false}) {
    Pair pair;
    pair.fixture.at(0, EventKind::lose, 1);
    pair.fixture.on(0, [&] {
      interrupt(1);
      for (unsigned pauses = 0; pair.count.load(std::memory_order_acquire) == 0;) {
        HostHal::pause();
        if (++pauses == 10 && reports) HostHal::report_unanswered({.target = 1});
      }
    });
    const Report& report = pair.fixture.run();
    EXPECT_EQ(report.failed(), !reports) << report.title;
    EXPECT_EQ(pair.count.peek(), reports ? 1u : 0u);
    if (!reports) EXPECT_EQ(report.kind, &kStuck) << "the interrupt is not sent again";
  }
}

TEST(Interrupt, OnlyTheNextOneGetsLost) {
  Pair pair;
  pair.fixture.at(0, EventKind::lose, 1);
  pair.fixture.on(0, [&] {
    interrupt(1);
    interrupt(1);
    wait_for(pair.count, 1);
  });
  pair.run();
}

TEST(Interrupt, MayArriveThoughNobodyHasSentIt) {
  Pair pair;
  pair.fixture.at(0, EventKind::duplicate, 1);
  pair.fixture.on(0, [&] { wait_for(pair.count, 1); });
  pair.run();
}

TEST(Interrupt, ReachesACpuThatHasFinished) {
  Pair pair;
  pair.fixture.at(1, EventKind::preempt, 1);
  pair.fixture.on(0, [&] {
    interrupt(1);
    wait_for(pair.count, 1);
  });
  pair.run();
  EXPECT_EQ(pair.fixture.machine().interrupts().delivered(), 1u);
}

TEST(Interrupt, ReachesACpuThatWaits) {
  Pair pair;
  pair.fixture.on(0, [&] { wait_for(pair.count, 1); });
  pair.fixture.on(1, [&] { interrupt(0); });
  pair.run();
  EXPECT_EQ(pair.count.peek(), 1u);
}

TEST(Interrupt, ReachesARunningCpuBeforeItsNextOperation) {
  Pair pair;
  std::string log;
  pair.fixture.on_interrupt([&] { log += 'i'; });
  pair.fixture.at(2, EventKind::preempt, 1);
  pair.fixture.on(0, [&] {
    for (int i = 0; i < 3; ++i) {
      HostHal::full_fence();
      log += 'a';
    }
  });
  pair.fixture.on(1, [&] { interrupt(0); });
  pair.run();
  EXPECT_EQ(log, "aiaa");
}

TEST(Interrupt, IsDeliveredBeforeTheRunEnds) {
  Pair pair;
  pair.fixture.on(1, [&] { interrupt(0); });
  pair.run();
  EXPECT_EQ(pair.count.peek(), 1u);
}

TEST(Interrupt, WaitsUntilInterruptsAreOn) {
  Pair pair;
  std::string log;
  pair.fixture.on_interrupt([&] { log += 'i'; });
  pair.fixture.at(2, EventKind::preempt, 1);
  pair.fixture.on(0, [&] {
    HostHal::disable_interrupts();
    HostHal::full_fence();
    HostHal::full_fence();
    log += 'a';
    HostHal::enable_interrupts();
    HostHal::full_fence();
    log += 'b';
  });
  pair.fixture.on(1, [&] { interrupt(0); });
  pair.run();
  EXPECT_EQ(log, "aib");
}

TEST(Interrupt, MergesWithOneThatIsPending) {
  Pair pair;
  pair.fixture.at(2, EventKind::preempt, 1);
  pair.fixture.on(0, [&] {
    HostHal::disable_interrupts();
    HostHal::full_fence();
    HostHal::enable_interrupts();
  });
  pair.fixture.on(1, [&] {
    for (int i = 0; i < 3; ++i) interrupt(0);
  });
  pair.run();
  EXPECT_EQ(pair.fixture.machine().interrupts().delivered(), 1u);
}

TEST(Interrupt, ThatArrivesInTheHandlerComesAfterIt) {
  Pair pair;
  std::string log;
  pair.fixture.on_interrupt([&] {
    log += '<';
    if (log.size() == 1) interrupt(0);
    HostHal::full_fence();
    log += '>';
  });
  pair.fixture.on(1, [&] { interrupt(0); });
  pair.run();
  EXPECT_EQ(log, "<><>");
}

TEST(Interrupt, HandlerRunsWithInterruptsOffAndSaysSo) {
  Pair pair;
  bool inside = false;
  pair.fixture.on_interrupt([&] {
    inside = true;
    EXPECT_FALSE(HostHal::interrupts_enabled());
    EXPECT_TRUE(HostHal::in_interrupt());
    EXPECT_EQ(HostHal::this_cpu(), 0u);
  });
  pair.fixture.on(1, [&] { interrupt(0); });
  pair.run();
  EXPECT_TRUE(inside);
  EXPECT_TRUE(pair.fixture.machine().cpu(0).interrupts_enabled) << "the return restores the flag";
  EXPECT_FALSE(pair.fixture.machine().cpu(0).in_interrupt);
}

TEST(Interrupt, GoesToEachTargetOnce) {
  MachineFixture fixture({.hardware = {.cpus = 4}});
  std::string log;
  fixture.on_interrupt([&] { log += static_cast<char>('0' + HostHal::this_cpu()); });
  fixture.on(0, [] {
    HostCpuMask targets;
    targets.set(1);
    targets.set(3);
    HostHal::send_call_function_ipi(targets);
  });
  EXPECT_FALSE(fixture.run().failed());
  EXPECT_EQ(log, "13");
}

TEST(Hold, KeepsTheInterruptAwayForThatManyOperations) {
  for (unsigned hold = 0; hold < 4; ++hold) {
    Pair pair;
    std::string log;
    pair.fixture.on_interrupt([&] { log += 'i'; });
    pair.fixture.at(1, EventKind::hold, 0, hold);
    pair.fixture.at(1, EventKind::preempt, 1);
    pair.fixture.on(0, [&] {
      for (int i = 0; i < 5; ++i) {
        HostHal::full_fence();
        log += 'a';
      }
    });
    pair.fixture.on(1, [&] { interrupt(0); });
    pair.run();
    std::string expected = "aaaaa";
    expected.insert(1 + hold, "i");
    EXPECT_EQ(log, expected) << "hold " << hold;
  }
}

TEST(Hold, EndsWhenTheCpuHasNothingElseToDo) {
  Pair pair;
  pair.fixture.at(1, EventKind::hold, 0, 200);
  pair.fixture.on(0, [&] { wait_for(pair.count, 1); });
  pair.fixture.on(1, [&] { interrupt(0); });
  pair.run();
  EXPECT_EQ(pair.count.peek(), 1u);
}

TEST(Hold, EndsWhenTheCpuHasFinished) {
  Pair pair;
  pair.fixture.at(1, EventKind::hold, 0, 200);
  pair.fixture.on(0, [] { HostHal::full_fence(); });
  pair.fixture.on(1, [&] {
    interrupt(0);
    wait_for(pair.count, 1);
  });
  pair.run();
}

TEST(Interrupt, ObserverHearsOfItBeforeItIsPending) {
  class Ear final : public SilentObserver {
   public:
    void on_ipi(CpuId cpu, const HostCpuMask& targets) override {
      heard = cpu == 1 && targets.test(0) && targets.count() == 1 && !machine->cpu(0).call_pending;
    }
    Machine* machine{nullptr};
    bool heard{false};
  } ear;
  MachineFixture fixture({.hardware = {.cpus = 2}, .observer = &ear});
  ear.machine = &fixture.machine();
  fixture.on(1, [&] { interrupt(0); });
  EXPECT_FALSE(fixture.run().failed());
  EXPECT_TRUE(ear.heard);
}

TEST(Guards, RestoreWhatWasBefore) {
  MachineFixture fixture;
  fixture.run([&] {
    {
      const InterruptsOff<HostHal> outer;
      {
        const InterruptsOff<HostHal> inner;
        EXPECT_FALSE(HostHal::interrupts_enabled());
      }
      EXPECT_FALSE(HostHal::interrupts_enabled()) << "only the outer one turns them on";
      const PreemptionOff<HostHal> preemption;
      EXPECT_EQ(fixture.machine().running().preemption_off, 1u);
    }
    EXPECT_TRUE(HostHal::interrupts_enabled());
    EXPECT_EQ(fixture.machine().running().preemption_off, 0u);
  });
}

}  // namespace
}  // namespace shootdown::host
