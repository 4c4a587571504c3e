// The oracles that judge global slots and hardware broadcast are seen to fire, by their titles.
#include <gtest/gtest.h>

#include "tests/oracles/trial.h"

namespace shootdown::fuzz {
namespace {

constexpr Header kBroadcast{.broadcast = true};
constexpr Slot kFirstGlobal = kSlots;

TraceEvent granted(const Mm<HostHal>& mm) {
  return {.kind = TraceKind::slot_granted, .mm = &mm, .value = kFirstGlobal};
}
constexpr TraceEvent kReturned{.kind = TraceKind::slot_returned, .value = kFirstGlobal};

/// Space 0 runs on both CPUs. The first flush grants, in the second both move, by the third they
/// have.
Script third_flush(std::string_view change = "protect mm=0 page=1") {
  return {{await(1), op("flush_mm mm=0"), op("flush_mm mm=0"), go(2), await(3), op(change)},
          {op("read page=2"), go(1), await(2), op("read page=1"), go(3)}};
}

TEST(O27, FiresWhenTwoSpacesHaveTheSameGlobalSlot) {
  Trial trial;
  trial.after(TraceKind::slot_granted, 0, [&] { trial.oracles.on_trace(0, granted(trial.mm(1))); });
  trial.expect("O27 two spaces have the same global slot", third_flush(), kBroadcast);
}

TEST(O27, FiresWhenASlotIsUsedAgainWithoutAFullBroadcast) {
  Trial trial;
  trial.after(TraceKind::slot_granted, 0, [&] {
    trial.oracles.on_trace(0, kReturned);
    trial.oracles.on_trace(0, granted(trial.mm(1)));
  });
  trial.expect("O27 a global slot is used again without a full broadcast flush", third_flush(),
               kBroadcast);
}

TEST(O27, ABroadcastThatWasOnItsWayBeforeTheReturnCleansNothing) {
  Trial trial;
  trial.after(TraceKind::slot_granted, 0, [&] {
    trial.oracles.on_broadcast(0, {.scope = InvlpgbScope::all_contexts});
    trial.oracles.on_trace(0, kReturned);
    trial.oracles.on_broadcasts_done(0);
    trial.oracles.on_trace(0, granted(trial.mm(1)));
  });
  trial.expect("O27 a global slot is used again without a full broadcast flush", third_flush(),
               kBroadcast);
}

TEST(O27, FiresWhenACpuHoldsTranslationsUnderASlotThatIsGranted) {
  Trial trial;
  trial.before(TraceKind::slot_granted, 0, [&] {
    ASSERT_NE(trial.machine.cpu(1).tlb.entries.size(), 0u);
    trial.machine.cpu(1).tlb.entries[0].pcid = pcid_of(kFirstGlobal);
  });
  // Another page than the one that is read, so that the flush does not drop it.
  trial.expect("O27 a CPU holds translations under a global slot that is granted",
               {{await(1), op("protect mm=0 page=1")}, {op("read page=2"), go(1)}}, kBroadcast);
}

TEST(O27, FiresWhenASlotIsGivenBackWhileACpuHasItLoaded) {
  Trial trial;
  trial.before(TraceKind::flush_begin, 0, [&] {
    if (trial.own(1).loaded_slot == kFirstGlobal) trial.oracles.on_trace(0, kReturned);
  });
  trial.expect("O27 a global slot is given back while a CPU has it loaded", third_flush(),
               kBroadcast);
}

TEST(O27, FiresWhenAFlushPassesOverACpuOnASlotOfItsOwn) {
  Trial trial;
  unsigned flushes = 0;
  trial.before(TraceKind::flush_end, 0, [&] {
    if (++flushes == 3) trial.own(1).loaded_slot = 0;
  });
  trial.expect("O27 a flush by broadcast passes over a CPU on a slot of its own", third_flush(),
               kBroadcast);
  EXPECT_NE(trial.report.detail.find("got no interrupt"), std::string::npos);
}

TEST(O27, DoesNotSayOfACpuThatWasInterruptedThatItWasPassedOver) {
  Trial trial;
  trial.before(TraceKind::flush_end, 0, [&] {
    if (trial.own(1).loaded_slot == kFirstGlobal) trial.own(1).loaded_slot = 0;
  });
  trial.expect("O27 a flush by broadcast returns, and leaves a CPU on a slot of its own",
               third_flush(), kBroadcast);
  EXPECT_EQ(trial.report.detail.find("got no interrupt"), std::string::npos) << trial.report.detail;
}

TEST(O1, OfACpuThatHandlesAFlushDoesNotSayThatItSwitches) {
  Trial trial;
  Loot loot(trial);
  trial.before(TraceKind::flush_broadcast, 0, [&] { loot.take(1); });
  // A global slot records no generation that would tell.
  const auto handle_another_flush = [&] {
    loot.put_back(1);
    HostHal::disable_interrupts();
    FlushRequest<HostHal> request{};
    request.end = kFlushAll;
    flush_function(trial.system(), request);
    trial.machine.stop_if_failed();
  };
  Script script = third_flush();
  script[0].push_back(go(4));
  script[1].push_back(await(4));
  script[1].push_back(wrong(handle_another_flush));
  trial.expect(
      "O1 a CPU ends a flush function and keeps a translation older than a completed flush", script,
      kBroadcast);
}

TEST(O1, FiresWhenABroadcastHasNotArrived) {
  Trial trial;
  Loot loot(trial);
  trial.before(TraceKind::flush_broadcast, 0, [&] { loot.take(1); });
  trial.before(TraceKind::flush_end, 0, [&] { loot.put_back(1); });
  trial.expect("O1 a flush returns while a CPU can still use an older translation", third_flush(),
               kBroadcast);
}

TEST(O4, FiresWhenABroadcastHasNotArrivedAtACpuThatRunsAnotherSpace) {
  Trial trial;
  Loot loot(trial);
  trial.before(TraceKind::flush_broadcast, 0, [&] { loot.take(1); });
  trial.before(TraceKind::flush_end, 0, [&] { loot.put_back(1); });
  Script script = third_flush();
  script[1].insert(script[1].end() - 1, op("switch_to mm=1"));
  trial.expect("O4 a global slot holds a translation older than its flush", script, kBroadcast);
}

TEST(O8, FiresWhenACpuDoesNotSayThatItIsOnAGlobalSlot) {
  Trial trial;
  trial.before_change = [&](CpuId cpu) {
    if (cpu == 1) trial.own(1).on_global.poke(false);
  };
  trial.expect("O8 interrupts are on while the bookkeeping and CR3 disagree", third_flush(),
               kBroadcast);
}

TEST(O13, FiresWhenAKernelPageSurvivesUnderAGlobalSlotThatIsNotLoaded) {
  Trial trial;
  Loot loot(trial);
  trial.before(TraceKind::kernel_begin, 0, [&] { loot.take(1); });
  trial.before(TraceKind::kernel_end, 0, [&] { loot.put_back(1); });
  Header header = kBroadcast;
  header.global_pages = false;
  Script script = third_flush("kernel_unmap page=1");
  script[1].insert(script[1].end() - 1, op("kernel_read page=1"));
  script[1].insert(script[1].end() - 1, op("switch_to mm=1"));
  trial.expect("O13 a kernel range is flushed but a CPU can still use an older translation", script,
               header);
}

}  // namespace
}  // namespace shootdown::fuzz
