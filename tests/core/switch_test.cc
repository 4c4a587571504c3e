// Switching, ASIDs and lazy mode: what comes before what, and what is kept.
#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <vector>

#include "core/switch_mm.h"
#include "tests/core/core_fixture.h"

namespace shootdown::test {
namespace {

using TwoCpus = CoreFixture<2>;
using H = TwoCpus::H;

std::uint64_t cr3_of(const TwoCpus& fixture, const Mm<H>& mm, Asid asid) {
  return cr3_value(fixture.system, mm, asid);
}

// ---- R2

TEST(R2, ASwitcherAnnouncesItselfThenReadsTheGenerationThenLoads) {
  TwoCpus fixture;
  fixture.switch_to(0, fixture.mm);
  EXPECT_BEFORE("or mm.cpu_mask", "load mm.tlb_gen");
  EXPECT_BEFORE("load mm.tlb_gen", "write CR3");
  EXPECT_ORDER("or mm.cpu_mask", std::memory_order_seq_cst) << "a full barrier";
  EXPECT_ORDER("load mm.tlb_gen", std::memory_order_acquire);
}

TEST(R2, AGenerationBumpedAfterTheAnnouncementIsSeen) {
  TwoCpus fixture;
  recorder.before = [&](const Entry& entry) {
    if (is(entry, "load mm.tlb_gen")) fixture.mm.tlb_gen.poke(9);
  };
  fixture.switch_to(0, fixture.mm);
  EXPECT_EQ(fixture.loaded_asid(0).generation, 9u);
}

TEST(R2, AStaleAsidIsLoadedWithAFlush) {
  TwoCpus fixture;
  fixture.switch_to(0, fixture.mm);
  fixture.switch_to(0, fixture.other);
  fixture.mm.tlb_gen.poke(2);
  recorder.clear();
  fixture.switch_to(0, fixture.mm);
  EXPECT_EQ(values("write CR3"), std::vector<std::uint64_t>{cr3_of(fixture, fixture.mm, 1)});
  EXPECT_EQ(fixture.loaded_asid(0).generation, 2u);
}

TEST(R2, AFreshAsidIsLoadedKeepingItsEntries) {
  TwoCpus fixture;
  fixture.switch_to(0, fixture.mm);
  fixture.switch_to(0, fixture.other);
  recorder.clear();
  fixture.switch_to(0, fixture.mm);
  EXPECT_EQ(values("write CR3"),
            std::vector<std::uint64_t>{cr3_of(fixture, fixture.mm, 1) | kCr3KeepEntries});
}

TEST(R2, SwitchingNeedsInterruptsOff) {
  TwoCpus fixture;
  EXPECT_EQ(refused_by([&] { switch_mm(fixture.system, fixture.mm); }), Rule::r2);
  EXPECT_EQ(refused_by([&] { initialize_cpu(fixture.system); }), Rule::r2);
}

TEST(R4, ASwitchRecordsTheGenerationReadBeforeTheLoad) {
  TwoCpus fixture;
  recorder.before = [&](const Entry& entry) {
    if (is(entry, "write CR3")) fixture.mm.tlb_gen.poke(5);
  };
  fixture.switch_to(0, fixture.mm);
  EXPECT_EQ(fixture.loaded_asid(0).generation, kFirstGeneration);
}

// ---- R3

TEST(R3, LeavingLazyClearsTheFlagThenFencesThenReadsTheGeneration) {
  TwoCpus fixture;
  fixture.switch_to(0, fixture.mm);
  fixture.idle(0);
  recorder.clear();
  fixture.switch_to(0, fixture.mm);
  EXPECT_BEFORE("store cpu0.is_lazy", "fence");
  EXPECT_BEFORE("fence", "load mm.tlb_gen");
  EXPECT_NEVER("write CR3") << "nothing was missed";
  EXPECT_FALSE(fixture.system.cpus[0].shared.is_lazy.peek());
}

TEST(R3, LeavingLazyFlushesIfAGenerationWasMissed) {
  TwoCpus fixture;
  fixture.switch_to(0, fixture.mm);
  fixture.idle(0);
  fixture.mm.tlb_gen.poke(4);
  recorder.clear();
  fixture.switch_to(0, fixture.mm);
  EXPECT_EQ(values("write CR3"), std::vector<std::uint64_t>{cr3_of(fixture, fixture.mm, 1)});
  EXPECT_EQ(fixture.loaded_asid(0).generation, 4u);
  EXPECT_EQ(events(TraceKind::switch_end).back().value, 1u) << "it says that it flushed";
}

TEST(R3, LeavingLazyForAnotherMmClearsTheFlagBeforeTheAnnouncement) {
  TwoCpus fixture;
  fixture.switch_to(0, fixture.mm);
  fixture.idle(0);
  recorder.clear();
  fixture.switch_to(0, fixture.other);
  EXPECT_BEFORE("store cpu0.is_lazy", "or other.cpu_mask");
}

TEST(Lazy, KeepsTheMmLoadedAndTheBitInTheMask) {
  TwoCpus fixture;
  fixture.switch_to(0, fixture.mm);
  recorder.clear();
  fixture.idle(0);
  EXPECT_EQ(fixture.loaded(0), &fixture.mm);
  EXPECT_TRUE(fixture.mm.cpus.test(0));
  EXPECT_TRUE(fixture.system.cpus[0].shared.is_lazy.peek());
  EXPECT_NONE_OF("write CR3", "fence") << "M4: no barrier, no load";
}

TEST(Lazy, IsStoredOnlyWhenItChanges) {
  TwoCpus fixture;
  fixture.switch_to(0, fixture.mm);
  EXPECT_NEVER("store cpu0.is_lazy") << "it was false before";
  fixture.idle(0);
  fixture.idle(0);
  EXPECT_ONCE("store cpu0.is_lazy");
}

TEST(Lazy, OnTheKernelsOwnMmMeansNothing) {
  TwoCpus fixture;
  fixture.idle(0);
  EXPECT_FALSE(fixture.system.cpus[0].shared.is_lazy.peek());
}

TEST(Lazy, LeaveMmMovesToTheKernelAndEndsIt) {
  TwoCpus fixture;
  fixture.switch_to(0, fixture.mm);
  fixture.idle(0);
  fixture.with_interrupts_off(0, [&] { leave_mm(fixture.system); });
  EXPECT_EQ(fixture.loaded(0), &fixture.system.kernel_mm);
  EXPECT_FALSE(fixture.system.cpus[0].shared.is_lazy.peek());
  EXPECT_FALSE(fixture.mm.cpus.test(0));
}

TEST(SameMm, SwitchingToItWithoutLazyModeDoesNothing) {
  TwoCpus fixture;
  fixture.switch_to(0, fixture.mm);
  fixture.mm.tlb_gen.poke(7);
  recorder.clear();
  fixture.switch_to(0, fixture.mm);
  EXPECT_NONE_OF("write CR3", "or mm.cpu_mask", "load mm.tlb_gen")
      << "a flush in progress interrupts this CPU";
}

// ---- R7, R8

TEST(R7, TheOldMaskBitGoesAfterCr3HasLeft) {
  TwoCpus fixture;
  fixture.switch_to(0, fixture.mm);
  recorder.clear();
  recorder.before = [&](const Entry& entry) {
    if (is(entry, "and mm.cpu_mask")) {
      EXPECT_EQ(H::read_cr3() & ~std::uint64_t{0xfff}, TwoCpus::kOtherRoot);
    }
  };
  fixture.switch_to(0, fixture.other);
  EXPECT_BEFORE("write CR3", "and mm.cpu_mask");
  EXPECT_ORDER("and mm.cpu_mask", std::memory_order_release);
  EXPECT_FALSE(fixture.mm.cpus.test(0));
}

TEST(R8, InTheSwitchingWindowTheCpuIsInBothMasksAndNamesNoMm) {
  TwoCpus fixture;
  fixture.switch_to(0, fixture.mm);
  unsigned windows = 0;
  recorder.before = [&](const Entry& entry) {
    if (!is(entry, "write CR3")) return;
    ++windows;
    EXPECT_TRUE(fixture.mm.cpus.read().test(0));
    EXPECT_TRUE(fixture.other.cpus.read().test(0));
    EXPECT_EQ(fixture.loaded(0), nullptr) << "M10: an NMI sees that nothing is certain";
  };
  fixture.switch_to(0, fixture.other);
  EXPECT_EQ(windows, 1u);
  EXPECT_EQ(fixture.loaded(0), &fixture.other);
}

TEST(Mask, OfTheKernelsMmStaysEmpty) {
  TwoCpus fixture;
  fixture.switch_to(0, fixture.mm);
  fixture.switch_to(0, fixture.system.kernel_mm);
  EXPECT_TRUE(fixture.system.kernel_mm.cpus.read().empty());
  EXPECT_TRUE(fixture.mm.cpus.read().empty());
  EXPECT_NONE_OF("or kernel_mm.cpu_mask", "and kernel_mm.cpu_mask");
}

// ---- ASIDs

TEST(Asids, ANewMmTakesTheNextAsidAndPcidIsOneMore) {
  TwoCpus fixture;
  fixture.switch_to(0, fixture.mm);
  fixture.switch_to(0, fixture.other);
  EXPECT_EQ(values("write CR3"),
            (std::vector<std::uint64_t>{TwoCpus::kRoot | 2, TwoCpus::kOtherRoot | 3}))
      << "ASID 0 is the kernel's, and a new ASID is flushed";
}

TEST(Asids, SevenMmsOnSixAsidsRecycleThemInTurn) {
  TwoCpus fixture;
  std::array<Mm<H>, 7> mms;
  for (Mm<H>& mm : mms) {
    initialize_mm(fixture.system, mm, 0x10'0000);
  }
  for (Mm<H>& mm : mms) fixture.switch_to(0, mm);
  const auto& asids = fixture.own(0).asids;
  // The kernel had ASID 0. The first five mms took 1 to 5, the sixth evicted the kernel, the
  // seventh the first one.
  EXPECT_EQ(asids[0].context, mms[5].context);
  EXPECT_EQ(asids[1].context, mms[6].context);
  for (Asid asid = 2; asid < kDynamicAsids; ++asid)
    EXPECT_EQ(asids[asid].context, mms[asid - 1].context);
  recorder.clear();
  fixture.switch_to(0, mms[0]);
  EXPECT_EQ(values("write CR3").back() >> 63, 0u) << "it lost its ASID, so its entries are gone";
  EXPECT_EQ(fixture.own(0).loaded_asid, 2u);
  fixture.switch_to(0, mms[5]);
  EXPECT_EQ(values("write CR3").back() >> 63, 1u) << "it still has its ASID";
}

TEST(Asids, TheAsidThatIsLoadedMayBeTheNextVictim) {
  TwoCpus fixture;
  fixture.switch_to(0, fixture.mm);
  fixture.own(0).next_asid = fixture.own(0).loaded_asid;
  recorder.clear();
  fixture.switch_to(0, fixture.other);
  EXPECT_EQ(values("write CR3"), std::vector<std::uint64_t>{cr3_of(fixture, fixture.other, 1)});
  EXPECT_EQ(fixture.loaded_asid(0).context, fixture.other.context);
}

TEST(Asids, AnAsidIsGivenAwayBeforeCr3IsLoaded) {
  TwoCpus fixture;
  fixture.switch_to(0, fixture.mm);
  recorder.before = [&](const Entry& entry) {
    if (is(entry, "write CR3")) EXPECT_EQ(fixture.own(0).asids[2].context, fixture.other.context);
  };
  fixture.switch_to(0, fixture.other);
}

TEST(Asids, BelongToACpu) {
  TwoCpus fixture;
  fixture.switch_to(0, fixture.mm);
  fixture.switch_to(1, fixture.other);
  fixture.switch_to(1, fixture.mm);
  EXPECT_EQ(fixture.own(0).loaded_asid, 1u);
  EXPECT_EQ(fixture.own(1).loaded_asid, 2u);
}

TEST(Asids, WithoutPcidsThereIsOneAndEveryLoadFlushes) {
  TwoCpus fixture({.processor = {.pcid = false}});
  fixture.switch_to(0, fixture.mm);
  fixture.switch_to(0, fixture.other);
  fixture.switch_to(0, fixture.mm);
  EXPECT_EQ(values("write CR3"),
            (std::vector<std::uint64_t>{TwoCpus::kRoot, TwoCpus::kOtherRoot, TwoCpus::kRoot}));
  EXPECT_EQ(fixture.own(0).loaded_asid, 0u);
  EXPECT_EQ(fixture.loaded_asid(0).context, fixture.mm.context);
}

TEST(R13, AContextIsNotMatchedByAnEmptyAsid) {
  TwoCpus fixture;
  for (const AsidState<H>& asid : fixture.own(0).asids) {
    if (asid.context == kNoContext) EXPECT_EQ(asid.generation, kNoGeneration);
  }
  fixture.with_interrupts_off(0, [&] {
    const AsidChoice choice = choose_asid(fixture.system, fixture.mm, kFirstGeneration);
    EXPECT_TRUE(choice.must_flush);
  });
}

// ---- Bring-up

TEST(BringUp, GoesOnlineLoadsTheKernelInAsid0AndEmptiesEverything) {
  TwoCpus fixture;
  fixture.switch_to(0, fixture.mm);
  fixture.switch_to(0, fixture.other);
  fixture.with_interrupts_off(0, [&] { take_cpu_offline(fixture.system); });
  recorder.clear();
  fixture.with_interrupts_off(0, [&] { initialize_cpu(fixture.system); });
  EXPECT_EQ(values("write CR3"), std::vector<std::uint64_t>{TwoCpus::kKernelRoot | 1});
  EXPECT_EQ(fixture.own(0).asids[0].context, fixture.system.kernel_mm.context);
  for (Asid asid = 1; asid < kDynamicAsids; ++asid) {
    EXPECT_EQ(fixture.own(0).asids[asid].context, kNoContext);
  }
  EXPECT_BEFORE("or online", "invpcid everything")
      << "a CPU that frees kernel mappings from now on reaches it; the flush covers the rest";
  EXPECT_BEFORE("store cpu0.pending[1]", "or online") << "a CPU that sees it online may push";
  EXPECT_ORDER("store cpu0.pending[0]", std::memory_order_release);
  EXPECT_ORDER("store cpu0.pending[1]", std::memory_order_release);
  EXPECT_TRUE(fixture.system.calls.online().test(0));
}

TEST(BringUp, NeedsTheCr4ThatTheConfigurationPromises) {
  TwoCpus fixture;
  fixture.with_interrupts_off(1, [&] { take_cpu_offline(fixture.system); });
  H::cpus[1].cr4 = kCr4GlobalPages;
  std::optional<Rule> refused;
  fixture.with_interrupts_off(
      1, [&] { refused = refused_by([&] { initialize_cpu(fixture.system); }); });
  EXPECT_EQ(refused, Rule::r2);
}

TEST(Trace, ASwitchNamesTheMmAndSaysWhetherItFlushed) {
  TwoCpus fixture;
  fixture.switch_to(0, fixture.mm);
  fixture.switch_to(0, fixture.other);
  fixture.switch_to(0, fixture.mm);
  const auto begins = events(TraceKind::switch_begin);
  const auto ends = events(TraceKind::switch_end);
  ASSERT_EQ(begins.size(), 3u);
  ASSERT_EQ(ends.size(), 3u);
  EXPECT_EQ(begins[0].mm, &fixture.mm);
  EXPECT_EQ(ends[1].mm, &fixture.other);
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

TEST(Lazy, AnInterruptInTheMiddleOfBecomingLazyAgainLeavesNoCpuLazyOnTheKernelsMm) {
  for (const bool lazy_before : {true, false}) {
    for (unsigned when = 1;; ++when) {
      CoreFixture<2> fixture;
      fixture.run_mm_on({0});
      if (lazy_before) fixture.idle(0);
      // What a flush that frees tables does to a lazy CPU.
      const auto flush = [&] {
        FlushRequest<RecordingHal<2>> request;
        request.mm = &fixture.mm;
        request.initiator = 1;
        request.end = kFlushAll;
        request.frees_tables = true;
        request.generation = fixture.mm.tlb_gen.peek() + 1;
        fixture.mm.tlb_gen.poke(request.generation);
        fixture.with_interrupts_off(0, [&] { flush_function(fixture.system, request); });
      };
      if (!interrupted_at(when, flush, [&] { enter_lazy_tlb(fixture.system); })) break;
      EXPECT_FALSE(fixture.system.cpus[0].shared.is_lazy.peek() && fixture.loaded(0)->is_kernel)
          << "lazy before: " << lazy_before << ", load " << when;
    }
  }
}

}  // namespace
}  // namespace shootdown::test
