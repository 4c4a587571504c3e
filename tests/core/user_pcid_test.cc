// Page-table isolation: what a flush owes the user half is paid at once or on the way to user mode.
#include "core/user_pcid.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/core/core_fixture.h"

namespace shootdown::test {
namespace {

using OneCpu = CoreFixture<1>;
using H = OneCpu::H;
constexpr Asid kAsid = 1;  // The bench's first mm; ASID 0 is the kernel's.
constexpr std::uint64_t kUserPcid = (kAsid + 1) | kUserPcidBit;
constexpr FlushRange kTwoPages{.start = 0x6000, .end = 0x8000};

struct R9 : testing::Test {
  /// Runs the mm, with nothing owed to user mode.
  static std::unique_ptr<OneCpu> isolated(Config config) {
    config.isolation.enabled = true;
    auto fixture = std::make_unique<OneCpu>(config);
    fixture->switch_to(0, fixture->mm);
    go_to_user_and_back(*fixture);
    recorder.clear();
    return fixture;
  }
  static void go_to_user_and_back(OneCpu& fixture) {
    EntryBlock<H> block;
    fixture.with_interrupts_off(0, [&] {
      return_to_user(fixture.system, block);
      enter_from_user(block);
    });
  }
  /// What the next return to user mode writes to CR3.
  static std::uint64_t user_cr3(OneCpu& fixture) {
    recorder.clear();
    go_to_user_and_back(fixture);
    return values("write CR3").at(0);
  }
  static bool is_marked(OneCpu& fixture, Asid asid = kAsid) {
    return ((fixture.own(0).user_pcid_flush_mask >> (asid + 1)) & 1) != 0;
  }
  static void flush(OneCpu& fixture, FlushRange range) {
    static_cast<void>(flush_tlb_mm_range(fixture.system, fixture.mm, range));
  }
};

TEST_F(R9, ALoadThatFlushesMarksTheUserHalfBeforeIt) {
  OneCpu fixture({.isolation = {.enabled = true}});
  recorder.before = [&](const Entry& entry) {
    if (is(entry, "write CR3")) EXPECT_TRUE(is_marked(fixture));
  };
  fixture.switch_to(0, fixture.mm);
  EXPECT_ONCE("write CR3");
}

TEST_F(R9, TheReturnToUserModePaysTheMarkOnce) {
  OneCpu fixture({.isolation = {.enabled = true}});
  fixture.switch_to(0, fixture.mm);
  EXPECT_EQ(user_cr3(fixture), OneCpu::kUserRoot | kUserPcid);
  EXPECT_FALSE(is_marked(fixture));
  EXPECT_EQ(user_cr3(fixture), OneCpu::kUserRoot | kUserPcid | kCr3KeepEntries);
}

TEST_F(R9, TheWayBackKeepsTheKernelHalf) {
  const auto fixture = isolated({});
  go_to_user_and_back(*fixture);
  EXPECT_EQ(values("write CR3").at(1), OneCpu::kRoot | (kAsid + 1) | kCr3KeepEntries);
}

TEST_F(R9, AFullFlushMarksTheUserHalf) {
  const auto fixture = isolated({});
  flush(*fixture, {});
  EXPECT_TRUE(is_marked(*fixture));
  EXPECT_EQ(user_cr3(*fixture) >> 63, 0u);
}

TEST_F(R9, APageIsInvalidatedInBothHalvesAtOnce) {
  const auto fixture = isolated({});
  flush(*fixture, kTwoPages);
  EXPECT_EQ(values("invlpg"), (std::vector<std::uint64_t>{0x6000, 0x7000}));
  EXPECT_EQ(values("invpcid address"),
            (std::vector<std::uint64_t>{0x6000 | kUserPcid, 0x7000 | kUserPcid}));
  EXPECT_FALSE(is_marked(*fixture));
}

TEST_F(R9, WithoutInvpcidTheUserHalfIsMarked) {
  const auto fixture = isolated({.processor = {.invpcid = false}});
  flush(*fixture, kTwoPages);
  EXPECT_COUNT(2, "invlpg");
  EXPECT_NEVER("invpcid address");
  EXPECT_TRUE(is_marked(*fixture));
}

TEST_F(R9, InvpcidIsNotUsedWhileThisCpusCr4HasNoPcids) {
  const auto fixture = isolated({});
  fixture->own(0).cr4 &= ~kCr4Pcid;
  fixture->with_interrupts_off(
      0, [&] { internal::native_flush_one_user(fixture->system, kTwoPages.start); });
  EXPECT_NEVER("invpcid address") << "it would fault";
  EXPECT_TRUE(is_marked(*fixture));
}

TEST_F(R9, DeferredPagesAreInvalidatedInUserModesOwnPcid) {
  const auto fixture = isolated({.isolation = {.defer_user_pages = true}});
  flush(*fixture, kTwoPages);
  EXPECT_NEVER("invpcid address");
  EXPECT_EQ(fixture->own(0).counters.user_pcid_deferred, 1u);
  recorder.clear();
  EntryBlock<H> block;
  fixture->with_interrupts_off(0, [&] { return_to_user(fixture->system, block); });
  EXPECT_EQ(values("write CR3"),
            std::vector<std::uint64_t>{OneCpu::kUserRoot | kUserPcid | kCr3KeepEntries});
  EXPECT_EQ(values("invlpg"), (std::vector<std::uint64_t>{0x6000, 0x7000}));
  EXPECT_BEFORE("write CR3", "invlpg");
  EXPECT_TRUE(fixture->own(0).deferred.empty());
}

TEST_F(R9, ASecondDeferredRangeBecomesAFlushOfTheWholeHalf) {
  const auto fixture = isolated({.isolation = {.defer_user_pages = true}});
  flush(*fixture, kTwoPages);
  flush(*fixture, {.start = 0x20000, .end = 0x21000});
  EXPECT_TRUE(is_marked(*fixture));
  EXPECT_EQ(user_cr3(*fixture) >> 63, 0u);
  EXPECT_NEVER("invlpg");
}

TEST_F(R9, DeferredPagesAreSettledWhenTheAsidIsLeft) {
  const auto fixture = isolated({.isolation = {.defer_user_pages = true}});
  flush(*fixture, kTwoPages);
  fixture->switch_to(0, fixture->other);
  EXPECT_TRUE(fixture->own(0).deferred.empty());
  EXPECT_TRUE(is_marked(*fixture, kAsid)) << "for the ASID that was left";
  fixture->switch_to(0, fixture->mm);
  EXPECT_EQ(user_cr3(*fixture) >> 63, 0u);
}

TEST_F(R9, DeferredPagesAreCoveredByAFullFlush) {
  const auto fixture = isolated({.isolation = {.defer_user_pages = true}});
  flush(*fixture, kTwoPages);
  flush(*fixture, {});
  EXPECT_EQ(user_cr3(*fixture) >> 63, 0u);
  EXPECT_NEVER("invlpg");
  EXPECT_TRUE(fixture->own(0).deferred.empty());
}

TEST_F(R9, PagesOfFreedTablesAreNotDeferred) {
  const auto fixture = isolated({.isolation = {.defer_user_pages = true}});
  static_cast<void>(flush_tlb_mm_range_freed_tables(fixture->system, fixture->mm, kTwoPages));
  EXPECT_COUNT(2, "invpcid address") << "R6: the walker must not get there";
  EXPECT_TRUE(fixture->own(0).deferred.empty());
}

TEST_F(R9, WithoutPcidsEveryReturnFlushesAndNothingIsMarked) {
  const auto fixture =
      isolated({.processor = {.pcid = false}, .isolation = {.defer_user_pages = true}});
  flush(*fixture, kTwoPages);
  flush(*fixture, {});
  EXPECT_EQ(fixture->own(0).user_pcid_flush_mask, 0u);
  EXPECT_TRUE(fixture->own(0).deferred.empty());
  EXPECT_EQ(user_cr3(*fixture), OneCpu::kUserRoot);
}

TEST_F(R9, TheStateIsLeftAloneOnceTheUserRootIsLoaded) {
  for (const Config& config : {Config{}, Config{.isolation = {.defer_user_pages = true}},
                               Config{.processor = {.pcid = false}}}) {
    const auto fixture = isolated(config);
    flush(*fixture, {});
    flush(*fixture, kTwoPages);
    EntryBlock<H> block;
    unsigned looks = 0;
    recorder.before = [&](const Entry& entry) {
      if (!is(entry, "write CR3") && !is(entry, "invlpg")) return;
      ++looks;
      EXPECT_FALSE(is_marked(*fixture)) << "behind the load it is out of reach";
      EXPECT_TRUE(fixture->own(0).deferred.empty());
    };
    fixture->with_interrupts_off(0, [&] { return_to_user(fixture->system, block); });
    recorder.before = nullptr;
    EXPECT_GE(looks, 1u);
  }
}

using M20_UserHalf = R9;

TEST_F(M20_UserHalf, TheKernelsRootIsKnownWheneverAUserRootMayBeLoaded) {
  const auto fixture = isolated({.isolation = {.defer_user_pages = true}});
  flush(*fixture, kTwoPages);
  EntryBlock<H> block;
  const std::uint64_t kernel = H::read_cr3();
  unsigned looks = 0;
  recorder.before = [&](const Entry& entry) {
    if (!is(entry, "write CR3") && !is(entry, "invlpg")) return;
    ++looks;
    EXPECT_EQ(block.kernel_cr3.peek(), kernel | kCr3KeepEntries) << entry.what;
  };
  fixture->with_interrupts_off(0, [&] {
    return_to_user(fixture->system, block);
    enter_from_user(block);
  });
  recorder.before = nullptr;
  EXPECT_EQ(looks, 4u) << "two loads, two pages";
  EXPECT_EQ(block.kernel_cr3.peek(), 0u) << "its root may be released from now on";
}

TEST_F(R9, WithoutIsolationThereIsOneHalf) {
  OneCpu fixture;
  fixture.switch_to(0, fixture.mm);
  flush(fixture, kTwoPages);
  flush(fixture, {});
  recorder.clear();
  go_to_user_and_back(fixture);
  EXPECT_NEVER("write CR3");
  EXPECT_EQ(fixture.own(0).user_pcid_flush_mask, 0u);
}

// ---- NMIs

TEST_F(R9, AnNmiFromUserModeRunsOnTheKernelRootAndGoesBackToWhatCr3Held) {
  for (const bool pcid : {true, false}) {
    const auto fixture = isolated({.processor = {.pcid = pcid}});
    EntryBlock<H> block;
    fixture->with_interrupts_off(0, [&] {
      return_to_user(fixture->system, block);
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
    OneCpu fixture({.isolation = {.enabled = pti}});
    fixture.switch_to(0, fixture.mm);
    EntryBlock<H> block;
    fixture.with_interrupts_off(0, [&] {
      recorder.clear();
      leave_nmi(block, enter_nmi(block));
      EXPECT_NEVER("write CR3");
      prepare_return_to_user(fixture.system, block);
      leave_nmi(block, enter_nmi(block));
      EXPECT_NEVER("write CR3") << "the user root is not loaded yet";
    });
  }
}

TEST_F(R9, AnNmiOnTheWayToUserModeLosesNoDebt) {
  for (const Config& config : {Config{}, Config{.isolation = {.defer_user_pages = true}}}) {
    const auto fixture = isolated(config);
    flush(*fixture, config.isolation.defer_user_pages ? kTwoPages : FlushRange{});
    EntryBlock<H> block;
    fixture->with_interrupts_off(0, [&] {
      recorder.clear();
      prepare_return_to_user(fixture->system, block);
      leave_nmi(block, enter_nmi(block));
      load_user_root(block);
      EXPECT_EQ(values("write CR3").at(0) >> 63, config.isolation.defer_user_pages ? 1u : 0u);
      EXPECT_COUNT(config.isolation.defer_user_pages ? 2u : 0u, "invlpg");
    });
  }
}

// ---- The kernel's own mappings

using FourCpus = CoreFixture<4>;

void flush_kernel_pages(FourCpus& fixture, std::uint64_t pages) {
  static_cast<void>(flush_tlb_kernel_range(fixture.system, 0x100000, 0x100000 + (pages << 12)));
}

TEST(KernelRange, ReachesEveryCpuThatIsOnlineLazyOrNot) {
  FourCpus fixture;
  fixture.run_mm_on({1, 2});
  fixture.idle(2);
  recorder.clear();
  flush_kernel_pages(fixture, 2);
  for (CpuId cpu = 0; cpu < 4; ++cpu) {
    EXPECT_EQ(values("invlpg", cpu), (std::vector<std::uint64_t>{0x100000, 0x101000})) << cpu;
  }
  EXPECT_EQ(fixture.mm.tlb_gen.peek(), kFirstGeneration) << "no space's generation is concerned";
  EXPECT_TRUE(fixture.system.cpus[2].shared.is_lazy.peek()) << "and no CPU leaves its mm";
  EXPECT_EQ(fixture.own(0).counters.remote_flush_sent, 1u);
  EXPECT_EQ(fixture.own(3).counters.remote_flush_received, 1u);
}

TEST(M1_KernelRange, AFenceStandsBeforeTheReadOfWhoIsOnline) {
  FourCpus fixture;
  flush_kernel_pages(fixture, 1);
  EXPECT_BEFORE("fence", "load online");
}

TEST(KernelRange, RunsTheLocalPartWhileTheOthersFlush) {
  FourCpus fixture;
  flush_kernel_pages(fixture, 1);
  EXPECT_BEFORE("send interrupt", first("invlpg", 0));
  EXPECT_BEFORE(first("invlpg", 0), "pause");
}

TEST(KernelRange, AboveTheCeilingEverythingGoes) {
  for (const std::uint64_t pages : {33, 34}) {
    FourCpus fixture;
    flush_kernel_pages(fixture, pages);
    EXPECT_COUNT(pages == 33 ? 4 * 33u : 0u, "invlpg");
    EXPECT_COUNT(pages == 33 ? 0u : 4u, "invpcid everything");
  }
}

TEST(KernelRange, WithTheErratumASinglePageTakesEverything) {
  FourCpus fixture({.processor = {.invlpg_leaves_globals = true}});
  flush_kernel_pages(fixture, 1);
  EXPECT_COUNT(4, "invpcid everything");
  FourCpus not_global({.processor = {.global_pages = false, .invlpg_leaves_globals = true}});
  flush_kernel_pages(not_global, 1);
  EXPECT_NEVER("invpcid everything") << "the erratum concerns global entries only";
}

TEST(KernelRange, WithoutGlobalEntriesTheOtherAsidsAreEmptiedBeforeTheNextSwitch) {
  for (const Config& config :
       {Config{.isolation = {.enabled = true}}, Config{.processor = {.global_pages = false}}}) {
    CoreFixture<1> fixture(config);
    fixture.switch_to(0, fixture.other);
    fixture.switch_to(0, fixture.mm);
    static_cast<void>(flush_tlb_kernel_range(fixture.system, 0x100000, 0x101000));
    EXPECT_TRUE(fixture.own(0).invalidate_other);
    EXPECT_NE(fixture.own(0).asids[1].context, kNoContext) << "not yet";
    recorder.clear();
    fixture.switch_to(0, fixture.other);
    EXPECT_EQ(values("write CR3").at(0) >> 63, 0u) << "its kernel entries are old";
    EXPECT_FALSE(fixture.own(0).invalidate_other);
    fixture.switch_to(0, fixture.mm);
    EXPECT_EQ(values("write CR3").at(1) >> 63, 1u) << "the loaded ASID was invalidated itself";
  }
}

TEST(KernelRange, UnderIsolationThePageGoesFromTheUserPcidToo) {
  for (const bool invpcid : {true, false}) {
    CoreFixture<1> fixture({.processor = {.invpcid = invpcid}, .isolation = {.enabled = true}});
    fixture.switch_to(0, fixture.mm);
    fixture.own(0).user_pcid_flush_mask = 0;
    static_cast<void>(flush_tlb_kernel_range(fixture.system, 0x100000, 0x102000));
    EXPECT_EQ(values("invlpg"), (std::vector<std::uint64_t>{0x100000, 0x101000}));
    EXPECT_COUNT(invpcid ? 2u : 0u, "invpcid address");
    EXPECT_EQ(fixture.own(0).user_pcid_flush_mask, invpcid ? 0u : 1u << pcid_of(kAsid))
        << "owed instead";
  }
}

TEST(KernelRange, UnderIsolationTheUserPcidsOfOtherAsidsAreMarkedWhenTheyAreLoaded) {
  CoreFixture<1> fixture({.isolation = {.enabled = true}});
  fixture.switch_to(0, fixture.other);
  fixture.switch_to(0, fixture.mm);
  fixture.own(0).user_pcid_flush_mask = 0;
  static_cast<void>(flush_tlb_kernel_range(fixture.system, 0x100000, 0x101000));
  fixture.switch_to(0, fixture.other);
  EXPECT_NE(fixture.own(0).user_pcid_flush_mask & (1U << pcid_of(fixture.own(0).loaded_asid)), 0u);
}

TEST(KernelRange, WithGlobalEntriesOrWithoutPcidsTheAsidsStay) {
  for (const Config& config :
       {Config{}, Config{.processor = {.pcid = false, .global_pages = false}}}) {
    CoreFixture<1> fixture(config);
    fixture.switch_to(0, fixture.mm);
    static_cast<void>(flush_tlb_kernel_range(fixture.system, 0x100000, 0x101000));
    EXPECT_FALSE(fixture.own(0).invalidate_other);
  }
}

TEST(R12_KernelRange, NeedsInterruptsOn) {
  FourCpus fixture;
  std::optional<Rule> refused;
  fixture.with_interrupts_off(
      0, [&] { refused = refused_by([&] { flush_kernel_pages(fixture, 1); }); });
  EXPECT_EQ(refused, Rule::r12);
}

TEST(FlushAll, DropsEverythingOnEveryCpuAndWithItAllDebts) {
  FourCpus fixture({.isolation = {.enabled = true, .defer_user_pages = true}});
  fixture.run_mm_on({0, 1});
  fixture.own(1).invalidate_other = true;
  static_cast<void>(flush_tlb_all(fixture.system));
  EXPECT_COUNT(4, "invpcid everything");
  EXPECT_EQ(fixture.own(1).user_pcid_flush_mask, 0u);
  EXPECT_FALSE(fixture.own(1).invalidate_other);
}

TEST(FlushAll, WithoutInvpcidTogglesTheGlobalBitAndRestoresIt) {
  for (const std::uint64_t cr4 : {kCr4Pcid, kCr4Pcid | kCr4GlobalPages}) {
    CoreFixture<1> fixture({.processor = {.invpcid = false}});
    fixture.own(0).cr4 = CoreFixture<1>::H::cpus[0].cr4 = cr4;
    recorder.before = [](const Entry& entry) {
      if (is(entry, "write CR4")) EXPECT_FALSE(CoreFixture<1>::H::interrupts_enabled()) << "M15";
    };
    static_cast<void>(flush_tlb_all(fixture.system));
    EXPECT_EQ(values("write CR4"), (std::vector<std::uint64_t>{cr4 ^ kCr4GlobalPages, cr4}));
    EXPECT_EQ(fixture.own(0).cr4, cr4);
  }
}

TEST(M15_Cr4, RegisterAndShadowChangeTogetherWithInterruptsOff) {
  constexpr std::uint64_t kBit = std::uint64_t{1} << 9;
  CoreFixture<1> fixture;
  recorder.before = [](const Entry& entry) {
    if (is(entry, "write CR4")) EXPECT_FALSE(CoreFixture<1>::H::interrupts_enabled()) << "M15";
  };
  change_cr4(fixture.system, kBit, 0);
  EXPECT_EQ(fixture.own(0).cr4, CoreFixture<1>::H::read_cr4());
  EXPECT_NE(fixture.own(0).cr4 & kBit, 0u);
  change_cr4(fixture.system, kBit, 0);
  EXPECT_ONCE("write CR4") << "nothing to change";
  change_cr4(fixture.system, 0, kBit);
  EXPECT_EQ(fixture.own(0).cr4 & kBit, 0u);
  EXPECT_TRUE(CoreFixture<1>::H::interrupts_enabled());
  // The common plan names user PCIDs without a look at CR4.
  EXPECT_EQ(refusal_of([&] { change_cr4(fixture.system, 0, kCr4Pcid); }),
            "R2: CR4.PCIDE stays what the configuration says");
}

}  // namespace
}  // namespace shootdown::test
