// Each oracle about translations, slots and spaces is seen to fire, by its title.
#include <gtest/gtest.h>

#include "fuzz/events/layout.h"
#include "tests/oracles/trial.h"

namespace shootdown::fuzz {
namespace {

/// CPU 1 has page 1 of space 0 cached; then CPU 0 does `change`.
Script change_behind_a_reader(std::string_view change) {
  return {{await(1), op(change)}, {op("read page=1"), go(1)}};
}

/// CPU 1 reads page 1 of space 0 and does `away`; CPU 0 does `change`; CPU 1 does `back`.
Script change_behind_an_absent_reader(std::string_view away, std::string_view back,
                                      std::string_view change = "protect mm=0 page=1") {
  return {{await(1), op(change), go(2)}, {op("read page=1"), op(away), go(1), await(2), op(back)}};
}

/// CPU 1 switches without the flush that its slot's generation asks for, and says so in the slot.
struct SwitchWithoutFlush {
  Trial& trial;
  Loot loot{trial};
  Generation generation{0};
  explicit SwitchWithoutFlush(Trial& the_trial) : trial(the_trial) {
    trial.before(TraceKind::switch_begin, 1, [this] {
      loot.take(1);
      generation = trial.slot_of(1, 0).generation;
    });
    trial.before(TraceKind::switch_end, 1, [this] {
      if (trial.loaded(1) != &trial.mm(0)) return;
      loot.put_entries(1);
      trial.slot_of(1, 0).generation = generation;
    });
  }
};

// ---- O1

TEST(O1, FiresWhenAFlushReturnsWhileACpuCanUseAnOlderTranslation) {
  Trial trial;
  Loot loot(trial);
  trial.before(TraceKind::handler_begin, 1, [&] { loot.take(1); });
  trial.after(TraceKind::handler_end, 1, [&] { loot.put_entries(1); });
  trial.expect("O1 a flush returns while a CPU can still use an older translation",
               change_behind_a_reader("unmap mm=0 page=1"));
}

TEST(O1, FiresForLargePagesAndWithoutPcids) {
  Trial trial;
  Loot loot(trial);
  trial.before(TraceKind::handler_begin, 1, [&] { loot.take(1); });
  trial.after(TraceKind::handler_end, 1, [&] { loot.put_entries(1); });
  trial.expect("O1 a flush returns while a CPU can still use an older translation",
               {{op("map mm=0 page=16"), go(1), await(2), op("unmap mm=0 page=16")},
                {await(1), op("write page=16"), go(2)}},
               {.pcid = false});
}

TEST(O1, FiresWhenTheInitiatorItselfIsNotFlushed) {
  Trial trial;
  Loot loot(trial);
  trial.before(TraceKind::handler_begin, 0, [&] { loot.take(0); });
  trial.after(TraceKind::handler_end, 0, [&] { loot.put_entries(0); });
  trial.expect("O1 a flush returns while a CPU can still use an older translation",
               {{op("read page=1"), op("unmap mm=0 page=1")}});
}

TEST(O1, FiresWhenACpuSwitchesInWithAnOlderTranslation) {
  Trial trial;
  const SwitchWithoutFlush meddler(trial);
  trial.expect("O1 a CPU switches in with a translation older than a completed flush",
               change_behind_an_absent_reader("switch_to mm=1", "switch_to mm=0"));
}

// ---- O2

TEST(O2, FiresWhenAnAccessUsesATranslationOlderThanACompletedFlush) {
  Trial trial;
  Loot loot(trial);
  trial.before(TraceKind::handler_begin, 0, [&] { loot.take(0); });
  trial.expect("O2 a CPU uses a translation older than a completed flush",
               {{op("write page=1"), op("protect mm=0 page=1"), wrong([&] { loot.put_entries(0); }),
                 op("write page=1")}});
}

TEST(O2, FiresWhenACpuLeavesLazyModeWithAnOlderTranslation) {
  Trial trial;
  const SwitchWithoutFlush meddler(trial);
  trial.expect("O2 a CPU leaves lazy mode with a translation older than a completed flush",
               change_behind_an_absent_reader("idle", "resume"));
}

// ---- O3

TEST(O3, FiresWhenASlotIsNewerThanItsSpace) {
  Trial trial;
  trial.expect("O3 a slot is newer than its address space",
               {{wrong([&] { trial.loaded_slot(0).generation = 2; }), op("switch_to mm=0")}});
}

TEST(O3, FiresWhenAGenerationGoesBackwards) {
  Trial trial;
  trial.expect("O3 a generation went backwards", {{op("flush_mm mm=0"), wrong([&] {
                                                     trial.mm(0).tlb_gen.poke(kFirstGeneration);
                                                     trial.loaded_slot(0).generation =
                                                         kFirstGeneration;
                                                   }),
                                                   op("switch_to mm=0")}});
}

// ---- O4

TEST(O4, FiresWhenASlotHoldsTranslationsOfAnotherSpace) {
  Trial trial;
  Loot loot(trial);
  trial.before(TraceKind::switch_begin, 0, [&] { loot.take(0); });
  trial.before(TraceKind::switch_end, 0, [&] { loot.put_entries(0); });
  trial.expect("O4 a slot holds translations of another address space",
               {{op("read page=1"), op("switch_to mm=1")}});
}

TEST(O4, FiresWhenASlotHoldsTablePointersOfAnotherSpace) {
  for (unsigned level = 1; level <= 3; ++level) {
    Trial trial;
    Loot loot(trial);
    trial.before(TraceKind::switch_begin, 0, [&] { loot.take(0); });
    trial.before(TraceKind::switch_end, 0, [&] { loot.put_tables(0, level); });
    trial.expect("O4 a slot holds pointers to tables of another address space",
                 {{op("read page=1"), op("switch_to mm=1")}});
  }
}

TEST(O4, FiresWhenAnAccessUsesATranslationOfAnotherSpace) {
  Trial trial;
  Loot loot(trial);
  trial.before(TraceKind::switch_begin, 0, [&] { loot.take(0); });
  trial.after(TraceKind::switch_end, 0, [&] { loot.put_entries(0); });
  trial.expect("O4 a CPU uses a translation of another address space",
               {{op("read page=1"), op("switch_to mm=1"), op("read page=1")}});
}

TEST(O4, FiresWhenAnAccessInTheKernelsSpaceFindsATranslation) {
  Trial trial;
  Loot loot(trial);
  trial.expect("O4 a CPU uses a translation of another address space",
               {{op("read page=1"), wrong([&] { loot.take(0); }), op("leave"), wrong([&] {
                   loot.put_entries(0);
                   trial.machine.translation().access(page_address(1), false);
                 })}});
}

TEST(O4, FiresWhenTheHandlerRecordsAGenerationThatTheTlbHasNotReached) {
  Trial trial;
  Loot loot(trial);
  trial.before(TraceKind::handler_begin, 1, [&] { loot.take(1); });
  trial.before(TraceKind::handler_end, 1, [&] { loot.put_entries(1); });
  trial.expect("O4 a slot holds a translation older than the generation it records",
               change_behind_a_reader("unmap mm=0 page=1"));
}

TEST(O4, FiresWhenASlotThatIsNotLoadedClaimsTheNewGeneration) {
  Trial trial;
  trial.before(TraceKind::flush_end, 0,
               [&] { trial.slot_of(1, 0).generation = trial.mm(0).tlb_gen.peek(); });
  trial.expect(
      "O4 a slot holds a translation older than the generation it records",
      {{await(1), op("unmap mm=0 page=1")}, {op("read page=1"), op("switch_to mm=1"), go(1)}});
}

TEST(O4, IsNotConfusedByAPcidThatIsNoSlot) {
  for (const std::uint64_t pcid : {0, 77}) {
    Trial trial;
    const Script script{{await(1), op("protect mm=0 page=1")},
                        {wrong([&] {
                           const std::uint64_t cr3 = HostHal::read_cr3();
                           HostHal::disable_interrupts();
                           HostHal::write_cr3(trial.mm(0).root | pcid);
                           trial.machine.translation().access(page_address(1), false);
                           HostHal::write_cr3(cr3);
                           HostHal::enable_interrupts();
                         }),
                         go(1)}};
    trial.expect_clean(script);  // No CPU loads that PCID again.
  }
}

// ---- O5

TEST(O5, FiresWhenATableIsReleasedWhileACpuCanWalkIt) {
  Trial trial;
  Loot loot(trial);
  trial.before(TraceKind::handler_begin, 1, [&] { loot.take(1); });
  trial.after(TraceKind::flush_end, 0, [&] { loot.put_tables(1); });
  trial.expect("O5 a page table is released while a CPU can walk it",
               change_behind_a_reader("free_table mm=0 page=0"));
}

TEST(O5, FiresForATableOfEachLevel) {
  for (unsigned level = 1; level <= 3; ++level) {
    Trial trial;
    Loot loot(trial);
    trial.before(TraceKind::handler_begin, 1, [&] { loot.take(1); });
    trial.after(TraceKind::flush_end, 0, [&] { loot.put_tables(1, level); });
    trial.expect("O5 a page table is released while a CPU can walk it",
                 {{await(1), op("switch_to mm=1"), op("exit mm=0")},
                  {op("read page=1"), op("idle"), go(1)}});
  }
}

TEST(O5, FiresWhenAFlushReturnsWhileACpuCanWalkATableThatWasUnhooked) {
  for (const std::string_view change :
       {"free_table mm=0 page=0", "unmap mm=0 page=0 count=8", "reclaim_tables mm=0 page=12"}) {
    const bool frees = change != "unmap mm=0 page=0 count=8";
    Trial trial;
    Loot loot(trial);
    trial.before(TraceKind::handler_begin, 1, [&] { loot.take(1); });
    trial.after(TraceKind::handler_end, 1, [&] { loot.put_tables(1); });
    Script script = change_behind_a_reader(change);
    if (!frees) {
      trial.expect_clean(script);  // No table was unhooked.
      continue;
    }
    if (change.starts_with("reclaim")) {
      script = {{op("unmap mm=0 page=8 count=4"), op("map mm=0 page=12"), go(1), await(2),
                 op("unmap mm=0 page=12"), op(change)},
                {await(1), op("read page=12"), go(2)}};
    }
    trial.expect("O5 a flush for freed tables returns while a CPU can walk one", script);
  }
}

TEST(O5, FiresWhenASlotIsLoadedWithAPointerToAReleasedTable) {
  Trial trial;
  Loot loot(trial);
  trial.before(TraceKind::switch_begin, 1, [&] {
    if (trial.loaded(1) == &trial.mm(0)) loot.take(1);
  });
  trial.before(TraceKind::switch_end, 1, [&] {
    if (trial.loaded(1) == &trial.mm(0)) loot.put_tables(1);
  });
  trial.expect(
      "O5 a slot holds a pointer to a released page table",
      change_behind_an_absent_reader("switch_to mm=1", "switch_to mm=0", "free_table mm=0 page=0"));
}

TEST(O5, FiresWhenAWalkFollowsAnOldPointerToTheSameFrameAsATableOfTheSameSpace) {
  Trial trial;
  Loot loot(trial);
  trial.before(TraceKind::handler_begin, 1, [&] { loot.take(1); });
  trial.expect("O5 a walk reads a page table that was released",
               {{await(1), op("free_table mm=0 page=0"), op("map mm=0 page=0"), go(2)},
                {op("read page=1"), go(1), await(2), wrong([&] { loot.put_tables(1); }),
                 op("read page=0")}});
}

TEST(O2, FiresForATranslationReadThroughAPointerToATableThatWasUnhooked) {
  // The table waits for lockless walkers, so its frame is not released yet.
  Trial trial;
  Loot loot(trial);
  trial.before(TraceKind::handler_begin, 1, [&] { loot.take(1); });
  trial.expect("O2 a CPU uses a translation older than a completed flush",
               {{op("map mm=0 page=16"), op("split mm=0 page=16"), go(1), await(2),
                 op("collapse mm=0 page=16"), go(3)},
                {await(1), op("read page=16"), go(2), await(3), wrong([&] {
                   trial.machine.cpu(1).tlb.entries.clear();
                   loot.put_tables(1, 1);
                 }),
                 op("read page=16")}},
               {.defer_tables = true});
}

TEST(O5, FiresForALazyCpuThatWasNotReached) {
  Trial trial;
  // As if the flush did not say that it frees tables.
  trial.after(TraceKind::flush_begin, 0,
              [&] { trial.system().cpus[0].request.frees_tables = false; });
  trial.before(TraceKind::flush_end, 0,
               [&] { trial.system().cpus[0].request.frees_tables = true; });
  trial.expect("O5 a flush for freed tables returns while a CPU can walk one",
               {{await(1), op("free_table mm=0 page=0")}, {op("read page=1"), op("idle"), go(1)}});
}

TEST(O5, FiresWhenAWalkReadsATableThatWasReleased) {
  Trial trial;
  Loot loot(trial);
  trial.before(TraceKind::handler_begin, 1, [&] { loot.take(1); });
  trial.expect("O5 a walk reads a page table that was released",
               {{await(1), op("free_table mm=0 page=0"), go(2)},
                {op("read page=1"), go(1), await(2), wrong([&] { loot.put_tables(1); }),
                 op("read page=2")}});
}

TEST(O5, FiresWhenTheTableHasBecomeAnotherSpacesTable) {
  Trial trial;
  Loot loot(trial);
  trial.before(TraceKind::handler_begin, 1, [&] { loot.take(1); });
  trial.expect("O5 a walk reads a page table that was released",
               {{await(1), op("free_table mm=0 page=0"), op("free_table mm=1 page=0"),
                 op("map mm=1 page=0"), go(2)},
                {op("read page=1"), go(1), await(2), wrong([&] { loot.put_tables(1); }),
                 op("read page=2")}});
}

// ---- O6

TEST(O6, FiresWhenAFrameIsReleasedWhileACpuCanUseIt) {
  Trial trial;
  Loot loot(trial);
  trial.before(TraceKind::handler_begin, 0, [&] { loot.take(0); });
  trial.after(TraceKind::flush_end, 0, [&] { loot.put_entries(0); });
  trial.expect("O6 a frame is released while a CPU can use it",
               {{op("read page=1"), op("unmap mm=0 page=1")}});
}

TEST(O6, FiresWhenAnAccessReachesAFrameThatWasReleased) {
  Trial trial;
  trial.expect("O6 a CPU uses a frame that was released",
               {{op("read page=1"), wrong([&] {
                   const std::uint32_t frame = host::FramePool::frame_at(trial.entry_of(0, 1));
                   trial.machine.frames().release(frame, trial.machine.step(), 0);
                 }),
                 op("write page=1")}});
}

TEST(O6, FiresWhenAFrameIsReleasedTwice) {
  Trial trial;
  trial.expect("O6 a frame is released twice",
               {{wrong([&] {
                   const std::uint32_t frame = host::FramePool::frame_at(trial.entry_of(0, 1));
                   trial.machine.frames().release(frame, trial.machine.step(), 0);
                 }),
                 op("unmap mm=0 page=1")}});
}

// ---- O7, O8, O9

TEST(O7, FiresWhenACpuLeavesTheMaskBeforeCr3HasLeft) {
  Trial trial;
  trial.expect("O7 a CPU has a space in CR3 but is not in its mask",
               {{wrong([&] { trial.mm(0).cpus.clear(0); }), op("switch_to mm=1")}});
}

TEST(O7, FiresForALazyCpuToo) {
  Trial trial;
  trial.expect("O7 a CPU has a space in CR3 but is not in its mask",
               {{op("idle"), wrong([&] { trial.set_in_mask(0, 0, false); }), op("map mm=1 page=5"),
                 op("leave")}});
}

TEST(O8, FiresWhenInterruptsComeOnInsideTheSwitchingWindow) {
  Trial trial;
  trial.expect("O8 interrupts are on while the bookkeeping and CR3 disagree", {{wrong([&] {
                 HostHal::disable_interrupts();
                 trial.own(0).loaded_mm.poke(nullptr);
                 HostHal::enable_interrupts();
               })}});
}

TEST(O8, FiresWhenTheLoadedSlotIsNotTheOneInCr3) {
  Trial trial;
  trial.expect("O8 interrupts are on while the bookkeeping and CR3 disagree",
               {{wrong([&] { trial.own(0).loaded_slot = 3; }), op("map mm=0 page=5")}});
}

TEST(O9, FiresWhenALazyCpuUsesAUserAddress) {
  Trial trial;
  trial.expect(
      "O9 a lazy CPU uses a user address",
      {{op("idle"), wrong([&] { trial.machine.translation().access(page_address(1), false); })}});
}

TEST(O9, FiresWhenACpuIsLazyOnTheKernelsSpace) {
  Trial trial;
  trial.expect("O9 a CPU is lazy on the kernel's own space",
               {{op("leave"), wrong([&] {
                   trial.system().cpus[0].shared.is_lazy.store(true, std::memory_order_relaxed);
                 })}});
}

// ---- O14, O31

TEST(O14, FiresWhenTwoSlotsNameTheSameSpace) {
  Trial trial;
  trial.expect(
      "O14 two slots of a CPU name the same space",
      {{wrong([&] { trial.own(0).slots[5] = trial.loaded_slot(0); }), op("switch_to mm=1")}});
}

TEST(O31, FiresWhenASpaceIsDestroyedWhileACpuHasItLoaded) {
  Trial trial;
  trial.after(TraceKind::flush_begin, 0, [&] { trial.set_in_mask(1, 1, false); });
  trial.after(TraceKind::flush_end, 0, [&] {
    trial.system().cpus[1].shared.is_lazy.poke(false);
    trial.hide_loaded(1);
  });
  trial.expect("O31 an address space is destroyed while a CPU has it loaded",
               {{await(1), op("exit mm=1")}, {op("switch_to mm=1"), op("idle"), go(1)}});
}

TEST(O5, FiresWhenASpaceIsDestroyedWhileALazyCpuHasItLoaded) {
  Trial trial;
  trial.after(TraceKind::flush_begin, 0, [&] { trial.set_in_mask(1, 1, false); });
  trial.after(TraceKind::flush_end, 0, [&] { trial.hide_loaded(1); });
  trial.expect("O5 the tables of a space are about to be released while a lazy CPU can walk them",
               {{await(1), op("exit mm=1")}, {op("switch_to mm=1"), op("idle"), go(1)}});
}

TEST(O31, FiresWhenCr3IsLoadedWithAReleasedRoot) {
  Trial trial;
  trial.expect("O31 CR3 is loaded with a released root", {{wrong([&] {
                 const std::uint32_t root = host::FramePool::frame_at(trial.mm(1).root);
                 trial.machine.frames().release(root, trial.machine.step(), 0);
                 HostHal::disable_interrupts();
                 HostHal::write_cr3(trial.mm(1).root | 5);
               })}});
}

TEST(Check, OfTheCoreIsReportedWithItsOwnWords) {
  Trial trial;
  trial.expect("CHECK a flush needs interrupts on", {{wrong([&] {
                 HostHal::disable_interrupts();
                 static_cast<void>(flush_tlb_mm(trial.system(), trial.mm(0)));
               })}});
}

}  // namespace
}  // namespace shootdown::fuzz
