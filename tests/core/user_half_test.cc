// Page-table isolation: what a flush owes the user half is paid at once or on the way to user mode.
#include "core/user_half.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/core/bench.h"

namespace shootdown::test {
namespace {

using OneCpu = Bench<1>;
using H = OneCpu::H;
constexpr Slot kSlot = 1;  // The bench's first space; slot 0 is the kernel's.
constexpr std::uint64_t kUserPcid = (kSlot + 1) | kUserPcidBit;
constexpr FlushRange kTwoPages{.start = 0x6000, .end = 0x8000};

struct R9 : testing::Test {
  /// Runs the space, with nothing owed to user mode.
  static std::unique_ptr<OneCpu> isolated(Config config) {
    config.isolation.enabled = true;
    auto bench = std::make_unique<OneCpu>(config);
    bench->switch_to(0, bench->mm);
    go_to_user_and_back(*bench);
    recorder.clear();
    return bench;
  }
  static void go_to_user_and_back(OneCpu& bench) {
    EntryBlock<H> block;
    bench.with_interrupts_off(0, [&] {
      return_to_user(bench.system, block);
      enter_from_user(block);
    });
  }
  /// What the next return to user mode writes to CR3.
  static std::uint64_t user_cr3(OneCpu& bench) {
    recorder.clear();
    go_to_user_and_back(bench);
    return values("write CR3").at(0);
  }
  static bool is_marked(OneCpu& bench, Slot slot = kSlot) {
    return ((bench.own(0).user_flush >> (slot + 1)) & 1) != 0;
  }
  static void flush(OneCpu& bench, FlushRange range) {
    static_cast<void>(flush_tlb_mm_range(bench.system, bench.mm, range));
  }
};

TEST_F(R9, ALoadThatFlushesMarksTheUserHalfBeforeIt) {
  OneCpu bench({.isolation = {.enabled = true}});
  recorder.before = [&](const Entry& entry) {
    if (is(entry, "write CR3")) EXPECT_TRUE(is_marked(bench));
  };
  bench.switch_to(0, bench.mm);
  EXPECT_ONCE("write CR3");
}

TEST_F(R9, TheReturnToUserModePaysTheMarkOnce) {
  OneCpu bench({.isolation = {.enabled = true}});
  bench.switch_to(0, bench.mm);
  EXPECT_EQ(user_cr3(bench), OneCpu::kUserRoot | kUserPcid);
  EXPECT_FALSE(is_marked(bench));
  EXPECT_EQ(user_cr3(bench), OneCpu::kUserRoot | kUserPcid | kCr3KeepEntries);
}

TEST_F(R9, TheWayBackKeepsTheKernelHalf) {
  const auto bench = isolated({});
  go_to_user_and_back(*bench);
  EXPECT_EQ(values("write CR3").at(1), OneCpu::kRoot | (kSlot + 1) | kCr3KeepEntries);
}

TEST_F(R9, AFullFlushMarksTheUserHalf) {
  const auto bench = isolated({});
  flush(*bench, {});
  EXPECT_TRUE(is_marked(*bench));
  EXPECT_EQ(user_cr3(*bench) >> 63, 0u);
}

TEST_F(R9, APageIsInvalidatedInBothHalvesAtOnce) {
  const auto bench = isolated({});
  flush(*bench, kTwoPages);
  EXPECT_EQ(values("invlpg"), (std::vector<std::uint64_t>{0x6000, 0x7000}));
  EXPECT_EQ(values("invpcid address"),
            (std::vector<std::uint64_t>{0x6000 | kUserPcid, 0x7000 | kUserPcid}));
  EXPECT_FALSE(is_marked(*bench));
}

TEST_F(R9, WithoutInvpcidTheUserHalfIsMarked) {
  const auto bench = isolated({.processor = {.invpcid = false}});
  flush(*bench, kTwoPages);
  EXPECT_COUNT(2, "invlpg");
  EXPECT_NEVER("invpcid address");
  EXPECT_TRUE(is_marked(*bench));
}

TEST_F(R9, InvpcidIsNotUsedWhileThisCpusCr4HasNoPcids) {
  const auto bench = isolated({});
  bench->own(0).cr4 &= ~kCr4Pcid;
  flush(*bench, kTwoPages);
  EXPECT_NEVER("invpcid address") << "it would fault";
  EXPECT_TRUE(is_marked(*bench));
}

TEST_F(R9, DeferredPagesAreInvalidatedInUserModesOwnPcid) {
  const auto bench = isolated({.isolation = {.defer_user_pages = true}});
  flush(*bench, kTwoPages);
  EXPECT_NEVER("invpcid address");
  EXPECT_EQ(bench->own(0).counters.user_half_deferred, 1u);
  recorder.clear();
  EntryBlock<H> block;
  bench->with_interrupts_off(0, [&] { return_to_user(bench->system, block); });
  EXPECT_EQ(values("write CR3"),
            std::vector<std::uint64_t>{OneCpu::kUserRoot | kUserPcid | kCr3KeepEntries});
  EXPECT_EQ(values("invlpg"), (std::vector<std::uint64_t>{0x6000, 0x7000}));
  EXPECT_BEFORE("write CR3", "invlpg");
  EXPECT_TRUE(bench->own(0).deferred.empty());
}

TEST_F(R9, ASecondDeferredRangeBecomesAFlushOfTheWholeHalf) {
  const auto bench = isolated({.isolation = {.defer_user_pages = true}});
  flush(*bench, kTwoPages);
  flush(*bench, {.start = 0x20000, .end = 0x21000});
  EXPECT_TRUE(is_marked(*bench));
  EXPECT_EQ(user_cr3(*bench) >> 63, 0u);
  EXPECT_NEVER("invlpg");
}

TEST_F(R9, DeferredPagesAreSettledWhenTheSlotIsLeft) {
  const auto bench = isolated({.isolation = {.defer_user_pages = true}});
  flush(*bench, kTwoPages);
  bench->switch_to(0, bench->other);
  EXPECT_TRUE(bench->own(0).deferred.empty());
  EXPECT_TRUE(is_marked(*bench, kSlot)) << "for the slot that was left";
  bench->switch_to(0, bench->mm);
  EXPECT_EQ(user_cr3(*bench) >> 63, 0u);
}

TEST_F(R9, DeferredPagesAreCoveredByAFullFlush) {
  const auto bench = isolated({.isolation = {.defer_user_pages = true}});
  flush(*bench, kTwoPages);
  flush(*bench, {});
  EXPECT_EQ(user_cr3(*bench) >> 63, 0u);
  EXPECT_NEVER("invlpg");
  EXPECT_TRUE(bench->own(0).deferred.empty());
}

TEST_F(R9, PagesOfFreedTablesAreNotDeferred) {
  const auto bench = isolated({.isolation = {.defer_user_pages = true}});
  static_cast<void>(flush_tlb_mm_range_freed_tables(bench->system, bench->mm, kTwoPages));
  EXPECT_COUNT(2, "invpcid address") << "R6: the walker must not get there";
  EXPECT_TRUE(bench->own(0).deferred.empty());
}

TEST_F(R9, WithoutPcidsEveryReturnFlushesAndNothingIsMarked) {
  const auto bench =
      isolated({.processor = {.pcid = false}, .isolation = {.defer_user_pages = true}});
  flush(*bench, kTwoPages);
  flush(*bench, {});
  EXPECT_EQ(bench->own(0).user_flush, 0u);
  EXPECT_TRUE(bench->own(0).deferred.empty());
  EXPECT_EQ(user_cr3(*bench), OneCpu::kUserRoot);
}

TEST_F(R9, TheStateIsLeftAloneOnceTheUserRootIsLoaded) {
  for (const Config& config : {Config{}, Config{.isolation = {.defer_user_pages = true}},
                               Config{.processor = {.pcid = false}}}) {
    const auto bench = isolated(config);
    flush(*bench, {});
    flush(*bench, kTwoPages);
    EntryBlock<H> block;
    unsigned looks = 0;
    recorder.before = [&](const Entry& entry) {
      if (!is(entry, "write CR3") && !is(entry, "invlpg")) return;
      ++looks;
      EXPECT_FALSE(is_marked(*bench)) << "behind the load it is out of reach";
      EXPECT_TRUE(bench->own(0).deferred.empty());
    };
    bench->with_interrupts_off(0, [&] { return_to_user(bench->system, block); });
    recorder.before = nullptr;
    EXPECT_GE(looks, 1u);
  }
}

using M20_UserHalf = R9;

TEST_F(M20_UserHalf, TheKernelsRootIsKnownWheneverAUserRootMayBeLoaded) {
  const auto bench = isolated({.isolation = {.defer_user_pages = true}});
  flush(*bench, kTwoPages);
  EntryBlock<H> block;
  const std::uint64_t kernel = H::read_cr3();
  unsigned looks = 0;
  recorder.before = [&](const Entry& entry) {
    if (!is(entry, "write CR3") && !is(entry, "invlpg")) return;
    ++looks;
    EXPECT_EQ(block.kernel_cr3.peek(), kernel | kCr3KeepEntries) << entry.what;
  };
  bench->with_interrupts_off(0, [&] {
    return_to_user(bench->system, block);
    enter_from_user(block);
  });
  recorder.before = nullptr;
  EXPECT_EQ(looks, 4u) << "two loads, two pages";
  EXPECT_EQ(block.kernel_cr3.peek(), 0u) << "its root may be released from now on";
}

TEST_F(R9, WithoutIsolationThereIsOneHalf) {
  OneCpu bench;
  bench.switch_to(0, bench.mm);
  flush(bench, kTwoPages);
  flush(bench, {});
  recorder.clear();
  go_to_user_and_back(bench);
  EXPECT_NEVER("write CR3");
  EXPECT_EQ(bench.own(0).user_flush, 0u);
}

// ---- NMIs

TEST_F(R9, AnNmiFromUserModeRunsOnTheKernelRootAndGoesBackToWhatCr3Held) {
  for (const bool pcid : {true, false}) {
    const auto bench = isolated({.processor = {.pcid = pcid}});
    EntryBlock<H> block;
    bench->with_interrupts_off(0, [&] {
      return_to_user(bench->system, block);
      const std::uint64_t user = H::read_cr3();
      recorder.clear();
      const std::uint64_t held = enter_nmi(block);
      EXPECT_EQ(held, user);
      EXPECT_EQ(H::read_cr3() & ~std::uint64_t{0xfff}, OneCpu::kRoot);
      leave_nmi(block, held);
      EXPECT_EQ(H::read_cr3(), user);
      for (const std::uint64_t value : values("write CR3")) {
        EXPECT_EQ((value & kCr3KeepEntries) != 0, pcid) << "what was cached stays";
      }
      EXPECT_COUNT(2, "write CR3");
      enter_from_user(block);
    });
  }
}

TEST_F(R9, AnNmiInTheKernelLeavesCr3Alone) {
  for (const bool pti : {true, false}) {
    OneCpu bench({.isolation = {.enabled = pti}});
    bench.switch_to(0, bench.mm);
    EntryBlock<H> block;
    bench.with_interrupts_off(0, [&] {
      recorder.clear();
      leave_nmi(block, enter_nmi(block));
      EXPECT_NEVER("write CR3");
      prepare_return_to_user(bench.system, block);
      leave_nmi(block, enter_nmi(block));
      EXPECT_NEVER("write CR3") << "the user root is not loaded yet";
    });
  }
}

TEST_F(R9, AnNmiOnTheWayToUserModeLosesNoDebt) {
  for (const Config& config : {Config{}, Config{.isolation = {.defer_user_pages = true}}}) {
    const auto bench = isolated(config);
    flush(*bench, config.isolation.defer_user_pages ? kTwoPages : FlushRange{});
    EntryBlock<H> block;
    bench->with_interrupts_off(0, [&] {
      recorder.clear();
      prepare_return_to_user(bench->system, block);
      leave_nmi(block, enter_nmi(block));
      load_user_root(block);
      EXPECT_EQ(values("write CR3").at(0) >> 63, config.isolation.defer_user_pages ? 1u : 0u);
      EXPECT_COUNT(config.isolation.defer_user_pages ? 2u : 0u, "invlpg");
    });
  }
}

// ---- The kernel's own mappings

using FourCpus = Bench<4>;

void flush_kernel_pages(FourCpus& bench, std::uint64_t pages) {
  static_cast<void>(flush_tlb_kernel_range(bench.system, 0x100000, 0x100000 + (pages << 12)));
}

TEST(KernelRange, ReachesEveryCpuThatIsOnlineLazyOrNot) {
  FourCpus bench;
  bench.run_mm_on({1, 2});
  bench.idle(2);
  recorder.clear();
  flush_kernel_pages(bench, 2);
  for (CpuId cpu = 0; cpu < 4; ++cpu) {
    EXPECT_EQ(values("invlpg", cpu), (std::vector<std::uint64_t>{0x100000, 0x101000})) << cpu;
  }
  EXPECT_EQ(bench.mm.tlb_gen.peek(), kFirstGeneration) << "no space's generation is concerned";
  EXPECT_TRUE(bench.system.cpus[2].shared.is_lazy.peek()) << "and no CPU leaves its space";
  EXPECT_EQ(bench.own(0).counters.remote_flush_sent, 1u);
  EXPECT_EQ(bench.own(3).counters.remote_flush_received, 1u);
}

TEST(M1_KernelRange, AFenceStandsBeforeTheReadOfWhoIsOnline) {
  FourCpus bench;
  flush_kernel_pages(bench, 1);
  EXPECT_BEFORE("fence", "load online");
}

TEST(KernelRange, RunsTheLocalPartWhileTheOthersFlush) {
  FourCpus bench;
  flush_kernel_pages(bench, 1);
  EXPECT_BEFORE("send interrupt", first("invlpg", 0));
  EXPECT_BEFORE(first("invlpg", 0), "pause");
}

TEST(KernelRange, AboveTheCeilingEverythingGoes) {
  for (const std::uint64_t pages : {33, 34}) {
    FourCpus bench;
    flush_kernel_pages(bench, pages);
    EXPECT_COUNT(pages == 33 ? 4 * 33u : 0u, "invlpg");
    EXPECT_COUNT(pages == 33 ? 0u : 4u, "invpcid everything");
  }
}

TEST(KernelRange, WithTheErratumASinglePageTakesEverything) {
  FourCpus bench({.processor = {.invlpg_leaves_globals = true}});
  flush_kernel_pages(bench, 1);
  EXPECT_COUNT(4, "invpcid everything");
  FourCpus not_global({.processor = {.global_pages = false, .invlpg_leaves_globals = true}});
  flush_kernel_pages(not_global, 1);
  EXPECT_NEVER("invpcid everything") << "the erratum concerns global entries only";
}

TEST(KernelRange, WithoutGlobalEntriesTheOtherSlotsAreEmptiedBeforeTheNextSwitch) {
  for (const Config& config :
       {Config{.isolation = {.enabled = true}}, Config{.processor = {.global_pages = false}}}) {
    Bench<1> bench(config);
    bench.switch_to(0, bench.other);
    bench.switch_to(0, bench.mm);
    static_cast<void>(flush_tlb_kernel_range(bench.system, 0x100000, 0x101000));
    EXPECT_TRUE(bench.own(0).invalidate_other);
    EXPECT_NE(bench.own(0).slots[1].context, kNoContext) << "not yet";
    recorder.clear();
    bench.switch_to(0, bench.other);
    EXPECT_EQ(values("write CR3").at(0) >> 63, 0u) << "its kernel entries are old";
    EXPECT_FALSE(bench.own(0).invalidate_other);
    bench.switch_to(0, bench.mm);
    EXPECT_EQ(values("write CR3").at(1) >> 63, 1u) << "the loaded slot was invalidated itself";
  }
}

TEST(KernelRange, UnderIsolationThePageGoesFromTheUserTwinToo) {
  for (const bool invpcid : {true, false}) {
    Bench<1> bench({.processor = {.invpcid = invpcid}, .isolation = {.enabled = true}});
    bench.switch_to(0, bench.mm);
    bench.own(0).user_flush = 0;
    static_cast<void>(flush_tlb_kernel_range(bench.system, 0x100000, 0x102000));
    EXPECT_EQ(values("invlpg"), (std::vector<std::uint64_t>{0x100000, 0x101000}));
    EXPECT_COUNT(invpcid ? 2u : 0u, "invpcid address");
    EXPECT_EQ(bench.own(0).user_flush, invpcid ? 0u : 1u << pcid_of(kSlot)) << "owed instead";
  }
}

TEST(KernelRange, UnderIsolationTheTwinsOfOtherSlotsAreMarkedWhenTheyAreLoaded) {
  Bench<1> bench({.isolation = {.enabled = true}});
  bench.switch_to(0, bench.other);
  bench.switch_to(0, bench.mm);
  bench.own(0).user_flush = 0;
  static_cast<void>(flush_tlb_kernel_range(bench.system, 0x100000, 0x101000));
  bench.switch_to(0, bench.other);
  EXPECT_NE(bench.own(0).user_flush & (1U << pcid_of(bench.own(0).loaded_slot)), 0u);
}

TEST(KernelRange, WithGlobalEntriesOrWithoutPcidsTheSlotsStay) {
  for (const Config& config :
       {Config{}, Config{.processor = {.pcid = false, .global_pages = false}}}) {
    Bench<1> bench(config);
    bench.switch_to(0, bench.mm);
    static_cast<void>(flush_tlb_kernel_range(bench.system, 0x100000, 0x101000));
    EXPECT_FALSE(bench.own(0).invalidate_other);
  }
}

TEST(R12_KernelRange, NeedsInterruptsOn) {
  FourCpus bench;
  std::optional<Rule> refused;
  bench.with_interrupts_off(0,
                            [&] { refused = refused_by([&] { flush_kernel_pages(bench, 1); }); });
  EXPECT_EQ(refused, Rule::r12);
}

TEST(FlushAll, DropsEverythingOnEveryCpuAndWithItAllDebts) {
  FourCpus bench({.isolation = {.enabled = true, .defer_user_pages = true}});
  bench.run_mm_on({0, 1});
  bench.own(1).invalidate_other = true;
  static_cast<void>(flush_tlb_all(bench.system));
  EXPECT_COUNT(4, "invpcid everything");
  EXPECT_EQ(bench.own(1).user_flush, 0u);
  EXPECT_FALSE(bench.own(1).invalidate_other);
}

TEST(FlushAll, WithoutInvpcidTogglesTheGlobalBitAndRestoresIt) {
  for (const std::uint64_t cr4 : {kCr4Pcid, kCr4Pcid | kCr4GlobalPages}) {
    Bench<1> bench({.processor = {.invpcid = false}});
    bench.own(0).cr4 = Bench<1>::H::cpus[0].cr4 = cr4;
    recorder.before = [](const Entry& entry) {
      if (is(entry, "write CR4")) EXPECT_FALSE(Bench<1>::H::interrupts_enabled()) << "M15";
    };
    static_cast<void>(flush_tlb_all(bench.system));
    EXPECT_EQ(values("write CR4"), (std::vector<std::uint64_t>{cr4 ^ kCr4GlobalPages, cr4}));
    EXPECT_EQ(bench.own(0).cr4, cr4);
  }
}

TEST(M15_Cr4, RegisterAndShadowChangeTogetherWithInterruptsOff) {
  constexpr std::uint64_t kBit = std::uint64_t{1} << 9;
  Bench<1> bench;
  recorder.before = [](const Entry& entry) {
    if (is(entry, "write CR4")) EXPECT_FALSE(Bench<1>::H::interrupts_enabled()) << "M15";
  };
  change_cr4(bench.system, kBit, 0);
  EXPECT_EQ(bench.own(0).cr4, Bench<1>::H::read_cr4());
  EXPECT_NE(bench.own(0).cr4 & kBit, 0u);
  change_cr4(bench.system, kBit, 0);
  EXPECT_ONCE("write CR4") << "nothing to change";
  change_cr4(bench.system, 0, kBit);
  EXPECT_EQ(bench.own(0).cr4 & kBit, 0u);
  EXPECT_TRUE(Bench<1>::H::interrupts_enabled());
}

}  // namespace
}  // namespace shootdown::test
