// Configurations that change the cost and not the promise; temporary mms; CPUs that come and go.
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "tests/core/core_fixture.h"

namespace shootdown::test {
namespace {

using FourCpus = CoreFixture<4>;
using H = FourCpus::H;
constexpr FlushRange kOnePage{.start = 0x5000, .end = 0x6000};
constexpr Config kLazyMasks{.targets = {.mask_policy = MaskPolicy::kept_lazily}};
constexpr Config kByLoadedMm{
    .targets = {.mask_policy = MaskPolicy::kept_lazily, .target_test = TargetTest::by_loaded_mm}};

void flush(FourCpus& fixture) {
  static_cast<void>(flush_tlb_mm_range(fixture.system, fixture.mm, kOnePage));
}

// ---- Masks that are kept lazily

TEST(LazyMasks, ASwitchLeavesTheOldBit) {
  FourCpus fixture(kLazyMasks);
  fixture.switch_to(1, fixture.mm);
  fixture.switch_to(1, fixture.other);
  EXPECT_TRUE(fixture.mm.cpus.read().test(1));
  EXPECT_NEVER("and mm.cpu_mask");
}

TEST(R2_LazyMasks, ComingBackNeedsABarrierInsteadOfTheLockedSet) {
  FourCpus fixture(kLazyMasks);
  fixture.switch_to(1, fixture.mm);
  fixture.switch_to(1, fixture.other);
  recorder.clear();
  fixture.switch_to(1, fixture.mm);
  EXPECT_NEVER("or mm.cpu_mask");
  EXPECT_BEFORE("store cpu1.loaded_mm", "fence") << "what the flusher looks at";
  EXPECT_BEFORE("fence", "load mm.tlb_gen");
  EXPECT_EQ(entry_at("store cpu1.loaded_mm").value, 0u);
}

TEST(LazyMasks, AFlushThatFindsAnotherMmTakesTheBit) {
  FourCpus fixture(kLazyMasks);
  fixture.switch_to(0, fixture.mm);
  fixture.switch_to(1, fixture.mm);
  fixture.switch_to(1, fixture.other);
  recorder.clear();
  flush(fixture);
  EXPECT_FALSE(fixture.mm.cpus.read().test(1));
  EXPECT_TRUE(fixture.other.cpus.read().test(1));
  EXPECT_EQ(fixture.own(1).counters.wrong_cpu, 1u);
  EXPECT_EQ(events(TraceKind::handler_end).back().reason, FlushReason::remote_wrong_cpu);
}

TEST(LazyMasks, TheInitiatorTakesItsOwnBitToo) {
  FourCpus fixture(kLazyMasks);
  fixture.switch_to(0, fixture.mm);
  fixture.switch_to(0, fixture.other);
  flush(fixture);
  EXPECT_FALSE(fixture.mm.cpus.read().test(0));
}

TEST(ExactMasks, TheFlushFunctionDoesNotTouchTheMask) {
  FourCpus fixture;
  fixture.switch_to(1, fixture.other);
  FlushRequest<H> request{};
  request.mm = &fixture.mm;
  fixture.with_interrupts_off(1, [&] { flush_function(fixture.system, request); });
  EXPECT_NONE_OF("and mm.cpu_mask", "load mm.cpu_mask");
}

// ---- Targets by their loaded mm

TEST(ByLoadedMm, OnlyCpusWithTheMmLoadedAreInterrupted) {
  FourCpus fixture(kByLoadedMm);
  for (const CpuId cpu : {0, 1, 2}) fixture.switch_to(cpu, fixture.mm);
  fixture.switch_to(2, fixture.other);
  recorder.clear();
  flush(fixture);
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b010});
  EXPECT_TRUE(fixture.mm.cpus.read().test(2)) << "and the bit stays until a trim";
}

TEST(R8_ByLoadedMm, ACpuInTheSwitchingWindowIsATarget) {
  FourCpus fixture(kByLoadedMm);
  for (const CpuId cpu : {0, 1}) fixture.switch_to(cpu, fixture.mm);
  fixture.switch_to(1, fixture.other);
  recorder.clear();
  fixture.own(1).loaded_mm.poke(nullptr);  // It is on its way back, and interrupts are off there.
  recorder.before = [&](const Entry& entry) {
    if (is(entry, "pause")) fixture.own(1).loaded_mm.poke(&fixture.other);
  };
  flush(fixture);
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b010});
}

