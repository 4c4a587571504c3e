// Spaces with global slots: which get one, what a flush broadcasts, and which CPUs still need an
// interrupt.
#include <gtest/gtest.h>

#include <vector>

#include "core/shootdown_all.h"
#include "tests/core/bench.h"

namespace shootdown::test {
namespace {

using FourCpus = Bench<4>;
using H = FourCpus::H;

constexpr Config kBroadcast{
    .broadcast = {.enabled = true, .max_pages = 4, .threshold = 2, .global_slots = 2}};
constexpr Slot kFirstGlobal = kSlots;

struct BroadcastTest : testing::Test {
  explicit BroadcastTest(const Config& config = kBroadcast) : bench(config) {}

  FourCpus bench;

  void flush(FlushRange range = {}) {
    static_cast<void>(flush_tlb_mm_range(bench.system, bench.mm, range));
  }
  void flush_pages(std::uint64_t pages) { flush({.start = 0, .end = pages << kPageShift}); }
  static VirtAddr page(std::uint64_t index) { return index << kPageShift; }
  /// `space` runs on CPUs 0 to 2 and has a global slot, to which all of them have moved.
  void make_global(Mm<H>& space) {
    for (CpuId cpu = 0; cpu < 3; ++cpu) bench.switch_to(cpu, space);
    for (int i = 0; i < 3; ++i) static_cast<void>(flush_tlb_mm(bench.system, space));
    ASSERT_TRUE(is_global_slot(space.global_slot.peek()));
    ASSERT_FALSE(space.in_transition.peek());
    H::broadcasts.clear();
    recorder.clear();
  }
  void retire(Mm<H>& space) {
    for (CpuId cpu = 0; cpu < 4; ++cpu) {
      if (bench.loaded(cpu) == &space) {
        bench.with_interrupts_off(cpu, [&] { leave_mm(bench.system); });
      }
    }
    static_cast<void>(retire_mm(bench.system, space));
  }
};

// ---- Grant

TEST_F(BroadcastTest, ASpaceOnManyCpusGetsAGlobalSlotAfterItsFlush) {
  bench.run_mm_on({0, 1, 2});
  flush();
  EXPECT_EQ(bench.mm.global_slot.peek(), kFirstGlobal);
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b110}) << "for the next time";
  EXPECT_TRUE(H::broadcasts.empty());
}

TEST_F(BroadcastTest, ASpaceOnFewCpusGetsNone) {
  bench.run_mm_on({0, 1});
  flush();
  EXPECT_EQ(bench.mm.global_slot.peek(), kNoGlobalSlot);
}

using M14_Broadcast = BroadcastTest;

TEST_F(M14_Broadcast, TheTransitionFlagIsSetBeforeTheSlotIsPublished) {
  bench.run_mm_on({0, 1, 2});
  flush();
  EXPECT_BEFORE("store mm.in_transition", "store mm.global_slot");
  EXPECT_ORDER("store mm.global_slot", std::memory_order_release);
  EXPECT_TRUE(bench.mm.in_transition.peek());
}

TEST_F(BroadcastTest, NobodyWaitsForTheSlots) {
  recorder.names.clear();
  bench.system.global_slots.visit_shared(
      [](const char* name, auto& word) { recorder.names[&word] = name; });
  recorder.before = [&](const Entry& entry) {
    if (is(entry, "exchange slots_lock")) {
      bench.system.global_slots.visit_shared([](const char* name, auto& word) {
        if (std::strcmp(name, "slots_lock") == 0) word.poke(1);
      });
      recorder.before = nullptr;
    }
  };
  bench.run_mm_on({0, 1, 2});
  flush();
  EXPECT_ONCE("exchange slots_lock");
  EXPECT_EQ(bench.mm.global_slot.peek(), kNoGlobalSlot);
}

struct NoBroadcastTest : BroadcastTest {
  NoBroadcastTest() : BroadcastTest(Config{.broadcast = {.threshold = 0}}) {}
};

TEST_F(NoBroadcastTest, IsOffUnlessItIsAskedFor) {
  bench.run_mm_on({0, 1, 2});
  flush();
  flush();
  static_cast<void>(flush_tlb_kernel_range(bench.system, page(1), page(2)));
  EXPECT_TRUE(H::broadcasts.empty());
  EXPECT_NEVER("tlbsync");
  EXPECT_EQ(bench.mm.global_slot.peek(), kNoGlobalSlot);
}

