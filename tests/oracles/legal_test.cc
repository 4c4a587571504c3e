// Situations that look wrong and are not: no oracle may fire. Each comes from a scenario file,
// under many schedules, and the test makes sure that the situation really came up.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "fuzz/events/layout.h"
#include "fuzz/scenario/files.h"
#include "tests/oracles/oracle_fixture.h"

namespace shootdown::fuzz {
namespace {

const std::filesystem::path kFolder = "tests/oracles/scenarios";

Scenario scenario_in(const std::filesystem::path& file) {
  Scenario scenario;
  Source source;
  std::string error;
  EXPECT_TRUE(load(file.string(), Unmarked::refused, scenario, source, error)) << error;
  return scenario;
}

struct Preemption {
  unsigned step;
  CpuId cpu;
};

/// The scenario's own deviations, which come first, and then the preemptions, in order.
Scenario with(const Scenario& scenario, std::initializer_list<Preemption> preemptions) {
  Scenario result = scenario;
  unsigned now = 0;
  for (const Deviation& deviation : scenario.deviations) now += deviation.delay;
  for (const Preemption& preemption : preemptions) {
    const unsigned delay = preemption.step > now ? preemption.step - now : 0;
    result.deviations.push_back({.delay = static_cast<std::uint8_t>(std::min(delay, 255U)),
                                 .kind = EventKind::preempt,
                                 .cpu = static_cast<std::uint8_t>(preemption.cpu)});
    now += std::min(delay, 255U);
  }
  return result;
}

unsigned steps_of(OracleFixture& fixture, const Scenario& scenario) {
  fixture.expect_clean(scenario);
  return static_cast<unsigned>(fixture.machine.step());
}

/// Each schedule in which `first` is let run at some step and `second` at some later one.
void sweep_pairs(OracleFixture& fixture, const Scenario& scenario, CpuId first, CpuId second) {
  const unsigned steps = steps_of(fixture, scenario);
  for (unsigned i = 1; i < steps && !testing::Test::HasFailure(); ++i) {
    for (unsigned k = i + 1; k < steps; ++k) {
      fixture.expect_clean(with(scenario, {{i, first}, {k, second}}));
    }
  }
}

TEST(Legal, ALazyCpuWithAnOldTranslationAnswersForAnotherMm) {
  OracleFixture fixture;
  unsigned seen = 0;
  fixture.distort = [&](CpuId cpu, TraceEvent& event) {
    if (event.kind == TraceKind::handler_end && event.outcome == HandlerOutcome::other_mm &&
        fixture.system().cpus[cpu].shared.is_lazy.peek() && fixture.holds_stale(cpu, 0, 1)) {
      ++seen;
    }
  };
  sweep_pairs(fixture, scenario_in(kFolder / "lazy_and_another_mm.txt"), 0, 2);
  EXPECT_GT(seen, 0u);
}

TEST(Legal, AFlushReturnsWhileACpuWithAnOldTranslationIsInTheSwitchingWindow) {
  OracleFixture fixture;
  unsigned seen_window = 0;
  unsigned seen_asid = 0;
  fixture.distort = [&](CpuId /*cpu*/, TraceEvent& event) {
    if (event.kind != TraceKind::flush_end || !fixture.holds_stale(1, 0, 1)) return;
    if (fixture.loaded(1) == nullptr) ++seen_window;
    if (fixture.loaded(1) == &fixture.core_mm(1)) ++seen_asid;
  };
  sweep_pairs(fixture, scenario_in(kFolder / "switching_window.txt"), 0, 1);
  EXPECT_GT(seen_window, 0u);
  EXPECT_GT(seen_asid, 0u) << "or has the old translation in an ASID that is not loaded";
}

TEST(Legal, AnOldTranslationIsUsedBeforeTheFlushHasReturned) {
  OracleFixture fixture;
  unsigned seen = 0;
  fixture.on_access = [&](CpuId cpu, VirtAddr, const host::TlbEntry&) {
    if (fixture.holds_stale(cpu, 0, 1)) ++seen;
  };
  sweep_pairs(fixture, scenario_in(kFolder / "use_before_the_flush.txt"), 1, 0);
  EXPECT_GT(seen, 0u);
}

TEST(Legal, ALazyCpuKeepsATranslationToAFrameThatIsReused) {
  OracleFixture fixture;
  unsigned seen = 0;
  fixture.before_change = [&](CpuId) {
    if (!fixture.system().cpus[1].shared.is_lazy.peek()) return;
    for (const host::TlbEntry& entry : fixture.machine.cpu(1).tlb.entries) {
      const host::FrameInfo& info = fixture.machine.frames().info(entry.frame);
      if (info.kind == host::FrameKind::data && owner_mm(info.owner) == 1) ++seen;
    }
  };
  sweep_pairs(fixture, scenario_in(kFolder / "lazy_and_a_reused_frame.txt"), 0, 1);
  EXPECT_GT(seen, 0u);
}

TEST(Legal, TheUserHalfIsOldWhenAFlushReturnsAndPaysLater) {
  OracleFixture fixture;
  unsigned seen = 0;
  fixture.distort = [&](CpuId /*cpu*/, TraceEvent& event) {
    const bool marked =
        fixture.own(1).user_pcid_flush_mask != 0 && fixture.loaded(1) == &fixture.core_mm(0);
    if (event.kind == TraceKind::flush_end && marked && fixture.holds_stale(1, 0, 1)) ++seen;
  };
  sweep_pairs(fixture, scenario_in(kFolder / "isolation_marked.txt"), 0, 1);
  EXPECT_GT(seen, 0u);
}

TEST(Legal, ATargetThatAnsweredEarlyHasNotFlushedYet) {
  OracleFixture fixture;
  unsigned seen = 0;
  fixture.distort = [&](CpuId /*cpu*/, TraceEvent& event) {
    if (event.kind == TraceKind::flush_end && fixture.machine.cpu(1).in_interrupt &&
        fixture.holds_stale(1, 0, 1)) {
      ++seen;
    }
  };
  sweep_pairs(fixture, scenario_in(kFolder / "early_answer.txt"), 1, 0);
  EXPECT_GT(seen, 0u);
}

TEST(Legal, ACallForALaterChangeWaitsBehindTheOneThatWasAnsweredEarly) {
  OracleFixture fixture;
  unsigned seen = 0;
  // What hardware may do: the stores before the flush leave the buffer, the one behind it does not,
  // and the page is cached again after the first flush.
  fixture.before(TraceKind::handler_begin, 2, [] { HostHal::full_fence(); });
  fixture.before(TraceKind::handler_end, 2, [&] {
    fixture.machine.translation().speculate(fixture.machine.cpu(2), {.address = page_address(0)});
  });
  fixture.before(TraceKind::call_run, 2, [&] {
    const auto& pending = fixture.own(2).early_acked_flush_pending;
    const bool waits = pending.peek() && !pending.seen_by(fixture.machine.cpu(2));
    if (waits && fixture.holds_stale(2, 0, 0)) ++seen;
  });
  const Scenario scenario = scenario_in(kFolder / "early_answer_and_a_second_flush.txt");
  const unsigned steps = steps_of(fixture, scenario);
  for (unsigned step = 1; step < steps; ++step) {
    fixture.expect_clean(with(scenario, {{step, 1}}));
  }
  EXPECT_GT(seen, 0u);
}

TEST(Legal, AReclaimedPageIsUsedUntilItsBatchIsFlushed) {
  OracleFixture fixture;
  unsigned seen = 0;
  fixture.on_access = [&](CpuId cpu, VirtAddr, const host::TlbEntry&) {
    if (fixture.entry_of(0, 1) == 0 && fixture.holds_stale(cpu, 0, 1)) ++seen;
  };
  sweep_pairs(fixture, scenario_in(kFolder / "reclaim.txt"), 1, 0);
  EXPECT_GT(seen, 0u);
}

// ---- Every scenario file

class EveryScenario : public testing::TestWithParam<std::string> {};

TEST_P(EveryScenario, IsCleanWithAPreemptionAnywhere) {
  OracleFixture fixture;
  const Scenario scenario = scenario_in(kFolder / (GetParam() + ".txt"));
  const unsigned steps = steps_of(fixture, scenario);
  for (CpuId cpu = 0; cpu < scenario.header.cpus; ++cpu) {
    for (unsigned step = 1; step < steps; ++step) {
      fixture.expect_clean(with(scenario, {{step, cpu}}));
    }
  }
}

TEST_P(EveryScenario, IsCleanWithASpeculativeFillAnywhere) {
  OracleFixture fixture;
  const Scenario scenario = scenario_in(kFolder / (GetParam() + ".txt"));
  const unsigned steps = steps_of(fixture, scenario);
  for (CpuId cpu = 0; cpu < scenario.header.cpus; ++cpu) {
    for (unsigned step = 1; step < steps; ++step) {
      Scenario filled = with(scenario, {{step, cpu}});
      Deviation& fill = filled.deviations[filled.deviations.size() - 1];
      fill.kind = EventKind::fill;
      fill.arg = 1;
      fixture.expect_clean(filled);
    }
  }
}

TEST_P(EveryScenario, IsCleanWithAnNmiAnywhere) {
  OracleFixture fixture;
  Scenario scenario = scenario_in(kFolder / (GetParam() + ".txt"));
  scenario.header.nmi = true;
  const unsigned steps = steps_of(fixture, scenario);
  std::uint64_t taken = 0;
  for (CpuId cpu = 0; cpu < scenario.header.cpus; ++cpu) {
    for (unsigned step = 1; step < steps; ++step) {
      Scenario interrupted = with(scenario, {{step, cpu}});
      Deviation& nmi = interrupted.deviations[interrupted.deviations.size() - 1];
      nmi.kind = EventKind::nmi;
      nmi.arg = 1;
      fixture.expect_clean(interrupted);
      taken += fixture.machine.interrupts().nmis_delivered();
    }
  }
  EXPECT_GT(taken, 0u);
}

TEST_P(EveryScenario, IsCleanWithAnInterruptLostOrDoubledAnywhere) {
  OracleFixture fixture;
  Scenario scenario = scenario_in(kFolder / (GetParam() + ".txt"));
  scenario.header.faults = true;
  const unsigned steps = steps_of(fixture, scenario);
  for (const EventKind kind : {EventKind::lose, EventKind::duplicate}) {
    for (CpuId cpu = 0; cpu < scenario.header.cpus; ++cpu) {
      for (unsigned step = 1; step < steps; ++step) {
        Scenario disturbed = with(scenario, {{step, cpu}});
        disturbed.deviations[disturbed.deviations.size() - 1].kind = kind;
        fixture.expect_clean(disturbed);
      }
    }
  }
}

std::vector<std::string> all_scenarios() {
  std::set<std::string> names;
  for (const auto& file : std::filesystem::directory_iterator(kFolder)) {
    names.insert(file.path().stem().string());
  }
  return {names.begin(), names.end()};
}

INSTANTIATE_TEST_SUITE_P(Files, EveryScenario, testing::ValuesIn(all_scenarios()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace shootdown::fuzz
