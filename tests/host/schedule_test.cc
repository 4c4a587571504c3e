// Which CPU runs when: the default schedule, deviations from it, waiting, and runs that cannot end.
#include "hal/host/schedule.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>

#include "tests/host/machine_fixture.h"

namespace shootdown::host {
namespace {

using Word = HostAtomic<std::uint64_t>;

/// Writes the CPU's number down before each of `count` visible operations.
MachineFixture::Program steps(std::string& log, char name, unsigned count) {
  return [&log, name, count] {
    for (unsigned i = 0; i < count; ++i) {
      HostHal::full_fence();
      log += name;
    }
  };
}

void wait_for(Word& word, std::uint64_t value) {
  while (word.load(std::memory_order_acquire) != value) HostHal::pause();
}

TEST(DefaultSchedule, RunsEachCpuToItsEndInTurn) {
  std::string log;
  MachineFixture fixture({.hardware = {.cpus = 3}});
  for (CpuId cpu = 0; cpu < 3; ++cpu) fixture.on(cpu, steps(log, static_cast<char>('a' + cpu), 3));
  EXPECT_FALSE(fixture.run().failed());
  EXPECT_EQ(log, "aaabbbccc");
}

TEST(DefaultSchedule, GoesToTheNextCpuInTurnWhenOneWaits) {
  std::string log;
  Word word;
  MachineFixture fixture({.hardware = {.cpus = 3}});
  fixture.on(0, [&] {
    wait_for(word, 1);
    log += 'a';
  });
  fixture.on(1, steps(log, 'b', 2));
  fixture.on(2, [&] {
    log += 'c';
    word.store(1, std::memory_order_release);
    log += 'c';
  });
  EXPECT_FALSE(fixture.run().failed());
  EXPECT_EQ(log, "bbcca");
}

TEST(DefaultSchedule, CpusOutsideTheMachineDoNotRun) {
  std::string log;
  MachineFixture fixture({.hardware = {.cpus = 2}});
  for (CpuId cpu = 0; cpu < kHostCpus; ++cpu) {
    fixture.on(cpu, steps(log, static_cast<char>('a' + cpu), 1));
  }
  EXPECT_FALSE(fixture.run().failed());
  EXPECT_EQ(log, "ab");
}

TEST(Preempt, LetsAnotherCpuRunBeforeTheOperation) {
  std::string log;
  MachineFixture fixture({.hardware = {.cpus = 2}});
  fixture.at(2, EventKind::preempt, 1);
  fixture.on(0, steps(log, 'a', 3));
  fixture.on(1, steps(log, 'b', 2));
  EXPECT_FALSE(fixture.run().failed());
  EXPECT_EQ(log, "abbaa") << "before the second operation of the first CPU";
}

TEST(Preempt, CountsTheOperationsOfAllCpusFromThePreviousAction) {
  std::string log;
  MachineFixture fixture({.hardware = {.cpus = 2}});
  fixture.at(2, EventKind::preempt, 1);
  fixture.at(1, EventKind::preempt, 0);
  fixture.at(2, EventKind::preempt, 1);
  fixture.on(0, steps(log, 'a', 4));
  fixture.on(1, steps(log, 'b', 4));
  EXPECT_FALSE(fixture.run().failed());
  EXPECT_EQ(log, "aaabbbba");
}

TEST(Preempt, OfTheRunningOrAWaitingCpuChangesNothing) {
  std::string log;
  Word word;
  MachineFixture fixture({.hardware = {.cpus = 2}});
  fixture.on(0, [&] {
    wait_for(word, 1);
    log += 'a';
  });
  fixture.on(1, [&] {
    steps(log, 'b', 4)();
    word.store(1, std::memory_order_release);
  });
  fixture.at(1, EventKind::preempt, 0);  // It runs.
  fixture.at(6, EventKind::preempt, 0);  // It waits, and nothing has changed.
  EXPECT_FALSE(fixture.run().failed());
  EXPECT_EQ(log, "bbbba");
}

TEST(Actions, OfOneMomentAreAllDone) {
  MachineFixture fixture({.hardware = {.cpus = 2}});
  Tables tables(fixture.frames());
  tables.map(0x1000);
  tables.map(0x2000);
  fixture.at(2, EventKind::fill, 0, 0x1000);
  fixture.at(0, EventKind::fill, 0, 0x2000);
  fixture.run([&] {
    HostHal::write_cr3(tables.cr3(1));
    EXPECT_EQ(fixture.tlb().entries.size(), 0u);
    HostHal::full_fence();
    EXPECT_EQ(fixture.tlb().entries.size(), 2u);
  });
}

TEST(Actions, BehindTheEndOfTheRunAreIgnored) {
  std::string log;
  MachineFixture fixture({.hardware = {.cpus = 2}});
  fixture.at(100, EventKind::preempt, 1);
  fixture.on(0, steps(log, 'a', 1));
  EXPECT_FALSE(fixture.run().failed());
  EXPECT_EQ(log, "a");
}

// ---- Waiting

TEST(Pause, BlocksUntilSomethingChanges) {
  Word word;
  unsigned looks = 0;
  MachineFixture fixture({.hardware = {.cpus = 2}});
  fixture.on(0, [&] {
    for (; word.load(std::memory_order_acquire) == 0; ++looks) HostHal::pause();
  });
  fixture.on(1, [&] {
    for (int i = 0; i < 50; ++i) HostHal::full_fence();
    word.store(1, std::memory_order_release);
  });
  EXPECT_FALSE(fixture.run().failed());
  EXPECT_LE(looks, 3u) << "a waiting CPU does not spin";
}

TEST(Pause, AChangeBetweenTheLookAndThePauseIsNotLost) {
  // The word changes after the load that sees 0 and before the pause that follows, for each pause.
  for (std::uint64_t delay = 1; delay < 8; ++delay) {
    Word word;
    MachineFixture fixture({.hardware = {.cpus = 2}});
    fixture.at(delay, EventKind::preempt, 1);
    fixture.on(0, [&] { wait_for(word, 1); });
    fixture.on(1, [&] { word.store(1, std::memory_order_release); });
    EXPECT_FALSE(fixture.run().failed()) << "preempted at " << delay;
  }
}

TEST(Pause, TwoWaitsInARowEachSeeTheirOwnChange) {
  Word first;
  Word second;
  std::string log;
  MachineFixture fixture({.hardware = {.cpus = 2}});
  fixture.on(0, [&] {
    wait_for(first, 1);
    log += '1';
    wait_for(second, 1);
    log += '2';
  });
  fixture.on(1, [&] {
    first.store(1, std::memory_order_release);
    for (int i = 0; i < 5; ++i) HostHal::full_fence();
    second.store(1, std::memory_order_release);
  });
  EXPECT_FALSE(fixture.run().failed());
  EXPECT_EQ(log, "12");
}

TEST(Pause, WithInterruptsOffFailsAtOnce) {
  MachineFixture fixture;
  bool reached = false;
  const Report& report = fixture.run([&] {
    HostHal::disable_interrupts();
    HostHal::pause();
    reached = true;
  });
  EXPECT_EQ(report.kind, &kStuck);
  EXPECT_EQ(report.title, "a CPU waits with interrupts off");
  EXPECT_FALSE(reached);
}

// ---- Runs that do not end

TEST(Deadlock, IsToldWhenNobodyCanRun) {
  Word word;
  MachineFixture fixture({.hardware = {.cpus = 2}});
  fixture.on(0, [&] { wait_for(word, 1); });
  fixture.on(1, [&] { wait_for(word, 2); });
  const Report& report = fixture.run();
  EXPECT_EQ(report.kind, &kStuck);
  EXPECT_EQ(report.title, "all CPUs wait");
  EXPECT_EQ(report.detail, "cpu0: waits, interrupts on. cpu1: waits, interrupts on. ");
}

TEST(Deadlock, IsToldWhenTheOthersHaveFinished) {
  Word word;
  MachineFixture fixture({.hardware = {.cpus = 2}});
  fixture.on(0, [&] { wait_for(word, 1); });
  const Report& report = fixture.run();
  EXPECT_EQ(report.kind, &kStuck);
  EXPECT_EQ(report.detail, "cpu0: waits, interrupts on. cpu1: has no more work, interrupts on. ");
}

TEST(StepLimit, EndsALivelock) {
  Word word;
  MachineFixture fixture({.hardware = {.cpus = 2}, .exploration = {.step_limit = 1000}});
  const auto flip = [&] {
    for (;;) word.fetch_add(1, std::memory_order_relaxed);
  };
  fixture.on(0, flip);
  fixture.on(1, flip);
  const Report& report = fixture.run();
  EXPECT_EQ(report.kind, &kStuck);
  EXPECT_EQ(report.title, "a run does not end");
  EXPECT_EQ(fixture.machine().step(), 1000u);
}

TEST(StepLimit, EndsALivelockWithActionsLeft) {
  MachineFixture fixture({.exploration = {.step_limit = 50}});
  fixture.at(10, EventKind::preempt, 0);
  fixture.at(1000, EventKind::preempt, 0);
  const Report& report = fixture.run([] {
    for (;;) HostHal::full_fence();
  });
  EXPECT_EQ(report.title, "a run does not end");
  EXPECT_EQ(fixture.machine().step(), 50u);
}

TEST(StepLimit, DoesNotTouchARunThatEndsBefore) {
  std::string log;
  MachineFixture fixture({.exploration = {.step_limit = 5}});
  EXPECT_FALSE(fixture.run(steps(log, 'a', 4)).failed());
}

// ---- Runs after runs

TEST(Machine, RunsAgainAfterAFailureAndAfterASuccess) {
  Word word;
  std::string log;
  MachineFixture fixture({.hardware = {.cpus = 3}});
  for (int round = 0; round < 10; ++round) {
    fixture.restart({.hardware = {.cpus = 3}});
    fixture.on(0, [&] { wait_for(word, 1); });
    EXPECT_EQ(fixture.run().kind, &kStuck);
    fixture.restart({.hardware = {.cpus = 2}});
    fixture.on(0, steps(log, 'a', 1));
    fixture.on(1, steps(log, 'b', 1));
    EXPECT_FALSE(fixture.run().failed());
  }
  EXPECT_EQ(log, "abababababababababab");
}

TEST(Machine, ForgetsThePreviousRun) {
  MachineFixture fixture({.hardware = {.cpus = 2}});
  Tables tables(fixture.frames());
  tables.map(0x1000);
  fixture.run([&] {
    HostHal::write_cr3(tables.cr3(1));
    fixture.machine().translation().access(0x1000, false);
    HostHal::disable_interrupts();
    HostHal::disable_preemption();
    HostHal::fail({.rule = Rule::r1, .what = "on purpose", .where = Site::current()});
  });
  ASSERT_TRUE(fixture.machine().report().failed());
  fixture.restart({.hardware = {.cpus = 2}});
  const HostCpu& cpu = fixture.machine().cpu(0);
  EXPECT_EQ(cpu.cr3, 0u);
  EXPECT_EQ(cpu.tlb.entries.size(), 0u);
  EXPECT_EQ(cpu.tlb.psc.size(), 0u);
  EXPECT_FALSE(cpu.interrupts_enabled);
  EXPECT_EQ(cpu.preemption_off, 0u);
  EXPECT_FALSE(fixture.machine().report().failed());
  EXPECT_EQ(fixture.machine().step(), 0u);
  EXPECT_EQ(fixture.frames().info(0).kind, FrameKind::free);
}

TEST(Machine, AFailureInTheCoreNamesTheRuleAndEndsTheRun) {
  MachineFixture fixture({.hardware = {.cpus = 2}});
  bool reached = false;
  fixture.on(0, [] {
    HostHal::fail({.rule = Rule::r12, .what = "the flush waits", .where = Site::current()});
  });
  fixture.on(1, [&] { reached = true; });
  const Report& report = fixture.run();
  EXPECT_EQ(report.kind, &kCheck);
  EXPECT_EQ(report.title, "the flush waits");
  EXPECT_NE(report.detail.find("R12"), std::string::npos);
  EXPECT_FALSE(reached);
}

TEST(Machine, TheFirstReportOfACallbackCountsAndEndsTheRun) {
  static constexpr ReportKind kFirst{.name = "FIRST", .promise = "one thing"};
  static constexpr ReportKind kSecond{.name = "SECOND", .promise = "another thing"};
  class Judge final : public SilentObserver {
   public:
    void after_change(CpuId /*cpu*/) override {
      machine->report_failure({.kind = &kFirst, .title = "first"});
      machine->report_failure({.kind = &kSecond, .title = "second"});
    }
    Machine* machine{nullptr};
  } judge;
  MachineFixture fixture({.observer = &judge});
  judge.machine = &fixture.machine();
  Word word;
  bool reached = false;
  const Report& report = fixture.run([&] {
    word.store(1, std::memory_order_relaxed);
    reached = true;
  });
  EXPECT_EQ(report.title, "first");
  EXPECT_EQ(report.name(), "FIRST");
  EXPECT_FALSE(reached);
}

TEST(Machine, TwoOfThemTakeTurnsInOneProcess) {
  std::string log;
  MachineFixture first;
  MachineFixture second;
  for (int round = 0; round < 3; ++round) {
    first.restart({});
    first.run(steps(log, '1', 1));
    second.restart({});
    second.run(steps(log, '2', 1));
  }
  EXPECT_EQ(log, "121212");
}

}  // namespace
}  // namespace shootdown::host
