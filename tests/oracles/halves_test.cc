// Each oracle about the user half, the kernel's half, batches, CPUs that come and go and temporary
// mms is seen to fire, by its title.
#include <gtest/gtest.h>

#include "fuzz/events/layout.h"
#include "tests/oracles/oracle_fixture.h"

namespace shootdown::fuzz {
namespace {

// ---- O12

constexpr std::string_view kUserPcids =
    "O12 the user PCID keeps what was flushed under the kernel PCID";

TEST(O12, FiresWhenTheHandlerForgetsTheUserHalf) {
  for (const Header& header :
       {Header{.pti = true}, Header{.ceiling = 0, .pti = true},
        Header{.pti = true, .invpcid = false}, Header{.pti = true, .defer_user_pages = true}}) {
    OracleFixture fixture;
    TlbSnapshot snapshot(fixture);
    fixture.before(TraceKind::handler_begin, 1, [&] { snapshot.take(1); });
    // What is owed is forgotten as well, or it would be paid on the way to user mode.
    fixture.before(TraceKind::handler_end, 1, [&] {
      snapshot.put_back(1);
      fixture.own(1).user_pcid_flush_mask = 0;
      fixture.own(1).deferred = {};
    });
    fixture.expect(kUserPcids, {{await(1), op("protect mm=0 page=1")}, {op("write page=1"), go(1)}},
                   header);
  }
}

TEST(O12, FiresWhenAnAsidThatIsNotLoadedKeepsItsUserHalf) {
  OracleFixture fixture;
  fixture.before(TraceKind::flush_end, 0,
                 [&] { fixture.asid_of(1, 0).generation = fixture.core_mm(0).tlb_gen.peek(); });
  fixture.expect(
      kUserPcids,
      {{await(1), op("protect mm=0 page=1")}, {op("write page=1"), op("switch_to mm=1"), go(1)}},
      {.pti = true});
}

TEST(O12, FiresWhenASwitchForgetsTheMark) {
  OracleFixture fixture;
  fixture.before(TraceKind::switch_end, 1, [&] { fixture.own(1).user_pcid_flush_mask = 0; });
  fixture.expect(
      kUserPcids,
      {{await(1), op("protect mm=0 page=1"), go(2)},
       {op("write page=1"), op("switch_to mm=1"), go(1), await(2), op("switch_to mm=0")}},
      {.pti = true});
}

TEST(O12, FiresWhenATableIsReleasedToWhichTheUserHalfKeepsAPointer) {
  OracleFixture fixture;
  TlbSnapshot snapshot(fixture);
  fixture.before(TraceKind::handler_begin, 1, [&] { snapshot.take(1); });
  fixture.after(TraceKind::flush_end, 0, [&] {
    snapshot.put_tables_back(1);
    fixture.own(1).user_pcid_flush_mask = 0;
  });
  fixture.expect("O12 the user PCID keeps a pointer to a page table that is released",
                 {{await(1), op("free_table mm=0 page=0")}, {op("read page=1"), go(1)}},
                 {.pti = true});
}

// ---- O13

TEST(O13, FiresWhenAKernelRangeIsFlushedAndACpuKeepsIt) {
  OracleFixture fixture;
  TlbSnapshot snapshot(fixture);
  fixture.before(TraceKind::kernel_begin, 0, [&] { snapshot.take(1); });
  fixture.before(TraceKind::kernel_end, 0, [&] { snapshot.put_back(1); });
  fixture.expect("O13 a kernel range is flushed but a CPU can still use an older translation",
                 {{await(1), op("kernel_unmap page=1")}, {op("kernel_read page=1"), go(1)}});
}

TEST(O13, FiresWhenAnAsidThatWillBeLoadedKeepsIt) {
  for (const Header& header : {Header{.pti = true}, Header{.global_pages = false}}) {
    OracleFixture fixture;
    fixture.before(TraceKind::kernel_end, 0, [&] { fixture.own(1).invalidate_other = false; });
    fixture.expect("O13 a kernel range is flushed but a CPU can still use an older translation",
                   {{await(1), op("kernel_unmap page=1")},
                    {op("kernel_read page=1"), op("switch_to mm=1"), go(1)}},
                   header);
  }
}

TEST(O13, FiresWhenTheUserHalfKeepsAPageThatUserRootsMap) {
  OracleFixture fixture;
  // The entry from user mode cached the page, and the mark that stood for it is gone.
  fixture.before(TraceKind::kernel_end, 0, [&] { fixture.own(1).user_pcid_flush_mask = 0; });
  fixture.expect("O13 a kernel range is flushed but a CPU can still use an older translation",
                 {{await(1), op("kernel_unmap page=3")}, {op("read page=1"), go(1)}},
                 {.pti = true, .invpcid = false});
}

TEST(O13, FiresWhenTheUserHalfOfAnotherAsidKeepsIt) {
  OracleFixture fixture;
  fixture.before(TraceKind::kernel_end, 0, [&] { fixture.own(1).invalidate_other = false; });
  fixture.expect(
      "O13 a kernel range is flushed but a CPU can still use an older translation",
      {{await(1), op("kernel_unmap page=3")}, {op("read page=1"), op("switch_to mm=1"), go(1)}},
      {.pti = true});
}

TEST(O13, FiresForALazyCpuToo) {
  OracleFixture fixture;
  TlbSnapshot snapshot(fixture);
  fixture.before(TraceKind::kernel_begin, 0, [&] { snapshot.take(1); });
  fixture.before(TraceKind::kernel_end, 0, [&] { snapshot.put_back(1); });
  fixture.expect(
      "O13 a kernel range is flushed but a CPU can still use an older translation",
      {{await(1), op("kernel_unmap page=1")}, {op("kernel_read page=1"), op("idle"), go(1)}});
}

TEST(O13, FiresWhenACpuSwitchesInWithAnOldTranslationOfTheKernel) {
  OracleFixture fixture;
  TlbSnapshot snapshot(fixture);
  fixture.expect("O13 a CPU switches in with an older translation of a kernel page",
                 {{await(1), op("kernel_unmap page=1"), go(2)},
                  {op("kernel_read page=1"), wrong([&] { snapshot.take(1); }), go(1), await(2),
                   wrong([&] { snapshot.put_back(1); }), op("switch_to mm=1")}});
}

TEST(O13, FiresWhenTheKernelUsesAnOldTranslation) {
  OracleFixture fixture;
  TlbSnapshot snapshot(fixture);
  fixture.expect("O13 a CPU uses a translation older than a completed flush",
                 {{await(1), op("kernel_unmap page=1"), go(2)},
                  {op("kernel_read page=1"), wrong([&] { snapshot.take(1); }), go(1), await(2),
                   wrong([&] { snapshot.put_back(1); }), op("kernel_read page=1")}});
}

// ---- O20, O21

TEST(O20, FiresWhenABatchFlushLeavesWhatItRemoved) {
  OracleFixture fixture;
  TlbSnapshot snapshot(fixture);
  fixture.before(TraceKind::handler_begin, 1, [&] { snapshot.take(1); });
  fixture.after(TraceKind::handler_end, 1, [&] { snapshot.put_back(1); });
  fixture.expect(
      "O20 a batch flush returns while a CPU can still use what it removed",
      {{await(1), op("reclaim mm=0 page=1"), op("batch_flush")}, {op("read page=1"), go(1)}});
}

TEST(O20, FiresWhenTheBatchMissedACpu) {
  OracleFixture fixture;
  // The mask is read before the bump, and CPU 1 switches in between: it is not in the batch.
  fixture.before(TraceKind::batch_add, 0, [&] { fixture.set_in_mask(0, 1, false); });
  fixture.after(TraceKind::batch_begin, 0, [&] { fixture.set_in_mask(0, 1, true); });
  fixture.expect(
      "O20 a batch flush returns while a CPU can still use what it removed",
      {{await(1), op("reclaim mm=0 page=1"), op("batch_flush")}, {op("read page=1"), go(1)}});
}

TEST(O21, FiresWhenAnOperationCompletesOverAnUnflushedChange) {
  OracleFixture fixture;
  fixture.after(TraceKind::batch_add, 0, [&] {
    const std::uint64_t added = fixture.core_mm(0).batch_marks.peek() >> 32;
    fixture.core_mm(0).batch_marks.poke((added << 32) | added);
  });
  fixture.expect(
      "O21 an operation completes over a change that is not flushed",
      {{await(1), op("reclaim mm=0 page=1"), op("unmap mm=0 page=1")}, {op("read page=1"), go(1)}});
}

TEST(O21, FiresForTheLastOfManyPromises) {
  OracleFixture fixture;
  TlbSnapshot snapshot(fixture);
  fixture.before(TraceKind::handler_begin, 1, [&] { snapshot.take(1); });
  fixture.expect("O21 an operation completes over a change that is not flushed",
                 {{await(1), op("protect mm=0 page=1 count=3"), wrong([&] {
                     const host::ModelScope scope;
                     fixture.oracles.begin_promise();
                     for (unsigned i = 0; i < 200; ++i) {
                       fixture.oracles.note_promise(0, page_address(2), page_address(3));
                     }
                     fixture.oracles.note_promise(0, page_address(1), page_address(2));
                     snapshot.put_back(1);
                     fixture.oracles.on_promise();
                     fixture.machine.stop_if_failed();
                   })},
                  {op("read page=1"), go(1)}});
}

// ---- O36

/// The switch ends with a store in the buffer that was made before it.
void claim_switch(OracleFixture& fixture, const Mm<HostHal>& next) {
  HostHal::disable_interrupts();
  fixture.system().next_context.store(fixture.system().next_context.peek(),
                                      std::memory_order_relaxed);
  const host::ModelScope scope;
  fixture.oracles.on_trace(0, {.kind = TraceKind::switch_begin, .mm = &next});
  fixture.own(0).loaded_mm.poke(const_cast<Mm<HostHal>*>(&next));
  fixture.oracles.on_trace(0, {.kind = TraceKind::switch_end, .mm = &next});
  fixture.machine.stop_if_failed();
}

TEST(O36, FiresWhenASwitchLeavesItsCallersStoresInTheBuffer) {
  OracleFixture fixture;
  fixture.expect("O36 a switch returns before the stores that its caller made are in memory",
                 {{wrong([&] { claim_switch(fixture, fixture.core_mm(1)); })}}, {.tso = true});
}

TEST(O36, IsSilentWhereTheMmStays) {
  OracleFixture fixture;
  fixture.expect_clean(
      {{wrong([&] { claim_switch(fixture, *fixture.loaded(0)); }), op("switch_to mm=1")}},
      {.tso = true});
}

// ---- O22, O23

TEST(O22, FiresWhenADebtIsForgottenBeforeTheFlush) {
  OracleFixture fixture;
  fixture.before(TraceKind::handler_begin, 1, [&] {
    fixture.own(1).early_acked_flush_pending.store(false, std::memory_order_relaxed);
  });
  fixture.expect("O22 user_access_ok would be true before the flush that was answered for",
                 {{await(1), op("protect_early mm=0 page=1")}, {op("write page=1"), go(1)}},
                 {.early = true});
}

TEST(O22, IsSilentOverADebtOfAnMmThatIsNotLoaded) {
  OracleFixture fixture;
  fixture.before(TraceKind::handler_begin, 1, [&] {
    fixture.own(1).early_acked_flush_pending.store(true, std::memory_order_relaxed);
    fixture.own(1).early_acked_flush_pending.store(false, std::memory_order_relaxed);
  });
  fixture.expect_clean({{await(1), op("protect_early mm=0 page=1")},
                        {op("write page=1"), op("switch_to mm=1"), go(1)}},
                       {.early = true, .lazy_masks = true});
}

TEST(O22, FiresWhenTheMmIsNamedBeforeCr3HasIt) {
  OracleFixture fixture;
  fixture.expect("O22 user_access_ok would be true while CR3 holds another mm", {{wrong([&] {
                   HostHal::disable_interrupts();
                   fixture.own(0).loaded_mm.store(&fixture.core_mm(1), std::memory_order_relaxed);
                 })}});
}

TEST(O22, LeavesACpuAloneWhoseUserAccessIsNotOk) {
  OracleFixture fixture;
  const Script script = {{wrong([&] {
    HostHal::disable_interrupts();
    auto& lazy = fixture.system().cpus[0].shared.is_lazy;
    lazy.store(true, std::memory_order_relaxed);
    fixture.own(0).loaded_mm.store(&fixture.core_mm(1), std::memory_order_relaxed);
    fixture.own(0).loaded_mm.store(&fixture.core_mm(0), std::memory_order_relaxed);
    lazy.store(false, std::memory_order_relaxed);
    HostHal::enable_interrupts();
  })}};
  fixture.expect_clean(script);
}

/// An NMI arrives at the running CPU.
void take_nmi(OracleFixture& fixture, VirtAddr address) {
  fixture.machine.running().nmi_pending = true;
  fixture.machine.running().nmi_address = address;
  HostHal::full_fence();
}

TEST(O22, FiresWhenAnNmiReadsAnotherMmThanItsTasks) {
  OracleFixture fixture;
  fixture.expect("O22 an NMI reads another mm than its task's", {{wrong([&] {
                   HostHal::disable_interrupts();
                   fixture.set_in_mask(1, 0, true);
                   HostHal::write_cr3(fixture.core_mm(1).root | 5);
                   take_nmi(fixture, page_address(1));
                 })}},
                 {.nmi = true});
}

TEST(O2, FiresWhenAnNmiReadsThroughATranslationOlderThanACompletedFlush) {
  OracleFixture fixture;
  TlbSnapshot snapshot(fixture);
  fixture.before(TraceKind::handler_begin, 0, [&] { snapshot.take(0); });
  fixture.expect("O2 a CPU uses a translation older than a completed flush",
                 {{op("write page=1"), op("protect mm=0 page=1"), wrong([&] {
                     snapshot.put_entries(0);
                     take_nmi(fixture, page_address(1));
                   })}},
                 {.nmi = true});
}

TEST(O23, FiresWhenCr4AndItsShadowDiffer) {
  OracleFixture fixture;
  fixture.expect("O23 CR4 and its shadow differ while interrupts are on",
                 {{wrong([&] { HostHal::write_cr4(HostHal::read_cr4() ^ kCr4GlobalPages); })}});
}

// ---- O32

TEST(O32, FiresWhenACpuChangesItsStateOnAUserRoot) {
  OracleFixture fixture;
  fixture.expect("O32 a CPU changes its own state on a user root", {{wrong([&] {
                   HostHal::disable_interrupts();
                   EntryBlock<HostHal> block;
                   return_to_user(fixture.system(), block);
                   fixture.own(0).user_pcid_flush_mask = 1;
                   HostHal::enable_interrupts();
                 })}},
                 {.pti = true});
}

TEST(O32, FiresWhicheverFieldOfItsStateTheCpuChanges) {
  using Own = CpuPrivate<HostHal>;
  const std::vector<void (*)(Own&)> changes = {
      [](Own& own) { own.next_asid = own.next_asid ^ 1; },
      [](Own& own) { own.asids[2].generation = own.asids[2].generation + 1; },
      [](Own& own) { own.deferred = DeferredPages{.end = own.deferred.peek().end + 0x1000}; },
      [](Own& own) { own.on_global.poke(true); },
      [](Own& own) { own.is_up = false; },
  };
  for (const auto change : changes) {
    OracleFixture fixture;
    fixture.expect("O32 a CPU changes its own state on a user root", {{wrong([&] {
                     HostHal::disable_interrupts();
                     EntryBlock<HostHal> block;
                     return_to_user(fixture.system(), block);
                     change(fixture.own(0));
                     HostHal::enable_interrupts();
                   })}},
                   {.pti = true});
  }
}

TEST(O32, FiresWhenAnEntryStaysOnTheUserRoot) {
  OracleFixture fixture;
  fixture.expect("O32 an entry into the kernel stays on the user root", {{wrong([&] {
                   HostHal::disable_interrupts();
                   // The handler looks into the CPU's own block, which knows nothing of this.
                   EntryBlock<HostHal> block;
                   return_to_user(fixture.system(), block);
                   take_nmi(fixture, page_address(1));
                 })}},
                 {.pti = true, .nmi = true});
}

// ---- O24, O25

TEST(O24, FiresWhenACpuComesUpWithOldTranslations) {
  OracleFixture fixture;
  TlbSnapshot snapshot(fixture);
  fixture.after(TraceKind::switch_begin, 1, [&] { snapshot.take(1); });
  fixture.before_change = [&](CpuId cpu) {
    if (cpu == 1 && fixture.machine.cpu(1).tlb.entries.size() == 0) snapshot.put_back(1);
  };
  fixture.expect("O24 a CPU comes up with old translations",
                 {{}, {op("kernel_read page=1"), op("offline"), op("online")}});
  EXPECT_NE(fixture.report.detail.find("would use kernel page 1 without a flush"),
            std::string::npos)
      << fixture.report.detail;
}

/// Cpu 1 goes and comes back, and ASID 4 says that it holds `generation` of mm 0 then.
struct OldAsid {
  OldAsid(OracleFixture& fixture, Generation generation, bool with_entries) : snapshot(fixture) {
    if (with_entries) fixture.after(TraceKind::switch_begin, 1, [this] { snapshot.take(1); });
    fixture.before_change = [this, &fixture, generation](CpuId cpu) {
      auto& asids = fixture.own(1).asids;
      const bool clean = fixture.machine.cpu(1).tlb.entries.size() == 0 &&
                         asids[0].context == fixture.system().kernel_mm.context &&
                         asids[1].context == kNoContext;
      if (cpu != 1 || !clean) return;
      fixture.own(1).asids[4] = {.context = fixture.core_mm(0).context, .generation = generation};
      snapshot.put_back(1);
      for (host::TlbEntry& entry : fixture.machine.cpu(1).tlb.entries) entry.pcid = pcid_of(4);
    };
  }
  TlbSnapshot snapshot;
};

Script away_and_back() { return {{}, {op("read page=1"), op("offline"), op("online")}}; }

TEST(O24, FiresWhenACpuComesUpWithOldAsids) {
  OracleFixture fixture;
  const OldAsid asid(fixture, kFirstGeneration, /*with_entries=*/true);
  fixture.expect("O24 a CPU comes up with old translations", away_and_back());
}

TEST(O24, LeavesAnAsidAloneThatASwitchWouldFlushOrThatIsEmpty) {
  for (const bool behind : {true, false}) {
    OracleFixture fixture;
    const OldAsid asid(fixture, behind ? kNoGeneration : kFirstGeneration, /*with_entries=*/behind);
    fixture.expect_clean(away_and_back());
    EXPECT_EQ(fixture.own(1).asids[4].context.peek(), fixture.core_mm(0).context)
        << "nothing was tried";
  }
}

TEST(O24, LeavesWhatIsCachedAfterTheFlushAlone) {
  OracleFixture fixture;
  TlbSnapshot snapshot(fixture);
  fixture.after(TraceKind::switch_begin, 1, [&] { snapshot.take(1); });
  unsigned put = 0;
  fixture.before_change = [&](CpuId cpu) {
    if (cpu != 1 || fixture.machine.cpu(1).tlb.entries.size() != 0 || snapshot.entries() == 0)
      return;
    snapshot.put_back(1);
    for (host::TlbEntry& entry : fixture.machine.cpu(1).tlb.entries) {
      entry.from.step = fixture.machine.step();
      ++put;
    }
  };
  const Script script = {{}, {op("kernel_read page=1"), op("offline"), op("online")}};
  fixture.expect_clean(script);
  EXPECT_GT(put, 0u);
}

TEST(O25, FiresWhenACpuStaysInTheTemporaryMask) {
  OracleFixture fixture;
  fixture.after(TraceKind::switch_end, 0, [&] {
    if (fixture.loaded(0) == &fixture.core_mm(0)) {
      fixture.set_in_mask(fixture.sim.temporary_mm(), 0, true);
    }
  });
  fixture.expect("O25 a temporary mm does not end as it began", {{op("temporary page=1")}});
}

TEST(O25, FiresWhenACpuDoesNotGoBackToWhereItWas) {
  for (const bool was_lazy : {false, true}) {
    OracleFixture fixture;
    // A lazy CPU must not go back: no initiator told it what it missed.
    const auto use_temporary = [&] {
      fixture.oracles.on_temporary_begin(0);
      HostHal::disable_interrupts();
      switch_mm(fixture.system(), fixture.core_mm(was_lazy ? 0 : 1));
      HostHal::enable_interrupts();
      fixture.oracles.on_temporary_end(0);
      fixture.machine.stop_if_failed();
    };
    fixture.expect("O25 a temporary mm does not end as it began",
                   {{op(was_lazy ? "idle" : "read page=1"), wrong(use_temporary)}});
  }
}

// ---- FAULT

TEST(Fault, OfAnInstructionIsReported) {
  OracleFixture fixture;
  fixture.expect("FAULT INVPCID faults",
                 {{wrong([] { HostHal::invpcid(InvpcidType::address, 1, VirtAddr{1} << 47); })}});
  fixture.expect("FAULT a load of CR3 faults", {{wrong([] {
                   HostHal::disable_interrupts();
                   HostHal::write_cr3(HostHal::read_cr3() | kCr3KeepEntries);
                 })}},
                 {.pcid = false});
}

}  // namespace
}  // namespace shootdown::fuzz
