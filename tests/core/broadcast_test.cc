// mms with global ASIDs: which get one, what a flush broadcasts, and which CPUs still need an
// interrupt.
#include <gtest/gtest.h>

#include <vector>

#include "core/shootdown_all.h"
#include "tests/core/core_fixture.h"

namespace shootdown::test {
namespace {

using FourCpus = CoreFixture<4>;
using H = FourCpus::H;

constexpr Config kBroadcast{
    .broadcast = {.enabled = true, .max_pages = 4, .threshold = 2, .global_asids = 2}};
constexpr Asid kFirstGlobal = kDynamicAsids;

struct BroadcastTest : testing::Test {
  explicit BroadcastTest(const Config& config = kBroadcast) : fixture(config) {}

  FourCpus fixture;

  void flush(FlushRange range = {}) {
    static_cast<void>(flush_tlb_mm_range(fixture.system, fixture.mm, range));
  }
  void flush_pages(std::uint64_t pages) { flush({.start = 0, .end = pages << kPageShift}); }
  static VirtAddr page(std::uint64_t index) { return index << kPageShift; }
  /// `mm` runs on CPUs 0 to 2 and has a global ASID, to which all of them have moved.
  void make_global(Mm<H>& mm) {
    for (CpuId cpu = 0; cpu < 3; ++cpu) fixture.switch_to(cpu, mm);
    for (int i = 0; i < 3; ++i) static_cast<void>(flush_tlb_mm(fixture.system, mm));
    ASSERT_TRUE(is_global_asid(mm.global_asid.peek()));
    ASSERT_FALSE(mm.asid_transition.peek());
    H::broadcasts.clear();
    recorder.clear();
  }
  void retire(Mm<H>& mm) {
    for (CpuId cpu = 0; cpu < 4; ++cpu) {
      if (fixture.loaded(cpu) == &mm) {
        fixture.with_interrupts_off(cpu, [&] { leave_mm(fixture.system); });
      }
    }
    static_cast<void>(retire_mm(fixture.system, mm));
  }
};

// ---- Grant

TEST_F(BroadcastTest, AnMmOnManyCpusGetsAGlobalAsidAfterItsFlush) {
  fixture.run_mm_on({0, 1, 2});
  flush();
  EXPECT_EQ(fixture.mm.global_asid.peek(), kFirstGlobal);
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b110}) << "for the next time";
  EXPECT_TRUE(H::broadcasts.empty());
}

TEST_F(BroadcastTest, AnMmOnFewCpusGetsNone) {
  fixture.run_mm_on({0, 1});
  flush();
  EXPECT_EQ(fixture.mm.global_asid.peek(), kNoGlobalAsid);
}

using M14_Broadcast = BroadcastTest;

TEST_F(M14_Broadcast, TheTransitionFlagIsSetBeforeTheAsidIsPublished) {
  fixture.run_mm_on({0, 1, 2});
  flush();
  EXPECT_BEFORE("store mm.asid_transition", "store mm.global_asid");
  EXPECT_ORDER("store mm.global_asid", std::memory_order_release);
  EXPECT_TRUE(fixture.mm.asid_transition.peek());
}

TEST_F(BroadcastTest, NobodyWaitsForTheAsids) {
  recorder.names.clear();
  fixture.system.global_asids.visit_shared(
      [](const char* name, auto& word) { recorder.names[&word] = name; });
  recorder.before = [&](const Entry& entry) {
    if (is(entry, "exchange asids_lock")) {
      fixture.system.global_asids.visit_shared([](const char* name, auto& word) {
        if (std::strcmp(name, "asids_lock") == 0) word.poke(1);
      });
      recorder.before = nullptr;
    }
  };
  fixture.run_mm_on({0, 1, 2});
  flush();
  EXPECT_ONCE("exchange asids_lock");
  EXPECT_EQ(fixture.mm.global_asid.peek(), kNoGlobalAsid);
}

struct NoBroadcastTest : BroadcastTest {
  NoBroadcastTest() : BroadcastTest(Config{.broadcast = {.threshold = 0}}) {}
};

