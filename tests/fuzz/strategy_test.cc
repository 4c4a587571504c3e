#include "fuzz/run/strategy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "fuzz/run/runner.h"
#include "fuzz/scenario/kinds.h"
#include "fuzz/scenario/scenario.h"
#include "fuzz/schedule/schedule.h"
#include "fuzz/schedule/window_targeted.h"

namespace shootdown::fuzz {
namespace {

constexpr std::uint64_t kSeeds = 240;
constexpr Strategy kLive[] = {Strategy::walk, Strategy::pct, Strategy::aimed};

std::string name_of(const ::testing::TestParamInfo<Strategy>& info) {
  return std::string(kStrategyNames[static_cast<unsigned>(info.param)]);
}

class LiveStrategy : public ::testing::TestWithParam<Strategy> {
 protected:
  GenerateOptions options{.max_deviations = 32};
  std::unique_ptr<Runner> runner = std::make_unique<Runner>();
  std::unique_ptr<Search> search = std::make_unique<Search>(*runner, GetParam(), options);
};
INSTANTIATE_TEST_SUITE_P(Each, LiveStrategy, ::testing::ValuesIn(kLive), name_of);

// A report is a scenario that replays, or it is worth nothing.
TEST_P(LiveStrategy, WhatItDidIsInTheScenario) {
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    search->run(seed);
    const std::uint64_t hash = runner->machine().recorder().hash();
    const std::uint64_t steps = runner->machine().step();
    Scenario decoded;
    decode(encode(search->scenario()), decoded);
    ASSERT_EQ(decoded, search->scenario()) << "seed " << seed;
    runner->run(decoded);
    ASSERT_EQ(runner->machine().recorder().hash(), hash) << "seed " << seed;
    ASSERT_EQ(runner->machine().step(), steps) << "seed " << seed;
  }
}

TEST_P(LiveStrategy, IsAFunctionOfTheSeed) {
  std::vector<Scenario> first;
  for (std::uint64_t seed = 0; seed < 24; ++seed) {
    search->run(seed);
    first.push_back(search->scenario());
  }
  // In another order and by another search, so that nothing hangs on the run before.
  Search other(*runner, GetParam(), options);
  for (std::uint64_t seed = 24; seed-- > 0;) {
    other.run(seed);
    ASSERT_EQ(other.scenario(), first[seed]) << "seed " << seed;
  }
}

TEST_P(LiveStrategy, DoesWhatTheScenarioWantedAndPreempts) {
  std::set<EventKind> kinds;
  GenerateOptions kvm = options;
  kvm.backend = Backend::kvm;
  GenerateOptions broadcasts = options;
  for (const HeaderSwitch& one : kHeaderSwitches) {
    if (one.name == "broadcast") broadcasts.turned = {&one};
  }
  for (const GenerateOptions& options : {kvm, broadcasts}) {
    Search search(*runner, GetParam(), options);
    for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
      search.run(seed);
      for (const Deviation& deviation : search.scenario().deviations) kinds.insert(deviation.kind);
    }
  }
  for (const EventKind kind :
       {EventKind::preempt, EventKind::hold, EventKind::fill, EventKind::evict, EventKind::drain,
        EventKind::deliver, EventKind::vcpu_preempt}) {
    EXPECT_TRUE(kinds.contains(kind)) << name(kind);
  }
}

/// Deviates once, at a step of its own.
class Once final : public LiveSchedule {
 public:
  using LiveSchedule::LiveSchedule;
  using LiveSchedule::start;
  std::uint64_t when{0};
  unsigned decisions{0};

 private:
  void decide() override {
    ++decisions;
    if (step() == when) fill(running());
  }
};

/// Many operations on one CPU, so that nothing but the schedule says when what happens.
Scenario long_scenario() {
  Scenario scenario;
  for (unsigned cpu = 0; cpu < scenario.header.cpus; ++cpu) {
    while (!scenario.ops[cpu].full()) {
      scenario.ops[cpu].push_back({.kind = OpKind::replace, .page = 1});
    }
  }
  return scenario;
}

TEST(LiveSchedule, IsAskedBeforeEveryVisibleOperation) {
  auto runner = std::make_unique<Runner>();
  Scenario scenario = long_scenario();
  Once once(runner->machine());
  once.start(scenario, 1);
  once.when = ~std::uint64_t{0};
  runner->run(scenario, once);
  EXPECT_EQ(once.decisions, runner->machine().step());
}

