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
    {0xeed5f9ab9b5c33e7, 102, 0},
    {0x9842732962824bde, 176, 1},
    {0x8bfc7ac9b6e92680, 150, 1},
    {0x9df811ffcd56f572, 217, 0},
    {0xfb13772cf7be9f04, 676, 13},
    {0xb82ff6918375b3a5, 361, 0},
    {0xf493818bd884bbec, 1165, 29},
    {0x41a1cd77a6bbf16d, 652, 19},
    {0xf28788f36c48514c, 148, 2},
    {0xe9e6b1b0098b20d7, 569, 6},
    {0x00a2ea2ebb19ecc9, 1071, 13},
    {0xa72045322b1e1df1, 911, 8},
    {0x6d75ed90d1c8e6ce, 970, 9},
    {0x81e71a7394edbab5, 566, 12},
    {0x076a326cbf8134e1, 193, 3},
    {0x162be7ba1bbeee91, 116, 1},
    {0x93a97422d5e3b620, 588, 11},
    {0x966c690076e0836c, 434, 5},
    {0xa5e9a6214d12bac1, 641, 9},
    {0x8cd80f195157c10b, 1396, 45},
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