TEST_F(NoBroadcastTest, IsOffUnlessItIsAskedFor) {
  fixture.run_mm_on({0, 1, 2});
  flush();
  flush();
  static_cast<void>(flush_tlb_kernel_range(fixture.system, page(1), page(2)));
  EXPECT_TRUE(H::broadcasts.empty());
  EXPECT_NEVER("tlbsync");
  EXPECT_EQ(fixture.mm.global_asid.peek(), kNoGlobalAsid);
}

// ---- Transition

TEST_F(BroadcastTest, InTransitionCpusOnADynamicAsidAreInterruptedAndMove) {
  fixture.run_mm_on({0, 1, 2});
  flush();
  fixture.switch_to(1, fixture.other);
  fixture.switch_to(1, fixture.mm);
  EXPECT_EQ(fixture.own(1).loaded_asid, kFirstGlobal);
  recorder.clear();
  flush();
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b100}) << "CPU 1 has moved";
  EXPECT_EQ(fixture.own(0).loaded_asid, kFirstGlobal) << "the initiator moves in its own part";
  EXPECT_EQ(fixture.own(2).loaded_asid, kFirstGlobal);
  EXPECT_EQ(values("write CR3", 2), (std::vector<std::uint64_t>{kCr3KeepEntries | FourCpus::kRoot |
                                                                pcid_of(kFirstGlobal)}));
  EXPECT_EQ(events(TraceKind::handler_end).back().outcome, HandlerOutcome::joined_global);
}

TEST_F(M14_Broadcast, TheAsidIsReadBehindTheBumpAndSyncIsLast) {
  fixture.run_mm_on({0, 1, 2});
  flush();
  recorder.clear();
  flush();
  EXPECT_BEFORE("add mm.tlb_gen", "load mm.global_asid");
  EXPECT_BEFORE("load mm.global_asid", "load mm.asid_transition");
  EXPECT_BEFORE("load mm.asid_transition", "load mm.cpu_mask");
  EXPECT_BEFORE("invlpgb context", "send interrupt") << "both are on their way at once";
  EXPECT_BEFORE(last("pause"), "tlbsync");
  EXPECT_BEFORE("tlbsync", "trace flush_end");
  EXPECT_EQ(entry_at("tlbsync").cpu, entry_at("invlpgb context").cpu);
  EXPECT_ORDER("load mm.global_asid", std::memory_order_acquire);
}

TEST_F(BroadcastTest, TheTransitionEndsWithTheFlushThatFindsNobody) {
  fixture.run_mm_on({0, 1, 2});
  flush();
  flush();
  EXPECT_TRUE(fixture.mm.asid_transition.peek()) << "there were CPUs on a dynamic ASID";
  recorder.clear();
  flush();
  EXPECT_FALSE(fixture.mm.asid_transition.peek());
  recorder.clear();
  flush();
  EXPECT_NONE_OF("load mm.cpu_mask", "send interrupt") << "it looks at no CPU";
  EXPECT_ONCE("invlpgb context");
  EXPECT_ONCE("tlbsync");
}

using R8_Broadcast = BroadcastTest;

TEST_F(R8_Broadcast, ACpuInTheSwitchingWindowIsACpuOnADynamicAsid) {
  make_global(fixture.mm);
  fixture.mm.asid_transition.poke(true);
  fixture.own(1).loaded_mm.poke(nullptr);
  // Its handler finds the switch complete.
  H::handler = [&] {
    fixture.own(1).loaded_mm.poke(&fixture.mm);
    handle_call_function_interrupt(fixture.system);
  };
  flush();
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b010});
  EXPECT_TRUE(fixture.mm.asid_transition.peek());
}

TEST_F(BroadcastTest, ALazyCpuOnADynamicAsidLeavesTheMm) {
  fixture.run_mm_on({0, 1, 2});
  fixture.idle(2);
  flush();
  EXPECT_EQ(fixture.loaded(2), &fixture.mm) << "lazy CPUs are skipped as long as that is enough";
  flush();
  EXPECT_EQ(fixture.loaded(2), &fixture.system.kernel_mm);
}

// ---- Switches

