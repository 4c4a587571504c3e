// O29 is seen to fire for each counter that it watches.
#include <gtest/gtest.h>

#include <string>

#include "tests/oracles/oracle_fixture.h"

namespace shootdown::fuzz {
namespace {

/// CPU 0 flushes a page that CPU 1 uses as well, then CPU 1 flushes another one.
Script two_flushes() {
  return {{await(1), op("read page=1"), op("protect mm=0 page=1"), go(2)},
          {op("read page=1"), go(1), await(2), op("protect mm=0 page=2")}};
}

/// The counter is one too high on `cpu` from the end of the first flush function there on.
void expect_wrong(const char* name, Counter Counters::* counter, CpuId cpu) {
  OracleFixture fixture;
  bool once = false;
  fixture.after(TraceKind::handler_end, cpu, [&] {
    if (once) return;
    once = true;
    ++(fixture.own(cpu).counters.*counter);
  });
  fixture.expect("O29 the counter " + std::string(name) + " is wrong", two_flushes());
}

TEST(O29, FiresWhenASendIsCountedTwice) {
  expect_wrong("remote_flush_sent", &Counters::remote_flush_sent, 0);
}

TEST(O29, FiresWhenACallIsCountedTwiceWhereItIsReceived) {
  expect_wrong("remote_flush_received", &Counters::remote_flush_received, 1);
}

TEST(O29, FiresWhenATargetTooManyIsCounted) {
  expect_wrong("targets_queued", &Counters::targets_queued, 0);
}

TEST(O29, FiresWhenAPageTooManyIsCounted) {
  expect_wrong("local_flush_one", &Counters::local_flush_one, 0);
  expect_wrong("local_flush_one", &Counters::local_flush_one, 1);
}

TEST(O29, FiresWhenAWholeFlushTooManyIsCounted) {
  expect_wrong("local_flush_all", &Counters::local_flush_all, 0);
}

TEST(O29, FiresWhenABroadcastIsCountedThatNobodyIssued) {
  expect_wrong("broadcasts", &Counters::broadcasts, 0);
}

TEST(O29, SaysHowOftenItHappened) {
  OracleFixture fixture;
  fixture.after(TraceKind::flush_send, 0, [&] { ++fixture.own(0).counters.remote_flush_sent; });
  fixture.expect("O29 the counter remote_flush_sent is wrong", two_flushes());
  EXPECT_EQ(fixture.report.detail, "cpu0 has counted 2, and it happened 1 time.");
}

TEST(O29, IsNotMistakenAboutASwitchThatSaysThatItFlushed) {
  OracleFixture fixture;
  unsigned told = 0;
  fixture.distort = [&](CpuId, TraceEvent& event) {
    if (event.kind != TraceKind::switch_end || event.value != 0) return;
    event.value = 1;
    ++told;
  };
  fixture.expect_clean({{op("switch_to mm=1"), op("switch_to mm=0"), op("protect mm=0 page=1")}});
  EXPECT_GT(told, 0u);
}

TEST(O29, LeavesOpenWhenAFlushIsCounted) {
  OracleFixture fixture;
  fixture.after(TraceKind::flush_send, 0,
                [&] { fixture.own(0).counters.remote_flush_sent += ~std::uint64_t{0}; });
  fixture.after(TraceKind::flush_end, 0, [&] { ++fixture.own(0).counters.remote_flush_sent; });
  fixture.expect_clean({{await(1), op("protect mm=0 page=1")}, {op("read page=1"), go(1)}});
}

TEST(O29, KnowsInvpcidOfTheLoadedContextAndOfAPageInIt) {
  for (const InvpcidType type :
       {InvpcidType::context, InvpcidType::all_contexts, InvpcidType::address}) {
    OracleFixture fixture;
    Counter Counters::* counter =
        type == InvpcidType::address ? &Counters::local_flush_one : &Counters::local_flush_all;
    const auto flush = [&] {
      HostHal::invpcid(type, pcid_of(fixture.own(0).loaded_asid), 0x1000);
      ++(fixture.own(0).counters.*counter);
    };
    fixture.expect_clean({{wrong(flush), op("read page=1")}}, {.invpcid = true});
    const auto uncounted = [&] {
      HostHal::invpcid(type, pcid_of(fixture.own(0).loaded_asid), 0x1000);
    };
    EXPECT_NE(
        fixture.run({{wrong(uncounted), op("read page=1")}}, {.invpcid = true}, /*honestly=*/false),
        "ok")
        << fixture.trace_report();
  }
}

TEST(O29, CountsWithoutPcids) {
  OracleFixture fixture;
  fixture.after(TraceKind::handler_end, 0, [&] { ++fixture.own(0).counters.local_flush_all; });
  fixture.expect("O29 the counter local_flush_all is wrong", two_flushes(), {.pcid = false});
}

TEST(O29, FiresWhenAnInvalidationIsNotCounted) {
  OracleFixture fixture;
  fixture.after(TraceKind::handler_end, 0, [&] { HostHal::invlpg(0); });
  fixture.expect("O29 the counter local_flush_one is wrong", two_flushes());
}

}  // namespace
}  // namespace shootdown::fuzz
