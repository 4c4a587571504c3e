// The minimiser, with synthetic failures whose smallest form is known.
#include "fuzz/scenario/minimise.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "fuzz/scenario/generate.h"
#include "fuzz/scenario/kinds.h"

namespace shootdown::fuzz {
namespace {

bool has_op(const Scenario& scenario, unsigned cpu, OpKind kind, unsigned page) {
  const auto& list = scenario.ops[cpu];
  return std::any_of(list.begin(), list.end(), [&](const Op& op) {
    return op.kind == kind && op.page <= page && page < unsigned{op.page} + op.count;
  });
}

/// One CPU unmaps a page that another one reads, and the reader was preempted at some time.
bool races_on_a_page(const Scenario& scenario) {
  for (unsigned page = 0; page < kPages; ++page) {
    for (unsigned unmapper = 0; unmapper < kMaxCpus; ++unmapper) {
      if (!has_op(scenario, unmapper, OpKind::unmap, page)) continue;
      for (const Deviation& deviation : scenario.deviations) {
        if (deviation.kind != EventKind::preempt || deviation.cpu == unmapper) continue;
        if (has_op(scenario, deviation.cpu, OpKind::read, page)) return true;
      }
    }
  }
  return false;
}

/// A large scenario that fails.
Scenario large_failure(const StillFails& fails) {
  const GenerateOptions options{.cpus = 8, .ops_per_cpu = 16, .max_deviations = 64};
  for (std::uint64_t seed = 0;; ++seed) {
    Scenario scenario;
    generate(seed, options, scenario);
    if (fails(scenario)) return scenario;
  }
}

TEST(Minimise, SaysSoIfTheStartDoesNotFail) {
  unsigned calls = 0;
  const auto never = [&](const Scenario&) { return ++calls == 0; };
  const MinimiseResult result = minimise(Scenario{}, never);
  EXPECT_EQ(result.outcome, MinimiseOutcome::not_reproduced);
  EXPECT_EQ(result.scenario, Scenario{});
  EXPECT_EQ(calls, 1u);
}

TEST(Minimise, ReachesTheSmallestScenarioOfAll) {
  const Scenario start = large_failure([](const Scenario&) { return true; });
  const MinimiseResult result = minimise(start, [](const Scenario&) { return true; });
  EXPECT_EQ(result.outcome, MinimiseOutcome::minimal);
  Scenario smallest;
  smallest.header.cpus = 1;
  smallest.header.mms = 1;
  EXPECT_EQ(result.scenario, smallest);
  EXPECT_LT(result.tries, 40u);
}

TEST(Minimise, FindsTheTwoOperationsAndTheDeviationThatMatter) {
  const Scenario start = large_failure(races_on_a_page);
  const MinimiseResult result = minimise(start, races_on_a_page);
  EXPECT_EQ(result.outcome, MinimiseOutcome::minimal);
  EXPECT_TRUE(races_on_a_page(result.scenario));
  Scenario smallest;
  smallest.header.cpus = 2;
  smallest.header.mms = 1;
  const unsigned reader = result.scenario.deviations[0].cpu;
  smallest.ops[reader].push_back({OpKind::read, 0, 0, 1});
  smallest.ops[1 - reader].push_back({OpKind::unmap, 0, 0, 1});
  smallest.deviations.push_back({0, EventKind::preempt, static_cast<std::uint8_t>(reader), 0});
  EXPECT_EQ(result.scenario, smallest) << print(result.scenario);
}

TEST(Minimise, KeepsTheConfigurationThatMatters) {
  Scenario start;
  start.header = {8, 8, false, false, 7};
  const auto fails = [](const Scenario& s) {
    return s.header.mms >= 7 && !s.header.pcid && s.header.ceiling <= 9 && s.header.cpus >= 3;
  };
  EXPECT_EQ(minimise(start, fails).scenario.header, (Header{3, 7, false, true, 9}));
}

TEST(Minimise, ShrinksRangesFromBothEnds) {
  Scenario start;
  start.ops[0].push_back({OpKind::unmap, 0, 1, 14});
  const auto fails = [](const Scenario& s) {
    return has_op(s, 0, OpKind::unmap, 6) && has_op(s, 0, OpKind::unmap, 8);
  };
  const MinimiseResult result = minimise(start, fails);
  ASSERT_EQ(result.scenario.ops[0].size(), 1u);
  EXPECT_EQ(result.scenario.ops[0][0], (Op{OpKind::unmap, 0, 6, 3}));
}

TEST(Minimise, PrefersPlainKinds) {
  Scenario start;
  start.ops[0].push_back({OpKind::write, 0, 5, 1});
  start.ops[0].push_back({OpKind::free_table, 0, 5, 1});
  start.ops[0].push_back({OpKind::exit, 0, 0, 1});
  const auto fails = [](const Scenario& s) { return count_ops(s) == 3; };
  const Scenario result = minimise(start, fails).scenario;
  ASSERT_EQ(result.ops[0].size(), 3u);
  EXPECT_EQ(result.ops[0][0].kind, OpKind::read);
  EXPECT_EQ(result.ops[0][1].kind, OpKind::unmap);
  EXPECT_EQ(result.ops[0][2].kind, OpKind::flush_mm);
}

TEST(Minimise, DropsPartsThatOnlyGoTogether) {
  Scenario start;
  for (unsigned i = 0; i < 5; ++i) {
    start.ops[0].push_back({OpKind::idle, 0, 0, 1});
    start.ops[0].push_back({OpKind::read, 0, 0, 1});
    start.ops[0].push_back({OpKind::resume, 0, 0, 1});
  }
  const auto fails = [](const Scenario& s) {
    int depth = 0;
    for (const Op& op : s.ops[0]) depth += (op.kind == OpKind::idle) - (op.kind == OpKind::resume);
    return depth == 0 && has_op(s, 0, OpKind::read, 0);
  };
  EXPECT_EQ(count_ops(minimise(start, fails).scenario), 1u);
}

TEST(Minimise, DropsACpuTogetherWithItsOperations) {
  Scenario start;
  start.header.cpus = 6;
  for (unsigned cpu = 0; cpu < 6; ++cpu) start.ops[cpu].push_back({OpKind::idle, 0, 0, 1});
  const auto fails = [](const Scenario& s) {
    for (unsigned cpu = 0; cpu < s.header.cpus; ++cpu) {
      if (s.ops[cpu].size() != 1) return false;
    }
    return s.header.cpus >= 2;
  };
  EXPECT_EQ(minimise(start, fails).scenario.header.cpus, 2);
}

TEST(Minimise, MovesProgramsOntoFewerCpus) {
  Scenario start;
  start.header.cpus = 6;
  start.ops[1].push_back({OpKind::switch_to, 0, 0, 1});
  start.ops[3].push_back({OpKind::read, 0, 0, 1});
  start.ops[5].push_back({OpKind::idle, 0, 0, 1});
  start.deviations.push_back({0, EventKind::evict, 5, 0});
  const auto fails = [](const Scenario& s) {
    return count_ops(s) == 3 && s.deviations.size() == 1 && s.ops[s.deviations[0].cpu].size() != 0;
  };
  EXPECT_EQ(minimise(start, fails).scenario.header.cpus, 1);
}

TEST(Minimise, RenamesPagesAndMmsEverywhereAtOnce) {
  Scenario start;
  start.header.mms = 8;
  start.ops[0].push_back({OpKind::map, 5, 11, 1});
  start.ops[1].push_back({OpKind::unmap, 5, 11, 1});
  start.deviations.push_back({0, EventKind::fill, 1, 11});
  const auto fails = [](const Scenario& s) {
    if (s.ops[0].size() != 1 || s.ops[1].size() != 1 || s.deviations.size() != 1) return false;
    const Op& map = s.ops[0][0];
    const Op& unmap = s.ops[1][0];
    return map.kind == OpKind::map && unmap.kind == OpKind::unmap && map.page == unmap.page &&
           map.mm == unmap.mm && s.deviations[0].arg == map.page;
  };
  const Scenario result = minimise(start, fails).scenario;
  EXPECT_EQ(result.header.mms, 1);
  EXPECT_EQ(result.ops[0][0], (Op{OpKind::map, 0, 0, 1}));
  EXPECT_EQ(result.ops[1][0], (Op{OpKind::unmap, 0, 0, 1}));
}

TEST(Minimise, RenamesMmsEvenIfTheirNumberMatters) {
  Scenario start;
  start.header.mms = 8;
  start.ops[0].push_back({OpKind::flush_mm, 5, 0, 1});
  start.ops[1].push_back({OpKind::switch_to, 5, 0, 1});
  const auto fails = [](const Scenario& s) {
    return s.header.mms == 8 && s.ops[0].size() == 1 && s.ops[1].size() == 1 &&
           s.ops[0][0].mm == s.ops[1][0].mm;
  };
  EXPECT_EQ(minimise(start, fails).scenario.ops[0][0].mm, 0);
}

/// A schedule in small: each operation of CPU 0 takes some visible operations, and the failure
/// needs a preemption exactly in the middle of an unmap.
bool preempts_inside_unmap(const Scenario& scenario) {
  unsigned now = 0;
  std::vector<unsigned> windows;
  for (const Op& op : scenario.ops[0]) {
    if (op.kind == OpKind::unmap) windows.push_back(now + 4);
    now += 7 + static_cast<unsigned>(op.kind);
  }
  now = 0;
  for (const Deviation& deviation : scenario.deviations) {
    now += deviation.delay;
    const bool hits = std::find(windows.begin(), windows.end(), now) != windows.end();
    if (hits && deviation.kind == EventKind::preempt) return true;
  }
  return false;
}

TEST(Minimise, RetimesDeviationsWhenItDropsOperations) {
  Scenario start;
  for (const OpKind kind : {OpKind::switch_to, OpKind::map, OpKind::read, OpKind::protect,
                            OpKind::unmap, OpKind::write, OpKind::idle}) {
    start.ops[0].push_back({kind, 0, 0, 1});
  }
  const unsigned before_unmap = 4 * 7 + 0 + 6 + 4 + 8;
  start.deviations.push_back({9, EventKind::evict, 1, 3});
  start.deviations.push_back({before_unmap + 4 - 9, EventKind::preempt, 1, 0});
  start.deviations.push_back({40, EventKind::fill, 2, 3});
  normalise(start);
  ASSERT_TRUE(preempts_inside_unmap(start));

  const Scenario result = minimise(start, preempts_inside_unmap).scenario;
  EXPECT_EQ(count_ops(result), 1u) << print(result);
  ASSERT_EQ(result.deviations.size(), 1u);
  EXPECT_EQ(result.deviations[0], (Deviation{4, EventKind::preempt, 0, 0}));
}

TEST(Minimise, StopsWhenTheBudgetEnds) {
  const Scenario start = large_failure(races_on_a_page);
  const unsigned needed = minimise(start, races_on_a_page).tries;
  for (const unsigned budget : {1u, 2u, 10u, needed - 1}) {
    unsigned calls = 0;
    const auto counted = [&](const Scenario& scenario) {
      ++calls;
      return races_on_a_page(scenario);
    };
    const MinimiseResult result = minimise(start, counted, {.max_tries = budget});
    EXPECT_EQ(result.outcome, MinimiseOutcome::out_of_tries);
    EXPECT_EQ(calls, budget);
    EXPECT_EQ(result.tries, budget);
    EXPECT_TRUE(races_on_a_page(result.scenario));
  }
  EXPECT_EQ(minimise(start, races_on_a_page, {.max_tries = needed}).outcome,
            MinimiseOutcome::minimal);
}

TEST(Minimise, OffersOnlyNormalisedSimplerScenariosAndNoneTwice) {
  Scenario best = large_failure(races_on_a_page);
  std::vector<std::vector<std::uint8_t>> offered;
  const auto fails = [&](const Scenario& scenario) {
    Scenario normal = scenario;
    normalise(normal);
    EXPECT_EQ(normal, scenario);
    if (!offered.empty()) EXPECT_TRUE(is_simpler(scenario, best));
    offered.push_back(encode(scenario));
    if (!races_on_a_page(scenario)) return false;
    best = scenario;
    return true;
  };
  const MinimiseResult result = minimise(best, fails);
  EXPECT_EQ(offered.size(), result.tries);
  const auto first_run = std::exchange(offered, {});
  best = large_failure(races_on_a_page);
  EXPECT_EQ(minimise(best, fails).scenario, result.scenario);
  EXPECT_EQ(offered, first_run) << "the search is deterministic";
  std::sort(offered.begin(), offered.end());
  EXPECT_EQ(std::adjacent_find(offered.begin(), offered.end()), offered.end());
}

TEST(Minimise, OffersOnlySimplerScenariosWhenNoneFails) {
  Scenario start;
  generate(7, {.cpus = 3, .ops_per_cpu = 3, .max_deviations = 4}, start);
  unsigned calls = 0;
  const auto fails = [&](const Scenario& scenario) {
    if (calls++ > 0) EXPECT_TRUE(is_simpler(scenario, start)) << print(scenario);
    return scenario == start;
  };
  EXPECT_EQ(minimise(start, fails).scenario, start);
}

TEST(Minimise, ReportsProgressAfterEveryTry) {
  const Scenario start = large_failure(races_on_a_page);
  unsigned reports = 0;
  unsigned accepted = 0;
  Scenario last = start;
  MinimiseOptions options;
  options.progress = [&](const MinimiseProgress& progress) {
    ++reports;
    EXPECT_EQ(progress.tries, reports + 1) << "the start counts as the first try";
    EXPECT_EQ(progress.accepted, is_simpler(progress.best, last));
    accepted += progress.accepted;
    last = progress.best;
  };
  const MinimiseResult result = minimise(start, races_on_a_page, options);
  EXPECT_EQ(reports + 1, result.tries);
  EXPECT_GT(accepted, 3u);
  EXPECT_EQ(last, result.scenario);
}

}  // namespace
}  // namespace shootdown::fuzz
