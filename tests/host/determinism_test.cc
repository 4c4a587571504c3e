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
    {0x2f8cfa8891afb538, 65, 0},
    {0x50b088ba8e622603, 336, 7},
    {0x47c8a77350dcd534, 147, 3},
    {0xef0d48662d793f64, 452, 8},
    {0xf458b6461aa1c22a, 706, 21},
    {0xcf961dcaf7f312d5, 1170, 24},
    {0xac5574f29119cb85, 1455, 33},
    {0x1bc52d3b154f8baf, 306, 6},
    {0x5cada6aa248fcf96, 387, 6},
    {0x909c0d31949765ee, 585, 10},
    {0x45ecf5367ccebcd4, 597, 19},
    {0x77e715a23a062b8d, 948, 24},
    {0x6d656e222a8ccf5a, 1726, 52},
    {0xf6f6fc6631e8161e, 459, 18},
    {0xe74eeb6db4a4a503, 74, 1},
    {0xce29538988954362, 162, 2},
    {0xef7f30fecb83e405, 292, 7},
    {0xb40ab165fc190111, 586, 15},
    {0xad87c8f7f8774449, 731, 15},
    {0x27b66321ea1f7c91, 1283, 36},
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