// ---- Transition

TEST_F(BroadcastTest, InTransitionStragglersAreInterruptedAndMove) {
  bench.run_mm_on({0, 1, 2});
  flush();
  bench.switch_to(1, bench.other);
  bench.switch_to(1, bench.mm);
  EXPECT_EQ(bench.own(1).loaded_slot, kFirstGlobal);
  recorder.clear();
  flush();
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b100}) << "CPU 1 has moved";
  EXPECT_EQ(bench.own(0).loaded_slot, kFirstGlobal) << "the initiator moves in its own part";
  EXPECT_EQ(bench.own(2).loaded_slot, kFirstGlobal);
  EXPECT_EQ(values("write CR3", 2), (std::vector<std::uint64_t>{kCr3KeepEntries | FourCpus::kRoot |
                                                                pcid_of(kFirstGlobal)}));
  EXPECT_EQ(events(TraceKind::handler_end).back().outcome, HandlerOutcome::joined_global);
}

TEST_F(M14_Broadcast, TheSlotIsReadBehindTheBumpAndSyncIsLast) {
  bench.run_mm_on({0, 1, 2});
  flush();
  recorder.clear();
  flush();
  EXPECT_BEFORE("add mm.tlb_gen", "load mm.global_slot");
  EXPECT_BEFORE("load mm.global_slot", "load mm.in_transition");
  EXPECT_BEFORE("load mm.in_transition", "load mm.cpu_mask");
  EXPECT_BEFORE("invlpgb context", "send interrupt") << "both are on their way at once";
  EXPECT_BEFORE(last("pause"), "tlbsync");
  EXPECT_BEFORE("tlbsync", "trace flush_end");
  EXPECT_EQ(entry_at("tlbsync").cpu, entry_at("invlpgb context").cpu);
  EXPECT_ORDER("load mm.global_slot", std::memory_order_acquire);
}

TEST_F(BroadcastTest, TheTransitionEndsWithTheFlushThatFindsNobody) {
  bench.run_mm_on({0, 1, 2});
  flush();
  flush();
  EXPECT_TRUE(bench.mm.in_transition.peek()) << "there were stragglers";
  recorder.clear();
  flush();
  EXPECT_FALSE(bench.mm.in_transition.peek());
  recorder.clear();
  flush();
  EXPECT_NONE_OF("load mm.cpu_mask", "send interrupt") << "it looks at no CPU";
  EXPECT_ONCE("invlpgb context");
  EXPECT_ONCE("tlbsync");
}

using R8_Broadcast = BroadcastTest;

TEST_F(R8_Broadcast, ACpuInTheSwitchingWindowIsAStraggler) {
  make_global(bench.mm);
  bench.mm.in_transition.poke(true);
  bench.own(1).loaded_mm.poke(nullptr);
  // Its handler finds the switch complete.
  H::handler = [&] {
    bench.own(1).loaded_mm.poke(&bench.mm);
    handle_call_function_interrupt(bench.system);
  };
  flush();
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b010});
  EXPECT_TRUE(bench.mm.in_transition.peek());
}

TEST_F(BroadcastTest, ALazyStragglerLeavesTheSpace) {
  bench.run_mm_on({0, 1, 2});
  bench.idle(2);
  flush();
  EXPECT_EQ(bench.loaded(2), &bench.mm) << "lazy CPUs are skipped as long as that is enough";
  flush();
  EXPECT_EQ(bench.loaded(2), &bench.system.kernel_mm);
}

// ---- Switches

TEST_F(BroadcastTest, ASwitchToAGlobalSlotKeepsItsEntriesAndComparesNothing) {
  make_global(bench.mm);
  bench.switch_to(1, bench.other);
  flush();
  recorder.clear();
  bench.switch_to(1, bench.mm);
  EXPECT_EQ(values("write CR3"), (std::vector<std::uint64_t>{kCr3KeepEntries | FourCpus::kRoot |
                                                             pcid_of(kFirstGlobal)}));
  EXPECT_BEFORE("or mm.cpu_mask", "load mm.global_slot");
  EXPECT_BEFORE("write CR3", "store cpu1.on_global");
  EXPECT_BEFORE("store cpu1.on_global", last("store cpu1.loaded_mm"));
}

