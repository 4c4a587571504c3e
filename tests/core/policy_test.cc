// Configurations that change the cost and not the promise; temporary spaces; CPUs that come and go.
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "tests/core/bench.h"

namespace shootdown::test {
namespace {

using FourCpus = Bench<4>;
using H = FourCpus::H;
constexpr FlushRange kOnePage{.start = 0x5000, .end = 0x6000};
constexpr Config kLazyMasks{.targets = {.mask_policy = MaskPolicy::kept_lazily}};
constexpr Config kByLoadedSpace{.targets = {.mask_policy = MaskPolicy::kept_lazily,
                                            .target_test = TargetTest::by_loaded_space}};

void flush(FourCpus& bench) {
  static_cast<void>(flush_tlb_mm_range(bench.system, bench.mm, kOnePage));
}

// ---- Masks that are kept lazily

TEST(LazyMasks, ASwitchLeavesTheOldBit) {
  FourCpus bench(kLazyMasks);
  bench.switch_to(1, bench.mm);
  bench.switch_to(1, bench.other);
  EXPECT_TRUE(bench.mm.cpus.read().test(1));
  EXPECT_NEVER("and mm.cpu_mask");
}

TEST(R2_LazyMasks, ComingBackNeedsABarrierInsteadOfTheLockedSet) {
  FourCpus bench(kLazyMasks);
  bench.switch_to(1, bench.mm);
  bench.switch_to(1, bench.other);
  recorder.clear();
  bench.switch_to(1, bench.mm);
  EXPECT_NEVER("or mm.cpu_mask");
  EXPECT_BEFORE("store cpu1.loaded_mm", "fence") << "what the flusher looks at";
  EXPECT_BEFORE("fence", "load mm.tlb_gen");
  EXPECT_EQ(entry_at("store cpu1.loaded_mm").value, 0u);
}

TEST(LazyMasks, AFlushThatFindsAnotherSpaceTakesTheBit) {
  FourCpus bench(kLazyMasks);
  bench.switch_to(0, bench.mm);
  bench.switch_to(1, bench.mm);
  bench.switch_to(1, bench.other);
  recorder.clear();
  flush(bench);
  EXPECT_FALSE(bench.mm.cpus.read().test(1));
  EXPECT_TRUE(bench.other.cpus.read().test(1));
  EXPECT_EQ(bench.own(1).counters.wrong_cpu, 1u);
  EXPECT_EQ(events(TraceKind::handler_end).back().reason, FlushReason::remote_wrong_cpu);
}

TEST(LazyMasks, TheInitiatorTakesItsOwnBitToo) {
  FourCpus bench(kLazyMasks);
  bench.switch_to(0, bench.mm);
  bench.switch_to(0, bench.other);
  flush(bench);
  EXPECT_FALSE(bench.mm.cpus.read().test(0));
}

TEST(ExactMasks, TheFlushFunctionDoesNotTouchTheMask) {
  FourCpus bench;
  bench.switch_to(1, bench.other);
  FlushRequest<H> request{};
  request.mm = &bench.mm;
  bench.with_interrupts_off(1, [&] { flush_function(bench.system, request); });
  EXPECT_NONE_OF("and mm.cpu_mask", "load mm.cpu_mask");
}

// ---- Targets by their loaded space

TEST(ByLoadedSpace, OnlyCpusWithTheSpaceLoadedAreInterrupted) {
  FourCpus bench(kByLoadedSpace);
  for (const CpuId cpu : {0, 1, 2}) bench.switch_to(cpu, bench.mm);
  bench.switch_to(2, bench.other);
  recorder.clear();
  flush(bench);
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b010});
  EXPECT_TRUE(bench.mm.cpus.read().test(2)) << "and the bit stays until a trim";
}

TEST(R8_ByLoadedSpace, ACpuInTheSwitchingWindowIsATarget) {
  FourCpus bench(kByLoadedSpace);
  for (const CpuId cpu : {0, 1}) bench.switch_to(cpu, bench.mm);
  bench.switch_to(1, bench.other);
  recorder.clear();
  bench.own(1).loaded_mm.poke(nullptr);  // It is on its way back, and interrupts are off there.
  recorder.before = [&](const Entry& entry) {
    if (is(entry, "pause")) bench.own(1).loaded_mm.poke(&bench.other);
  };
  flush(bench);
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b010});
}