TEST(R1_ByLoadedMm, BothTestsAreBehindTheBump) {
  FourCpus fixture(kByLoadedMm);
  for (const CpuId cpu : {0, 1}) fixture.switch_to(cpu, fixture.mm);
  recorder.clear();
  flush(fixture);
  EXPECT_BEFORE("add mm.tlb_gen", "load cpu1.loaded_mm");
  EXPECT_BEFORE("add mm.tlb_gen", "load cpu1.is_lazy");
  EXPECT_ORDER("load cpu1.loaded_mm", std::memory_order_seq_cst);
  EXPECT_ORDER("load cpu1.is_lazy", std::memory_order_seq_cst);
}

TEST(ByLoadedMm, ALazyCpusPrivateLineIsLeftAlone) {
  FourCpus fixture(kByLoadedMm);
  for (const CpuId cpu : {0, 1}) fixture.switch_to(cpu, fixture.mm);
  fixture.idle(1);
  recorder.clear();
  flush(fixture);
  EXPECT_NEVER("load cpu1.loaded_mm");
}

TEST(M11_ByLoadedMm, TheLazyFlagIsClearedBeforeTheAnnouncementsBarrierAndTheGenerationRead) {
  FourCpus fixture(kByLoadedMm);
  fixture.switch_to(1, fixture.mm);
  fixture.idle(1);
  recorder.clear();
  fixture.switch_to(1, fixture.other);
  EXPECT_BEFORE("store cpu1.is_lazy", "store cpu1.loaded_mm");
  EXPECT_BEFORE("store cpu1.loaded_mm", "or other.cpu_mask");
  EXPECT_BEFORE("or other.cpu_mask", "load other.tlb_gen");
  EXPECT_ORDER("store cpu1.loaded_mm", std::memory_order_release);
}

TEST(R6_ByLoadedMm, FreedTablesReachTheWholeMask) {
  FourCpus fixture(kByLoadedMm);
  for (const CpuId cpu : {0, 1, 2}) fixture.switch_to(cpu, fixture.mm);
  fixture.switch_to(1, fixture.other);
  fixture.idle(2);
  recorder.clear();
  static_cast<void>(flush_tlb_mm_range_freed_tables(fixture.system, fixture.mm, kOnePage));
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b110});
}

TEST(ByLoadedMm, ATrimReachesTheOthersAndTakesTheirBits) {
  Config config = kByLoadedMm;
  config.targets.trim_interval = 2;
  FourCpus fixture(config);
  for (const CpuId cpu : {0, 1}) fixture.switch_to(cpu, fixture.mm);
  fixture.switch_to(1, fixture.other);
  recorder.clear();
  flush(fixture);  // Generation 2.
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b010});
  EXPECT_FALSE(fixture.mm.cpus.read().test(1));
  recorder.clear();
  flush(fixture);  // Generation 3: no CPU is left.
  EXPECT_NEVER("send interrupt");
}

TEST(UpFront, AllCpusAreAskedBeforeTheFirstIsQueued) {
  FourCpus fixture({.targets = {.lazy_test = LazyTest::up_front}});
  fixture.run_mm_on({0, 1, 2});
  recorder.before = [&](const Entry& entry) {
    if (is(entry, "push cpu1.pending[0]")) fixture.system.cpus[2].shared.is_lazy.poke(true);
  };
  flush(fixture);
  EXPECT_BEFORE(last("load cpu2.is_lazy", 0), "push cpu1.pending[0]");
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b110}) << "asked too early";
  EXPECT_ONCE("trace handler_begin", 0);
}

// ---- Early acknowledgement

struct Early : testing::Test {
  FourCpus fixture{
      {.targets = {.early_acknowledgement = true, .mask_policy = MaskPolicy::kept_lazily}}};
  void flush_early() {
    static_cast<void>(flush_tlb_mm_range_early(fixture.system, fixture.mm, kOnePage));
  }
};

TEST_F(Early, ATargetAnswersBeforeItFlushes) {
  fixture.run_mm_on({0, 1});
  flush_early();
  EXPECT_BEFORE(last("add cpu1.pending[0]", 1), first("invlpg", 1));
  EXPECT_ONCE("add cpu1.pending[0]", 1) << "and does not answer again";
  EXPECT_EQ(fixture.loaded_asid(1).generation, kFirstGeneration + 1);
}