TEST_F(BroadcastTest, LeavingAGlobalSlotIsSaidBeforeTheNextSpaceIsShown) {
  make_global(bench.mm);
  recorder.clear();
  bench.switch_to(1, bench.other);
  EXPECT_FALSE(bench.own(1).on_global.peek());
  EXPECT_BEFORE("write CR3", "store cpu1.on_global");
  EXPECT_BEFORE("store cpu1.on_global", last("store cpu1.loaded_mm"));
}

TEST_F(BroadcastTest, AThreadSwitchInsideTheSpaceMoves) {
  bench.run_mm_on({0, 1, 2});
  flush();
  EXPECT_FALSE(is_global_slot(bench.own(1).loaded_slot));
  bench.switch_to(1, bench.mm);
  EXPECT_EQ(bench.own(1).loaded_slot, kFirstGlobal);
}

TEST_F(BroadcastTest, LeavingLazyModeMovesAndDoesNotTrustTheOldSlot) {
  bench.run_mm_on({0, 1, 2});
  bench.idle(1);
  flush();
  recorder.clear();
  bench.switch_to(1, bench.mm);
  EXPECT_EQ(bench.own(1).loaded_slot, kFirstGlobal);
  EXPECT_BEFORE("fence", "load mm.global_slot") << "R3: after the flag is seen cleared";
}

TEST_F(BroadcastTest, LeavingLazyModeOnTheGlobalSlotFlushesNothing) {
  make_global(bench.mm);
  bench.idle(1);
  flush();
  recorder.clear();
  bench.switch_to(1, bench.mm);
  EXPECT_NEVER("write CR3") << "broadcasts reach lazy CPUs";
  EXPECT_FALSE(bench.system.cpus[1].shared.is_lazy.peek());
}

// ---- What is broadcast

TEST_F(BroadcastTest, ARangeGoesInPieces) {
  make_global(bench.mm);
  flush_pages(10);
  ASSERT_EQ(H::broadcasts.size(), 3u);
  for (unsigned i = 0; i < 3; ++i) {
    EXPECT_EQ(H::broadcasts[i].scope, InvlpgbScope::pages);
    EXPECT_EQ(H::broadcasts[i].address, page(std::uint64_t{i} * 4));
    EXPECT_EQ(H::broadcasts[i].count, i < 2 ? 4u : 2u);
    EXPECT_EQ(H::broadcasts[i].stride_shift, kPageShift);
    EXPECT_EQ(H::broadcasts[i].pcid, pcid_of(kFirstGlobal));
  }
  EXPECT_ONCE("tlbsync") << "once for all pieces";
  EXPECT_EQ(bench.own(0).counters.broadcasts, 5u) << "two while all CPUs moved";
}

using R5_Broadcast = BroadcastTest;

TEST_F(R5_Broadcast, LargePagesAreNotNamedButTheWholeContextGoes) {
  // Small entries of an earlier mapping may be left in them, whose own flush is still on its way.
  make_global(bench.mm);
  for (const std::uint8_t shift : {kLargePageShift, kHugePageShift}) {
    H::broadcasts.clear();
    flush({.start = 0, .end = VirtAddr{1} << shift, .stride_shift = shift});
    ASSERT_EQ(H::broadcasts.size(), 1u);
    EXPECT_EQ(H::broadcasts[0].scope, InvlpgbScope::context);
    EXPECT_EQ(H::broadcasts[0].pcid, pcid_of(kFirstGlobal));
  }
}

TEST_F(BroadcastTest, BeyondTheCeilingTheWholeContextGoes) {
  make_global(bench.mm);
  flush_pages(34);
  ASSERT_EQ(H::broadcasts.size(), 1u);
  EXPECT_EQ(H::broadcasts[0].scope, InvlpgbScope::context);
}

TEST_F(BroadcastTest, TheSlotIsTheSpacesAlsoOnACpuThatRunsItElsewhere) {
  bench.run_mm_on({0, 1, 2});
  flush();
  bench.idle(0);
  H::broadcasts.clear();
  flush();
  ASSERT_EQ(H::broadcasts.size(), 1u);
  EXPECT_EQ(H::broadcasts[0].pcid, pcid_of(kFirstGlobal)) << "not the slot that CPU 0 has loaded";
}

// ---- The end of a space, and the slots

