// The same input gives the same run: on every build, in every process, whatever ran before.
#include <gtest/gtest.h>

#include <array>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

#include "fuzz/generate.h"
#include "fuzz/runner.h"
#include "fuzz/story.h"

namespace shootdown::fuzz {
namespace {

constexpr unsigned kSeeds = 20;

/// From 2 to 8 CPUs, short and long, with few deviations and with many.
Scenario scenario_of(unsigned seed) {
  Scenario scenario;
  generate(seed,
           {.cpus = 2 + (seed % 7), .ops_per_cpu = 4 + (seed % 13), .max_deviations = seed * 3},
           scenario);
  return scenario;
}

struct Outcome {
  std::uint64_t hash;
  std::uint64_t steps;
  std::uint64_t interrupts;
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

Outcome run(Runner& runner, const Scenario& scenario) {
  const host::Report& report = runner.run(scenario);
  EXPECT_FALSE(report.failed()) << title(report);
  const host::Machine& machine = runner.machine();
  return {machine.trace_hash(), machine.step(), machine.interrupts_delivered()};
}

/// What the seeds gave when this was written. A change of the core, the simulated kernel, the model
/// or the generator changes it, and the test prints the new table; a change of compiler, sanitizer
/// or machine must not.
// clang-format off
constexpr std::array<Outcome, kSeeds> kGolden{{
    {0x6585321e483e5fa7, 93, 1},
    {0x50b088ba8e622603, 336, 7},
    {0xd24988aed9299d00, 74, 1},
    {0x800f4edb15fb6627, 227, 0},
    {0x46bbfdda8f5fef48, 915, 20},
    {0x3c3083c470b18d33, 563, 6},
    {0x088a6098526cc3f0, 1366, 27},
    {0x00f286b7f1ea45d9, 363, 8},
    {0xf7d492cd46c8ae25, 265, 1},
    {0x644c47aaa534a2d0, 559, 9},
    {0xaf7612d979241b3f, 754, 0},
    {0x29cf56bb9c63ca9d, 953, 8},
    {0x7386c67be2f2d2d5, 1397, 14},
    {0x685007a371ddaf47, 612, 11},
    {0xa7b3747b4557382c, 96, 3},
    {0x2d105f1f986dc899, 175, 3},
    {0xddc512cdd409d761, 578, 9},
    {0xa9a573ac72a96123, 448, 13},
    {0xc18f5a979afce2d3, 681, 12},
    {0x4756dc2b6f65aaf3, 1266, 23},
}};
// clang-format on

TEST(Determinism, TracesAreTheSameInEveryBuild) {
  const auto runner = std::make_unique<Runner>();
  std::string table;
  bool same = true;
  for (unsigned seed = 0; seed < kSeeds; ++seed) {
    const Outcome outcome = run(*runner, scenario_of(seed));
    same = same && outcome == kGolden[seed];
    std::array<char, 96> line{};
    std::snprintf(line.data(), line.size(), "    {0x%016" PRIx64 ", %" PRIu64 ", %" PRIu64 "},\n",
                  outcome.hash, outcome.steps, outcome.interrupts);
    table += line.data();
  }
  EXPECT_TRUE(same) << "If the change of behaviour is meant, this is the new table:\n" << table;
}

TEST(Determinism, RunsDoNotDependOnWhatRanBefore) {
  const auto veteran = std::make_unique<Runner>();
  for (unsigned seed = 100; seed < 150; ++seed) run(*veteran, scenario_of(seed));
  for (unsigned seed = 0; seed < kSeeds; ++seed) {
    const auto fresh = std::make_unique<Runner>();
    EXPECT_EQ(run(*veteran, scenario_of(seed)), run(*fresh, scenario_of(seed))) << seed;
  }
}

TEST(Determinism, RunsDoNotDependOnFailuresBefore) {
  const auto runner = std::make_unique<Runner>();
  const Outcome before = run(*runner, scenario_of(3));
  // A schedule that is abandoned in the middle: the machine runs something else and fails.
  runner->machine().prepare({.cpus = 4,
                             .boot = [](void*, CpuId) {},
                             .program = [](void*, CpuId) { host::HostHal::pause(); },
                             .interrupt = [](void*, CpuId) {}});
  EXPECT_TRUE(runner->machine().run().failed());
  EXPECT_EQ(run(*runner, scenario_of(3)), before);
}

TEST(Determinism, RecordingChangesNothing) {
  const auto runner = std::make_unique<Runner>();
  for (unsigned seed = 0; seed < kSeeds; ++seed) {
    const Outcome quiet = run(*runner, scenario_of(seed));
    runner->machine().set_recording(true);
    EXPECT_EQ(run(*runner, scenario_of(seed)), quiet) << seed;
    runner->machine().set_recording(false);
  }
}

TEST(Determinism, StoriesAreTheSameByteForByte) {
  const auto veteran = std::make_unique<Runner>();
  for (unsigned seed = 0; seed < kSeeds; seed += 3) {
    const Scenario scenario = scenario_of(seed);
    const auto fresh = std::make_unique<Runner>();
    const std::string story = tell(*veteran, scenario, {});
    EXPECT_EQ(story, tell(*veteran, scenario, {})) << seed;
    EXPECT_EQ(story, tell(*fresh, scenario, {})) << seed;
  }
}

TEST(Determinism, AnotherScheduleGivesAnotherHash) {
  const auto runner = std::make_unique<Runner>();
  Scenario scenario;
  ParseError error;
  ASSERT_TRUE(
      parse("shootdown-scenario 1\nconfig cpus=2\n"
            "cpu 0: unmap mm=0 page=1\ncpu 1: read page=1\n",
            scenario, error));
  const Outcome plain = run(*runner, scenario);
  scenario.deviations.push_back({.delay = 3, .kind = DeviationKind::preempt, .cpu = 1});
  EXPECT_NE(run(*runner, scenario).hash, plain.hash);
}

}  // namespace
}  // namespace shootdown::fuzz