TEST(R1_ByLoadedSpace, BothTestsAreBehindTheBump) {
  FourCpus bench(kByLoadedSpace);
  for (const CpuId cpu : {0, 1}) bench.switch_to(cpu, bench.mm);
  recorder.clear();
  flush(bench);
  EXPECT_BEFORE("add mm.tlb_gen", "load cpu1.loaded_mm");
  EXPECT_BEFORE("add mm.tlb_gen", "load cpu1.is_lazy");
  EXPECT_ORDER("load cpu1.loaded_mm", std::memory_order_seq_cst);
  EXPECT_ORDER("load cpu1.is_lazy", std::memory_order_seq_cst);
}

TEST(ByLoadedSpace, ALazyCpusPrivateLineIsLeftAlone) {
  FourCpus bench(kByLoadedSpace);
  for (const CpuId cpu : {0, 1}) bench.switch_to(cpu, bench.mm);
  bench.idle(1);
  recorder.clear();
  flush(bench);
  EXPECT_NEVER("load cpu1.loaded_mm");
}

TEST(M11_ByLoadedSpace, TheLazyFlagIsClearedBeforeTheAnnouncementsBarrierAndTheGenerationRead) {
  FourCpus bench(kByLoadedSpace);
  bench.switch_to(1, bench.mm);
  bench.idle(1);
  recorder.clear();
  bench.switch_to(1, bench.other);
  EXPECT_BEFORE("store cpu1.is_lazy", "store cpu1.loaded_mm");
  EXPECT_BEFORE("store cpu1.loaded_mm", "or other.cpu_mask");
  EXPECT_BEFORE("or other.cpu_mask", "load other.tlb_gen");
  EXPECT_ORDER("store cpu1.loaded_mm", std::memory_order_release);
}

TEST(R6_ByLoadedSpace, FreedTablesReachTheWholeMask) {
  FourCpus bench(kByLoadedSpace);
  for (const CpuId cpu : {0, 1, 2}) bench.switch_to(cpu, bench.mm);
  bench.switch_to(1, bench.other);
  bench.idle(2);
  recorder.clear();
  static_cast<void>(flush_tlb_mm_range_freed_tables(bench.system, bench.mm, kOnePage));
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b110});
}

TEST(ByLoadedSpace, ATrimReachesTheOthersAndTakesTheirBits) {
  Config config = kByLoadedSpace;
  config.targets.trim_interval = 2;
  FourCpus bench(config);
  for (const CpuId cpu : {0, 1}) bench.switch_to(cpu, bench.mm);
  bench.switch_to(1, bench.other);
  recorder.clear();
  flush(bench);  // Generation 2.
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b010});
  EXPECT_FALSE(bench.mm.cpus.read().test(1));
  recorder.clear();
  flush(bench);  // Generation 3: no CPU is left.
  EXPECT_NEVER("send interrupt");
}

TEST(UpFront, AllCpusAreAskedBeforeTheFirstIsQueued) {
  FourCpus bench({.targets = {.lazy_test = LazyTest::up_front}});
  bench.run_mm_on({0, 1, 2});
  recorder.before = [&](const Entry& entry) {
    if (is(entry, "push cpu1.queue")) bench.system.cpus[2].shared.is_lazy.poke(true);
  };
  flush(bench);
  EXPECT_BEFORE(last("load cpu2.is_lazy", 0), "push cpu1.queue");
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b110}) << "asked too early";
  EXPECT_ONCE("trace handler_begin", 0);
}

// ---- Early acknowledgement

struct Early : testing::Test {
  FourCpus bench{
      {.targets = {.early_acknowledgement = true, .mask_policy = MaskPolicy::kept_lazily}}};
  void flush_early() {
    static_cast<void>(flush_tlb_mm_range_early(bench.system, bench.mm, kOnePage));
  }
};

TEST_F(Early, ATargetAnswersBeforeItFlushes) {
  bench.run_mm_on({0, 1});
  flush_early();
  EXPECT_BEFORE(last("store record 0->1", 1), first("invlpg", 1));
  EXPECT_ONCE("store record 0->1", 1) << "and does not answer again";
  EXPECT_EQ(bench.loaded_slot(1).generation, kFirstGeneration + 1);
}