TEST_F(BroadcastTest, RetiringMovesLazyCpusAwayAndReturnsTheSlot) {
  make_global(bench.mm);
  bench.idle(0);
  bench.idle(1);
  bench.switch_to(2, bench.other);
  static_cast<void>(retire_mm(bench.system, bench.mm));
  EXPECT_EQ(bench.loaded(0), &bench.system.kernel_mm);
  EXPECT_EQ(bench.loaded(1), &bench.system.kernel_mm);
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b010});
  EXPECT_TRUE(bench.mm.cpus.read().empty());
  EXPECT_EQ(bench.mm.global_slot.peek(), kNoGlobalSlot);
  initialize_mm(bench.system, bench.mm, FourCpus::kRoot);
}

TEST_F(BroadcastTest, RetiringWaitsForACpuThatIsAboutToLeaveTheMask) {
  // It has named another space already, and its bit goes behind that: in memory that may be gone,
  // unless the last flush waits for its answer.
  make_global(bench.mm);
  for (CpuId cpu : {0U, 1U}) bench.with_interrupts_off(cpu, [&] { leave_mm(bench.system); });
  bench.own(2).loaded_mm.poke(&bench.other);
  static_cast<void>(retire_mm(bench.system, bench.mm));
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b100});
}

TEST_F(BroadcastTest, RetiringEmptiesAMaskThatWasKeptLazily) {
  Config config = kBroadcast;
  config.targets.mask_policy = MaskPolicy::kept_lazily;
  FourCpus lazily(config);
  for (CpuId cpu = 0; cpu < 4; ++cpu) lazily.switch_to(cpu, lazily.mm);
  for (int i = 0; i < 3; ++i) static_cast<void>(flush_tlb_mm(lazily.system, lazily.mm));
  ASSERT_TRUE(is_global_slot(lazily.mm.global_slot.peek()));
  lazily.idle(1);
  for (CpuId cpu : {0U, 2U, 3U}) lazily.switch_to(cpu, lazily.other);
  EXPECT_EQ(lazily.mm.cpus.read().count(), 4u) << "left without touching the mask";
  static_cast<void>(retire_mm(lazily.system, lazily.mm));
  EXPECT_TRUE(lazily.mm.cpus.read().empty());
}

TEST_F(BroadcastTest, ALazyCpuKeepsTheSpaceAfterAFlushForFreedTables) {
  make_global(bench.mm);
  bench.idle(1);
  recorder.clear();
  static_cast<void>(flush_tlb_mm_range_freed_tables(bench.system, bench.mm, {}));
  EXPECT_NEVER("send interrupt") << "the broadcast has dropped what it had";
  EXPECT_EQ(bench.loaded(1), &bench.mm) << "only the last flush takes it away";
}

TEST_F(BroadcastTest, NobodyIsInterruptedSoTablesWaitForWalkers) {
  EXPECT_FALSE(flush_interrupts_targets(bench.system));
  EXPECT_TRUE(flush_interrupts_targets(FourCpus().system));
}

TEST_F(BroadcastTest, RetiringGrantsNothing) {
  bench.run_mm_on({0, 1, 2});
  for (CpuId cpu = 0; cpu < 3; ++cpu) bench.idle(cpu);
  static_cast<void>(retire_mm(bench.system, bench.mm));
  EXPECT_EQ(bench.mm.global_slot.peek(), kNoGlobalSlot);
  EXPECT_EQ(events(TraceKind::slot_granted).size(), 0u);
}

using R13_Broadcast = BroadcastTest;

TEST_F(R13_Broadcast, ASpaceWithASlotCannotBeginAnew) {
  make_global(bench.mm);
  EXPECT_EQ(refused_by([&] { initialize_mm(bench.system, bench.mm, FourCpus::kRoot); }), Rule::r13);
}

TEST_F(BroadcastTest, AReturnedSlotWaitsUntilTheOthersAreUsedAndEverythingIsFlushed) {
  make_global(bench.mm);
  retire(bench.mm);
  initialize_mm(bench.system, bench.mm, FourCpus::kRoot);
  bench.run_mm_on({0, 1, 2});
  flush();
  EXPECT_EQ(bench.mm.global_slot.peek(), kFirstGlobal + 1) << "the other one is clean";
  EXPECT_NEVER("invlpgb all contexts");
  for (CpuId cpu = 0; cpu < 3; ++cpu) bench.switch_to(cpu, bench.other);
  recorder.clear();
  static_cast<void>(flush_tlb_mm(bench.system, bench.other));
  EXPECT_EQ(bench.other.global_slot.peek(), kFirstGlobal);
  EXPECT_BEFORE("invlpgb all contexts", "tlbsync");
  EXPECT_BEFORE("tlbsync", "trace slot_granted");
}