TEST(LiveSchedule, WritesDelaysThatAreLongerThanTheFormatAllows) {
  auto runner = std::make_unique<Runner>();
  for (const std::uint64_t when : {1U, 254U, 255U, 256U, 510U, 1000U}) {
    Scenario scenario = long_scenario();
    Once once(runner->machine());
    once.start(scenario, 1);
    once.when = when;
    runner->run(scenario, once);
    const std::uint64_t hash = runner->machine().recorder().hash();
    std::uint64_t at = 0;
    std::uint64_t filled_at = 0;
    for (const Deviation& deviation : scenario.deviations) {
      at += deviation.delay;
      if (deviation.kind == EventKind::fill) filled_at = at;
    }
    EXPECT_EQ(filled_at, when);
    runner->run(scenario);
    EXPECT_EQ(runner->machine().recorder().hash(), hash) << "fill at step " << when;
  }
}

/// Preempts before every operation.
class Restless final : public LiveSchedule {
 public:
  using LiveSchedule::LiveSchedule;
  using LiveSchedule::start;

 private:
  void decide() override { deviate(EventKind::preempt, some_other_cpu()); }
};

TEST(LiveSchedule, LeavesTheRestToTheDefaultWhenTheScenarioIsFull) {
  auto runner = std::make_unique<Runner>();
  Scenario scenario = long_scenario();
  Restless restless(runner->machine());
  restless.start(scenario, 1);
  runner->run(scenario, restless);
  const std::uint64_t hash = runner->machine().recorder().hash();
  EXPECT_TRUE(scenario.deviations.full());
  EXPECT_GT(runner->machine().step(), std::uint64_t{kMaxDeviations});
  EXPECT_TRUE(runner->machine().limits().test(host::Limit::deviations)) << "says so";
  runner->run(scenario);
  EXPECT_FALSE(runner->machine().limits().any()) << "of the run before";
  EXPECT_EQ(runner->machine().recorder().hash(), hash);
}

TEST(Pct, GroupsShareAScenarioAndTheFirstRunOfEachMeasuresIt) {
  auto runner = std::make_unique<Runner>();
  Search search(*runner, Strategy::pct, {});
  constexpr std::uint64_t kRuns = Search::kDepths + 1;
  for (std::uint64_t group = 0; group < 10; ++group) {
    search.run(group * kRuns);
    EXPECT_EQ(search.scenario().deviations.size(), 0u);
    const auto ops = search.scenario().ops;
    for (std::uint64_t depth = 1; depth < kRuns; ++depth) {
      search.run((group * kRuns) + depth);
      EXPECT_EQ(search.scenario().ops, ops);
    }
  }
}

// With priorities alone CPUs change when one of them waits or ends. Each change point adds one.
TEST(Pct, DepthIsTheNumberOfChangePointsPlusOne) {
  auto runner = std::make_unique<Runner>();
  Pct pct(runner->machine());
  std::uint64_t switches[2]{};
  for (const unsigned deep : {0U, 1U}) {
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
      Scenario scenario;
      for (auto& program : scenario.ops) {
        while (!program.full()) program.push_back({.kind = OpKind::read, .page = 1});
      }
      normalise(scenario);
      pct.start(scenario, seed, deep == 0 ? 1 : 9, 60);
      runner->run(scenario, pct);
      for (const Deviation& deviation : scenario.deviations) {
        switches[deep] += deviation.kind == EventKind::preempt ? 1 : 0;
      }
    }
  }
  // Reads never wait: without change points CPUs change at the start and at the ends only.
  EXPECT_LE(switches[0], 50U * 4);
  EXPECT_GT(switches[1], switches[0] + 100);
}

/// Counts operations with interrupts on and off.
class Census final : public LiveSchedule {
 public:
  using LiveSchedule::LiveSchedule;
  using LiveSchedule::start;
  std::uint64_t on{0};
  std::uint64_t off{0};

 private:
  void decide() override { ++(cpu(running()).interrupts_enabled ? on : off); }
};

/// Plays a scenario, and counts its preemptions with interrupts on and off.
class Watch final : public host::ScheduleSource {
 public:
  explicit Watch(Runner& runner) : machine_(runner.machine()), schedule_(machine_) {}
  void start(const Scenario& scenario) {
    schedule_.start(scenario);
    due_ = false;
  }
  bool next(host::Action& action) override {
    if (due_) ++(machine_.running().interrupts_enabled ? on : off);
    const bool more = schedule_.next(action);
    due_ = more && action.kind == host::EventKind::preempt;
    return more;
  }
  std::uint64_t on{0};
  std::uint64_t off{0};

 private:
  host::Machine& machine_;
  ScenarioSchedule schedule_;
  bool due_{false};
};

TEST(WindowTargeted, PreemptsMoreOftenWhereInterruptsAreOff) {
  auto runner = std::make_unique<Runner>();
  Search search(*runner, Strategy::aimed, {.vary_header = false});
  Watch preemptions(*runner);
  Census operations(runner->machine());
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    search.run(seed);
    Scenario scenario = search.scenario();
    preemptions.start(scenario);
    runner->run(scenario, preemptions);
    operations.start(scenario, seed);
    runner->run(scenario, operations);
  }
  EXPECT_GT(preemptions.off * operations.on, 4 * preemptions.on * operations.off);
}