TEST_F(Early, AfterTheAnswerTheRequestIsTheInitiatorsAgain) {
  bench.run_mm_on({0, 1});
  recorder.before = [&](const Entry& entry) {
    // It starts its next flush at once.
    if (is(entry, "store record 0->1") && entry.cpu == 1) bench.system.cpus[0].request = {};
  };
  flush_early();
  EXPECT_EQ(values("invlpg", 1), std::vector<std::uint64_t>{0x5000});
}

TEST_F(Early, ACpuThatRunsAnotherSpaceIsDoneWithTheSpaceBeforeItAnswers) {
  // Nothing keeps the space alive for a CPU that does not have it loaded.
  bench.run_mm_on({0, 1});
  bench.switch_to(1, bench.other);
  recorder.clear();
  flush_early();
  EXPECT_FALSE(bench.mm.cpus.read().test(1));
  EXPECT_BEFORE(last("and mm.cpu_mask", 1), last("store record 0->1", 1));
}

TEST_F(Early, OtherFlushesDoNotUseIt) {
  bench.run_mm_on({0, 1});
  flush(bench);
  static_cast<void>(flush_tlb_mm_range_freed_tables(bench.system, bench.mm, kOnePage));
  EXPECT_BEFORE(first("invlpg", 1), first("store record 0->1", 1));
  EXPECT_BEFORE(last("invlpg", 1), last("store record 0->1", 1));
}

TEST_F(Early, WithoutTheConfigurationItIsAFlushLikeAnyOther) {
  FourCpus late;
  late.run_mm_on({0, 1});
  static_cast<void>(flush_tlb_mm_range_early(late.system, late.mm, kOnePage));
  EXPECT_BEFORE(last("invlpg", 1), last("store record 0->1", 1));
}

// ---- Temporary spaces

TEST(Temporary, IsLoadedForAScopeWithInterruptsOff) {
  for (const Config& config : {Config{}, kLazyMasks}) {
    FourCpus bench(config);
    bench.switch_to(0, bench.mm);
    {
      const TemporaryMm<H> scope(bench.system, bench.other);
      EXPECT_EQ(bench.loaded(0), &bench.other);
      EXPECT_FALSE(H::interrupts_enabled());
      EXPECT_TRUE(bench.other.cpus.read().test(0));
      EXPECT_FALSE(user_access_ok(bench.system, bench.mm)) << "O22";
    }
    EXPECT_EQ(bench.loaded(0), &bench.mm);
    EXPECT_TRUE(H::interrupts_enabled());
    EXPECT_FALSE(bench.other.cpus.read().test(0)) << "its own bit goes with it";
    EXPECT_TRUE(bench.mm.cpus.read().test(0));
    EXPECT_TRUE(user_access_ok(bench.system, bench.mm));
  }
}

TEST(Temporary, ALazyCpuLeavesItsSpaceFirst) {
  FourCpus bench;
  bench.switch_to(0, bench.mm);
  bench.idle(0);
  {
    const TemporaryMm<H> scope(bench.system, bench.other);
    EXPECT_FALSE(bench.system.cpus[0].shared.is_lazy.peek());
    EXPECT_FALSE(bench.mm.cpus.read().test(0));
  }
  EXPECT_EQ(bench.loaded(0), &bench.system.kernel_mm);
}

// ---- CPUs that come and go

TEST(Offline, TheCpuLeavesItsSpaceAnswersWhatIsQueuedAndIsNoTargetAnyMore) {
  FourCpus bench;
  bench.run_mm_on({0, 1, 2});
  bool gone = false;
  recorder.before = [&](const Entry& entry) {
    // CPU 1 goes between the push and its interrupt.
    if (!is(entry, "send interrupt") || std::exchange(gone, true)) return;
    bench.as(1, [&] {
      H::self().interrupts = false;
      take_cpu_offline(bench.system);
    });
    H::cpus[1].pending = false;
  };
  flush(bench);
  EXPECT_TRUE(gone);
  EXPECT_ONCE("trace call_run", 1);
  EXPECT_EQ(bench.loaded(1), &bench.system.kernel_mm);
  EXPECT_FALSE(bench.system.calls.online().test(1));
  recorder.clear();
  static_cast<void>(flush_tlb_all(bench.system));
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b1100});
}