TEST_F(Early, AfterTheAnswerTheRequestIsTheInitiatorsAgain) {
  fixture.run_mm_on({0, 1});
  recorder.before = [&](const Entry& entry) {
    // It starts its next flush at once.
    if (is(entry, "add cpu1.pending[0]") && entry.cpu == 1) {
      fixture.system.calls.post_of(0).request = {};
    }
  };
  flush_early();
  EXPECT_EQ(values("invlpg", 1), std::vector<std::uint64_t>{0x5000});
}

TEST_F(Early, ACpuThatRunsAnotherMmIsDoneWithTheMmBeforeItAnswers) {
  // Nothing keeps the mm alive for a CPU that does not have it loaded.
  fixture.run_mm_on({0, 1});
  fixture.switch_to(1, fixture.other);
  recorder.clear();
  flush_early();
  EXPECT_FALSE(fixture.mm.cpus.read().test(1));
  EXPECT_BEFORE(last("and mm.cpu_mask", 1), last("add cpu1.pending[0]", 1));
}

TEST_F(Early, OtherFlushesDoNotUseIt) {
  fixture.run_mm_on({0, 1});
  flush(fixture);
  static_cast<void>(flush_tlb_mm_range_freed_tables(fixture.system, fixture.mm, kOnePage));
  EXPECT_BEFORE(first("invlpg", 1), first("add cpu1.pending[0]", 1));
  EXPECT_BEFORE(last("invlpg", 1), last("add cpu1.pending[0]", 1));
}

TEST_F(Early, WithoutTheConfigurationItIsAFlushLikeAnyOther) {
  FourCpus late;
  late.run_mm_on({0, 1});
  static_cast<void>(flush_tlb_mm_range_early(late.system, late.mm, kOnePage));
  EXPECT_BEFORE(last("invlpg", 1), last("add cpu1.pending[0]", 1));
}

// ---- Temporary mms

TEST(Temporary, IsLoadedForAScopeWithInterruptsOff) {
  for (const Config& config : {Config{}, kLazyMasks}) {
    FourCpus fixture(config);
    fixture.switch_to(0, fixture.mm);
    {
      const TemporaryMm<H> scope(fixture.system, fixture.other);
      EXPECT_EQ(fixture.loaded(0), &fixture.other);
      EXPECT_FALSE(H::interrupts_enabled());
      EXPECT_TRUE(fixture.other.cpus.read().test(0));
      EXPECT_FALSE(user_access_ok(fixture.system, fixture.mm)) << "O22";
    }
    EXPECT_EQ(fixture.loaded(0), &fixture.mm);
    EXPECT_TRUE(H::interrupts_enabled());
    EXPECT_FALSE(fixture.other.cpus.read().test(0)) << "its own bit goes with it";
    EXPECT_TRUE(fixture.mm.cpus.read().test(0));
    EXPECT_TRUE(user_access_ok(fixture.system, fixture.mm));
  }
}

TEST(Temporary, ALazyCpuLeavesItsMmFirst) {
  FourCpus fixture;
  fixture.switch_to(0, fixture.mm);
  fixture.idle(0);
  {
    const TemporaryMm<H> scope(fixture.system, fixture.other);
    EXPECT_FALSE(fixture.system.cpus[0].shared.is_lazy.peek());
    EXPECT_FALSE(fixture.mm.cpus.read().test(0));
  }
  EXPECT_EQ(fixture.loaded(0), &fixture.system.kernel_mm);
}

// ---- CPUs that come and go

TEST(Offline, TheCpuLeavesItsMmAnswersWhatIsQueuedAndIsNoTargetAnyMore) {
  FourCpus fixture;
  fixture.run_mm_on({0, 1, 2});
  bool gone = false;
  recorder.before = [&](const Entry& entry) {
    // CPU 1 goes between the push and its interrupt.
    if (!is(entry, "send interrupt") || std::exchange(gone, true)) return;
    fixture.as(1, [&] {
      H::self().interrupts = false;
      take_cpu_offline(fixture.system);
    });
    H::cpus[1].pending = false;
  };
  flush(fixture);
  EXPECT_TRUE(gone);
  EXPECT_ONCE("trace call_run", 1);
  EXPECT_EQ(fixture.loaded(1), &fixture.system.kernel_mm);
  EXPECT_FALSE(fixture.system.calls.online().test(1));
  recorder.clear();
  static_cast<void>(flush_tlb_all(fixture.system));
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b1100});
}

