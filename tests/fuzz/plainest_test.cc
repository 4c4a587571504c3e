// Of several reports, which one a search shows.
#include "fuzz/run/plainest.h"

#include <gtest/gtest.h>

#include "fuzz/oracles/reports/catalogue.h"

namespace shootdown::fuzz {
namespace {

host::Report report_of(const char* name) {
  host::Report report;
  report.kind = kind_named(name);
  report.title = name;
  return report;
}

Scenario with(bool Header::* field) {
  Scenario scenario;
  scenario.header.*field = !(Header{}.*field);
  return scenario;
}

TEST(Plainest, AnOracleOfConsequencesComesBeforeTheOthers) {
  for (const char* name : {"ORDER", "O19", "O22", "O29", "CHECK"}) {
    Plainest plainest;
    EXPECT_TRUE(plainest.offer(report_of(name), {})) << name;
    EXPECT_TRUE(plainest.offer(report_of("O1"), with(&Header::compiler_reordering))) << name;
    EXPECT_FALSE(plainest.offer(report_of(name), {})) << name;
    EXPECT_EQ(plainest.report().title, "O1") << name;
  }
}

TEST(Plainest, ThenTheMemoryThenTheConfiguration) {
  Plainest plainest;
  EXPECT_TRUE(plainest.offer(report_of("O1"), with(&Header::compiler_reordering)));
  EXPECT_TRUE(plainest.offer(report_of("O2"), with(&Header::tso)));
  EXPECT_TRUE(plainest.offer(report_of("O3"), with(&Header::pti)));
  Scenario two = with(&Header::early);
  two.header.ceiling = 1;
  EXPECT_FALSE(plainest.offer(report_of("O4"), two));
  Scenario guest;
  guest.header.backend = Backend::kvm;
  EXPECT_FALSE(plainest.offer(report_of("O4"), guest));
  EXPECT_FALSE(plainest.is_plain());
  EXPECT_TRUE(plainest.offer(report_of("O5"), {}));
  EXPECT_TRUE(plainest.is_plain());
  EXPECT_EQ(plainest.report().title, "O5");
  EXPECT_EQ(plainest.scenario(), Scenario{});
}

TEST(Plainest, SizesDoNotCount) {
  Scenario large;
  large.header.cpus = 8;
  large.header.mms = 7;
  Plainest plainest;
  EXPECT_TRUE(plainest.offer(report_of("O6"), large));
  EXPECT_TRUE(plainest.is_plain());
}

TEST(Plainest, OfEquallyPlainOnesTheFirstStays) {
  Plainest plainest;
  EXPECT_FALSE(plainest.offer({}, {}));
  EXPECT_FALSE(plainest.any());
  EXPECT_TRUE(plainest.offer(report_of("O1"), with(&Header::tso)));
  EXPECT_FALSE(plainest.offer(report_of("O2"), with(&Header::tso)));
  EXPECT_EQ(plainest.report().title, "O1");
}

TEST(Plainest, ARareBugGetsMoreExecutionsThanACommonOneWithinBounds) {
  EXPECT_EQ(executions_after_find(1), executions_after_find(100));
  EXPECT_GT(executions_after_find(20000), executions_after_find(1));
  EXPECT_EQ(executions_after_find(1000000), executions_after_find(10000000));
}

}  // namespace
}  // namespace shootdown::fuzz