TEST_F(BroadcastTest, WithoutASlotLeftFlushesInterruptAsEver) {
  make_global(bench.mm);
  make_global(bench.other);
  Mm<H> third;
  initialize_mm(bench.system, third, 0x6000);
  for (CpuId cpu = 0; cpu < 3; ++cpu) bench.switch_to(cpu, third);
  recorder.clear();
  for (int i = 0; i < 2; ++i) static_cast<void>(flush_tlb_mm(bench.system, third));
  EXPECT_EQ(third.global_slot.peek(), kNoGlobalSlot);
  EXPECT_EQ(values("send interrupt"), (std::vector<std::uint64_t>{0b110, 0b110}));
  EXPECT_NEVER("invlpgb all contexts") << "there is nothing to make clean";
}

// ---- Kernel mappings

TEST_F(BroadcastTest, AKernelRangeIsBroadcastToEveryPcid) {
  bench.run_mm_on({1, 2});
  static_cast<void>(flush_tlb_kernel_range(bench.system, page(1), page(7)));
  ASSERT_EQ(H::broadcasts.size(), 2u);
  EXPECT_EQ(H::broadcasts[0].scope, InvlpgbScope::kernel_pages);
  EXPECT_EQ(H::broadcasts[1].address, page(5));
  EXPECT_EQ(H::broadcasts[1].count, 2u);
  EXPECT_NONE_OF("send interrupt", "invlpg");
  EXPECT_BEFORE("fence", "invlpgb kernel pages");
  EXPECT_BEFORE(last("invlpgb kernel pages"), "tlbsync");
  EXPECT_BEFORE("tlbsync", "trace kernel_end");
}

TEST_F(BroadcastTest, FlushingAllIsOneBroadcast) {
  static_cast<void>(flush_tlb_all(bench.system));
  EXPECT_ONCE("invlpgb everything");
  EXPECT_ONCE("tlbsync");
  EXPECT_NEVER("send interrupt");
}

// ---- Reclaim batches

struct BroadcastBatchTest : BroadcastTest {
  ReclaimBatch<H> batch;
  void add(Mm<H>& space) { batch.add(bench.system, space); }
  void flush_batch() { static_cast<void>(batch.flush(bench.system)); }
};

TEST_F(BroadcastBatchTest, OfOneGlobalSpaceIsOneBroadcast) {
  make_global(bench.mm);
  add(bench.mm);
  add(bench.mm);
  EXPECT_FALSE(batch.empty());
  EXPECT_NEVER("invlpgb context") << "the thread may flush on another CPU";
  flush_batch();
  EXPECT_EQ(values("invlpgb context"), std::vector<std::uint64_t>{pcid_of(kFirstGlobal)});
  EXPECT_ONCE("tlbsync");
  EXPECT_NEVER("send interrupt");
  EXPECT_TRUE(batch.empty());
  recorder.clear();
  flush_batch();
  EXPECT_NONE_OF("invlpgb context", "tlbsync") << "the batch has begun anew";
}

TEST_F(BroadcastBatchTest, OfSeveralGlobalSpacesIsOneBroadcastToo) {
  make_global(bench.mm);
  make_global(bench.other);
  add(bench.mm);
  add(bench.other);
  add(bench.mm);
  flush_batch();
  EXPECT_ONCE("invlpgb all contexts");
  EXPECT_NEVER("invlpgb context");
}

TEST_F(BroadcastBatchTest, DoesBothForGlobalSpacesAndOthers) {
  make_global(bench.mm);
  bench.switch_to(3, bench.other);
  recorder.clear();
  add(bench.mm);
  add(bench.other);
  flush_batch();
  EXPECT_ONCE("invlpgb context");
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b1000});
  EXPECT_BEFORE("invlpgb context", "send interrupt");
  EXPECT_BEFORE(last("pause"), "tlbsync");
}

TEST_F(BroadcastBatchTest, DoesBothForASpaceInTransition) {
  bench.run_mm_on({0, 1, 2});
  flush();
  recorder.clear();
  add(bench.mm);
  EXPECT_BEFORE("add mm.tlb_gen", "load mm.global_slot");
  flush_batch();
  EXPECT_ONCE("invlpgb context");
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b110});
  EXPECT_EQ(bench.own(2).loaded_slot, kFirstGlobal);
}

}  // namespace
}  // namespace shootdown::test
