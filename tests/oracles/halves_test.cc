// Each oracle about the user half, the kernel's half, batches, CPUs that come and go and temporary
// spaces is seen to fire, by its title.
#include <gtest/gtest.h>

#include "fuzz/events/layout.h"
#include "tests/oracles/trial.h"

namespace shootdown::fuzz {
namespace {

// ---- O12

constexpr std::string_view kUserHalf = "O12 the user half keeps what the kernel half has flushed";

TEST(O12, FiresWhenTheHandlerForgetsTheUserHalf) {
  for (const Header& header :
       {Header{.pti = true}, Header{.ceiling = 0, .pti = true},
        Header{.pti = true, .invpcid = false}, Header{.pti = true, .defer_user_pages = true}}) {
    Trial trial;
    Loot loot(trial);
    trial.before(TraceKind::handler_begin, 1, [&] { loot.take(1); });
    // What is owed is forgotten as well, or it would be paid on the way to user mode.
    trial.before(TraceKind::handler_end, 1, [&] {
      loot.put_back(1);
      trial.own(1).user_flush = 0;
      trial.own(1).deferred = {};
    });
    trial.expect(kUserHalf, {{await(1), op("protect mm=0 page=1")}, {op("write page=1"), go(1)}},
                 header);
  }
}

TEST(O12, FiresWhenASlotThatIsNotLoadedKeepsItsUserHalf) {
  Trial trial;
  trial.before(TraceKind::flush_end, 0,
               [&] { trial.slot_of(1, 0).generation = trial.mm(0).tlb_gen.peek(); });
  trial.expect(
      kUserHalf,
      {{await(1), op("protect mm=0 page=1")}, {op("write page=1"), op("switch_to mm=1"), go(1)}},
      {.pti = true});
}

TEST(O12, FiresWhenASwitchForgetsTheMark) {
  Trial trial;
  trial.before(TraceKind::switch_end, 1, [&] { trial.own(1).user_flush = 0; });
  trial.expect(kUserHalf,
               {{await(1), op("protect mm=0 page=1"), go(2)},
                {op("write page=1"), op("switch_to mm=1"), go(1), await(2), op("switch_to mm=0")}},
               {.pti = true});
}

TEST(O12, FiresWhenATableIsReleasedToWhichTheUserHalfKeepsAPointer) {
  Trial trial;
  Loot loot(trial);
  trial.before(TraceKind::handler_begin, 1, [&] { loot.take(1); });
  trial.after(TraceKind::flush_end, 0, [&] {
    loot.put_tables_back(1);
    trial.own(1).user_flush = 0;
  });
  trial.expect("O12 the user half keeps a pointer to a page table that is released",
               {{await(1), op("free_table mm=0 page=0")}, {op("read page=1"), go(1)}},
               {.pti = true});
}

// ---- O13

TEST(O13, FiresWhenAKernelRangeIsFlushedAndACpuKeepsIt) {
  Trial trial;
  Loot loot(trial);
  trial.before(TraceKind::kernel_begin, 0, [&] { loot.take(1); });
  trial.before(TraceKind::kernel_end, 0, [&] { loot.put_back(1); });
  trial.expect("O13 a kernel range is flushed but a CPU can still use an older translation",
               {{await(1), op("kernel_unmap page=1")}, {op("kernel_read page=1"), go(1)}});
}

TEST(O13, FiresWhenASlotThatWillBeLoadedKeepsIt) {
  for (const Header& header : {Header{.pti = true}, Header{.global_pages = false}}) {
    Trial trial;
    trial.before(TraceKind::kernel_end, 0, [&] { trial.own(1).invalidate_other = false; });
    trial.expect("O13 a kernel range is flushed but a CPU can still use an older translation",
                 {{await(1), op("kernel_unmap page=1")},
                  {op("kernel_read page=1"), op("switch_to mm=1"), go(1)}},
                 header);
  }
}

TEST(O13, FiresWhenTheUserHalfKeepsAPageThatUserRootsMap) {
  Trial trial;
  // The entry from user mode cached the page, and the mark that stood for it is gone.
  trial.before(TraceKind::kernel_end, 0, [&] { trial.own(1).user_flush = 0; });
  trial.expect("O13 a kernel range is flushed but a CPU can still use an older translation",
               {{await(1), op("kernel_unmap page=3")}, {op("read page=1"), go(1)}},
               {.pti = true, .invpcid = false});
}

TEST(O13, FiresWhenTheUserHalfOfAnotherSlotKeepsIt) {
  Trial trial;
  trial.before(TraceKind::kernel_end, 0, [&] { trial.own(1).invalidate_other = false; });
  trial.expect(
      "O13 a kernel range is flushed but a CPU can still use an older translation",
      {{await(1), op("kernel_unmap page=3")}, {op("read page=1"), op("switch_to mm=1"), go(1)}},
      {.pti = true});
}

TEST(O13, FiresForALazyCpuToo) {
  Trial trial;
  Loot loot(trial);
  trial.before(TraceKind::kernel_begin, 0, [&] { loot.take(1); });
  trial.before(TraceKind::kernel_end, 0, [&] { loot.put_back(1); });
  trial.expect(
      "O13 a kernel range is flushed but a CPU can still use an older translation",
      {{await(1), op("kernel_unmap page=1")}, {op("kernel_read page=1"), op("idle"), go(1)}});
}

TEST(O13, FiresWhenACpuSwitchesInWithAnOldTranslationOfTheKernel) {
  Trial trial;
  Loot loot(trial);
  trial.expect("O13 a CPU switches in with an older translation of a kernel page",
               {{await(1), op("kernel_unmap page=1"), go(2)},
                {op("kernel_read page=1"), wrong([&] { loot.take(1); }), go(1), await(2),
                 wrong([&] { loot.put_back(1); }), op("switch_to mm=1")}});
}

TEST(O13, FiresWhenTheKernelUsesAnOldTranslation) {
  Trial trial;
  Loot loot(trial);
  trial.expect("O13 a CPU uses a translation older than a completed flush",
               {{await(1), op("kernel_unmap page=1"), go(2)},
                {op("kernel_read page=1"), wrong([&] { loot.take(1); }), go(1), await(2),
                 wrong([&] { loot.put_back(1); }), op("kernel_read page=1")}});
}

// ---- O20, O21

TEST(O20, FiresWhenABatchFlushLeavesWhatItRemoved) {
  Trial trial;
  Loot loot(trial);
  trial.before(TraceKind::handler_begin, 1, [&] { loot.take(1); });
  trial.after(TraceKind::handler_end, 1, [&] { loot.put_back(1); });
  trial.expect(
      "O20 a batch flush returns while a CPU can still use what it removed",
      {{await(1), op("reclaim mm=0 page=1"), op("batch_flush")}, {op("read page=1"), go(1)}});
}

TEST(O20, FiresWhenTheBatchMissedACpu) {
  Trial trial;
  // The mask is read before the bump, and CPU 1 switches in between: it is not in the batch.
  trial.before(TraceKind::batch_add, 0, [&] { trial.set_in_mask(0, 1, false); });
  trial.after(TraceKind::batch_begin, 0, [&] { trial.set_in_mask(0, 1, true); });
  trial.expect(
      "O20 a batch flush returns while a CPU can still use what it removed",
      {{await(1), op("reclaim mm=0 page=1"), op("batch_flush")}, {op("read page=1"), go(1)}});
}

TEST(O21, FiresWhenAnOperationCompletesOverAnUnflushedChange) {
  Trial trial;
  trial.after(TraceKind::batch_add, 0, [&] {
    const std::uint64_t added = trial.mm(0).batch_marks.peek() >> 32;
    trial.mm(0).batch_marks.poke((added << 32) | added);
  });
  trial.expect(
      "O21 an operation completes over a change that is not flushed",
      {{await(1), op("reclaim mm=0 page=1"), op("unmap mm=0 page=1")}, {op("read page=1"), go(1)}});
}

// ---- O22, O23

TEST(O22, FiresWhenTheSpaceIsNamedBeforeCr3HasIt) {
  Trial trial;
  trial.expect("O22 user_access_ok would be true while CR3 holds another space", {{wrong([&] {
                 HostHal::disable_interrupts();
                 trial.own(0).loaded_mm.store(&trial.mm(1), std::memory_order_relaxed);
               })}});
}

TEST(O22, LeavesACpuAloneWhoseUserAccessIsNotOk) {
  Trial trial;
  const Script script = {{wrong([&] {
    HostHal::disable_interrupts();
    auto& lazy = trial.system().cpus[0].shared.is_lazy;
    lazy.store(true, std::memory_order_relaxed);
    trial.own(0).loaded_mm.store(&trial.mm(1), std::memory_order_relaxed);
    trial.own(0).loaded_mm.store(&trial.mm(0), std::memory_order_relaxed);
    lazy.store(false, std::memory_order_relaxed);
    HostHal::enable_interrupts();
  })}};
  trial.expect_clean(script);
}

/// An NMI arrives at the running CPU.
void take_nmi(Trial& trial, VirtAddr address) {
  trial.machine.running().nmi_pending = true;
  trial.machine.running().nmi_address = address;
  HostHal::full_fence();
}

TEST(O22, FiresWhenAnNmiReadsAnotherSpaceThanItsTasks) {
  Trial trial;
  trial.expect("O22 an NMI reads another space than its task's", {{wrong([&] {
                 HostHal::disable_interrupts();
                 trial.set_in_mask(1, 0, true);
                 HostHal::write_cr3(trial.mm(1).root | 5);
                 take_nmi(trial, page_address(1));
               })}},
               {.nmi = true});
}

TEST(O2, FiresWhenAnNmiReadsThroughATranslationOlderThanACompletedFlush) {
  Trial trial;
  Loot loot(trial);
  trial.before(TraceKind::handler_begin, 0, [&] { loot.take(0); });
  trial.expect("O2 a CPU uses a translation older than a completed flush",
               {{op("write page=1"), op("protect mm=0 page=1"), wrong([&] {
                   loot.put_entries(0);
                   take_nmi(trial, page_address(1));
                 })}},
               {.nmi = true});
}

TEST(O23, FiresWhenCr4AndItsShadowDiffer) {
  Trial trial;
  trial.expect("O23 CR4 and its shadow differ while interrupts are on",
               {{wrong([&] { HostHal::write_cr4(HostHal::read_cr4() ^ kCr4GlobalPages); })}});
}

// ---- O32

TEST(O32, FiresWhenACpuChangesItsStateOnAUserRoot) {
  Trial trial;
  trial.expect("O32 a CPU changes its own state on a user root", {{wrong([&] {
                 HostHal::disable_interrupts();
                 EntryBlock<HostHal> block;
                 return_to_user(trial.system(), block);
                 trial.own(0).user_flush = 1;
                 HostHal::enable_interrupts();
               })}},
               {.pti = true});
}

TEST(O32, FiresWhicheverFieldOfItsStateTheCpuChanges) {
  using Own = CpuPrivate<HostHal>;
  const std::vector<void (*)(Own&)> changes = {
      [](Own& own) { own.next_slot ^= 1; },         [](Own& own) { own.slots[2].generation += 1; },
      [](Own& own) { own.deferred.end += 0x1000; }, [](Own& own) { own.on_global.poke(true); },
      [](Own& own) { own.is_up = false; },
  };
  for (const auto change : changes) {
    Trial trial;
    trial.expect("O32 a CPU changes its own state on a user root", {{wrong([&] {
                   HostHal::disable_interrupts();
                   EntryBlock<HostHal> block;
                   return_to_user(trial.system(), block);
                   change(trial.own(0));
                   HostHal::enable_interrupts();
                 })}},
                 {.pti = true});
  }
}

TEST(O32, FiresWhenAnEntryStaysOnTheUserRoot) {
  Trial trial;
  trial.expect("O32 an entry into the kernel stays on the user root", {{wrong([&] {
                 HostHal::disable_interrupts();
                 // The handler looks into the CPU's own block, which knows nothing of this.
                 EntryBlock<HostHal> block;
                 return_to_user(trial.system(), block);
                 take_nmi(trial, page_address(1));
               })}},
               {.pti = true, .nmi = true});
}

// ---- O24, O25

TEST(O24, FiresWhenACpuComesUpWithOldTranslations) {
  Trial trial;
  Loot loot(trial);
  trial.after(TraceKind::switch_begin, 1, [&] { loot.take(1); });
  trial.before_change = [&](CpuId cpu) {
    if (cpu == 1 && trial.machine.cpu(1).tlb.entries.size() == 0) loot.put_back(1);
  };
  trial.expect("O24 a CPU comes up with old translations",
               {{}, {op("kernel_read page=1"), op("offline"), op("online")}});
  EXPECT_NE(trial.report.detail.find("would use kernel page 1 without a flush"), std::string::npos)
      << trial.report.detail;
}

/// Cpu 1 goes and comes back, and slot 4 says that it holds `generation` of space 0 then.
struct OldSlot {
  OldSlot(Trial& trial, Generation generation, bool with_entries) : loot(trial) {
    if (with_entries) trial.after(TraceKind::switch_begin, 1, [this] { loot.take(1); });
    trial.before_change = [this, &trial, generation](CpuId cpu) {
      const auto& slots = trial.own(1).slots;
      const bool clean = trial.machine.cpu(1).tlb.entries.size() == 0 &&
                         slots[0].context == trial.system().kernel_mm.context &&
                         slots[1].context == kNoContext;
      if (cpu != 1 || !clean) return;
      trial.own(1).slots[4] = {.context = trial.mm(0).context, .generation = generation};
      loot.put_back(1);
      for (host::TlbEntry& entry : trial.machine.cpu(1).tlb.entries) entry.pcid = pcid_of(4);
    };
  }
  Loot loot;
};

Script away_and_back() { return {{}, {op("read page=1"), op("offline"), op("online")}}; }

TEST(O24, FiresWhenACpuComesUpWithOldSlots) {
  Trial trial;
  const OldSlot slot(trial, kFirstGeneration, /*with_entries=*/true);
  trial.expect("O24 a CPU comes up with old translations", away_and_back());
}

TEST(O24, LeavesASlotAloneThatASwitchWouldFlushOrThatIsEmpty) {
  for (const bool behind : {true, false}) {
    Trial trial;
    const OldSlot slot(trial, behind ? kNoGeneration : kFirstGeneration, /*with_entries=*/behind);
    trial.expect_clean(away_and_back());
    EXPECT_EQ(trial.own(1).slots[4].context, trial.mm(0).context) << "nothing was tried";
  }
}

TEST(O24, LeavesWhatIsCachedAfterTheFlushAlone) {
  Trial trial;
  Loot loot(trial);
  trial.after(TraceKind::switch_begin, 1, [&] { loot.take(1); });
  unsigned put = 0;
  trial.before_change = [&](CpuId cpu) {
    if (cpu != 1 || trial.machine.cpu(1).tlb.entries.size() != 0 || loot.entries() == 0) return;
    loot.put_back(1);
    for (host::TlbEntry& entry : trial.machine.cpu(1).tlb.entries) {
      entry.from.step = trial.machine.step();
      ++put;
    }
  };
  const Script script = {{}, {op("kernel_read page=1"), op("offline"), op("online")}};
  trial.expect_clean(script);
  EXPECT_GT(put, 0u);
}

TEST(O25, FiresWhenACpuStaysInTheTemporaryMask) {
  Trial trial;
  trial.after(TraceKind::switch_end, 0, [&] {
    if (trial.loaded(0) == &trial.mm(0)) {
      trial.set_in_mask(trial.guest.temporary_space(), 0, true);
    }
  });
  trial.expect("O25 a temporary space does not end as it began", {{op("temporary page=1")}});
}

TEST(O25, FiresWhenACpuDoesNotGoBackToWhereItWas) {
  for (const bool was_lazy : {false, true}) {
    Trial trial;
    // A lazy CPU must not go back: no initiator told it what it missed.
    const auto use_temporary = [&] {
      trial.oracles.on_temporary_begin(0);
      HostHal::disable_interrupts();
      switch_mm(trial.system(), trial.mm(was_lazy ? 0 : 1));
      HostHal::enable_interrupts();
      trial.oracles.on_temporary_end(0);
      trial.machine.stop_if_failed();
    };
    trial.expect("O25 a temporary space does not end as it began",
                 {{op(was_lazy ? "idle" : "read page=1"), wrong(use_temporary)}});
  }
}

// ---- FAULT

TEST(Fault, OfAnInstructionIsReported) {
  Trial trial;
  trial.expect("FAULT INVPCID faults",
               {{wrong([] { HostHal::invpcid(InvpcidType::address, 1, VirtAddr{1} << 47); })}});
  trial.expect("FAULT a load of CR3 faults", {{wrong([] {
                 HostHal::disable_interrupts();
                 HostHal::write_cr3(HostHal::read_cr3() | kCr3KeepEntries);
               })}},
               {.pcid = false});
}

}  // namespace
}  // namespace shootdown::fuzz
