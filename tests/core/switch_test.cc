// Switching, PCID slots and lazy mode: what comes before what, and what is kept.
#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <vector>

#include "core/switch_mm.h"
#include "tests/core/bench.h"

namespace shootdown::test {
namespace {

using TwoCpus = Bench<2>;
using H = TwoCpus::H;

std::uint64_t cr3_of(const TwoCpus& bench, const Mm<H>& mm, Slot slot) {
  return cr3_value(bench.system, mm, slot);
}

// ---- R2

TEST(R2, ASwitcherAnnouncesItselfThenReadsTheGenerationThenLoads) {
  TwoCpus bench;
  bench.switch_to(0, bench.mm);
  EXPECT_BEFORE("or mm.cpu_mask", "load mm.tlb_gen");
  EXPECT_BEFORE("load mm.tlb_gen", "write CR3");
  EXPECT_ORDER("or mm.cpu_mask", std::memory_order_seq_cst) << "a full barrier";
  EXPECT_ORDER("load mm.tlb_gen", std::memory_order_acquire);
}

TEST(R2, AGenerationBumpedAfterTheAnnouncementIsSeen) {
  TwoCpus bench;
  recorder.before = [&](const Entry& entry) {
    if (is(entry, "load mm.tlb_gen")) bench.mm.tlb_gen.poke(9);
  };
  bench.switch_to(0, bench.mm);
  EXPECT_EQ(bench.loaded_slot(0).generation, 9u);
}

TEST(R2, AStaleSlotIsLoadedWithAFlush) {
  TwoCpus bench;
  bench.switch_to(0, bench.mm);
  bench.switch_to(0, bench.other);
  bench.mm.tlb_gen.poke(2);
  recorder.clear();
  bench.switch_to(0, bench.mm);
  EXPECT_EQ(values("write CR3"), std::vector<std::uint64_t>{cr3_of(bench, bench.mm, 1)});
  EXPECT_EQ(bench.loaded_slot(0).generation, 2u);
}

TEST(R2, AFreshSlotIsLoadedKeepingItsEntries) {
  TwoCpus bench;
  bench.switch_to(0, bench.mm);
  bench.switch_to(0, bench.other);
  recorder.clear();
  bench.switch_to(0, bench.mm);
  EXPECT_EQ(values("write CR3"),
            std::vector<std::uint64_t>{cr3_of(bench, bench.mm, 1) | kCr3KeepEntries});
}

TEST(R2, SwitchingNeedsInterruptsOff) {
  TwoCpus bench;
  EXPECT_EQ(refused_by([&] { switch_mm(bench.system, bench.mm); }), Rule::r2);
  EXPECT_EQ(refused_by([&] { initialize_cpu(bench.system); }), Rule::r2);
}

TEST(R4, ASwitchRecordsTheGenerationReadBeforeTheLoad) {
  TwoCpus bench;
  recorder.before = [&](const Entry& entry) {
    if (is(entry, "write CR3")) bench.mm.tlb_gen.poke(5);
  };
  bench.switch_to(0, bench.mm);
  EXPECT_EQ(bench.loaded_slot(0).generation, kFirstGeneration);
}

// ---- R3

TEST(R3, LeavingLazyClearsTheFlagThenFencesThenReadsTheGeneration) {
  TwoCpus bench;
  bench.switch_to(0, bench.mm);
  bench.idle(0);
  recorder.clear();
  bench.switch_to(0, bench.mm);
  EXPECT_BEFORE("store cpu0.is_lazy", "fence");
  EXPECT_BEFORE("fence", "load mm.tlb_gen");
  EXPECT_NEVER("write CR3") << "nothing was missed";
  EXPECT_FALSE(bench.system.cpus[0].shared.is_lazy.peek());
}

TEST(R3, LeavingLazyFlushesIfAGenerationWasMissed) {
  TwoCpus bench;
  bench.switch_to(0, bench.mm);
  bench.idle(0);
  bench.mm.tlb_gen.poke(4);
  recorder.clear();
  bench.switch_to(0, bench.mm);
  EXPECT_EQ(values("write CR3"), std::vector<std::uint64_t>{cr3_of(bench, bench.mm, 1)});
  EXPECT_EQ(bench.loaded_slot(0).generation, 4u);
  EXPECT_EQ(events(TraceKind::switch_end).back().value, 1u) << "it says that it flushed";
}

TEST(R3, LeavingLazyForAnotherSpaceClearsTheFlagBeforeTheAnnouncement) {
  TwoCpus bench;
  bench.switch_to(0, bench.mm);
  bench.idle(0);
  recorder.clear();
  bench.switch_to(0, bench.other);
  EXPECT_BEFORE("store cpu0.is_lazy", "or other.cpu_mask");
}

TEST(Lazy, KeepsTheSpaceLoadedAndTheBitInTheMask) {
  TwoCpus bench;
  bench.switch_to(0, bench.mm);
  recorder.clear();
  bench.idle(0);
  EXPECT_EQ(bench.loaded(0), &bench.mm);
  EXPECT_TRUE(bench.mm.cpus.test(0));
  EXPECT_TRUE(bench.system.cpus[0].shared.is_lazy.peek());
  EXPECT_NONE_OF("write CR3", "fence") << "M4: no barrier, no load";
}

TEST(Lazy, IsStoredOnlyWhenItChanges) {
  TwoCpus bench;
  bench.switch_to(0, bench.mm);
  EXPECT_NEVER("store cpu0.is_lazy") << "it was false before";
  bench.idle(0);
  bench.idle(0);
  EXPECT_ONCE("store cpu0.is_lazy");
}

TEST(Lazy, OnTheKernelsOwnSpaceMeansNothing) {
  TwoCpus bench;
  bench.idle(0);
  EXPECT_FALSE(bench.system.cpus[0].shared.is_lazy.peek());
}

TEST(Lazy, LeaveMmMovesToTheKernelAndEndsIt) {
  TwoCpus bench;
  bench.switch_to(0, bench.mm);
  bench.idle(0);
  bench.with_interrupts_off(0, [&] { leave_mm(bench.system); });
  EXPECT_EQ(bench.loaded(0), &bench.system.kernel_mm);
  EXPECT_FALSE(bench.system.cpus[0].shared.is_lazy.peek());
  EXPECT_FALSE(bench.mm.cpus.test(0));
}

TEST(SameSpace, SwitchingToItWithoutLazyModeDoesNothing) {
  TwoCpus bench;
  bench.switch_to(0, bench.mm);
  bench.mm.tlb_gen.poke(7);
  recorder.clear();
  bench.switch_to(0, bench.mm);
  EXPECT_NONE_OF("write CR3", "or mm.cpu_mask", "load mm.tlb_gen")
      << "a flush in progress interrupts this CPU";
}

// ---- R7, R8

TEST(R7, TheOldMaskBitGoesAfterCr3HasLeft) {
  TwoCpus bench;
  bench.switch_to(0, bench.mm);
  recorder.clear();
  recorder.before = [&](const Entry& entry) {
    if (is(entry, "and mm.cpu_mask")) {
      EXPECT_EQ(H::read_cr3() & ~std::uint64_t{0xfff}, TwoCpus::kOtherRoot);
    }
  };
  bench.switch_to(0, bench.other);
  EXPECT_BEFORE("write CR3", "and mm.cpu_mask");
  EXPECT_ORDER("and mm.cpu_mask", std::memory_order_release);
  EXPECT_FALSE(bench.mm.cpus.test(0));
}

TEST(R8, InTheSwitchingWindowTheCpuIsInBothMasksAndNamesNoSpace) {
  TwoCpus bench;
  bench.switch_to(0, bench.mm);
  unsigned windows = 0;
  recorder.before = [&](const Entry& entry) {
    if (!is(entry, "write CR3")) return;
    ++windows;
    EXPECT_TRUE(bench.mm.cpus.read().test(0));
    EXPECT_TRUE(bench.other.cpus.read().test(0));
    EXPECT_EQ(bench.loaded(0), nullptr) << "M10: an NMI sees that nothing is certain";
  };
  bench.switch_to(0, bench.other);
  EXPECT_EQ(windows, 1u);
  EXPECT_EQ(bench.loaded(0), &bench.other);
}

TEST(Mask, OfTheKernelsSpaceStaysEmpty) {
  TwoCpus bench;
  bench.switch_to(0, bench.mm);
  bench.switch_to(0, bench.system.kernel_mm);
  EXPECT_TRUE(bench.system.kernel_mm.cpus.read().empty());
  EXPECT_TRUE(bench.mm.cpus.read().empty());
  EXPECT_NONE_OF("or kernel_mm.cpu_mask", "and kernel_mm.cpu_mask");
}

// ---- Slots

TEST(Slots, ANewSpaceTakesTheNextSlotAndPcidIsOneMore) {
  TwoCpus bench;
  bench.switch_to(0, bench.mm);
  bench.switch_to(0, bench.other);
  EXPECT_EQ(values("write CR3"),
            (std::vector<std::uint64_t>{TwoCpus::kRoot | 2, TwoCpus::kOtherRoot | 3}))
      << "slot 0 is the kernel's, and a new slot is flushed";
}

TEST(Slots, SevenSpacesOnSixSlotsRecycleThemInTurn) {
  TwoCpus bench;
  std::array<Mm<H>, 7> spaces;
  for (Mm<H>& space : spaces) {
    initialize_mm(bench.system, space, 0x10'0000);
  }
  for (Mm<H>& space : spaces) bench.switch_to(0, space);
  const auto& slots = bench.own(0).slots;
  // The kernel had slot 0. The first five spaces took 1 to 5, the sixth evicted the kernel, the
  // seventh the first one.
  EXPECT_EQ(slots[0].context, spaces[5].context);
  EXPECT_EQ(slots[1].context, spaces[6].context);
  for (Slot slot = 2; slot < kSlots; ++slot)
    EXPECT_EQ(slots[slot].context, spaces[slot - 1].context);
  recorder.clear();
  bench.switch_to(0, spaces[0]);
  EXPECT_EQ(values("write CR3").back() >> 63, 0u) << "it lost its slot, so its entries are gone";
  EXPECT_EQ(bench.own(0).loaded_slot, 2u);
  bench.switch_to(0, spaces[5]);
  EXPECT_EQ(values("write CR3").back() >> 63, 1u) << "it still has its slot";
}

TEST(Slots, TheSlotThatIsLoadedMayBeTheNextVictim) {
  TwoCpus bench;
  bench.switch_to(0, bench.mm);
  bench.own(0).next_slot = bench.own(0).loaded_slot;
  recorder.clear();
  bench.switch_to(0, bench.other);
  EXPECT_EQ(values("write CR3"), std::vector<std::uint64_t>{cr3_of(bench, bench.other, 1)});
  EXPECT_EQ(bench.loaded_slot(0).context, bench.other.context);
}

TEST(Slots, ASlotIsGivenAwayBeforeCr3IsLoaded) {
  TwoCpus bench;
  bench.switch_to(0, bench.mm);
  recorder.before = [&](const Entry& entry) {
    if (is(entry, "write CR3")) EXPECT_EQ(bench.own(0).slots[2].context, bench.other.context);
  };
  bench.switch_to(0, bench.other);
}

TEST(Slots, BelongToACpu) {
  TwoCpus bench;
  bench.switch_to(0, bench.mm);
  bench.switch_to(1, bench.other);
  bench.switch_to(1, bench.mm);
  EXPECT_EQ(bench.own(0).loaded_slot, 1u);
  EXPECT_EQ(bench.own(1).loaded_slot, 2u);
}

TEST(Slots, WithoutPcidsThereIsOneAndEveryLoadFlushes) {
  TwoCpus bench({.processor = {.pcid = false}});
  bench.switch_to(0, bench.mm);
  bench.switch_to(0, bench.other);
  bench.switch_to(0, bench.mm);
  EXPECT_EQ(values("write CR3"),
            (std::vector<std::uint64_t>{TwoCpus::kRoot, TwoCpus::kOtherRoot, TwoCpus::kRoot}));
  EXPECT_EQ(bench.own(0).loaded_slot, 0u);
  EXPECT_EQ(bench.loaded_slot(0).context, bench.mm.context);
}

TEST(R13, AContextIsNotMatchedByAnEmptySlot) {
  TwoCpus bench;
  for (const SlotState& slot : bench.own(0).slots) {
    if (slot.context == kNoContext) EXPECT_EQ(slot.generation, kNoGeneration);
  }
  bench.with_interrupts_off(0, [&] {
    const SlotChoice choice = choose_slot(bench.system, bench.mm, kFirstGeneration);
    EXPECT_TRUE(choice.must_flush);
  });
}

// ---- Bring-up

TEST(BringUp, GoesOnlineLoadsTheKernelInSlot0AndEmptiesEverything) {
  TwoCpus bench;
  bench.switch_to(0, bench.mm);
  bench.switch_to(0, bench.other);
  bench.with_interrupts_off(0, [&] { take_cpu_offline(bench.system); });
  recorder.clear();
  bench.with_interrupts_off(0, [&] { initialize_cpu(bench.system); });
  EXPECT_EQ(values("write CR3"), std::vector<std::uint64_t>{TwoCpus::kKernelRoot | 1});
  EXPECT_EQ(bench.own(0).slots[0].context, bench.system.kernel_mm.context);
  for (Slot slot = 1; slot < kSlots; ++slot) {
    EXPECT_EQ(bench.own(0).slots[slot].context, kNoContext);
  }
  EXPECT_BEFORE("or online", "invpcid everything")
      << "a CPU that frees kernel mappings from now on reaches it; the flush covers the rest";
  EXPECT_BEFORE("store cpu0.queue", "or online") << "a CPU that sees it online may queue";
  EXPECT_TRUE(bench.system.calls.online().test(0));
}

TEST(BringUp, NeedsTheCr4ThatTheConfigurationPromises) {
  TwoCpus bench;
  bench.with_interrupts_off(1, [&] { take_cpu_offline(bench.system); });
  H::cpus[1].cr4 = kCr4GlobalPages;
  std::optional<Rule> refused;
  bench.with_interrupts_off(1,
                            [&] { refused = refused_by([&] { initialize_cpu(bench.system); }); });
  EXPECT_EQ(refused, Rule::r2);
}

TEST(Trace, ASwitchNamesTheSpaceAndSaysWhetherItFlushed) {
  TwoCpus bench;
  bench.switch_to(0, bench.mm);
  bench.switch_to(0, bench.other);
  bench.switch_to(0, bench.mm);
  const auto begins = events(TraceKind::switch_begin);
  const auto ends = events(TraceKind::switch_end);
  ASSERT_EQ(begins.size(), 3u);
  ASSERT_EQ(ends.size(), 3u);
  EXPECT_EQ(begins[0].mm, &bench.mm);
  EXPECT_EQ(ends[1].mm, &bench.other);
  EXPECT_EQ(ends[1].value, 1u);
  EXPECT_EQ(ends[2].value, 0u);
}

/// Runs `interrupt` before the `when`th load that CPU 0 makes of a word of its own. Returns whether
/// there was one.
bool interrupted_at(unsigned when, const std::function<void()>& interrupt,
                    const std::function<void()>& work) {
  unsigned loads = 0;
  recorder.before_own_load = [&] {
    // The loads of the handler come later, and so interrupt nothing.
    if (++loads == when) interrupt();
  };
  work();
  recorder.before_own_load = nullptr;
  return loads >= when;
}

TEST(Lazy, AnInterruptInTheMiddleOfBecomingLazyAgainLeavesNoCpuLazyOnTheKernelsSpace) {
  for (const bool lazy_before : {true, false}) {
    for (unsigned when = 1;; ++when) {
      Bench<2> bench;
      bench.run_mm_on({0});
      if (lazy_before) bench.idle(0);
      // What a flush that frees tables does to a lazy CPU.
      const auto flush = [&] {
        FlushRequest<RecordingHal<2>> request;
        request.mm = &bench.mm;
        request.initiator = 1;
        request.end = kFlushAll;
        request.frees_tables = true;
        request.generation = bench.mm.tlb_gen.peek() + 1;
        bench.mm.tlb_gen.poke(request.generation);
        bench.with_interrupts_off(0, [&] { flush_function(bench.system, request); });
      };
      if (!interrupted_at(when, flush, [&] { enter_lazy_tlb(bench.system); })) break;
      EXPECT_FALSE(bench.system.cpus[0].shared.is_lazy.peek() && bench.loaded(0)->is_kernel)
          << "lazy before: " << lazy_before << ", load " << when;
    }
  }
}

}  // namespace
}  // namespace shootdown::test
