#include "hal/host/explore.h"

#include <gtest/gtest.h>

#include "tests/host/small_machine.h"

namespace shootdown::host {
namespace {

using enum SmallOp::Kind;

SmallProgram store_buffering(Memory memory, bool fences) {
  SmallProgram program{.memory = memory};
  for (unsigned cpu = 0; cpu < 2; ++cpu) {
    program.code[cpu].push_back({store, cpu});
    if (fences) program.code[cpu].push_back({fence, 0});
    program.code[cpu].push_back({load, 1 - cpu});
  }
  return program;
}

TEST(Explore, FindsEveryOutcomeOfStoreBuffering) {
  EXPECT_EQ(outcomes_of(store_buffering(Memory::sc, false), {}).texts.size(), 3U);
  EXPECT_EQ(outcomes_of(store_buffering(Memory::tso, false), {}).texts.size(), 4U);
  EXPECT_EQ(outcomes_of(store_buffering(Memory::tso, true), {}).texts.size(), 3U);
}

TEST(Explore, TakesOneRunOfEachClass) {
  // Two words, a store and a load of each on different CPUs: three orders matter.
  const Outcomes reduced = outcomes_of(store_buffering(Memory::sc, false), {});
  EXPECT_EQ(reduced.result.executions, 3U);
  EXPECT_TRUE(reduced.result.complete);
  const Outcomes plain =
      outcomes_of(store_buffering(Memory::sc, false), {.reduction = Reduction::none});
  EXPECT_GT(plain.result.executions, reduced.result.executions);
  EXPECT_EQ(plain.texts, reduced.texts);
}

TEST(Explore, AWaitEndsWhenSomebodyWrites) {
  SmallProgram program{.memory = Memory::tso};
  program.code[0] = {{await, 0}, {store, 1}};
  program.code[1] = {{load, 1}, {store, 0}, {await, 1}};
  const Outcomes found = outcomes_of(program, {});
  EXPECT_TRUE(found.result.complete);
  EXPECT_FALSE(found.result.failed);
  EXPECT_GE(found.result.executions, 1U);
}

TEST(Explore, FindsALostWakeUp) {
  // The waiter is woken only if the other CPU has not looked yet.
  SmallProgram program{.memory = Memory::sc};
  program.code[0] = {{await, 0}};
  const Outcomes found = outcomes_of(program, {});
  EXPECT_TRUE(found.result.failed);
}

TEST(Explore, TheScheduleOfAFailureReplays) {
  SmallProgram program{.memory = Memory::sc};
  program.code[0] = {{load, 1}, {await, 0}};
  program.code[1] = {{store, 1}};
  Explorer explorer({});
  SmallMachine machine(program);
  const ExploreResult result =
      explorer.explore([&]() -> const Report& { return machine.run(explorer); });
  ASSERT_TRUE(result.failed);
  Replay replay(result.schedule);
  const Report& report = machine.run(replay);
  EXPECT_TRUE(report.failed());
  EXPECT_EQ(report.kind, &kStuck);
}

TEST(Explore, ABoundLimitsDeviations) {
  const SmallProgram program = store_buffering(Memory::sc, false);
  const auto runs = [&](unsigned deviations) {
    return outcomes_of(program, {.reduction = Reduction::none, .deviations = deviations});
  };
  EXPECT_EQ(runs(0).result.executions, 1U);
  EXPECT_EQ(runs(0).texts.size(), 1U);
  EXPECT_GT(runs(1).result.executions, 1U);
  EXPECT_EQ(runs(2).texts.size(), 3U);
  EXPECT_EQ(runs(20).result.executions, runs(kUnbounded).result.executions);
}

TEST(Explore, ListsWhatACompilerReorders) {
  SmallProgram program{.memory = Memory::compiler_reordering};
  program.code[0] = {{store, 0}, {store, 1}};
  program.code[1] = {{load, 1}, {load, 0}};
  const auto outcomes = [&](unsigned deviations) {
    return outcomes_of(program, {.reduction = Reduction::none, .deviations = deviations});
  };
  EXPECT_EQ(outcomes(0).result.executions, 1U);
  EXPECT_EQ(outcomes(kUnbounded).texts.size(), 4U) << "the message without what it announces, too";
  program.memory = Memory::tso;
  EXPECT_EQ(outcomes(kUnbounded).texts.size(), 3U);
}

TEST(Explore, AnOlderValueIsReadOnlyUpToAFence) {
  SmallProgram program{.memory = Memory::compiler_reordering};
  program.code[0] = {{store, 0}, {fence, 0}, {store, 1}};
  program.code[1] = {{load, 1}, {load, 0}};
  const ExploreOptions all{.reduction = Reduction::none};
  EXPECT_EQ(outcomes_of(program, all).texts.size(), 4U) << "the second load may come first";
  program.code[1] = {{load, 1}, {fence, 0}, {load, 0}};
  EXPECT_EQ(outcomes_of(program, all).texts.size(), 3U);
}

TEST(Explore, SaysWhatItGuarantees) {
  const SmallProgram program = store_buffering(Memory::sc, false);
  const ExploreOptions reduced{};
  EXPECT_EQ(outcomes_of(program, reduced).result.guarantee(reduced),
            "every interleaving, up to the order of steps that do not conflict");
  const ExploreOptions bounded{.reduction = Reduction::none, .deviations = 2};
  EXPECT_EQ(outcomes_of(program, bounded).result.guarantee(bounded),
            "every run that deviates from the default schedule at most 2 times");
  const ExploreOptions cut{.reduction = Reduction::none, .most_executions = 2};
  EXPECT_EQ(outcomes_of(program, cut).result.guarantee(cut),
            "none: the exploration was stopped before its end");
}

TEST(Explore, AnInterruptIsTakenAtEveryMomentThatMatters) {
  SmallProgram program{.memory = Memory::sc};
  program.code[0] = {{store, 0}, {store, 1}};
  program.code[1] = {{interrupt, 0}};  // to CPU 0
  program.handler = {{load, 0}, {load, 1}};
  // Before both stores, between them, after both.
  EXPECT_EQ(outcomes_of(program, {}).texts.size(), 3U);
}

TEST(Explore, AStoreOverAnotherCpusLateInterruptIsNotLost) {
  // Interrupts go off before or after the message is there: taken in between, or never.
  SmallProgram program{.memory = Memory::sc};
  program.code[0] = {{off, 0}};
  program.code[1] = {{interrupt, 0}};
  program.handler = {{store, 0}};
  EXPECT_EQ(outcomes_of(program, {}).texts.size(), 2U);
}

TEST(Explore, ASpeculativeWalkHappensAtEveryMomentThatMatters) {
  SmallProgram program{.memory = Memory::sc, .fills = {{.page = 0}}};
  program.code[0] = {{load, 0}};
  program.code[1] = {{remap, 0}, {unmap, 0}};
  // Caches the first frame, the second, or nothing; on each of two CPUs.
  std::set<std::string> cached;
  for (const std::string& text : outcomes_of(program, {}).texts) {
    cached.insert(text.substr(0, text.find('|')));
  }
  EXPECT_EQ(cached.size(), 3U);
}

/// What CPU 0 has read and cached at the end of each run.
std::set<std::string> ends_of_cpu0(const SmallProgram& program) {
  std::set<std::string> ends;
  const Outcomes found = outcomes_of(program, {});
  EXPECT_FALSE(found.result.failed);
  for (const std::string& text : found.texts) ends.insert(text.substr(0, text.find('|')));
  return ends;
}

TEST(Explore, AWalkInSeveralStepsGoesOnInATableThatIsUnhookedMeanwhile) {
  SmallProgram program{.memory = Memory::sc, .fills = {{.page = 0}}};
  program.code[1] = {{retable, 0}, {remap, 0}};
  // In one step: the first frame, or what the other table says.
  EXPECT_EQ(ends_of_cpu0(program).size(), 2U);
  // In two: besides, the pointer to the first table alone, when the walk was done already; and the
  // frame that only the first table names, and only after it was unhooked.
  program.fills.push_back({.page = 0, .level = 2});
  EXPECT_EQ(ends_of_cpu0(program).size(), 3U);
}

TEST(Explore, AnEvictionMakesTheNextAccessWalk) {
  SmallProgram program{.memory = Memory::sc};
  program.code[0] = {{read_page, 0}, {read_page, 0}};
  program.code[1] = {{unmap, 0}};
  const auto first_works_only = [&] {
    // What a read that faults has seen (tests/host/small_machine.h).
    const std::string fault = std::to_string(SmallMachine::kFault) + ",";
    unsigned count = 0;
    for (const std::string& end : ends_of_cpu0(program)) {
      const std::string second = end.substr(end.find(',') + 1);
      count += !end.starts_with(fault) && second.starts_with(fault) ? 1 : 0;
    }
    return count;
  };
  EXPECT_EQ(first_works_only(), 0U);
  program.evictions = {0};
  EXPECT_GE(first_works_only(), 1U);
}

TEST(Explore, AnNmiComesInsideAHandlerAndWithInterruptsOff) {
  SmallProgram program{.memory = Memory::sc};
  program.nmis = 1;
  program.code[1] = {{interrupt, 0}};  // to CPU 0
  program.handler = {{store, 0}, {store, 1}};
  program.nmi_handler = {{load, 0}, {load, 1}};
  // Before both stores of the handler, between them, after both.
  EXPECT_EQ(ends_of_cpu0(program), (std::set<std::string>{"0,0,", "1,0,", "1,1,"}));

  SmallProgram off_and_on{.memory = Memory::tso, .cpus = 1};
  off_and_on.nmis = 1;
  off_and_on.code[0] = {{off, 0}, {store, 0}, {store, 1}, {on, 0}};
  off_and_on.nmi_handler = program.nmi_handler;
  EXPECT_EQ(ends_of_cpu0(off_and_on), (std::set<std::string>{"0,0,", "1,0,", "1,1,"}));
}

TEST(Explore, ADeviceWalksAtEveryMomentThatMatters) {
  SmallProgram program{.memory = Memory::sc};
  program.device_walks = {{.page = 0}};
  program.code[0] = {{forget, 0}};
  program.code[1] = {{remap, 0}, {unmap, 0}};
  std::set<std::string> cached;
  for (const std::string& text : outcomes_of(program, {}).texts) {
    cached.insert(text.substr(text.rfind(',') + 1));
  }
  // The first frame, the second, neither but pointers, and nothing.
  EXPECT_EQ(cached.size(), 4U);
}

TEST(Explore, ALostInterruptIsSentAgainAtTheStallLimit) {
  SmallProgram program{.memory = Memory::tso};
  program.losses = 1;
  program.code[0] = {{interrupt, 0}, {await_answer, 0}};
  program.handler = {{store, 0}};
  EXPECT_FALSE(outcomes_of(program, {}).result.failed);
  program.code[0].back() = {await, 0};
  EXPECT_TRUE(outcomes_of(program, {}).result.failed) << "no CPU sends it again";
  program.losses = 0;
  EXPECT_FALSE(outcomes_of(program, {}).result.failed);
}

TEST(Explore, AnInterruptThatNobodySendsArrivesAtAnyMoment) {
  SmallProgram program{.memory = Memory::sc, .cpus = 1};
  program.duplicates = 1;
  program.code[0] = {{load, 0}, {load, 0}};
  program.handler = {{store, 0}};
  EXPECT_EQ(ends_of_cpu0(program), (std::set<std::string>{"0,0,", "0,1,", "1,1,"}));
}

TEST(Explore, SetUpBeforeTheGateIsNotExplored) {
  Explorer explorer({});
  MachineFixture fixture;
  HostAtomic<std::uint32_t> word;
  const ExploreResult result = explorer.explore([&]() -> const Report& {
    fixture.restart(
        {.hardware = {.cpus = 2}, .exploration = {.controller = &explorer, .start_barrier = true}});
    word.poke(0);
    for (CpuId cpu = 0; cpu < 2; ++cpu) {
      fixture.on(cpu, [&] {
        for (unsigned i = 0; i < 10; ++i) word.store(i, std::memory_order_relaxed);
        fixture.machine().controlled().start_barrier();
        word.store(11, std::memory_order_relaxed);
      });
    }
    return fixture.run();
  });
  EXPECT_TRUE(result.complete);
  EXPECT_EQ(result.executions, 2U);
}

}  // namespace
}  // namespace shootdown::host
