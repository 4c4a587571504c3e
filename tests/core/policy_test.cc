// Mask policies, target tests, early acknowledgement, reclaim batches.
#include <gtest/gtest.h>

#include <vector>

#include "core/shootdown.h"
#include "tests/core/bench.h"

namespace shootdown::test {
namespace {

using ThreeCpus = Bench<3>;
using H = ThreeCpus::H;

// ---- Lazily kept masks

constexpr Config kKept{.mask_policy = MaskPolicy::kept_lazily,
                       .target_test = TargetTest::by_loaded_space};

TEST(KeptMasks, ASwitchLeavesTheOldBitAndFencesForTheNewOne) {
  ThreeCpus bench(kKept);
  bench.switch_to(0, bench.mm);
  bench.switch_to(0, bench.other);
  EXPECT_TRUE(bench.mm.cpus.test(0));
  recorder.clear();
  bench.switch_to(0, bench.mm);
  EXPECT_EQ(count("or mm.cpu_mask"), 0u) << "the bit is there";
  EXPECT_LT(first("store cpu0.loaded_mm"), first("fence"));
  EXPECT_LT(first("fence"), first("load mm.tlb_gen"));
}

TEST(KeptMasks, OnlyCpusThatRunTheSpaceAreInterrupted) {
  ThreeCpus bench(kKept);
  bench.run_mm_on({0, 1, 2});
  bench.switch_to(2, bench.other);
  recorder.clear();
  static_cast<void>(flush_tlb_mm(bench.system, bench.mm));
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b010});
}

TEST(KeptMasks, R8_ACpuInTheSwitchingWindowIsATarget) {
  ThreeCpus bench(kKept);
  bench.run_mm_on({0, 1});
  bench.own(1).loaded_mm.poke(nullptr);
  EXPECT_TRUE(internal::is_wanted(bench.system, FlushRequest<H>{.mm = &bench.mm}, 1));
  bench.own(1).loaded_mm.poke(&bench.other);
  EXPECT_FALSE(internal::is_wanted(bench.system, FlushRequest<H>{.mm = &bench.mm}, 1));
  bench.own(1).loaded_mm.poke(&bench.mm);
}

TEST(KeptMasks, M11_TheLoadedSpaceIsReadBeforeTheLaziness) {
  ThreeCpus bench(kKept);
  bench.run_mm_on({0, 1});
  static_cast<void>(internal::is_wanted(bench.system, FlushRequest<H>{.mm = &bench.mm}, 1));
  EXPECT_LT(first("load cpu1.loaded_mm"), first("load cpu1.is_lazy"));
}

TEST(KeptMasks, EverySoManyFlushesTrimTheMask) {
  Config config = kKept;
  config.trim_interval = 3;
  ThreeCpus bench(config);
  bench.run_mm_on({0, 1});
  bench.switch_to(1, bench.other);
  static_cast<void>(flush_tlb_mm(bench.system, bench.mm));  // generation 2
  EXPECT_TRUE(bench.mm.cpus.test(1));
  static_cast<void>(flush_tlb_mm(bench.system, bench.mm));  // generation 3
  EXPECT_FALSE(bench.mm.cpus.test(1));
  EXPECT_EQ(bench.own(1).counters.wrong_cpu, 1u);
}

TEST(KeptMasks, TheInitiatorLeavesAMaskAsWell) {
  ThreeCpus bench(kKept);
  bench.run_mm_on({0});
  bench.switch_to(0, bench.other);
  static_cast<void>(flush_tlb_mm(bench.system, bench.mm));
  EXPECT_FALSE(bench.mm.cpus.test(0));
  EXPECT_EQ(bench.loaded_slot(0).generation, kFirstGeneration) << "the loaded space is not judged";
}

TEST(UpFront, AllTestsComeBeforeTheFirstPush) {
  ThreeCpus bench({.lazy_test = LazyTest::up_front});
  bench.run_mm_on({0, 1, 2});
  static_cast<void>(flush_tlb_mm(bench.system, bench.mm));
  EXPECT_LT(last("load cpu2.is_lazy", 0), first("push cpu1.queue"));
}

// ---- Early acknowledgement

