// A run as a readable story.
#include "fuzz/run/trace_report.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "fuzz/run/runner.h"
#include "fuzz/scenario/scenario.h"

namespace shootdown::fuzz {
namespace {

constexpr std::string_view kText =
    "shootdown-scenario 1\n"
    "config cpus=2 mms=2 pti=1\n"
    "cpu 0: unmap mm=0 page=1\n"
    "cpu 1: read page=1\n"
    "at +0: preempt cpu=1\n";

struct StoryTest : testing::Test {
  Scenario scenario;
  std::unique_ptr<Runner> runner = std::make_unique<Runner>();
  StoryTest() {
    ParseError error;
    EXPECT_TRUE(parse(kText, scenario, error)) << print(error);
  }
  std::vector<std::string> lines(const TraceReportOptions& options = {}) {
    std::istringstream in(tell(*runner, scenario, options));
    std::vector<std::string> result;
    for (std::string line; std::getline(in, line);) result.push_back(line);
    return result;
  }
  static std::size_t index_of(const std::vector<std::string>& lines, const std::string& start) {
    const auto found = std::find_if(lines.begin(), lines.end(), [&](const std::string& line) {
      return line.starts_with(start);
    });
    EXPECT_NE(found, lines.end()) << start;
    return static_cast<std::size_t>(found - lines.begin());
  }
};

TEST_F(StoryTest, HasItsPartsInOrder) {
  const auto told = lines();
  EXPECT_LT(index_of(told, "CONFIGURATION"), index_of(told, "SCENARIO"));
  EXPECT_LT(index_of(told, "SCENARIO"), index_of(told, "INTERLEAVING"));
  EXPECT_LT(index_of(told, "INTERLEAVING"), index_of(told, "VERDICT"));
  EXPECT_EQ(told[1],
            "  CPUs 2, address spaces 2, PCID on, concurrent flush on, ceiling 33 strides, pti on");
}

TEST_F(StoryTest, ContainsTheScenarioAsItWouldBeParsed) {
  const std::string story = tell(*runner, scenario, {});
  EXPECT_NE(story.find(print(scenario)), std::string::npos);
}

TEST_F(StoryTest, GivesEachCpuAColumn) {
  const auto told = lines({.timeline = {.column_width = 40}});
  const std::size_t head = index_of(told, "       step");
  const std::size_t first = told[head].find("cpu0");
  const std::size_t second = told[head].find("cpu1");
  EXPECT_EQ(second - first, 42u);
  const auto ops = [&](const std::string& what) {
    for (const std::string& line : told) {
      const std::size_t at = line.find(what);
      if (at != std::string::npos && line.find("cpu ") != 0) return at;
    }
    return std::string::npos;
  };
  EXPECT_EQ(ops("== unmap"), first);
  EXPECT_EQ(ops("== read"), second);
}

TEST_F(StoryTest, NamesWordsAndPlacesAndNoAddresses) {
  const std::string story = tell(*runner, scenario, {});
  for (const char* part :
       {"mm0.tlb_gen", "mm0.cpu_mask", "cpu1.is_lazy", "cpu1.pending[0]", "page 1", "mm0, PCID",
        "interrupt: call function", "flush.h:", "switch_mm.h:"}) {
    if (std::string_view(part) == "switch_mm.h:") continue;  // No CPU switches here.
    EXPECT_NE(story.find(part), std::string::npos) << part;
  }
  // A pointer in decimal has more digits than anything that a story counts.
  unsigned digits = 0;
  for (const char letter : story.substr(0, story.find("visible operations"))) {
    digits = letter >= '0' && letter <= '9' ? digits + 1 : 0;
    ASSERT_LT(digits, 12u);
  }
}

TEST_F(StoryTest, LooksAtTheRunAndDoesNotChangeIt) {
  runner->run(scenario);
  const std::uint64_t hash = runner->machine().recorder().hash();
  const std::uint64_t steps = runner->machine().step();
  static_cast<void>(record(*runner, scenario, nullptr));
  EXPECT_EQ(runner->machine().recorder().hash(), hash);
  EXPECT_EQ(runner->machine().step(), steps);
  EXPECT_EQ(runner->machine().recorder().watch(), nullptr);
}

TEST_F(StoryTest, ChangesLeadFromTheStartToTheEnd) {
  const Story story = record(*runner, scenario, nullptr);
  State state = story.start;
  unsigned deviations = 0;
  for (const StoryItem& item : story.items) {
    deviations += item.deviation ? 1 : 0;
    for (const auto& [place, what] : item.changes) {
      if (what) {
        state[place] = *what;
      } else {
        EXPECT_EQ(state.erase(place), 1u) << place;
      }
    }
  }
  EXPECT_EQ(deviations, scenario.deviations.size());
  EXPECT_EQ(state, state_of(runner->machine(), runner->sim(), runner->oracles()));
}

TEST(TimelineTest, MarksTheTwoAccesses) {
  const auto marks = [](host::Event first, host::Event then) {
    std::vector<TimelineRow> rows{
        {.step = 1, .cpu = 0, .what = "speculative fill of page 0"},
        {.step = 1, .cpu = 0, .what = "load x = 1"},
        {.step = 2, .cpu = 1, .what = "store x = 2"},
        {.step = 2, .cpu = 1, .what = "~~ at +1: preempt cpu=0", .mark = Mark::deviation},
    };
    mark_conflict({.kind = &host::kCheck, .first = std::move(first), .second = std::move(then)},
                  rows);
    std::string text;
    for (const TimelineRow& row : rows) text += std::string(name(row.mark)) + "|";
    return text + rows.back().what;
  };
  EXPECT_EQ(marks({1, 0, "cached page 0"}, {2, 1, "returns"}),
            "first||then|dev|~~ at +1: preempt cpu=0");
  EXPECT_EQ(marks({1, 0, "reads"}, {2, 1, "returns"}), "|first|then|dev|~~ at +1: preempt cpu=0");
  EXPECT_EQ(marks({2, 1, "a"}, {2, 1, "b"}), "||both|dev|~~ at +1: preempt cpu=0");
  EXPECT_EQ(marks({}, {5, 1, "writes CR4"}), "|||dev|then|[writes CR4]");
}

TEST_F(StoryTest, CutsTheInterleavingFromTheFront) {
  const auto all = lines();
  const auto some = lines({.timeline = {.last_lines = 4}});
  EXPECT_LT(some.size(), all.size());
  const std::size_t note = index_of(some, "  ... ");
  EXPECT_TRUE(some[note].ends_with("lines left out"));
  EXPECT_EQ(some.back(), all.back());
}

TEST_F(StoryTest, LeavesNoMmAtTheEndOfALine) {
  for (const std::string& line : lines({.timeline = {.column_width = 12}})) {
    EXPECT_FALSE(line.ends_with(' ')) << line;
  }
}

TEST_F(StoryTest, TellsWhatWentWrong) {
  EXPECT_EQ(title({}), "ok");
  EXPECT_EQ(title({.kind = kind_of(Oracle::o7), .title = "what"}), "O7 what");
  EXPECT_EQ(title({.kind = &host::kCheck, .title = "what"}), "CHECK what");
  EXPECT_EQ(title({.kind = &host::kFault, .title = "what"}), "FAULT what");
}

}  // namespace
}  // namespace shootdown::fuzz
