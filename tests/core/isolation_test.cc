// Page-table isolation (R9), kernel ranges, CR4, temporary spaces, CPUs that go offline.
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "core/shootdown.h"
#include "tests/core/bench.h"

namespace shootdown::test {
namespace {

using TwoCpus = Bench<2>;
using H = TwoCpus::H;

constexpr VirtAddr kPage = 0x5000;
constexpr std::uint64_t kTwin = kUserPcidBit | 2;  // Slot 1's user half.

FlushRange one_page() { return {.start = kPage, .end = kPage + 0x1000}; }

// ---- R9

TEST(R9, APageIsInvalidatedInBothHalves) {
  TwoCpus bench({.pti = true});
  bench.switch_to(0, bench.mm);
  recorder.clear();
  static_cast<void>(flush_tlb_mm_range(bench.system, bench.mm, one_page()));
  EXPECT_EQ(values("invlpg"), std::vector<std::uint64_t>{kPage});
  EXPECT_EQ(values("invpcid 0 PCID " + std::to_string(kTwin)), std::vector<std::uint64_t>{kPage});
}

TEST(R9, WithoutInvpcidTheUserHalfIsMarked) {
  TwoCpus bench({.pti = true, .invpcid = false});
  bench.switch_to(0, bench.mm);
  bench.own(0).user_flush = 0;
  static_cast<void>(flush_tlb_mm_range(bench.system, bench.mm, one_page()));
  EXPECT_EQ(bench.own(0).user_flush, 1U << 2);
}

TEST(R9, BeforePcidIsOnInTheRegisterInvpcidIsNotUsed) {
  TwoCpus bench({.pti = true});
  bench.switch_to(0, bench.mm);
  bench.own(0).cr4 &= ~kCr4Pcid;
  recorder.clear();
  static_cast<void>(flush_tlb_mm_range(bench.system, bench.mm, one_page()));
  EXPECT_EQ(count("invpcid 0 PCID " + std::to_string(kTwin)), 0u);
}

TEST(R9, AFullFlushMarksTheUserHalfAndTheReturnPays) {
  TwoCpus bench({.pti = true});
  bench.mm.user_root = 0x9000;
  bench.switch_to(0, bench.mm);
  bench.with_interrupts_off(0, [&] { return_to_user(bench.system); });
  bench.with_interrupts_off(0, [&] { enter_from_user(bench.system); });
  static_cast<void>(flush_tlb_mm(bench.system, bench.mm));
  recorder.clear();
  bench.with_interrupts_off(0, [&] { return_to_user(bench.system); });
  EXPECT_EQ(values("write CR3"), std::vector<std::uint64_t>{0x9000 | kTwin}) << "a flushing load";
  recorder.clear();
  bench.with_interrupts_off(0, [&] { return_to_user(bench.system); });
  EXPECT_EQ(values("write CR3"), std::vector<std::uint64_t>{0x9000 | kTwin | kCr3KeepEntries});
}

TEST(R9, DeferredPagesAreInvalidatedOnTheWayToUserMode) {
  TwoCpus bench({.pti = true, .defer_user_pages = true});
  bench.mm.user_root = 0x9000;
  bench.switch_to(0, bench.mm);
  bench.with_interrupts_off(0, [&] { return_to_user(bench.system); });
  static_cast<void>(flush_tlb_mm_range(bench.system, bench.mm, one_page()));
  recorder.clear();
  bench.with_interrupts_off(0, [&] { return_to_user(bench.system); });
  EXPECT_LT(first("write CR3"), first("invlpg")) << "in the user's own PCID";
  EXPECT_EQ(values("invlpg"), std::vector<std::uint64_t>{kPage});
  EXPECT_TRUE(bench.own(0).deferred.empty());
}

TEST(R9, PagesOfFreedTablesAreNotDeferred) {
  // Between the load of the user root and the invalidations the walker could follow a dead table.
  TwoCpus bench({.pti = true, .defer_user_pages = true});
  bench.switch_to(0, bench.mm);
  recorder.clear();
  static_cast<void>(flush_tlb_mm_range_freed_tables(bench.system, bench.mm, one_page()));
  EXPECT_TRUE(bench.own(0).deferred.empty());
  EXPECT_EQ(count("invpcid 0 PCID " + std::to_string(kTwin)), 1u);
}

TEST(R9, ASwitchSettlesWhatWasDeferred) {
  TwoCpus bench({.pti = true, .defer_user_pages = true});
  bench.switch_to(0, bench.mm);
  bench.own(0).user_flush = 0;
  static_cast<void>(flush_tlb_mm_range(bench.system, bench.mm, one_page()));
  bench.switch_to(0, bench.system.kernel_mm);
  EXPECT_TRUE(bench.own(0).deferred.empty());
  EXPECT_EQ(bench.own(0).user_flush, 1U << 2) << "slot 1 owes a flush when it is loaded again";
}

// ---- Kernel ranges

TEST(KernelRange, ReachesEveryCpuThatIsOnlineLazyOrNot) {
  TwoCpus bench;
  bench.switch_to(1, bench.mm);
  bench.idle(1);
  recorder.clear();
  static_cast<void>(flush_tlb_kernel_range(bench.system, 0x1000, 0x3000));
  EXPECT_EQ(values("invlpg", 1), (std::vector<std::uint64_t>{0x1000, 0x2000}));
  EXPECT_LT(first("fence"), first("load online"));
}

TEST(KernelRange, WithoutGlobalEntriesOtherSlotsAreForgotten) {
  TwoCpus bench({.pti = true});
  bench.switch_to(0, bench.mm);
  bench.switch_to(0, bench.other);
  static_cast<void>(flush_tlb_kernel_range(bench.system, 0x1000, 0x2000));
  EXPECT_TRUE(bench.own(0).invalidate_other);
  recorder.clear();
  bench.switch_to(0, bench.mm);
  EXPECT_EQ(values("write CR3").back() & kCr3KeepEntries, 0u);
  EXPECT_FALSE(bench.own(0).invalidate_other);
}

TEST(KernelRange, WithGlobalEntriesOtherSlotsStay) {
  TwoCpus bench;
  static_cast<void>(flush_tlb_kernel_range(bench.system, 0x1000, 0x2000));
  EXPECT_FALSE(bench.own(0).invalidate_other);
}

TEST(KernelRange, BeyondTheCeilingOrWithTheErratumEverythingGoes) {
  for (const Config& config :
       {Config{.ceiling_strides = 1}, Config{.invlpg_leaves_globals = true}}) {
    TwoCpus bench(config);
    static_cast<void>(flush_tlb_kernel_range(bench.system, 0x1000, 0x3000));
    EXPECT_EQ(count("invlpg"), 0u);
    EXPECT_EQ(count("invpcid 2 PCID 0"), 2u) << "on both CPUs";
  }
}

TEST(FlushEverything, WithoutInvpcidTogglesGlobalPagesAndRestoresThem) {
  TwoCpus bench({.invpcid = false});
  const std::uint64_t before = H::read_cr4();
  recorder.clear();
  static_cast<void>(flush_tlb_all(bench.system));
  EXPECT_EQ(values("write CR4", 0), (std::vector<std::uint64_t>{before ^ kCr4GlobalPages, before}));
}

TEST(Cr4, ChangesWithItsShadowWhileInterruptsAreOff) {
  TwoCpus bench;
  recorder.before = [&](const Entry& entry) {
    if (entry.what == "write CR4") EXPECT_FALSE(H::interrupts_enabled());
  };
  change_cr4(bench.system, std::uint64_t{1} << 20, 0);
  EXPECT_EQ(bench.own(0).cr4, H::read_cr4());
  EXPECT_NE(H::read_cr4() & (std::uint64_t{1} << 20), 0u);
  recorder.clear();
  change_cr4(bench.system, std::uint64_t{1} << 20, 0);
  EXPECT_EQ(count("write CR4"), 0u) << "nothing changes";
}

// ---- Temporary spaces

TEST(TemporaryMm, ComesBackToTheSpaceItLeft) {
  TwoCpus bench;
  bench.switch_to(0, bench.mm);
  {
    const TemporaryMm<H> scope(bench.system, bench.other);
    EXPECT_FALSE(user_access_ok(bench.system, bench.mm));
    EXPECT_FALSE(H::interrupts_enabled());
  }
  EXPECT_TRUE(user_access_ok(bench.system, bench.mm));
  EXPECT_FALSE(bench.other.cpus.test(0));
}

TEST(TemporaryMm, ALazyCpuComesBackToTheKernel) {
  TwoCpus bench;
  bench.switch_to(0, bench.mm);
  bench.idle(0);
  {
    const TemporaryMm<H> scope(bench.system, bench.other);
  }
  EXPECT_EQ(bench.own(0).loaded_mm.peek(), &bench.system.kernel_mm);
  EXPECT_FALSE(bench.mm.cpus.test(0));
}

TEST(TemporaryMm, LeavesALazilyKeptMaskToo) {
  TwoCpus bench({.mask_policy = MaskPolicy::kept_lazily});
  {
    const TemporaryMm<H> scope(bench.system, bench.other);
  }
  EXPECT_FALSE(bench.other.cpus.test(0));
}

// ---- CPUs that go

TEST(Offline, AnswersWhatIsQueuedAndRefusesTheRest) {
  TwoCpus bench;
  bench.switch_to(0, bench.mm);
  bench.switch_to(1, bench.mm);
  bool left = false;
  recorder.before = [&](const Entry& entry) {
    // CPU 1 goes between the sender's look at the online mask and its push.
    if (left || entry.what != "load cpu1.queue" || entry.cpu != 0) return;
    left = true;
    bench.as(1, [&] {
      H::self().interrupts = false;
      take_cpu_offline(bench.system);
    });
  };
  static_cast<void>(flush_tlb_mm(bench.system, bench.mm));
  EXPECT_TRUE(left);
  EXPECT_EQ(count("send interrupt"), 0u) << "nobody is waited for";
  EXPECT_FALSE(bench.system.calls.online().test(1));
}

TEST(Offline, ACpuThatComesBackIsATargetAgain) {
  TwoCpus bench;
  bench.with_interrupts_off(1, [&] { take_cpu_offline(bench.system); });
  bench.with_interrupts_off(1, [&] { initialize_cpu(bench.system); });
  bench.switch_to(1, bench.mm);
  recorder.clear();
  static_cast<void>(flush_tlb_mm(bench.system, bench.mm));
  EXPECT_EQ(count("send interrupt"), 1u);
}

}  // namespace
}  // namespace shootdown::test
