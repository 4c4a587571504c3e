// Each oracle about translations, ASIDs and mms is seen to fire, by its title.
#include <gtest/gtest.h>

#include "fuzz/events/layout.h"
#include "tests/oracles/oracle_fixture.h"

namespace shootdown::fuzz {
namespace {

/// CPU 1 has page 1 of mm 0 cached; then CPU 0 does `change`.
Script change_behind_a_reader(std::string_view change) {
  return {{await(1), op(change)}, {op("read page=1"), go(1)}};
}

/// CPU 1 reads page 1 of mm 0 and does `away`; CPU 0 does `change`; CPU 1 does `back`.
Script change_behind_an_absent_reader(std::string_view away, std::string_view back,
                                      std::string_view change = "protect mm=0 page=1") {
  return {{await(1), op(change), go(2)}, {op("read page=1"), op(away), go(1), await(2), op(back)}};
}

/// CPU 1 switches without the flush that its ASID's generation asks for, and says so in the ASID.
struct SwitchWithoutFlush {
  OracleFixture& fixture;
  TlbSnapshot snapshot{fixture};
  Generation generation{0};
  explicit SwitchWithoutFlush(OracleFixture& the_trial) : fixture(the_trial) {
    fixture.before(TraceKind::switch_begin, 1, [this] {
      snapshot.take(1);
      generation = fixture.asid_of(1, 0).generation;
    });
    fixture.before(TraceKind::switch_end, 1, [this] {
      if (fixture.loaded(1) != &fixture.core_mm(0)) return;
      snapshot.put_entries(1);
      fixture.asid_of(1, 0).generation = generation;
    });
  }
};

// ---- O1

TEST(O1, FiresWhenAFlushReturnsWhileACpuCanUseAnOlderTranslation) {
  OracleFixture fixture;
  TlbSnapshot snapshot(fixture);
  fixture.before(TraceKind::handler_begin, 1, [&] { snapshot.take(1); });
  fixture.after(TraceKind::handler_end, 1, [&] { snapshot.put_entries(1); });
  fixture.expect("O1 a flush returns while a CPU can still use an older translation",
                 change_behind_a_reader("unmap mm=0 page=1"));
}

TEST(O1, FiresForLargePagesAndWithoutPcids) {
  OracleFixture fixture;
  TlbSnapshot snapshot(fixture);
  fixture.before(TraceKind::handler_begin, 1, [&] { snapshot.take(1); });
  fixture.after(TraceKind::handler_end, 1, [&] { snapshot.put_entries(1); });
  fixture.expect("O1 a flush returns while a CPU can still use an older translation",
                 {{op("map mm=0 page=16"), go(1), await(2), op("unmap mm=0 page=16")},
                  {await(1), op("write page=16"), go(2)}},
                 {.pcid = false});
}

TEST(O1, FiresWhenTheInitiatorItselfIsNotFlushed) {
  OracleFixture fixture;
  TlbSnapshot snapshot(fixture);
  fixture.before(TraceKind::handler_begin, 0, [&] { snapshot.take(0); });
  fixture.after(TraceKind::handler_end, 0, [&] { snapshot.put_entries(0); });
  fixture.expect("O1 a flush returns while a CPU can still use an older translation",
                 {{op("read page=1"), op("unmap mm=0 page=1")}});
}

TEST(O1, FiresWhenACpuSwitchesInWithAnOlderTranslation) {
  OracleFixture fixture;
  const SwitchWithoutFlush meddler(fixture);
  fixture.expect("O1 a CPU switches in with a translation older than a completed flush",
                 change_behind_an_absent_reader("switch_to mm=1", "switch_to mm=0"));
}

// ---- O2

TEST(O2, FiresWhenAnAccessUsesATranslationOlderThanACompletedFlush) {
  OracleFixture fixture;
  TlbSnapshot snapshot(fixture);
  fixture.before(TraceKind::handler_begin, 0, [&] { snapshot.take(0); });
  fixture.expect("O2 a CPU uses a translation older than a completed flush",
                 {{op("write page=1"), op("protect mm=0 page=1"),
                   wrong([&] { snapshot.put_entries(0); }), op("write page=1")}});
}

TEST(O2, FiresWhenACpuLeavesLazyModeWithAnOlderTranslation) {
  OracleFixture fixture;
  const SwitchWithoutFlush meddler(fixture);
  fixture.expect("O2 a CPU leaves lazy mode with a translation older than a completed flush",
                 change_behind_an_absent_reader("idle", "resume"));
}

// ---- O3

TEST(O3, FiresWhenAnAsidIsNewerThanItsMm) {
  OracleFixture fixture;
  fixture.expect("O3 an ASID is newer than its address space",
                 {{wrong([&] { fixture.loaded_asid(0).generation = 2; }), op("switch_to mm=0")}});
}

TEST(O3, FiresWhenAGenerationGoesBackwards) {
  OracleFixture fixture;
  fixture.expect("O3 a generation went backwards",
                 {{op("flush_mm mm=0"), wrong([&] {
                     fixture.core_mm(0).tlb_gen.poke(kFirstGeneration);
                     fixture.loaded_asid(0).generation = kFirstGeneration;
                   }),
                   op("switch_to mm=0")}});
}

// ---- O4

TEST(O4, FiresWhenAnAsidHoldsTranslationsOfAnotherMm) {
  OracleFixture fixture;
  TlbSnapshot snapshot(fixture);
  fixture.before(TraceKind::switch_begin, 0, [&] { snapshot.take(0); });
  fixture.before(TraceKind::switch_end, 0, [&] { snapshot.put_entries(0); });
  fixture.expect("O4 an ASID holds translations of another address space",
                 {{op("read page=1"), op("switch_to mm=1")}});
}

TEST(O4, FiresWhenAnAsidHoldsTablePointersOfAnotherMm) {
  for (unsigned level = 1; level <= 3; ++level) {
    OracleFixture fixture;
    TlbSnapshot snapshot(fixture);
    fixture.before(TraceKind::switch_begin, 0, [&] { snapshot.take(0); });
    fixture.before(TraceKind::switch_end, 0, [&] { snapshot.put_tables(0, level); });
    fixture.expect("O4 an ASID holds pointers to tables of another address space",
                   {{op("read page=1"), op("switch_to mm=1")}});
  }
}

TEST(O4, FiresWhenAnAccessUsesATranslationOfAnotherMm) {
  OracleFixture fixture;
  TlbSnapshot snapshot(fixture);
  fixture.before(TraceKind::switch_begin, 0, [&] { snapshot.take(0); });
  fixture.after(TraceKind::switch_end, 0, [&] { snapshot.put_entries(0); });
  fixture.expect("O4 a CPU uses a translation of another address space",
                 {{op("read page=1"), op("switch_to mm=1"), op("read page=1")}});
}

TEST(O4, FiresWhenAnAccessInTheKernelsMmFindsATranslation) {
  OracleFixture fixture;
  TlbSnapshot snapshot(fixture);
  fixture.expect("O4 a CPU uses a translation of another address space",
                 {{op("read page=1"), wrong([&] { snapshot.take(0); }), op("leave"), wrong([&] {
                     snapshot.put_entries(0);
                     fixture.machine.translation().access(page_address(1), false);
                   })}});
}

TEST(O4, FiresWhenTheHandlerRecordsAGenerationThatTheTlbHasNotReached) {
  OracleFixture fixture;
  TlbSnapshot snapshot(fixture);
  fixture.before(TraceKind::handler_begin, 1, [&] { snapshot.take(1); });
  fixture.before(TraceKind::handler_end, 1, [&] { snapshot.put_entries(1); });
  fixture.expect("O4 an ASID holds a translation older than the generation it records",
                 change_behind_a_reader("unmap mm=0 page=1"));
}

/// The thread that is about to flush on CPU 0 goes on on CPU 1.
void change_cpus(OracleFixture& fixture) {
  host::Machine& machine = fixture.machine;
  HostHal::enable_preemption();
  machine.scheduler().ask_for_exchange(machine.cpu(0), machine.cpu(1));
  while (HostHal::this_cpu() == 0) HostHal::pause();
  HostHal::disable_preemption();
}

TEST(O4, FiresWhenAFlushThatHasChangedCpusLeavesATranslation) {
  OracleFixture fixture;
  fixture.after(TraceKind::flush_begin, 0, [&] { change_cpus(fixture); });
  fixture.before(TraceKind::flush_end, 1,
                 [&] { fixture.asid_of(2, 0).generation = fixture.core_mm(0).tlb_gen.peek(); });
  fixture.expect("O4 an ASID holds a translation older than the generation it records",
                 {{await(1), op("unmap mm=0 page=1"), go(2)},
                  {await(2)},
                  {op("read page=1"), op("switch_to mm=1"), go(1)}});
}

TEST(O4, FiresWhenAnAsidThatIsNotLoadedClaimsTheNewGeneration) {
  OracleFixture fixture;
  fixture.before(TraceKind::flush_end, 0,
                 [&] { fixture.asid_of(1, 0).generation = fixture.core_mm(0).tlb_gen.peek(); });
  fixture.expect(
      "O4 an ASID holds a translation older than the generation it records",
      {{await(1), op("unmap mm=0 page=1")}, {op("read page=1"), op("switch_to mm=1"), go(1)}});
}

TEST(O4, IsNotConfusedByAPcidThatIsNoAsid) {
  for (const std::uint64_t pcid : {0, 77}) {
    OracleFixture fixture;
    const Script script{{await(1), op("protect mm=0 page=1")},
                        {wrong([&] {
                           const std::uint64_t cr3 = HostHal::read_cr3();
                           HostHal::disable_interrupts();
                           HostHal::write_cr3(fixture.core_mm(0).root | pcid);
                           fixture.machine.translation().access(page_address(1), false);
                           HostHal::write_cr3(cr3);
                           HostHal::enable_interrupts();
                         }),
                         go(1)}};
    fixture.expect_clean(script);  // No CPU loads that PCID again.
  }
}

// ---- O5

TEST(O5, FiresWhenATableIsReleasedWhileACpuCanWalkIt) {
  OracleFixture fixture;
  TlbSnapshot snapshot(fixture);
  fixture.before(TraceKind::handler_begin, 1, [&] { snapshot.take(1); });
  fixture.after(TraceKind::flush_end, 0, [&] { snapshot.put_tables(1); });
  fixture.expect("O5 a page table is released while a CPU can walk it",
                 change_behind_a_reader("free_table mm=0 page=0"));
}

TEST(O5, FiresForATableOfEachLevel) {
  for (unsigned level = 1; level <= 3; ++level) {
    OracleFixture fixture;
    TlbSnapshot snapshot(fixture);
    fixture.before(TraceKind::handler_begin, 1, [&] { snapshot.take(1); });
    fixture.after(TraceKind::flush_end, 0, [&] { snapshot.put_tables(1, level); });
    fixture.expect("O5 a page table is released while a CPU can walk it",
                   {{await(1), op("switch_to mm=1"), op("exit mm=0")},
                    {op("read page=1"), op("idle"), go(1)}});
  }
}

TEST(O5, FiresWhenAFlushReturnsWhileACpuCanWalkATableThatWasUnhooked) {
  for (const std::string_view change :
       {"free_table mm=0 page=0", "unmap mm=0 page=0 count=8", "reclaim_tables mm=0 page=12"}) {
    const bool frees = change != "unmap mm=0 page=0 count=8";
    OracleFixture fixture;
    TlbSnapshot snapshot(fixture);
    fixture.before(TraceKind::handler_begin, 1, [&] { snapshot.take(1); });
    fixture.after(TraceKind::handler_end, 1, [&] { snapshot.put_tables(1); });
    Script script = change_behind_a_reader(change);
    if (!frees) {
      fixture.expect_clean(script);  // No table was unhooked.
      continue;
    }
    if (change.starts_with("reclaim")) {
      script = {{op("unmap mm=0 page=8 count=4"), op("map mm=0 page=12"), go(1), await(2),
                 op("unmap mm=0 page=12"), op(change)},
                {await(1), op("read page=12"), go(2)}};
    }
    fixture.expect("O5 a flush for freed tables returns while a CPU can walk one", script);
  }
}

TEST(O5, FiresWhenAnAsidIsLoadedWithAPointerToAReleasedTable) {
  OracleFixture fixture;
  TlbSnapshot snapshot(fixture);
  fixture.before(TraceKind::switch_begin, 1, [&] {
    if (fixture.loaded(1) == &fixture.core_mm(0)) snapshot.take(1);
  });
  fixture.before(TraceKind::switch_end, 1, [&] {
    if (fixture.loaded(1) == &fixture.core_mm(0)) snapshot.put_tables(1);
  });
  fixture.expect(
      "O5 an ASID holds a pointer to a released page table",
      change_behind_an_absent_reader("switch_to mm=1", "switch_to mm=0", "free_table mm=0 page=0"));
}

TEST(O5, FiresWhenAWalkFollowsAnOldPointerToTheSameFrameAsATableOfTheSameMm) {
  OracleFixture fixture;
  TlbSnapshot snapshot(fixture);
  fixture.before(TraceKind::handler_begin, 1, [&] { snapshot.take(1); });
  fixture.expect("O5 a walk reads a page table that was released",
                 {{await(1), op("free_table mm=0 page=0"), op("map mm=0 page=0"), go(2)},
                  {op("read page=1"), go(1), await(2), wrong([&] { snapshot.put_tables(1); }),
                   op("read page=0")}});
}

TEST(O2, FiresForATranslationReadThroughAPointerToATableThatWasUnhooked) {
  // The table waits for lockless walkers, so its frame is not released yet.
  OracleFixture fixture;
  TlbSnapshot snapshot(fixture);
  fixture.before(TraceKind::handler_begin, 1, [&] { snapshot.take(1); });
  fixture.expect("O2 a CPU uses a translation older than a completed flush",
                 {{op("map mm=0 page=16"), op("split mm=0 page=16"), go(1), await(2),
                   op("collapse mm=0 page=16"), go(3)},
                  {await(1), op("read page=16"), go(2), await(3), wrong([&] {
                     fixture.machine.cpu(1).tlb.entries.clear();
                     snapshot.put_tables(1, 1);
                   }),
                   op("read page=16")}},
                 {.defer_tables = true});
}

TEST(O5, FiresForALazyCpuThatWasNotReached) {
  OracleFixture fixture;
  // As if the flush did not say that it frees tables.
  fixture.after(TraceKind::flush_send, 0,
                [&] { fixture.system().calls.post_of(0).request.frees_tables = false; });
  fixture.before(TraceKind::flush_end, 0,
                 [&] { fixture.system().calls.post_of(0).request.frees_tables = true; });
  fixture.expect(
      "O5 a flush for freed tables returns while a CPU can walk one",
      {{await(1), op("free_table mm=0 page=0")}, {op("read page=1"), op("idle"), go(1)}});
}

TEST(O5, FiresWhenAWalkReadsATableThatWasReleased) {
  OracleFixture fixture;
  TlbSnapshot snapshot(fixture);
  fixture.before(TraceKind::handler_begin, 1, [&] { snapshot.take(1); });
  fixture.expect("O5 a walk reads a page table that was released",
                 {{await(1), op("free_table mm=0 page=0"), go(2)},
                  {op("read page=1"), go(1), await(2), wrong([&] { snapshot.put_tables(1); }),
                   op("read page=2")}});
}

TEST(O5, FiresWhenTheTableHasBecomeAnotherMmsTable) {
  OracleFixture fixture;
  TlbSnapshot snapshot(fixture);
  fixture.before(TraceKind::handler_begin, 1, [&] { snapshot.take(1); });
  fixture.expect("O5 a walk reads a page table that was released",
                 {{await(1), op("free_table mm=0 page=0"), op("free_table mm=1 page=0"),
                   op("map mm=1 page=0"), go(2)},
                  {op("read page=1"), go(1), await(2), wrong([&] { snapshot.put_tables(1); }),
                   op("read page=2")}});
}

// ---- O6

TEST(O6, FiresWhenAFrameIsReleasedWhileACpuCanUseIt) {
  OracleFixture fixture;
  TlbSnapshot snapshot(fixture);
  fixture.before(TraceKind::handler_begin, 0, [&] { snapshot.take(0); });
  fixture.after(TraceKind::flush_end, 0, [&] { snapshot.put_entries(0); });
  fixture.expect("O6 a frame is released while a CPU can use it",
                 {{op("read page=1"), op("unmap mm=0 page=1")}});
}

TEST(O6, FiresWhenAnAccessReachesAFrameThatWasReleased) {
  OracleFixture fixture;
  fixture.expect("O6 a CPU uses a frame that was released",
                 {{op("read page=1"), wrong([&] {
                     const std::uint32_t frame = host::FramePool::frame_at(fixture.entry_of(0, 1));
                     fixture.machine.frames().release(frame, fixture.machine.step(), 0);
                   }),
                   op("write page=1")}});
}

TEST(O6, FiresWhenAStoreWaitsInTheBufferWhileItsFrameIsReleased) {
  OracleFixture fixture;
  fixture.expect("O6 a store reaches a frame that was released",
                 {{op("write page=1"), wrong([&] {
                     const std::uint32_t frame = host::FramePool::frame_at(fixture.entry_of(0, 1));
                     fixture.machine.frames().release(frame, fixture.machine.step(), 0);
                   }),
                   act([] { HostHal::full_fence(); })}},
                 {.tso = true});
}

TEST(O2, FiresWhenAStoreLeavesTheBufferBehindTheFlushOfItsPage) {
  OracleFixture fixture;
  host::TlbEntry used{};
  fixture.on_access = [&](CpuId, VirtAddr, const host::TlbEntry& entry) { used = entry; };
  fixture.expect("O2 a store reaches memory through a translation older than a completed flush",
                 {{op("write page=1"), op("protect mm=0 page=1"), wrong([&] {
                     const std::uint32_t life = fixture.machine.frames().info(used.frame).life;
                     fixture.oracles.on_page_store(0, page_address(1), used, life);
                     fixture.machine.stop_if_failed();
                   })}},
                 {.tso = true});
}

TEST(O6, FiresWhenAStoreToAnEntryWaitsInTheBufferWhileItsTableIsReleased) {
  OracleFixture fixture;
  fixture.expect("O6 a store reaches a page table that was released",
                 {{wrong([&] {
                     host::FramePool& frames = fixture.machine.frames();
                     const std::uint32_t table = frames.allocate(host::FrameKind::table, 0, 0, 0);
                     fixture.machine.memory().store_word(frames.words(table), 1,
                                                         std::memory_order_relaxed);
                     frames.release(table, fixture.machine.step(), 0);
                   }),
                   act([] { HostHal::full_fence(); })}},
                 {.tso = true});
}

TEST(O6, FiresWhenAFrameIsReleasedTwice) {
  OracleFixture fixture;
  fixture.expect("O6 a frame is released twice",
                 {{wrong([&] {
                     const std::uint32_t frame = host::FramePool::frame_at(fixture.entry_of(0, 1));
                     fixture.machine.frames().release(frame, fixture.machine.step(), 0);
                   }),
                   op("unmap mm=0 page=1")}});
}

// ---- O7, O8, O9

TEST(O7, FiresWhenACpuLeavesTheMaskBeforeCr3HasLeft) {
  OracleFixture fixture;
  fixture.expect("O7 a CPU has an mm in CR3 but is not in its mask",
                 {{wrong([&] { fixture.core_mm(0).cpus.clear(0); }), op("switch_to mm=1")}});
}

TEST(O7, FiresForALazyCpuToo) {
  OracleFixture fixture;
  fixture.expect("O7 a CPU has an mm in CR3 but is not in its mask",
                 {{op("idle"), wrong([&] { fixture.set_in_mask(0, 0, false); }),
                   op("map mm=1 page=5"), op("leave")}});
}

TEST(O8, FiresWhenInterruptsComeOnInsideTheSwitchingWindow) {
  OracleFixture fixture;
  fixture.expect("O8 interrupts are on while the bookkeeping and CR3 disagree", {{wrong([&] {
                   HostHal::disable_interrupts();
                   fixture.own(0).loaded_mm.poke(nullptr);
                   HostHal::enable_interrupts();
                 })}});
}

TEST(O8, FiresWhenTheLoadedAsidIsNotTheOneInCr3) {
  OracleFixture fixture;
  fixture.expect("O8 interrupts are on while the bookkeeping and CR3 disagree",
                 {{wrong([&] { fixture.own(0).loaded_asid = 3; }), op("map mm=0 page=5")}});
}

TEST(O9, FiresWhenALazyCpuUsesAUserAddress) {
  OracleFixture fixture;
  fixture.expect(
      "O9 a lazy CPU uses a user address",
      {{op("idle"), wrong([&] { fixture.machine.translation().access(page_address(1), false); })}});
}

TEST(O9, FiresWhenACpuIsLazyOnTheKernelsMm) {
  OracleFixture fixture;
  fixture.expect("O9 a CPU is lazy on the kernel's own mm",
                 {{op("leave"), wrong([&] {
                     fixture.system().cpus[0].shared.is_lazy.store(true, std::memory_order_relaxed);
                   })}});
}

// ---- O14, O31

TEST(O14, FiresWhenTwoAsidsNameTheSameMm) {
  OracleFixture fixture;
  fixture.expect("O14 two ASIDs of a CPU name the same mm",
                 {{wrong([&] { fixture.own(0).asids[5].context = fixture.core_mm(0).context; }),
                   op("switch_to mm=1")}});
}

TEST(O31, FiresWhenAnMmIsDestroyedWhileACpuHasItLoaded) {
  OracleFixture fixture;
  fixture.after(TraceKind::flush_begin, 0, [&] { fixture.set_in_mask(1, 1, false); });
  fixture.after(TraceKind::flush_end, 0, [&] {
    fixture.system().cpus[1].shared.is_lazy.poke(false);
    fixture.hide_loaded(1);
  });
  fixture.expect("O31 an address space is destroyed while a CPU has it loaded",
                 {{await(1), op("exit mm=1")}, {op("switch_to mm=1"), op("idle"), go(1)}});
}

TEST(O5, FiresWhenAnMmIsDestroyedWhileALazyCpuHasItLoaded) {
  OracleFixture fixture;
  fixture.after(TraceKind::flush_begin, 0, [&] { fixture.set_in_mask(1, 1, false); });
  fixture.after(TraceKind::flush_end, 0, [&] { fixture.hide_loaded(1); });
  fixture.expect("O5 the tables of an mm are about to be released while a lazy CPU can walk them",
                 {{await(1), op("exit mm=1")}, {op("switch_to mm=1"), op("idle"), go(1)}});
}

TEST(O31, FiresWhenCr3IsLoadedWithAReleasedRoot) {
  OracleFixture fixture;
  fixture.expect("O31 CR3 is loaded with a released root", {{wrong([&] {
                   const std::uint32_t root = host::FramePool::frame_at(fixture.core_mm(1).root);
                   fixture.machine.frames().release(root, fixture.machine.step(), 0);
                   HostHal::disable_interrupts();
                   HostHal::write_cr3(fixture.core_mm(1).root | 5);
                 })}});
}

TEST(Check, OfTheCoreIsReportedWithItsOwnWords) {
  OracleFixture fixture;
  fixture.expect("CHECK a flush needs interrupts on", {{wrong([&] {
                   HostHal::disable_interrupts();
                   static_cast<void>(flush_tlb_mm(fixture.system(), fixture.core_mm(0)));
                 })}});
}

}  // namespace
}  // namespace shootdown::fuzz