TEST(Offline, ACallThatComesTooLateIsRefusedAndNobodyWaitsForIt) {
  FourCpus fixture;
  bool gone = false;
  recorder.before = [&](const Entry& entry) {
    // CPU 1 goes after the sender has read which CPUs are online, at the sender's push.
    if (!is(entry, "push cpu1.pending[0]") || std::exchange(gone, true)) return;
    fixture.as(1, [&] {
      H::self().interrupts = false;
      take_cpu_offline(fixture.system);
    });
  };
  static_cast<void>(flush_tlb_all(fixture.system));
  EXPECT_TRUE(gone);
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b1100});
  EXPECT_EQ(fixture.own(0).counters.targets_queued, 2u);
}

TEST(Offline, TheCpuLeavesTheMaskBeforeItClosesTheFirstWord) {
  // Or a caller whose argument lies where a refused sender has released a page could still call it.
  FourCpus fixture;
  H::cpus[1].interrupts = false;
  recorder.clear();
  fixture.as(1, [&] { take_cpu_offline(fixture.system); });
  EXPECT_BEFORE("and online", "or cpu1.pending[0]");
  EXPECT_ORDER("and online", std::memory_order_release);
  EXPECT_BEFORE("and online", "or cpu1.pending[1]");
}

TEST(Offline, TheCpuComesBackWithCleanAsids) {
  FourCpus fixture({.isolation = {.enabled = true}});
  fixture.run_mm_on({1});
  H::cpus[1].interrupts = false;
  fixture.as(1, [&] { take_cpu_offline(fixture.system); });
  recorder.clear();
  fixture.as(1, [&] { initialize_cpu(fixture.system); });
  H::cpus[1].interrupts = true;
  for (Asid asid = 1; asid < kDynamicAsids; ++asid)
    EXPECT_EQ(fixture.own(1).asids[asid].context, kNoContext);
  EXPECT_ONCE("invpcid everything", 1);
  EXPECT_EQ(fixture.own(1).user_pcid_flush_mask, 0u);
  recorder.clear();
  static_cast<void>(flush_tlb_all(fixture.system));
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b1110}) << "a target again";
}

TEST(Offline, NeedsInterruptsOffUntilTheCpuStops) {
  FourCpus fixture;
  EXPECT_EQ(refused_by([&] { take_cpu_offline(fixture.system); }), Rule::r12);
  H::self().interrupts = false;
  take_cpu_offline(fixture.system);
  EXPECT_EQ(refused_by([&] { handle_call_function_interrupt(fixture.system); }), Rule::r12);
}

TEST(UserAccessOk, IsFalseWhileLazyBecauseFlushersSkipTheCpu) {
  FourCpus fixture;
  fixture.switch_to(0, fixture.mm);
  fixture.idle(0);
  EXPECT_FALSE(user_access_ok(fixture.system, fixture.mm));
  fixture.switch_to(0, fixture.mm);
  EXPECT_TRUE(user_access_ok(fixture.system, fixture.mm));
}

TEST(UserAccessOk, IsFalseBetweenAnEarlyAnswerAndItsFlush) {
  FourCpus fixture{{.targets = {.early_acknowledgement = true}}};
  fixture.run_mm_on({0, 1});
  unsigned asked = 0;
  recorder.before = [&](const Entry& entry) {
    if (entry.cpu != 1 || (!is(entry, "add cpu1.pending[0]") && !is(entry, "invlpg"))) return;
    ++asked;
    EXPECT_FALSE(user_access_ok(fixture.system, fixture.mm)) << entry.what;
  };
  static_cast<void>(flush_tlb_mm_range_early(fixture.system, fixture.mm, kOnePage));
  EXPECT_EQ(asked, 2u);
  recorder.before = nullptr;
  fixture.as(1, [&] { EXPECT_TRUE(user_access_ok(fixture.system, fixture.mm)); });
}

TEST(UserAccessOk, IsFalseInTheSwitchingWindow) {
  FourCpus fixture;
  fixture.switch_to(0, fixture.mm);
  unsigned asked = 0;
  recorder.before = [&](const Entry& entry) {
    if (!is(entry, "write CR3")) return;
    ++asked;
    EXPECT_FALSE(user_access_ok(fixture.system, fixture.mm));
    EXPECT_FALSE(user_access_ok(fixture.system, fixture.other));
  };
  fixture.switch_to(0, fixture.other);
  EXPECT_EQ(asked, 1u);
  EXPECT_TRUE(user_access_ok(fixture.system, fixture.other));
  EXPECT_FALSE(user_access_ok(fixture.system, fixture.mm));
}

}  // namespace
}  // namespace shootdown::test
