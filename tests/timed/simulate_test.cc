// Flushes of the core whose time is known in another way than by the machine that runs them.
#include "hal/timed/simulate.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "hal/timed/prices.h"

namespace shootdown::timed {
namespace {

constexpr Mode kModes[] = {Mode::serial, Mode::concurrent, Mode::early, Mode::invlpgb};

Prices nothing() {
  Prices list{};
  list.levels = {{.name = "all", .cpus = 0, .line = 0}};
  return list;
}
Prices list_of_tree(const std::string& name) {
  std::ifstream file("hal/timed/prices/" + name + ".txt");
  return parse_prices(std::string(std::istreambuf_iterator<char>(file), {})).prices;
}

Experiment flush(Mode mode, CpuId cpus, unsigned pages = 1, bool isolation = false) {
  return {.setup = {.mode = mode, .isolation = isolation, .pages = pages}, .cpus = cpus};
}
Outcome outcome_of(const Experiment& experiment, const Prices& prices) {
  Outcome outcome = simulate(experiment, prices);
  EXPECT_EQ(outcome.failure, "");
  return outcome;
}
Time time_of(const Experiment& experiment, const Prices& prices) {
  return outcome_of(experiment, prices).time;
}

// ---- Two CPUs, one page, by hand
//
// The initiator   bumps the generation, which both CPUs share      locked  line
//                 looks at the clock, has its post from last time  clock
//                 sets its bit in the target's word                locked  line
//                 sends the interrupt                              fence   command
// The interrupt   goes the way of a line and takes its time        delivery line
// The target      enters the handler, reads word, post and mm      entry   line line line
//                 invalidates and answers                          invlpg  locked line
// The initiator   reads the answer and the clock                   line    clock
//
// Early: the answer comes before the generation is read and before the invalidation. Serial: the
// initiator invalidates before it sends.

struct ByHand {
  const char* name;
  Time Prices::* price;
  Time serial;
  Time concurrent;
  Time early;
};
constexpr ByHand kByHand[] = {
    {"locked", &Prices::locked, 3, 3, 3},
    {"fence", &Prices::fence, 1, 1, 1},
    {"clock", &Prices::clock, 2, 2, 2},
    {"command", &Prices::command, 1, 1, 1},
    {"delivery", &Prices::delivery, 1, 1, 1},
    {"entry", &Prices::entry, 1, 1, 1},
    {"exit", &Prices::exit, 0, 0, 0},
    // By itself: nothing hides the initiator's own invalidation but the target's.
    {"invlpg", &Prices::invlpg, 2, 1, 1},
    {"cr3", &Prices::cr3, 0, 0, 0},
    {"memory", &Prices::memory, 0, 0, 0},
    {"reader", &Prices::reader, 0, 0, 0},
    {"sharer", &Prices::sharer, 0, 0, 0},
    {"invlpgb", &Prices::invlpgb, 0, 0, 0},
};
constexpr Time kLines = 8;  // with the way of the interrupt
constexpr Time kLinesEarly = 7;

TEST(TwoCpusByHand, EachPriceAlone) {
  for (const ByHand& expected : kByHand) {
    Prices list = nothing();
    list.*expected.price = 1000;
    EXPECT_EQ(time_of(flush(Mode::serial, 2), list), 1000 * expected.serial) << expected.name;
    EXPECT_EQ(time_of(flush(Mode::concurrent, 2), list), 1000 * expected.concurrent)
        << expected.name;
    EXPECT_EQ(time_of(flush(Mode::early, 2), list), 1000 * expected.early) << expected.name;
  }
}

TEST(TwoCpusByHand, Lines) {
  Prices list = nothing();
  list.levels[0].line = 1000;
  EXPECT_EQ(time_of(flush(Mode::serial, 2), list), 1000 * kLines);
  EXPECT_EQ(time_of(flush(Mode::concurrent, 2), list), 1000 * kLines);
  EXPECT_EQ(time_of(flush(Mode::early, 2), list), 1000 * kLinesEarly);
}

/// All prices of a real list at once. PAUSE is free, or the sum would depend on when the initiator
/// looks; and what instructions cost is not counted by hand.
TEST(TwoCpusByHand, TheSumOfARealList) {
  for (const char* name : {"desktop", "two-socket", "clusters"}) {
    Prices list = list_of_tree(name);
    list.pause = list.block = list.access = 0;
    const auto sum = [&](Time ByHand::* times, Time lines, Time invalidations) {
      Time total = lines * list.levels[0].line;
      for (const ByHand& row : kByHand) {
        total += (row.price == &Prices::invlpg ? invalidations : row.*times) * list.*row.price;
      }
      return total;
    };
    EXPECT_EQ(time_of(flush(Mode::serial, 2), list), sum(&ByHand::serial, kLines, 2)) << name;
    EXPECT_EQ(time_of(flush(Mode::concurrent, 2), list), sum(&ByHand::concurrent, kLines, 1))
        << name;
    // The initiator's own invalidation is over before the answer comes.
    EXPECT_EQ(time_of(flush(Mode::early, 2), list), sum(&ByHand::early, kLinesEarly, 0)) << name;
    // One instruction names up to 8 pages; the waits are the way to the other CPU and back.
    EXPECT_EQ(time_of(flush(Mode::invlpgb, 2), list),
              list.locked + 2 * list.clock + list.invlpgb + 2 * list.levels[0].line +
                  list.next_broadcast + list.invlpg + list.tlbsync)
        << name;
  }
}

TEST(OneCpu, PaysForItselfOnly) {
  Prices list = list_of_tree("desktop");
  list.block = list.access = 0;
  EXPECT_EQ(time_of(flush(Mode::concurrent, 1), list), list.locked + list.invlpg);
  EXPECT_EQ(time_of(flush(Mode::concurrent, 1, 10), list), list.locked + 10 * list.invlpg);
  EXPECT_EQ(time_of(flush(Mode::concurrent, 1, 10, /*isolation=*/true), list),
            list.locked + 10 * (list.invlpg + list.invpcid));
}

// ---- What holds for all prices

TEST(AllPrices, WhatIsFreeTakesNoTime) {
  for (const Mode mode : kModes) {
    for (const CpuId cpus : {1U, 2U, 3U, 8U, 64U, 200U}) {
      const Outcome outcome = outcome_of(flush(mode, cpus), nothing());
      EXPECT_EQ(outcome.longest, 0u) << cpus;
      EXPECT_EQ(outcome.tally.interrupts, mode == Mode::invlpgb ? 0 : cpus - 1);
    }
  }
}

TEST(AllPrices, ConcurrentIsNeverSlowerThanSerialNorThanEarly) {
  for (const char* name : {"desktop", "two-socket", "clusters"}) {
    const Prices list = list_of_tree(name);
    for (const CpuId cpus : {1U, 2U, 3U, 4U, 7U, 8U, 9U, 16U, 33U, 64U, 100U}) {
      for (const unsigned pages : {1U, 10U, 33U}) {
        for (const bool isolation : {false, true}) {
          const auto time = [&](Mode mode) {
            return time_of(flush(mode, cpus, pages, isolation), list);
          };
          const std::string at = std::string(name) + ", CPUs: " + std::to_string(cpus) +
                                 ", pages: " + std::to_string(pages);
          // A look at an answer may come as late as a PAUSE and what is around it: from 16 CPUs on
          // the initiator bounds all three. One that answers early does a little more before.
          const Time look = list.pause + 10 * list.access + 5 * list.block;
          EXPECT_LE(time(Mode::concurrent), time(Mode::serial) + look) << at;
          EXPECT_LE(time(Mode::early), time(Mode::concurrent) + look) << at;
        }
      }
    }
  }
}

TEST(AllPrices, TheCriticalPathIsTheWholeTime) {
  for (const char* name : {"desktop", "clusters"}) {
    const Prices list = list_of_tree(name);
    for (const Mode mode : kModes) {
      for (const CpuId cpus : {1U, 2U, 8U, 17U, 64U, 130U}) {
        for (const CpuId initiators : {1U, 2U, 8U}) {
          if (initiators > cpus) continue;
          Experiment experiment = flush(mode, cpus);
          experiment.initiators = initiators;
          const Outcome outcome = outcome_of(experiment, list);
          ASSERT_FALSE(outcome.path.empty());
          Time sum = 0;
          Time at = outcome.path.front().start;
          for (const Step& step : outcome.path) {
            EXPECT_EQ(step.start, at) << name << cpus;
            at = step.end;
            sum += step.end - step.start;
          }
          EXPECT_EQ(sum, outcome.time) << name << ", CPUs: " << cpus;
          EXPECT_EQ(outcome.path.back().cpu, 0u);
          EXPECT_GE(outcome.longest, outcome.time);
        }
      }
    }
  }
}

/// What is on the path but instructions: CPU, cause, line.
std::vector<std::string> told(const Outcome& outcome) {
  std::vector<std::string> steps;
  for (const Step& step : outcome.path) {
    if (step.cause == Cause::compute || step.cause == Cause::pause) continue;
    const std::string line = step.line.empty() ? "" : " " + step.line;
    steps.push_back(std::to_string(step.cpu) + " " + std::string(name_of(step.cause)) + line);
  }
  return steps;
}

/// On one the initiator looks again and again until the answer is there, on the other its look
/// meets the line on its way.
TEST(TheCriticalPath, GoesThroughTheTarget) {
  for (const char* name : {"desktop", "two-socket"}) {
    const Outcome outcome = outcome_of(flush(Mode::concurrent, 2), list_of_tree(name));
    EXPECT_EQ(told(outcome),
              (std::vector<std::string>{
                  "0 locked", "0 line mm.tlb_gen", "0 clock", "0 locked",
                  "0 line calls.call_pending", "0 fence", "0 command", "1 delivery", "1 entry",
                  "1 line calls.call_pending", "1 line call_post", "1 line mm.tlb_gen", "1 invlpg",
                  "1 locked", "1 line calls.call_pending", "0 line calls.call_pending", "0 clock"}))
        << name;
  }
}

TEST(TheCriticalPath, IsTheInitiatorsOwnWorkIfThatIsLonger) {
  const Outcome outcome = outcome_of(flush(Mode::early, 2, 33), list_of_tree("two-socket"));
  for (const Step& step : outcome.path) EXPECT_EQ(step.cpu, 0u);
}

TEST(AllPrices, RunsRepeat) {
  const Prices list = list_of_tree("clusters");
  Experiment experiment = flush(Mode::concurrent, 50);
  experiment.initiators = 7;
  const Outcome first = outcome_of(experiment, list);
  // Elsewhere in memory.
  const std::vector<char> between(123'456);
  const Outcome second = outcome_of(experiment, list);
  EXPECT_EQ(first.time, second.time);
  EXPECT_EQ(first.longest, second.longest);
  EXPECT_EQ(first.handlers, second.handlers);
  EXPECT_EQ(first.path.size(), second.path.size());
  EXPECT_GT(between.size(), 0u);
}

// ---- What costs more

TEST(Dearer, FalseSharing) {
  for (const char* name : {"desktop", "two-socket", "clusters"}) {
    const Prices list = list_of_tree(name);
    Experiment experiment = flush(Mode::concurrent, 8);
    const Outcome apart = outcome_of(experiment, list);
    experiment.line_bytes = 1024;
    const Outcome together = outcome_of(experiment, list);
    EXPECT_GT(together.tally.line_moves, apart.tally.line_moves) << name;
    EXPECT_GT(together.time, apart.time + apart.time / 10) << name;
  }
}

TEST(Dearer, AFurtherTargetAndAnotherSocket) {
  const Prices list = list_of_tree("two-socket");
  Time before = 0;
  for (const CpuId cpus : {1U, 2U, 3U, 8U, 32U, 33U, 64U, 256U}) {
    const Time now = time_of(flush(Mode::concurrent, cpus), list);
    EXPECT_GT(now, before) << cpus;
    before = now;
  }
  const Time from_32_to_33 =
      time_of(flush(Mode::concurrent, 33), list) - time_of(flush(Mode::concurrent, 32), list);
  const Time from_31_to_32 =
      time_of(flush(Mode::concurrent, 32), list) - time_of(flush(Mode::concurrent, 31), list);
  EXPECT_GT(from_32_to_33, 2 * from_31_to_32);
}

TEST(Dearer, AKernelForMoreCpus) {
  const Prices list = list_of_tree("desktop");
  Experiment experiment = flush(Mode::concurrent, 8);
  const Time small = time_of(experiment, list);
  experiment.capacity = 4096;
  EXPECT_GT(time_of(experiment, list), small);
}

TEST(Dearer, SeveralInitiators) {
  const Prices list = list_of_tree("desktop");
  Experiment experiment = flush(Mode::concurrent, 8);
  const Outcome alone = outcome_of(experiment, list);
  experiment.initiators = 8;
  const Outcome all = outcome_of(experiment, list);
  EXPECT_GT(all.longest, alone.longest);
  EXPECT_LT(all.longest, 8 * alone.longest) << "they do not wait for each other's flushes";
  EXPECT_EQ(all.tally.interrupts > 7, true);
}

TEST(CpusThatHaveTheMmLoaded, AreTheOnlyTargets) {
  const Prices list = list_of_tree("two-socket");
  Experiment experiment = flush(Mode::concurrent, 256);
  experiment.loaded = 20;
  const Outcome outcome = outcome_of(experiment, list);
  EXPECT_EQ(outcome.tally.interrupts, 19u);
  EXPECT_EQ(outcome.tally.commands, 2u) << "clusters of 16";
  EXPECT_LT(outcome.time, time_of(flush(Mode::concurrent, 256), list) / 5);
}

// ---- The ledger counts the same

struct LedgerLine {
  std::string key;
  std::map<std::string, std::uint64_t> moves;
};

LedgerLine ledger_line(const std::string& line) {
  LedgerLine result{.key = line.substr(0, line.find(": ")), .moves = {}};
  const std::size_t moves = line.find(" moves=");
  if (moves == std::string::npos) return result;
  std::istringstream names(line.substr(line.find(": ", moves) + 2));
  for (std::string word; names >> word;) {
    const std::size_t equal = word.find('=');
    result.moves[word.substr(0, equal)] = std::stoull(word.substr(equal + 1));
  }
  return result;
}

TEST(Ledger, CountsTheMovesThatArePaidFor) {
  std::map<std::string, std::map<std::string, std::uint64_t>> ledger;
  std::ifstream file("tests/ledger/model.txt");
  for (std::string line; std::getline(file, line);) {
    const LedgerLine read = ledger_line(line);
    ledger[read.key] = read.moves;
  }
  const Prices list = list_of_tree("desktop");
  const std::map<Mode, std::string> modes{{Mode::serial, "serial"},
                                          {Mode::concurrent, "concurrent"},
                                          {Mode::early, "early"},
                                          {Mode::invlpgb, "invlpgb"}};
  const std::map<unsigned, std::string> pages{
      {1, "range_1_page"}, {10, "range_10_pages"}, {33, "range_33_pages"}};
  unsigned compared = 0;
  for (const auto& [mode, mode_name] : modes) {
    for (const auto& [count, name] : pages) {
      for (const bool isolation : {false, true}) {
        for (const CpuId cpus : {1U, 2U, 4U, 8U}) {
          if (isolation && mode == Mode::invlpgb) continue;
          if (mode == Mode::early && count != 1) continue;
          const std::string key = (mode == Mode::early ? "protect_1_page" : name) + " " +
                                  mode_name + " pti=" + (isolation ? "on" : "off") +
                                  " cpus=" + std::to_string(cpus);
          ASSERT_TRUE(ledger.contains(key)) << key;
          const Outcome outcome = outcome_of(flush(mode, cpus, count, isolation), list);
          std::map<std::string, std::uint64_t> moves;
          std::uint64_t all = 0;
          for (const LineCount& line : outcome.lines) {
            if (line.moves != 0) moves[line.name] = line.moves;
            all += line.moves;
          }
          EXPECT_EQ(moves, ledger[key]) << key;
          EXPECT_EQ(all, outcome.tally.line_moves) << key;
          ++compared;
        }
      }
    }
  }
  EXPECT_EQ(compared, 68u);
}

TEST(Refusal, SaysWhatCannotBe) {
  EXPECT_EQ(refusal(flush(Mode::concurrent, 0)), "there is at least 1 CPU");
  EXPECT_EQ(refusal(flush(Mode::concurrent, 5000)), "there are at most 4096 CPUs");
  EXPECT_EQ(refusal({.cpus = 4, .capacity = 7}),
            "no kernel is built for 7 CPUs: 8 64 256 1024 4096 are");
  EXPECT_EQ(refusal({.cpus = 20, .capacity = 8}), "more CPUs than the kernel is built for");
  EXPECT_EQ(refusal({.cpus = 4, .loaded = 5}), "more CPUs have the mm loaded than there are");
  EXPECT_NE(refusal({.cpus = 4, .initiators = 5}), "");
  EXPECT_NE(refusal(flush(Mode::concurrent, 4, 34)), "");
  EXPECT_NE(refusal(flush(Mode::invlpgb, 4, 1, true)), "");
  EXPECT_NE(refusal({.cpus = 4, .line_bytes = 100}), "");
  EXPECT_EQ(refusal(flush(Mode::concurrent, 4096)), "");
}

}  // namespace
}  // namespace shootdown::timed
