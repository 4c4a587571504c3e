// The oracles that judge global ASIDs and hardware broadcast are seen to fire, by their titles.
#include <gtest/gtest.h>

#include "tests/oracles/oracle_fixture.h"

namespace shootdown::fuzz {
namespace {

constexpr Header kBroadcast{.broadcast = true};
constexpr Asid kFirstGlobal = kDynamicAsids;

TraceEvent granted(const Mm<HostHal>& mm) {
  return {.kind = TraceKind::asid_granted, .mm = &mm, .value = kFirstGlobal};
}
constexpr TraceEvent kReturned{.kind = TraceKind::asid_returned, .value = kFirstGlobal};

/// mm 0 runs on both CPUs. The first flush grants, in the second both move, by the third they
/// have.
Script third_flush(std::string_view change = "protect mm=0 page=1") {
  return {{await(1), op("flush_mm mm=0"), op("flush_mm mm=0"), go(2), await(3), op(change)},
          {op("read page=2"), go(1), await(2), op("read page=1"), go(3)}};
}

TEST(O27, FiresWhenTwoMmsHaveTheSameGlobalAsid) {
  OracleFixture fixture;
  fixture.after(TraceKind::asid_granted, 0,
                [&] { fixture.oracles.on_trace(0, granted(fixture.core_mm(1))); });
  fixture.expect("O27 two mms have the same global ASID", third_flush(), kBroadcast);
}

TEST(O27, FiresWhenAnAsidIsUsedAgainWithoutAFullBroadcast) {
  OracleFixture fixture;
  fixture.after(TraceKind::asid_granted, 0, [&] {
    fixture.oracles.on_trace(0, kReturned);
    fixture.oracles.on_trace(0, granted(fixture.core_mm(1)));
  });
  fixture.expect("O27 a global ASID is used again without a full broadcast flush", third_flush(),
                 kBroadcast);
}

TEST(O27, ABroadcastThatWasOnItsWayBeforeTheReturnCleansNothing) {
  OracleFixture fixture;
  fixture.after(TraceKind::asid_granted, 0, [&] {
    fixture.oracles.on_broadcast(0, {.scope = InvlpgbScope::all_contexts});
    fixture.oracles.on_trace(0, kReturned);
    fixture.oracles.on_broadcasts_done(0);
    fixture.oracles.on_trace(0, granted(fixture.core_mm(1)));
  });
  fixture.expect("O27 a global ASID is used again without a full broadcast flush", third_flush(),
                 kBroadcast);
}

TEST(O27, FiresWhenACpuHoldsTranslationsUnderAnAsidThatIsGranted) {
  OracleFixture fixture;
  fixture.before(TraceKind::asid_granted, 0, [&] {
    ASSERT_NE(fixture.machine.cpu(1).tlb.entries.size(), 0u);
    fixture.machine.cpu(1).tlb.entries[0].pcid = pcid_of(kFirstGlobal);
  });
  // Another page than the one that is read, so that the flush does not drop it.
  fixture.expect("O27 a CPU holds translations under a global ASID that is granted",
                 {{await(1), op("protect mm=0 page=1")}, {op("read page=2"), go(1)}}, kBroadcast);
}

TEST(O27, FiresWhenAnAsidIsGivenBackWhileACpuHasItLoaded) {
  OracleFixture fixture;
  fixture.before(TraceKind::flush_begin, 0, [&] {
    if (fixture.own(1).loaded_asid == kFirstGlobal) fixture.oracles.on_trace(0, kReturned);
  });
  fixture.expect("O27 a global ASID is given back while a CPU has it loaded", third_flush(),
                 kBroadcast);
}

TEST(O27, FiresWhenAFlushPassesOverACpuOnAnAsidOfItsOwn) {
  OracleFixture fixture;
  unsigned flushes = 0;
  fixture.before(TraceKind::flush_end, 0, [&] {
    if (++flushes == 3) fixture.own(1).loaded_asid = 0;
  });
  fixture.expect("O27 a flush by broadcast passes over a CPU on an ASID of its own", third_flush(),
                 kBroadcast);
  EXPECT_NE(fixture.report.detail.find("got no interrupt"), std::string::npos);
}

TEST(O27, DoesNotSayOfACpuThatWasInterruptedThatItWasPassedOver) {
  OracleFixture fixture;
  fixture.before(TraceKind::flush_end, 0, [&] {
    if (fixture.own(1).loaded_asid == kFirstGlobal) fixture.own(1).loaded_asid = 0;
  });
  fixture.expect("O27 a flush by broadcast returns, and leaves a CPU on an ASID of its own",
                 third_flush(), kBroadcast);
  EXPECT_EQ(fixture.report.detail.find("got no interrupt"), std::string::npos)
      << fixture.report.detail;
}

TEST(O1, OfACpuThatHandlesAFlushDoesNotSayThatItSwitches) {
  OracleFixture fixture;
  TlbSnapshot snapshot(fixture);
  fixture.before(TraceKind::flush_broadcast, 0, [&] { snapshot.take(1); });
  // A global ASID records no generation that would tell.
  const auto handle_another_flush = [&] {
    snapshot.put_back(1);
    HostHal::disable_interrupts();
    FlushRequest<HostHal> request{};
    request.end = kFlushAll;
    flush_function(fixture.system(), request);
    fixture.machine.stop_if_failed();
  };
  Script script = third_flush();
  script[0].push_back(go(4));
  script[1].push_back(await(4));
  script[1].push_back(wrong(handle_another_flush));
  fixture.expect(
      "O1 a CPU ends a flush function and keeps a translation older than a completed flush", script,
      kBroadcast);
}

TEST(O1, FiresWhenABroadcastHasNotArrived) {
  OracleFixture fixture;
  TlbSnapshot snapshot(fixture);
  fixture.before(TraceKind::flush_broadcast, 0, [&] { snapshot.take(1); });
  fixture.before(TraceKind::flush_end, 0, [&] { snapshot.put_back(1); });
  fixture.expect("O1 a flush returns while a CPU can still use an older translation", third_flush(),
                 kBroadcast);
}

TEST(O4, FiresWhenABroadcastHasNotArrivedAtACpuThatRunsAnotherMm) {
  OracleFixture fixture;
  TlbSnapshot snapshot(fixture);
  fixture.before(TraceKind::flush_broadcast, 0, [&] { snapshot.take(1); });
  fixture.before(TraceKind::flush_end, 0, [&] { snapshot.put_back(1); });
  Script script = third_flush();
  script[1].insert(script[1].end() - 1, op("switch_to mm=1"));
  fixture.expect("O4 a global ASID holds a translation older than its flush", script, kBroadcast);
}

TEST(O8, FiresWhenACpuDoesNotSayThatItIsOnAGlobalAsid) {
  OracleFixture fixture;
  fixture.before_change = [&](CpuId cpu) {
    if (cpu == 1) fixture.own(1).on_global.poke(false);
  };
  fixture.expect("O8 interrupts are on while the bookkeeping and CR3 disagree", third_flush(),
                 kBroadcast);
}

TEST(O13, FiresWhenAKernelPageSurvivesUnderAGlobalAsidThatIsNotLoaded) {
  OracleFixture fixture;
  TlbSnapshot snapshot(fixture);
  fixture.before(TraceKind::kernel_begin, 0, [&] { snapshot.take(1); });
  fixture.before(TraceKind::kernel_end, 0, [&] { snapshot.put_back(1); });
  Header header = kBroadcast;
  header.global_pages = false;
  Script script = third_flush("kernel_unmap page=1");
  script[1].insert(script[1].end() - 1, op("kernel_read page=1"));
  script[1].insert(script[1].end() - 1, op("switch_to mm=1"));
  fixture.expect("O13 a kernel range is flushed but a CPU can still use an older translation",
                 script, header);
}

}  // namespace
}  // namespace shootdown::fuzz