TEST_F(BroadcastTest, ASwitchToAGlobalAsidKeepsItsEntriesAndComparesNothing) {
  make_global(fixture.mm);
  fixture.switch_to(1, fixture.other);
  flush();
  recorder.clear();
  fixture.switch_to(1, fixture.mm);
  EXPECT_EQ(values("write CR3"), (std::vector<std::uint64_t>{kCr3KeepEntries | FourCpus::kRoot |
                                                             pcid_of(kFirstGlobal)}));
  EXPECT_BEFORE("or mm.cpu_mask", "load mm.global_asid");
  EXPECT_BEFORE("write CR3", "store cpu1.on_global");
  EXPECT_BEFORE("store cpu1.on_global", last("store cpu1.loaded_mm"));
}

TEST_F(BroadcastTest, LeavingAGlobalAsidIsSaidBeforeTheNextMmIsShown) {
  make_global(fixture.mm);
  recorder.clear();
  fixture.switch_to(1, fixture.other);
  EXPECT_FALSE(fixture.own(1).on_global.peek());
  EXPECT_BEFORE("write CR3", "store cpu1.on_global");
  EXPECT_BEFORE("store cpu1.on_global", last("store cpu1.loaded_mm"));
}

TEST_F(BroadcastTest, AThreadSwitchInsideTheMmMoves) {
  fixture.run_mm_on({0, 1, 2});
  flush();
  EXPECT_FALSE(is_global_asid(fixture.own(1).loaded_asid));
  fixture.switch_to(1, fixture.mm);
  EXPECT_EQ(fixture.own(1).loaded_asid, kFirstGlobal);
}

TEST_F(BroadcastTest, LeavingLazyModeMovesAndDoesNotTrustTheOldAsid) {
  fixture.run_mm_on({0, 1, 2});
  fixture.idle(1);
  flush();
  recorder.clear();
  fixture.switch_to(1, fixture.mm);
  EXPECT_EQ(fixture.own(1).loaded_asid, kFirstGlobal);
  EXPECT_BEFORE("fence", "load mm.global_asid") << "R3: after the flag is seen cleared";
}

TEST_F(BroadcastTest, LeavingLazyModeOnTheGlobalAsidFlushesNothing) {
  make_global(fixture.mm);
  fixture.idle(1);
  flush();
  recorder.clear();
  fixture.switch_to(1, fixture.mm);
  EXPECT_NEVER("write CR3") << "broadcasts reach lazy CPUs";
  EXPECT_FALSE(fixture.system.cpus[1].shared.is_lazy.peek());
}

// ---- What is broadcast

TEST_F(BroadcastTest, ARangeGoesInPieces) {
  make_global(fixture.mm);
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
  EXPECT_EQ(fixture.own(0).counters.broadcasts, 5u) << "two while all CPUs moved";
}

using R5_Broadcast = BroadcastTest;

TEST_F(R5_Broadcast, LargePagesAreNotNamedButTheWholeContextGoes) {
  // Small entries of an earlier mapping may be left in them, whose own flush is still on its way.
  make_global(fixture.mm);
  for (const std::uint8_t shift : {kLargePageShift, kHugePageShift}) {
    H::broadcasts.clear();
    flush({.start = 0, .end = VirtAddr{1} << shift, .stride_shift = shift});
    ASSERT_EQ(H::broadcasts.size(), 1u);
    EXPECT_EQ(H::broadcasts[0].scope, InvlpgbScope::context);
    EXPECT_EQ(H::broadcasts[0].pcid, pcid_of(kFirstGlobal));
  }
}

TEST_F(BroadcastTest, BeyondTheCeilingTheWholeContextGoes) {
  make_global(fixture.mm);
  flush_pages(34);
  ASSERT_EQ(H::broadcasts.size(), 1u);
  EXPECT_EQ(H::broadcasts[0].scope, InvlpgbScope::context);
}

TEST_F(BroadcastTest, TheAsidIsTheMmsAlsoOnACpuThatRunsItElsewhere) {
  fixture.run_mm_on({0, 1, 2});
  flush();
  fixture.idle(0);
  H::broadcasts.clear();
  flush();
  ASSERT_EQ(H::broadcasts.size(), 1u);
  EXPECT_EQ(H::broadcasts[0].pcid, pcid_of(kFirstGlobal)) << "not the ASID that CPU 0 has loaded";
}