/// Whether the CPU that did the last of these operations has read a word of an mm, and other things
/// since, of which the last was no load, and has yet to do a locked operation on an mm.
bool relies_on_mm(std::span<const host::TimelineEntry> done) {
  if (done.empty() || done.back().what.starts_with("load")) return false;
  for (std::size_t i = done.size(); i-- > 0;) {
    if (done[i].cpu != done.back().cpu) continue;
    const std::string& what = done[i].what;
    if (what.starts_with("load mm")) return true;
    if (what.starts_with("modify mm") || what.starts_with("compare-exchange mm")) return false;
  }
  return false;
}

/// How many preemptions of runs that aim at such windows came there.
unsigned preemptions_of_relying(Windows windows) {
  auto runner = std::make_unique<Runner>();
  host::Machine& machine = runner->machine();
  WindowTargeted schedule(machine, &runner->sim());
  machine.recorder().turn_timeline(true);
  unsigned found = 0;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    Scenario scenario;
    generate(seed, {.vary_header = false}, scenario);
    schedule.start(scenario, seed);
    schedule.aim_at(windows);
    runner->run(scenario, schedule);
    const std::span<const host::TimelineEntry> timeline = machine.recorder().timeline();
    std::uint64_t at = 0;
    for (const Deviation& deviation : scenario.deviations) {
      at += deviation.delay;
      if (deviation.kind != EventKind::preempt) continue;
      const auto end = std::find_if(timeline.begin(), timeline.end(),
                                    [&](const auto& entry) { return entry.step >= at; });
      const auto done = timeline.first(static_cast<std::size_t>(end - timeline.begin()));
      found += relies_on_mm(done) ? 1 : 0;
    }
  }
  return found;
}

// Not only where the last operation was a load.
TEST(WindowTargeted, AimsBetweenAReadOfAnMmAndTheNextLockedOperationOnIt) {
  const unsigned spaces = preemptions_of_relying(Windows::spaces);
  const unsigned reads = preemptions_of_relying(Windows::reads);
  EXPECT_GT(spaces, 2 * reads) << spaces << " and " << reads;
}

/// Generated, and from somewhere in its list on a strategy decides.
Scenario aiming(std::uint64_t seed, std::uint8_t stream) {
  Scenario scenario;
  generate(seed, {}, scenario);
  const Deviation aim{.delay = static_cast<std::uint8_t>(seed % 256),
                      .kind = EventKind::aim,
                      .cpu = static_cast<std::uint8_t>(seed % scenario.header.cpus),
                      .arg = stream};
  scenario.deviations.insert(seed % (scenario.deviations.size() + 1), aim);
  return scenario;
}

TEST(Aim, IsTheRunThatItsUnfoldedFormIs) {
  auto runner = std::make_unique<Runner>();
  unsigned more = 0;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    const Scenario scenario = aiming(seed, 0);
    runner->run(scenario);
    const std::uint64_t hash = runner->machine().recorder().hash();
    const Scenario unfolded = runner->unfolded();
    for (const Deviation& one : unfolded.deviations) EXPECT_NE(one.kind, EventKind::aim);
    EXPECT_EQ(unfolded.ops, scenario.ops);
    more += unfolded.deviations.size() > scenario.deviations.size() ? 1 : 0;
    runner->run(unfolded);
    ASSERT_EQ(runner->machine().recorder().hash(), hash) << "seed " << seed;
    EXPECT_EQ(runner->unfolded(), unfolded);
  }
  EXPECT_GT(more, kSeeds / 4);
}

TEST(Aim, StreamsAreDifferentSchedules) {
  auto runner = std::make_unique<Runner>();
  unsigned different = 0;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    std::set<std::uint64_t> traces;
    for (const std::uint8_t stream : {0, 1, 1, 255}) {
      runner->run(aiming(seed, stream));
      traces.insert(runner->machine().recorder().hash());
    }
    EXPECT_LE(traces.size(), 3u);
    different += traces.size() == 3 ? 1 : 0;
  }
  EXPECT_GT(different, kSeeds / 2);
}

TEST(Aim, LeavesWhatComesBeforeItAlone) {
  auto runner = std::make_unique<Runner>();
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    const Scenario scenario = aiming(seed, 3);
    runner->run(scenario);
    const auto& unfolded = runner->unfolded().deviations;
    for (unsigned i = 0; i < unfolded.size(); ++i) {
      const Deviation& told = scenario.deviations[i];
      if (told.kind == EventKind::aim) {
        EXPECT_EQ(unfolded[i], (Deviation{.delay = told.delay, .cpu = told.cpu}));
        break;
      }
      EXPECT_EQ(unfolded[i], told);
    }
  }
}

}  // namespace
}  // namespace shootdown::fuzz
