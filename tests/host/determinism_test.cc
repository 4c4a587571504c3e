// The same input gives the same run: on every build, in every process, after any other runs.
#include <gtest/gtest.h>

#include <array>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

#include "fuzz/run/runner.h"
#include "fuzz/run/trace_report.h"
#include "fuzz/scenario/generate.h"

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
  return {machine.recorder().hash(), machine.step(), machine.interrupts().delivered()};
}

/// What the seeds gave when this was written. A change of the core, the simulated kernel, the model
/// or the generator changes it, and the test prints the new table; a change of compiler, sanitizer
/// or machine must not.
// clang-format off
constexpr std::array<Outcome, kSeeds> kGolden{{
    {0x3433230f41ebac1b, 55, 0},
    {0x46d1e7f9d522b32b, 91, 0},
    {0xb966ab95636a11c3, 308, 8},
    {0x83209f29f36f61af, 259, 0},
    {0x471dc84d5e928100, 401, 0},
    {0x35877a1987b65b63, 944, 26},
    {0xab6812daca312d60, 1322, 37},
    {0x3fded8e4d48d6b66, 456, 13},
    {0x780adcd358d5c9fb, 395, 5},
    {0x8cfc69eb5767641b, 547, 5},
    {0x90a73409f878eaa1, 456, 3},
    {0xb097581e0492e689, 417, 0},
    {0x6c86a3eab1511643, 1079, 10},
    {0x6ee0de7fe32d9f30, 590, 14},
    {0x5ddea22c74a5e40f, 124, 1},
    {0x7419fc7b72f4a54a, 238, 7},
    {0x28e4321452e1d1ab, 664, 21},
    {0xdaa50a70345b0fac, 629, 19},
    {0xf20549df666cfb62, 516, 8},
    {0xee04e94688ad2386, 578, 14},
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
  runner->machine().prepare({.hardware = {.cpus = 4},
                             .programs = {.boot = [](void*, CpuId) {},
                                          .program = [](void*, CpuId) { host::HostHal::pause(); },
                                          .interrupt = [](void*, CpuId) {}}});
  EXPECT_TRUE(runner->machine().run().failed());
  EXPECT_EQ(run(*runner, scenario_of(3)), before);
}

TEST(Determinism, RecordingChangesNothing) {
  const auto runner = std::make_unique<Runner>();
  for (unsigned seed = 0; seed < kSeeds; ++seed) {
    const Outcome quiet = run(*runner, scenario_of(seed));
    runner->machine().recorder().turn_timeline(true);
    EXPECT_EQ(run(*runner, scenario_of(seed)), quiet) << seed;
    runner->machine().recorder().turn_timeline(false);
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
  scenario.deviations.push_back({.delay = 3, .kind = EventKind::preempt, .cpu = 1});
  EXPECT_NE(run(*runner, scenario).hash, plain.hash);
}

}  // namespace
}  // namespace shootdown::fuzz
