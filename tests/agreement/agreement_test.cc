// Agreement (O30): backends, the static key and page-table isolation change what a flush costs, and
// nothing else. Counted, from fixed seeds.
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "fuzz/run/runner.h"
#include "fuzz/scenario/generate.h"
#include "fuzz/scenario/scenario.h"
#include "tests/oracles/oracle_fixture.h"

namespace shootdown::fuzz {
namespace {

constexpr std::uint64_t kScenarios = 10000;
constexpr std::uint64_t kQuietScenarios = 2000;

struct Setting {
  Backend backend;
  bool concurrent;
  bool pti;
};

std::vector<Setting> all_settings() {
  std::vector<Setting> settings;
  for (unsigned backend = 0; backend < static_cast<unsigned>(Backend::kCount); ++backend) {
    for (const bool concurrent : {true, false}) {
      for (const bool pti : {false, true}) {
        settings.push_back({static_cast<Backend>(backend), concurrent, pti});
      }
    }
  }
  return settings;
}

void apply(const Setting& setting, Scenario& scenario) {
  scenario.header.backend = setting.backend;
  scenario.header.concurrent = setting.concurrent;
  scenario.header.pti = setting.pti;
  normalise(scenario);
}

std::string print(const Setting& setting) {
  return std::string(name(setting.backend)) + (setting.concurrent ? ", concurrent" : ", serial") +
         (setting.pti ? ", isolated" : "");
}

TEST(O30_Agreement, AllSettingsComeToTheSameVerdictOnEveryScenario) {
  Runner runner;
  std::uint64_t runs = 0;
  std::uint64_t steps = 0;
  for (std::uint64_t seed = 0; seed < kScenarios; ++seed) {
    Scenario generated;
    generate(seed, {}, generated);
    std::string first;
    for (const Setting& setting : all_settings()) {
      Scenario scenario = generated;
      apply(setting, scenario);
      const host::Report& report = runner.run(scenario);
      const std::string verdict = report.failed() ? report.title : "clean";
      if (first.empty()) first = verdict;
      ASSERT_EQ(verdict, first) << "seed " << seed << ", " << print(setting) << "\n"
                                << print(scenario);
      ++runs;
      steps += runner.machine().step();
    }
  }
  std::printf("%llu runs of %llu scenarios, %llu visible operations\n",
              static_cast<unsigned long long>(runs), static_cast<unsigned long long>(kScenarios),
              static_cast<unsigned long long>(steps));
}

/// What user code and the kernel saw: for each access that succeeded its page and right, and whose
/// page it reached.
std::string outcomes(const Scenario& scenario, std::uint64_t& accesses) {
  OracleFixture fixture;
  std::string seen;
  fixture.on_access = [&](CpuId cpu, VirtAddr address, const host::TlbEntry& entry) {
    // Under isolation each entry from user mode reads this page.
    if (kernel_page_of(address) == kPageOfEntries) return;
    ++accesses;
    seen += std::to_string(cpu) + ":" + std::to_string(address) +
            (entry.rights.writable ? "w" : "r") +
            std::to_string(fixture.machine.frames().info(entry.frame).owner) + " ";
  };
  const std::string verdict = fixture.run(scenario);
  return verdict + " " + seen;
}

/// Only CPU 0 works, on the mms of all, and nothing deviates: then the settings cannot change
/// who comes first, and every access must end in the same way.
TEST(O30_Agreement, WithoutRacesEveryAccessEndsTheSame) {
  std::uint64_t accesses = 0;
  for (std::uint64_t seed = 0; seed < kQuietScenarios; ++seed) {
    Scenario generated;
    generate(seed, {.ops_per_cpu = 16, .max_deviations = 0}, generated);
    for (unsigned cpu = 1; cpu < kMaxCpus; ++cpu) generated.ops[cpu].clear();
    // Isolation allocates one frame more for an mm, so it is another allocation that would fail.
    for (Op& op : generated.ops[0]) {
      if (op.kind == OpKind::fail_allocation) op = {.kind = OpKind::read};
    }
    std::string first;
    for (const Setting& setting : all_settings()) {
      Scenario scenario = generated;
      apply(setting, scenario);
      const std::string seen = outcomes(scenario, accesses);
      if (first.empty()) first = seen;
      ASSERT_EQ(seen, first) << "seed " << seed << ", " << print(setting) << "\n"
                             << print(scenario);
    }
  }
  std::printf("%llu accesses agree\n", static_cast<unsigned long long>(accesses));
  EXPECT_GT(accesses, kQuietScenarios * all_settings().size() / 2)
      << "hardly anything was accessed";
}

}  // namespace
}  // namespace shootdown::fuzz
