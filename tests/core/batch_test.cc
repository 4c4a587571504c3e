// The reclaim batch and the mark that protects operations that meet what it removed.
#include <gtest/gtest.h>

#include <vector>

#include "core/reclaim_batch.h"
#include "tests/core/core_fixture.h"

namespace shootdown::test {
namespace {

using FourCpus = CoreFixture<4>;

std::uint64_t added(const Mm<FourCpus::H>& mm) { return mm.batch_marks.peek() >> 32; }
std::uint64_t flushed(const Mm<FourCpus::H>& mm) { return mm.batch_marks.peek() & 0xffff'ffff; }

struct BatchTest : testing::Test {
  FourCpus fixture;
  ReclaimBatch<FourCpus::H> batch;
  void flush() { static_cast<void>(batch.flush(fixture.system)); }
};

using R1_Batch = BatchTest;

TEST_F(R1_Batch, AddBumpsThenMarksThenReadsTheMask) {
  fixture.run_mm_on({1});
  batch.add(fixture.system, fixture.mm);
  EXPECT_EQ(fixture.mm.tlb_gen.peek(), kFirstGeneration + 1);
  EXPECT_BEFORE("add mm.tlb_gen", "load mm.cpu_mask");
  EXPECT_BEFORE("add mm.batch_marks", "load mm.cpu_mask");
  EXPECT_ORDER("add mm.tlb_gen", std::memory_order_seq_cst);
  EXPECT_ORDER("add mm.batch_marks", std::memory_order_seq_cst);
  EXPECT_EQ(added(fixture.mm), 1u);
  EXPECT_NEVER("send interrupt") << "the flush comes later";
}

TEST_F(BatchTest, OneFlushServesAllMmsAndEachCpuItsOwn) {
  fixture.switch_to(1, fixture.mm);
  fixture.switch_to(2, fixture.other);
  batch.add(fixture.system, fixture.mm);
  batch.add(fixture.system, fixture.other);
  EXPECT_FALSE(batch.empty());
  recorder.clear();
  flush();
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b110});
  EXPECT_EQ(fixture.loaded_asid(1).generation, kFirstGeneration + 1);
  EXPECT_EQ(fixture.loaded_asid(2).generation, kFirstGeneration + 1);
  EXPECT_TRUE(batch.empty()) << "and the batch starts anew";
}

using R13_Batch = BatchTest;

TEST_F(R13_Batch, GenerationNoneNeverCountsAsDone) {
  fixture.switch_to(1, fixture.mm);
  batch.add(fixture.system, fixture.mm);
  flush();
  const auto handled = events(TraceKind::handler_end);
  ASSERT_EQ(handled.size(), 1u);
  EXPECT_EQ(handled[0].outcome, HandlerOutcome::full);
}

TEST_F(BatchTest, ACpuThatSwitchedMeanwhileCatchesUpWithWhatItHasNow) {
  fixture.switch_to(1, fixture.mm);
  batch.add(fixture.system, fixture.mm);
  fixture.switch_to(1, fixture.other);
  flush();
  EXPECT_EQ(events(TraceKind::handler_end).at(0).outcome, HandlerOutcome::already_fresh);
  recorder.clear();
  fixture.switch_to(1, fixture.mm);
  EXPECT_EQ(values("write CR3").at(0) >> 63, 0u) << "the ASID's generation is behind";
}

TEST_F(R13_Batch, AnEmptyBatchInterruptsNobody) {
  flush();
  EXPECT_NONE_OF("send interrupt", "pause", "invlpg", "write CR3");
}

TEST_F(BatchTest, OfThisCpusOwnMmIsFlushedHere) {
  fixture.switch_to(0, fixture.mm);
  batch.add(fixture.system, fixture.mm);
  recorder.clear();
  flush();
  EXPECT_ONCE("write CR3", 0);
  EXPECT_NEVER("send interrupt");
}

using R10_Batch = BatchTest;

TEST_F(R10_Batch, ABatchFlushIsAFlushLikeAnyOther) {
  fixture.run_mm_on({0, 1});
  batch.add(fixture.system, fixture.mm);
  std::optional<Rule> refused;
  recorder.before = [&](const Entry& entry) {
    if (!is(entry, "pause") || refused) return;
    refused = refused_by([&] { static_cast<void>(flush_tlb_mm(fixture.system, fixture.mm)); });
  };
  flush();
  EXPECT_EQ(refused, Rule::r10);
  fixture.with_interrupts_off(0, [&] { refused = refused_by([&] { flush(); }); });
  EXPECT_EQ(refused, Rule::r12);
}

// ---- M12

struct PendingTest : BatchTest {
  PendingTest() { fixture.run_mm_on({0, 1}); }
  void settle() { flush_tlb_batched_pending(fixture.system, fixture.mm); }
};

using M12_Pending = PendingTest;

TEST_F(M12_Pending, NothingAddedMeansNothingToDo) {
  settle();
  EXPECT_EQ(fixture.mm.tlb_gen.peek(), kFirstGeneration);
  EXPECT_ORDER("load mm.batch_marks", std::memory_order_acquire);
}

TEST_F(M12_Pending, AnUnflushedAdditionIsFlushedOnce) {
  batch.add(fixture.system, fixture.mm);
  recorder.clear();
  settle();
  EXPECT_COUNT(2, "write CR3");
  EXPECT_EQ(flushed(fixture.mm), 1u);
  recorder.clear();
  settle();
  EXPECT_NONE_OF("write CR3", "add mm.tlb_gen");
}

TEST_F(M12_Pending, AnAdditionDuringTheFlushStaysPending) {
  batch.add(fixture.system, fixture.mm);
  bool done = false;
  recorder.before = [&](const Entry& entry) {
    if (!is(entry, "pause") || std::exchange(done, true)) return;
    batch.add(fixture.system, fixture.mm);
  };
  settle();
  EXPECT_EQ(added(fixture.mm), 2u);
  EXPECT_EQ(flushed(fixture.mm), 1u) << "only what was seen before the flush";
  recorder.before = nullptr;
  settle();
  EXPECT_EQ(flushed(fixture.mm), 2u);
}

TEST_F(M12_Pending, SomebodyWhoGotFurtherIsNotPutBack) {
  batch.add(fixture.system, fixture.mm);
  bool done = false;
  recorder.before = [&](const Entry& entry) {
    if (!is(entry, "push mm.batch_marks") || std::exchange(done, true)) return;
    fixture.mm.batch_marks.poke((std::uint64_t{3} << 32) | 3);
  };
  settle();
  EXPECT_EQ(flushed(fixture.mm), 3u);
}

TEST_F(M12_Pending, AnAdditionAtTheLastMomentIsKept) {
  batch.add(fixture.system, fixture.mm);
  bool done = false;
  recorder.before = [&](const Entry& entry) {
    if (!is(entry, "push mm.batch_marks") || std::exchange(done, true)) return;
    fixture.mm.batch_marks.poke(fixture.mm.batch_marks.peek() +
                                ReclaimBatch<FourCpus::H>::kOneAddition);
  };
  settle();
  EXPECT_EQ(added(fixture.mm), 2u);
  EXPECT_EQ(flushed(fixture.mm), 1u);
}

TEST_F(M12_Pending, TheCountersMayWrapAround) {
  constexpr std::uint64_t kLast = 0xffff'ffff;
  fixture.mm.batch_marks.poke((kLast << 32) | kLast);
  settle();
  EXPECT_EQ(fixture.mm.tlb_gen.peek(), kFirstGeneration);
  batch.add(fixture.system, fixture.mm);
  EXPECT_EQ(added(fixture.mm), 0u);
  settle();
  EXPECT_EQ(flushed(fixture.mm), 0u);
  EXPECT_EQ(fixture.mm.tlb_gen.peek(), kFirstGeneration + 2) << "the addition and the flush";
}

// ---- The two halves of the marks, modulo 2^32

constexpr std::uint64_t marks_of(std::uint32_t added, std::uint32_t flushed) {
  return std::uint64_t{added} << 32 | flushed;
}

TEST_F(BatchTest, AdditionsThatNobodySettlesDoNotComeRoundToNothingPending) {
  constexpr std::uint32_t kFlushed = 5;
  for (const std::uint32_t unflushed : {0x7fff'ffffU, 0x8000'0000U, 0xffff'fffeU, 0xffff'ffffU}) {
    fixture.mm.batch_marks.poke(marks_of(kFlushed + unflushed, kFlushed));
    for (int i = 0; i < 3; ++i) {
      batch.add(fixture.system, fixture.mm);
      recorder.clear();
      const std::uint64_t marks = fixture.mm.batch_marks.peek();
      EXPECT_NE(marks >> 32, marks & 0xffff'ffff) << unflushed;
    }
    flush_tlb_batched_pending(fixture.system, fixture.mm);
    EXPECT_EQ(events(TraceKind::flush_begin).size(), 1u) << unflushed;
    EXPECT_EQ(fixture.mm.batch_marks.peek(),
              marks_of(kFlushed + unflushed + 3, kFlushed + unflushed + 3))
        << "the upper half counts on";
    recorder.clear();
    flush_tlb_batched_pending(fixture.system, fixture.mm);
    EXPECT_EQ(events(TraceKind::flush_begin).size(), 0u) << "settled";
  }
}

TEST_F(BatchTest, TheMarkOfAdditionsWrapsWithoutTouchingTheOther) {
  fixture.mm.batch_marks.poke(marks_of(0xffff'ffff, 0xffff'fffe));
  batch.add(fixture.system, fixture.mm);
  EXPECT_EQ(fixture.mm.batch_marks.peek(), marks_of(0, 0xffff'fffe));
  flush_tlb_batched_pending(fixture.system, fixture.mm);
  EXPECT_EQ(fixture.mm.batch_marks.peek(), marks_of(0, 0));
}

TEST_F(BatchTest, ASettleThatIsUnderWayWhenTheMarksMoveClaimsNoMoreThanItFlushed) {
  fixture.mm.batch_marks.poke(marks_of(0x8000'0010, 0x10));
  bool added = false;
  recorder.before = [&](const Entry& entry) {
    if (!is(entry, "trace flush_end") || added) return;
    added = true;
    batch.add(fixture.system, fixture.mm);
  };
  flush_tlb_batched_pending(fixture.system, fixture.mm);
  recorder.before = nullptr;
  ASSERT_TRUE(added);
  EXPECT_EQ(fixture.mm.batch_marks.peek(), marks_of(0x8000'0011, 0x8000'0010));
}

}  // namespace
}  // namespace shootdown::test
