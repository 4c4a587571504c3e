// Counters of all CPUs together, the time that targets take to answer, and the report of a target
// that does not answer.
#include "core/counters.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "tests/core/core_fixture.h"

namespace shootdown::test {
namespace {

using FourCpus = CoreFixture<4>;

/// Delivers no interrupt to `cpu` until the sender has paused `pauses` times.
void answer_after(CpuId cpu, std::uint64_t pauses) {
  FourCpus::H::cpus[cpu].interrupts = false;
  recorder.before = [cpu, pauses, seen = std::uint64_t{0}](const Entry& entry) mutable {
    if (is(entry, "pause") && ++seen == pauses) FourCpus::H::cpus[cpu].interrupts = true;
  };
}

void flush_three_pages(FourCpus& fixture) {
  static_cast<void>(
      flush_tlb_mm_range(fixture.system, fixture.mm, {.start = 0x5000, .end = 0x8000}));
}

TEST(Counters, EveryOneHasANameOfItsOwnAndIsSummed) {
  static_assert(kCounterNames.size() * sizeof(Counter) == sizeof(Counters), "one has no name");
  std::set<std::string> names;
  FourCpus fixture;
  std::uint64_t value = 1;
  for (const CounterName& counter : kCounterNames) {
    names.insert(counter.name);
    fixture.own(1).counters.*counter.field += value;
    fixture.own(3).counters.*counter.field += 2 * value;
    ++value;
  }
  EXPECT_EQ(names.size(), kCounterNames.size());
  const Counters sum = sum_counters(fixture.system);
  value = 1;
  for (const CounterName& counter : kCounterNames) {
    const bool longest = counter.field == &Counters::answer_ticks_longest;
    EXPECT_EQ(sum.*counter.field, (longest ? 2 : 3) * value) << counter.name;
    ++value;
  }
}

TEST(Counters, ACopyKeepsItsNumber) {
  Counters counters;
  ++counters.wrong_cpu;
  const Counters before = counters;
  ++counters.wrong_cpu;
  EXPECT_EQ(before.wrong_cpu, 1u);
  EXPECT_EQ(counters.wrong_cpu, 2u);
}

TEST(Counters, TheTimeUntilAllHaveAnswered) {
  FourCpus fixture;
  fixture.run_mm_on({0, 1});
  flush_three_pages(fixture);
  const std::uint64_t first = fixture.own(0).counters.answer_ticks;
  EXPECT_GT(first, 0u);
  EXPECT_EQ(fixture.own(0).counters.answer_ticks_longest, first);
  answer_after(1, 50);
  flush_three_pages(fixture);
  const std::uint64_t second = fixture.own(0).counters.answer_ticks - first;
  EXPECT_GE(second, first + 49) << "a late answer takes as many pauses longer";
  EXPECT_EQ(fixture.own(0).counters.answer_ticks_longest, second);
  EXPECT_EQ(events(TraceKind::flush_end).back().value, second) << "the trace tells the same";
}

TEST(Counters, AFlushThatReachesNobodyWaitsForNobody) {
  FourCpus fixture;
  fixture.run_mm_on({0, 1});
  fixture.idle(1);
  flush_three_pages(fixture);
  EXPECT_EQ(fixture.own(0).counters.answer_ticks, 0u);
}

TEST(Unanswered, TheReportSaysWhoSinceWhenAndWhat) {
  FourCpus fixture({.limits = {.stall_limit = 10}});
  fixture.run_mm_on({0, 2});
  answer_after(2, 15);
  flush_three_pages(fixture);
  ASSERT_EQ(recorder.unanswered.size(), 1u);
  const Unanswered& report = recorder.unanswered[0];
  EXPECT_EQ(report.sender, 0u);
  EXPECT_EQ(report.target, 2u);
  EXPECT_EQ(report.pauses, 10u);
  EXPECT_LT(report.since, report.now);
  EXPECT_STREQ(report.subject.what, "a flush");
  EXPECT_EQ(report.subject.mm, &fixture.mm);
  EXPECT_EQ(report.subject.start, 0x5000u);
  EXPECT_EQ(report.subject.end, 0x8000u);
  EXPECT_FALSE(report.last);
  EXPECT_EQ(fixture.own(0).counters.unanswered, 1u);
}

TEST(Unanswered, ReportsComeAtDoublingDistancesAndEnd) {
  FourCpus fixture({.limits = {.stall_limit = 10}});
  fixture.run_mm_on({0, 1});
  answer_after(1, 1000);
  flush_three_pages(fixture);
  ASSERT_EQ(recorder.unanswered.size(), SmpCall<FourCpus::H>::kMostReports);
  std::uint64_t pauses = 10;
  for (const Unanswered& report : recorder.unanswered) {
    EXPECT_EQ(report.pauses, pauses);
    EXPECT_EQ(report.last, &report == &recorder.unanswered.back());
    pauses *= 2;
  }
}

TEST(Unanswered, AStallLimitOfZeroMeansNoReport) {
  FourCpus fixture({.limits = {.stall_limit = 0}});
  fixture.run_mm_on({0, 1});
  answer_after(1, 1000);
  flush_three_pages(fixture);
  EXPECT_TRUE(recorder.unanswered.empty());
}

TEST(Unanswered, NamesEachKindOfFlush) {
  FourCpus fixture({.limits = {.stall_limit = 1}});
  fixture.run_mm_on({0, 1});
  answer_after(1, 2);
  static_cast<void>(flush_tlb_mm_range_freed_tables(fixture.system, fixture.mm, {}));
  for (CpuId cpu : {2U, 3U}) FourCpus::H::cpus[cpu].interrupts = true;
  answer_after(1, 2);
  static_cast<void>(flush_tlb_kernel_range(fixture.system, 0xffff'8000'0000'0000, kFlushAll));
  ASSERT_GE(recorder.unanswered.size(), 2u);
  EXPECT_STREQ(recorder.unanswered.front().subject.what, "a flush for freed page tables");
  EXPECT_STREQ(recorder.unanswered.back().subject.what, "a flush of kernel mappings");
}

}  // namespace
}  // namespace shootdown::test
