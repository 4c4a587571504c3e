// Which deviations of a scenario did nothing in its run.
#include "fuzz/run/unheeded.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>

#include "fuzz/run/runner.h"
#include "fuzz/scenario/generate.h"
#include "fuzz/scenario/scenario.h"

namespace shootdown::fuzz {
namespace {

struct UnheededTest : testing::Test {
  UnheededTest() { runner->machine().recorder().turn_timeline(true); }

  /// What did nothing in the run of these lines, one "INDEX: WHY" a line.
  std::string found(std::string_view config, std::string_view lines) {
    Scenario scenario;
    ParseError error;
    const std::string text =
        "shootdown-scenario 1\nconfig cpus=2 " + std::string(config) + "\n" + std::string(lines);
    EXPECT_TRUE(parse(text, scenario, error)) << print(error);
    runner->run(scenario);
    EXPECT_FALSE(runner->report().failed()) << runner->report().title;
    std::string told;
    for (const Unheeded& one : unheeded(runner->machine(), scenario)) {
      told += std::to_string(one.deviation) + ": " + one.why + "\n";
    }
    return told;
  }

  std::unique_ptr<Runner> runner = std::make_unique<Runner>();
};

constexpr std::string_view kReadAndUnmap =
    "cpu 0: read page=1\ncpu 0: unmap mm=0 page=1\ncpu 1: read page=1\n";

std::string with(std::string_view deviations) {
  return std::string(kReadAndUnmap) + std::string(deviations);
}

TEST_F(UnheededTest, WhatDoesSomethingIsNotListed) {
  EXPECT_EQ(found("", with("at +1: preempt cpu=1\nat +1: preempt cpu=0\n")), "");
  EXPECT_EQ(found("", with("at +0: fill cpu=1 page=2\n")), "");
  EXPECT_EQ(found("", with("at +0: fill cpu=1 page=2 level=3\n")), "");
  EXPECT_EQ(found("", with("at +2: evict cpu=0 entry=0\n")), "");
  EXPECT_EQ(found("nmi=1", with("at +2: nmi cpu=0 page=2\n")), "");
  EXPECT_EQ(found("device=1", with("at +2: device mm=0 page=2\n")), "");
  EXPECT_EQ(found("faults=1", with("at +0: lose cpu=1\n")), "");
  EXPECT_EQ(found("faults=1", with("at +0: duplicate cpu=1\n")), "");
  EXPECT_EQ(found("backend=kvm", with("at +0: vcpu_preempt cpu=1\nat +3: vcpu_resume cpu=1\n")),
            "");
  EXPECT_EQ(found("backend=xen", with("at +0: fail cpu=0 how=0\n")), "");
}

TEST_F(UnheededTest, TheMomentNeverCame) {
  EXPECT_EQ(found("", "cpu 0: read page=1\nat +200: preempt cpu=1\nat +9: evict cpu=0 entry=0\n"),
            "0: its moment never came: the run has " + std::to_string(runner->machine().step()) +
                " visible operations\n1: its moment never came: the run has " +
                std::to_string(runner->machine().step()) + " visible operations\n");
}

TEST_F(UnheededTest, TheCpuCannotRun) {
  EXPECT_EQ(found("", with("at +0: preempt cpu=0\n")), "0: the CPU is running already\n");
  EXPECT_EQ(found("", "cpu 0: read page=1\ncpu 1: flush_mm mm=0\nat +4: preempt cpu=0\n"),
            "0: the CPU waits or has finished\n");
  EXPECT_EQ(found("backend=kvm", with("at +0: vcpu_preempt cpu=1\nat +0: preempt cpu=1\n")),
            "1: the host has the CPU's processor\n");
}

TEST_F(UnheededTest, ALongDelayIsWrittenInSteps) {
  const std::string busy =
      "cpu 0: flush_mm mm=0\ncpu 0: flush_all\ncpu 0: flush_all\ncpu 0: flush_all\n"
      "cpu 0: flush_all\ncpu 0: flush_all\ncpu 0: flush_all\ncpu 0: flush_all\ncpu 0: flush_all\n"
      "cpu 0: flush_all\ncpu 0: flush_all\ncpu 0: flush_all\ncpu 0: flush_all\ncpu 0: flush_all\n"
      "cpu 0: flush_all\ncpu 1: read page=1\n";
  ASSERT_EQ(found("", busy), "");
  ASSERT_GT(runner->machine().step(), 256U) << "too short for the test";
  EXPECT_EQ(found("", busy + "at +255: preempt cpu=0\n"), "");
  EXPECT_EQ(found("", busy + "at +254: preempt cpu=0\n"), "0: the CPU is running already\n");
}

TEST_F(UnheededTest, NothingIsThereToAct) {
  EXPECT_EQ(found("", with("at +0: evict cpu=1 entry=0\n")), "0: the CPU has nothing cached\n");
  EXPECT_EQ(found("", with("at +0: fill cpu=1 page=8\nat +0: fill cpu=1 page=8\n")),
            "1: the CPU has it cached already\n");
  EXPECT_EQ(found("", with("at +0: fill cpu=1 page=7\nat +0: fill cpu=1 page=7\n")),
            "1: the walk found nothing to cache\n")
      << "the first one caches pointers to tables";
  EXPECT_EQ(found("tso=1", with("at +0: drain cpu=1 stores=1\n")),
            "0: the CPU's store buffer is empty\n");
  EXPECT_EQ(found("compiler_reordering=1", with("at +0: overtake cpu=1 store=0\n")),
            "0: no store of the CPU may overtake another\n");
  EXPECT_EQ(found("broadcast=1", with("at +0: deliver cpu=1 message=0\n")),
            "0: no broadcast is on its way to the CPU\n");
  EXPECT_EQ(found("backend=kvm", with("at +0: vcpu_resume cpu=1\n")),
            "0: the CPU has its processor\n");
  EXPECT_EQ(found("backend=kvm", with("at +0: vcpu_preempt cpu=1\nat +0: vcpu_preempt cpu=1\n")),
            "1: the host has the processor already\n");
  EXPECT_EQ(found("faults=1", with("at +0: duplicate cpu=1\nat +0: duplicate cpu=1\n")),
            "1: an interrupt waits at the CPU already\n");
  EXPECT_EQ(found("nmi=1", with("at +0: nmi cpu=1 page=1\nat +0: nmi cpu=1 page=1\n")),
            "1: an NMI waits at the CPU already\n");
  EXPECT_EQ(found("device=1", with("at +0: device mm=0 page=2\nat +0: device mm=0 page=2\n")),
            "1: the device has it cached already\n");
}

TEST_F(UnheededTest, WhatItWasToChangeNeverCame) {
  const std::string alone = "cpu 0: read page=1\ncpu 0: read page=2\ncpu 1: read page=1\n";
  EXPECT_EQ(found("", alone + "at +0: hold cpu=1 steps=9\n"),
            "0: no interrupt came to the CPU while it was held\n");
  EXPECT_EQ(found("faults=1", alone + "at +0: lose cpu=1\nat +0: lose cpu=1\n"),
            "0: the next one like it came first\n1: no interrupt to the CPU came after it\n");
  EXPECT_EQ(found("backend=xen", alone + "at +0: fail cpu=1 how=0\n"),
            "0: no hypercall or message of the CPU came after it\n");
  EXPECT_EQ(found("compiler_reordering=1", "at +0: stale cpu=1 age=1\n"),
            found("compiler_reordering=1", "at +0: stale cpu=1 age=1\n"));
}

TEST_F(UnheededTest, TheConfigurationHasNothingOfTheKind) {
  for (const auto& [deviation, needed] :
       {std::pair{"drain cpu=1 stores=1", "tso=1 or compiler_reordering=1"},
        {"overtake cpu=1 store=0", "compiler_reordering=1"},
        {"stale cpu=1 age=1", "compiler_reordering=1"},
        {"deliver cpu=1 message=0", "broadcast=1"},
        {"vcpu_preempt cpu=1", "backend=kvm"},
        {"vcpu_resume cpu=1", "backend=kvm"},
        {"fail cpu=1 how=0", "backend=hyperv, xen or uv"},
        {"nmi cpu=1 page=1", "nmi=1"},
        {"device mm=0 page=1", "device=1"},
        {"lose cpu=1", "faults=1"},
        {"duplicate cpu=1", "faults=1"}}) {
    EXPECT_EQ(found("", with("at +0: " + std::string(deviation) + "\n")),
              "0: it means nothing without " + std::string(needed) + "\n");
  }
}

TEST_F(UnheededTest, BehindAnAimIsForItsStrategyToDo) {
  EXPECT_EQ(found("", with("at +0: aim cpu=1 stream=3\nat +200: evict cpu=0 entry=0\n")), "");
  EXPECT_EQ(found("", with("at +0: evict cpu=1 entry=0\nat +0: aim cpu=0 stream=3\n"
                           "at +200: evict cpu=0 entry=0\n")),
            "0: the CPU has nothing cached\n1: the CPU is running already\n");
}

/// The scenario without one of its deviations, the others at their moments; false if the delay that
/// this takes is too long to be written.
bool leave_out(Scenario& scenario, unsigned index) {
  auto& deviations = scenario.deviations;
  if (index + 1 < deviations.size()) {
    const unsigned delay = deviations[index].delay + deviations[index + 1].delay;
    if (delay > 255) return false;
    deviations[index + 1].delay = static_cast<std::uint8_t>(delay);
  }
  deviations.erase(index);
  return true;
}

/// What is listed may be left out, and the run is the same, step by step.
TEST_F(UnheededTest, WhatIsListedChangesNothing) {
  unsigned checked = 0;
  unsigned listed = 0;
  unsigned deviations = 0;
  for (std::uint64_t seed = 0; seed < 800; ++seed) {
    Scenario scenario;
    generate(seed, {.any_switch = true}, scenario);
    runner->run(scenario);
    const std::uint64_t hash = runner->machine().recorder().hash();
    deviations += scenario.deviations.size();
    for (const Unheeded& one : unheeded(runner->machine(), scenario)) {
      ++listed;
      Scenario without = scenario;
      if (!leave_out(without, one.deviation)) continue;
      ++checked;
      runner->run(without);
      EXPECT_EQ(runner->machine().recorder().hash(), hash)
          << one.deviation << ": " << one.why << "\n"
          << print(scenario);
      if (HasFailure()) return;
    }
  }
  EXPECT_GT(checked, 400U);
  EXPECT_LT(listed, deviations);
}

}  // namespace
}  // namespace shootdown::fuzz