// ---- The end of an mm, and the ASIDs

TEST_F(BroadcastTest, RetiringMovesLazyCpusAwayAndReturnsTheAsid) {
  make_global(fixture.mm);
  fixture.idle(0);
  fixture.idle(1);
  fixture.switch_to(2, fixture.other);
  static_cast<void>(retire_mm(fixture.system, fixture.mm));
  EXPECT_EQ(fixture.loaded(0), &fixture.system.kernel_mm);
  EXPECT_EQ(fixture.loaded(1), &fixture.system.kernel_mm);
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b010});
  EXPECT_TRUE(fixture.mm.cpus.read().empty());
  EXPECT_EQ(fixture.mm.global_asid.peek(), kNoGlobalAsid);
  initialize_mm(fixture.system, fixture.mm, FourCpus::kRoot);
}

TEST_F(BroadcastTest, RetiringWaitsForACpuThatIsAboutToLeaveTheMask) {
  // It has named another mm already, and its bit goes behind that: in memory that may be gone,
  // unless the last flush waits for its answer.
  make_global(fixture.mm);
  for (CpuId cpu : {0U, 1U}) fixture.with_interrupts_off(cpu, [&] { leave_mm(fixture.system); });
  fixture.own(2).loaded_mm.poke(&fixture.other);
  static_cast<void>(retire_mm(fixture.system, fixture.mm));
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b100});
}

TEST_F(BroadcastTest, RetiringEmptiesAMaskThatWasKeptLazily) {
  Config config = kBroadcast;
  config.targets.mask_policy = MaskPolicy::kept_lazily;
  FourCpus lazily(config);
  for (CpuId cpu = 0; cpu < 4; ++cpu) lazily.switch_to(cpu, lazily.mm);
  for (int i = 0; i < 3; ++i) static_cast<void>(flush_tlb_mm(lazily.system, lazily.mm));
  ASSERT_TRUE(is_global_asid(lazily.mm.global_asid.peek()));
  lazily.idle(1);
  for (CpuId cpu : {0U, 2U, 3U}) lazily.switch_to(cpu, lazily.other);
  EXPECT_EQ(lazily.mm.cpus.read().count(), 4u) << "left without touching the mask";
  static_cast<void>(retire_mm(lazily.system, lazily.mm));
  EXPECT_TRUE(lazily.mm.cpus.read().empty());
}

TEST_F(BroadcastTest, ALazyCpuKeepsTheMmAfterAFlushForFreedTables) {
  make_global(fixture.mm);
  fixture.idle(1);
  recorder.clear();
  static_cast<void>(flush_tlb_mm_range_freed_tables(fixture.system, fixture.mm, {}));
  EXPECT_NEVER("send interrupt") << "the broadcast has dropped what it had";
  EXPECT_EQ(fixture.loaded(1), &fixture.mm) << "only the last flush takes it away";
}

TEST_F(BroadcastTest, NobodyIsInterruptedSoTablesWaitForWalkers) {
  EXPECT_FALSE(flush_interrupts_targets(fixture.system));
  EXPECT_TRUE(flush_interrupts_targets(FourCpus().system));
}

TEST_F(BroadcastTest, RetiringGrantsNothing) {
  fixture.run_mm_on({0, 1, 2});
  for (CpuId cpu = 0; cpu < 3; ++cpu) fixture.idle(cpu);
  static_cast<void>(retire_mm(fixture.system, fixture.mm));
  EXPECT_EQ(fixture.mm.global_asid.peek(), kNoGlobalAsid);
  EXPECT_EQ(events(TraceKind::asid_granted).size(), 0u);
}

using R13_Broadcast = BroadcastTest;

TEST_F(R13_Broadcast, AnMmWithAnAsidCannotBeginAnew) {
  make_global(fixture.mm);
  EXPECT_EQ(refused_by([&] { initialize_mm(fixture.system, fixture.mm, FourCpus::kRoot); }),
            Rule::r13);
}