TEST(Offline, ACallThatComesTooLateIsRefusedAndNobodyWaitsForIt) {
  FourCpus bench;
  bool gone = false;
  recorder.before = [&](const Entry& entry) {
    // CPU 1 goes after the sender has read which CPUs are online, at the sender's push.
    if (!is(entry, "push cpu1.queue") || std::exchange(gone, true)) return;
    bench.as(1, [&] {
      H::self().interrupts = false;
      take_cpu_offline(bench.system);
    });
  };
  static_cast<void>(flush_tlb_all(bench.system));
  EXPECT_TRUE(gone);
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b1100});
  EXPECT_EQ(bench.own(0).counters.targets_queued, 2u);
}

TEST(Offline, TheCpuComesBackWithCleanSlots) {
  FourCpus bench({.isolation = {.enabled = true}});
  bench.run_mm_on({1});
  H::cpus[1].interrupts = false;
  bench.as(1, [&] { take_cpu_offline(bench.system); });
  recorder.clear();
  bench.as(1, [&] { initialize_cpu(bench.system); });
  H::cpus[1].interrupts = true;
  for (Slot slot = 1; slot < kSlots; ++slot)
    EXPECT_EQ(bench.own(1).slots[slot].context, kNoContext);
  EXPECT_ONCE("invpcid everything", 1);
  EXPECT_EQ(bench.own(1).user_flush, 0u);
  recorder.clear();
  static_cast<void>(flush_tlb_all(bench.system));
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b1110}) << "a target again";
}

TEST(Offline, NeedsInterruptsOffUntilTheCpuStops) {
  FourCpus bench;
  EXPECT_EQ(refused_by([&] { take_cpu_offline(bench.system); }), Rule::r12);
  H::self().interrupts = false;
  take_cpu_offline(bench.system);
  EXPECT_EQ(refused_by([&] { handle_call_function_interrupt(bench.system); }), Rule::r12);
}

TEST(UserAccessOk, IsFalseWhileLazyBecauseFlushersSkipTheCpu) {
  FourCpus bench;
  bench.switch_to(0, bench.mm);
  bench.idle(0);
  EXPECT_FALSE(user_access_ok(bench.system, bench.mm));
  bench.switch_to(0, bench.mm);
  EXPECT_TRUE(user_access_ok(bench.system, bench.mm));
}

TEST(UserAccessOk, IsFalseBetweenAnEarlyAnswerAndItsFlush) {
  FourCpus bench{{.targets = {.early_acknowledgement = true}}};
  bench.run_mm_on({0, 1});
  unsigned asked = 0;
  recorder.before = [&](const Entry& entry) {
    if (entry.cpu != 1 || (!is(entry, "store record 0->1") && !is(entry, "invlpg"))) return;
    ++asked;
    EXPECT_FALSE(user_access_ok(bench.system, bench.mm)) << entry.what;
  };
  static_cast<void>(flush_tlb_mm_range_early(bench.system, bench.mm, kOnePage));
  EXPECT_EQ(asked, 2u);
  recorder.before = nullptr;
  bench.as(1, [&] { EXPECT_TRUE(user_access_ok(bench.system, bench.mm)); });
}

TEST(UserAccessOk, IsFalseInTheSwitchingWindow) {
  FourCpus bench;
  bench.switch_to(0, bench.mm);
  unsigned asked = 0;
  recorder.before = [&](const Entry& entry) {
    if (!is(entry, "write CR3")) return;
    ++asked;
    EXPECT_FALSE(user_access_ok(bench.system, bench.mm));
    EXPECT_FALSE(user_access_ok(bench.system, bench.other));
  };
  bench.switch_to(0, bench.other);
  EXPECT_EQ(asked, 1u);
  EXPECT_TRUE(user_access_ok(bench.system, bench.other));
  EXPECT_FALSE(user_access_ok(bench.system, bench.mm));
}

}  // namespace
}  // namespace shootdown::test