TEST(Early, TheTargetAnswersBeforeItFlushes) {
  ThreeCpus bench({.early_acknowledgement = true});
  bench.run_mm_on({0, 1});
  const FlushRange page{.start = 0x5000, .end = 0x6000};
  const UserReturnClosed closed = flush_tlb_mm_range_early(bench.system, bench.mm, page);
  static_cast<void>(closed);
  EXPECT_LT(first("store record 0->1", 1), first("invlpg", 1));
  EXPECT_EQ(count("store record 0->1", 1), 1u) << "answered once";
}

TEST(Early, IsNeverUsedForFreedTables) {
  ThreeCpus bench({.early_acknowledgement = true});
  bench.run_mm_on({0, 1});
  static_cast<void>(
      flush_tlb_mm_range_freed_tables(bench.system, bench.mm, {.start = 0x5000, .end = 0x6000}));
  EXPECT_LT(first("invlpg", 1), first("store record 0->1", 1));
}

TEST(Early, IsOffUnlessConfigured) {
  ThreeCpus bench;
  bench.run_mm_on({0, 1});
  static_cast<void>(
      flush_tlb_mm_range_early(bench.system, bench.mm, {.start = 0x5000, .end = 0x6000}));
  EXPECT_LT(first("invlpg", 1), first("store record 0->1", 1));
}

// ---- Reclaim batches

TEST(Batch, M12_AddBumpsThenMarksThenReadsTheMask) {
  ThreeCpus bench;
  bench.run_mm_on({1});
  ReclaimBatch<H> batch;
  batch.add(bench.system, bench.mm);
  EXPECT_LT(first("add mm.tlb_gen"), first("load mm.cpu_mask"));
  EXPECT_LT(first("add mm.batch_marks"), first("load mm.cpu_mask"));
  EXPECT_EQ(order_of("add mm.tlb_gen"), std::memory_order_seq_cst);
}

TEST(Batch, R13_OneFlushCatchesUpWithWhateverIsLoaded) {
  ThreeCpus bench;
  bench.switch_to(1, bench.mm);
  bench.switch_to(2, bench.other);
  ReclaimBatch<H> batch;
  batch.add(bench.system, bench.mm);
  batch.add(bench.system, bench.other);
  static_cast<void>(batch.flush(bench.system));
  EXPECT_EQ(bench.loaded_slot(1).generation, 2u) << "no generation given is not already done";
  EXPECT_EQ(bench.loaded_slot(2).generation, 2u);
  EXPECT_TRUE(batch.empty());
}

TEST(Batch, ThisCpuIsFlushedOnlyIfItIsAMember) {
  ThreeCpus bench;
  bench.switch_to(1, bench.mm);
  ReclaimBatch<H> batch;
  batch.add(bench.system, bench.mm);
  recorder.clear();
  static_cast<void>(batch.flush(bench.system));
  EXPECT_EQ(count("trace handler_begin", 0), 0u);
}

TEST(Batch, ThePendingMarkMakesOthersFlushOnce) {
  ThreeCpus bench;
  bench.run_mm_on({0});
  flush_tlb_batched_pending(bench.system, bench.mm);
  EXPECT_EQ(count("add mm.tlb_gen"), 0u) << "nothing is pending";
  ReclaimBatch<H> batch;
  batch.add(bench.system, bench.mm);
  recorder.clear();
  flush_tlb_batched_pending(bench.system, bench.mm);
  EXPECT_EQ(count("add mm.tlb_gen"), 1u);
  recorder.clear();
  flush_tlb_batched_pending(bench.system, bench.mm);
  EXPECT_EQ(count("add mm.tlb_gen"), 0u) << "the mark is settled";
}

TEST(Batch, AnAdditionDuringTheFlushIsNotCalledFlushed) {
  ThreeCpus bench;
  bench.run_mm_on({0});
  ReclaimBatch<H> batch;
  batch.add(bench.system, bench.mm);
  bool added = false;
  recorder.before = [&](const Entry& entry) {
    if (added || entry.what != "trace flush_end") return;
    added = true;
    batch.add(bench.system, bench.mm);
  };
  flush_tlb_batched_pending(bench.system, bench.mm);
  recorder.before = nullptr;
  recorder.clear();
  flush_tlb_batched_pending(bench.system, bench.mm);
  EXPECT_EQ(count("add mm.tlb_gen"), 1u) << "the second addition still counts";
}

}  // namespace
}  // namespace shootdown::test