TEST_F(BroadcastTest, AReturnedAsidWaitsUntilTheOthersAreUsedAndEverythingIsFlushed) {
  make_global(fixture.mm);
  retire(fixture.mm);
  initialize_mm(fixture.system, fixture.mm, FourCpus::kRoot);
  fixture.run_mm_on({0, 1, 2});
  flush();
  EXPECT_EQ(fixture.mm.global_asid.peek(), kFirstGlobal + 1) << "the other one is clean";
  EXPECT_NEVER("invlpgb all contexts");
  for (CpuId cpu = 0; cpu < 3; ++cpu) fixture.switch_to(cpu, fixture.other);
  recorder.clear();
  static_cast<void>(flush_tlb_mm(fixture.system, fixture.other));
  EXPECT_EQ(fixture.other.global_asid.peek(), kFirstGlobal);
  EXPECT_BEFORE("invlpgb all contexts", "tlbsync");
  EXPECT_BEFORE("tlbsync", "trace asid_granted");
}

TEST_F(BroadcastTest, WithoutAnAsidLeftFlushesInterruptAsEver) {
  make_global(fixture.mm);
  make_global(fixture.other);
  Mm<H> third;
  initialize_mm(fixture.system, third, 0x6000);
  for (CpuId cpu = 0; cpu < 3; ++cpu) fixture.switch_to(cpu, third);
  recorder.clear();
  for (int i = 0; i < 2; ++i) static_cast<void>(flush_tlb_mm(fixture.system, third));
  EXPECT_EQ(third.global_asid.peek(), kNoGlobalAsid);
  EXPECT_EQ(values("send interrupt"), (std::vector<std::uint64_t>{0b110, 0b110}));
  EXPECT_NEVER("invlpgb all contexts") << "there is nothing to make clean";
}

// ---- Kernel mappings

TEST_F(BroadcastTest, AKernelRangeIsBroadcastToEveryPcid) {
  fixture.run_mm_on({1, 2});
  static_cast<void>(flush_tlb_kernel_range(fixture.system, page(1), page(7)));
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
  static_cast<void>(flush_tlb_all(fixture.system));
  EXPECT_ONCE("invlpgb everything");
  EXPECT_ONCE("tlbsync");
  EXPECT_NEVER("send interrupt");
}

// ---- Reclaim batches

struct BroadcastBatchTest : BroadcastTest {
  ReclaimBatch<H> batch;
  void add(Mm<H>& mm) { batch.add(fixture.system, mm); }
  void flush_batch() { static_cast<void>(batch.flush(fixture.system)); }
};

TEST_F(BroadcastBatchTest, OfOneGlobalMmIsOneBroadcast) {
  make_global(fixture.mm);
  add(fixture.mm);
  add(fixture.mm);
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

TEST_F(BroadcastBatchTest, OfSeveralGlobalMmsIsOneBroadcastToo) {
  make_global(fixture.mm);
  make_global(fixture.other);
  add(fixture.mm);
  add(fixture.other);
  add(fixture.mm);
  flush_batch();
  EXPECT_ONCE("invlpgb all contexts");
  EXPECT_NEVER("invlpgb context");
}

TEST_F(BroadcastBatchTest, DoesBothForGlobalMmsAndOthers) {
  make_global(fixture.mm);
  fixture.switch_to(3, fixture.other);
  recorder.clear();
  add(fixture.mm);
  add(fixture.other);
  flush_batch();
  EXPECT_ONCE("invlpgb context");
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b1000});
  EXPECT_BEFORE("invlpgb context", "send interrupt");
  EXPECT_BEFORE(last("pause"), "tlbsync");
}

TEST_F(BroadcastBatchTest, DoesBothForAnMmInTransition) {
  fixture.run_mm_on({0, 1, 2});
  flush();
  recorder.clear();
  add(fixture.mm);
  EXPECT_BEFORE("add mm.tlb_gen", "load mm.global_asid");
  flush_batch();
  EXPECT_ONCE("invlpgb context");
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b110});
  EXPECT_EQ(fixture.own(2).loaded_asid, kFirstGlobal);
}

}  // namespace
}  // namespace shootdown::test
