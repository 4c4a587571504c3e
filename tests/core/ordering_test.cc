// The orderings of docs/protocol.md, section 6, as the log shows them. Those that are missing here
// have their tests where the rest of their function is tested; `M6*` and the like select them all.
#include <gtest/gtest.h>

#include <cstring>

#include "core/flush.h"
#include "core/switch_mm.h"
#include "tests/core/core_fixture.h"

namespace shootdown::test {
namespace {

using Two = CoreFixture<2>;

constexpr FlushRange kOnePage{.start = 0x5000, .end = 0x6000};

void flush(Two& fixture, FlushRange range = kOnePage) {
  static_cast<void>(flush_tlb_mm_range(fixture.system, fixture.mm, range));
}

TEST(M1, AFlushBumpsTheGenerationBeforeItReadsWhomToFlush) {
  Two fixture({.targets = {.target_test = TargetTest::by_loaded_mm}});
  fixture.run_mm_on({0, 1});
  flush(fixture);
  EXPECT_BEFORE("add mm.tlb_gen", "load mm.cpu_mask");
  EXPECT_BEFORE("add mm.tlb_gen", "load cpu1.loaded_mm");
  EXPECT_BEFORE("add mm.tlb_gen", "load cpu1.is_lazy");
}

TEST(M2, ASwitchSetsItsBitThenReadsTheGenerationThenLoadsCr3) {
  Two fixture;
  fixture.switch_to(0, fixture.mm);
  EXPECT_BEFORE("or mm.cpu_mask", "load mm.tlb_gen");
  EXPECT_BEFORE("load mm.tlb_gen", "write CR3");
}

TEST(M3, TheLazyExitClearsTheFlagThenReadsTheGeneration) {
  Two fixture;
  fixture.run_mm_on({0});
  fixture.idle(0);
  recorder.clear();
  fixture.switch_to(0, fixture.mm);
  EXPECT_EQ(entry_at("store cpu0.is_lazy").value, 0u);
  EXPECT_BEFORE("store cpu0.is_lazy", "load mm.tlb_gen");
}

TEST(M4, TheLazyEntryReleasesAndNothingOrderedFollows) {
  Two fixture;
  fixture.run_mm_on({0});
  fixture.idle(0);
  EXPECT_EQ(entry_at("store cpu0.is_lazy").value, 1u);
  EXPECT_ORDER("store cpu0.is_lazy", std::memory_order_release);
  EXPECT_NONE_OF("fence", "write CR3", "load mm.tlb_gen");
}

TEST(M5, TheHandlerReadsTheGenerationThenFlushesThenRecordsIt) {
  Two fixture;
  fixture.run_mm_on({0, 1});
  const Generation before = fixture.loaded_asid(1).generation;
  unsigned flushes = 0;
  recorder.before = [&](const Entry& entry) {
    if (!is(entry, "invlpg") || entry.cpu != 1) return;
    ++flushes;
    EXPECT_EQ(fixture.loaded_asid(1).generation, before) << "recorded before the flush";
  };
  flush(fixture);
  EXPECT_EQ(flushes, 1u);
  EXPECT_BEFORE(first("load mm.tlb_gen", 1), first("invlpg", 1));
  EXPECT_EQ(fixture.loaded_asid(1).generation, before + 1);
}

TEST(M9, ThePostIsFilledBehindTheLastAnswer) {
  Two fixture;
  fixture.run_mm_on({0, 1});
  const CallPost<Two::H>& post = fixture.system.calls.post_of(0);
  recorder.before = [&](const Entry& entry) {
    if (is(entry, "push cpu1.pending[0]")) EXPECT_NE(post.function, nullptr);
    // The answer is not there yet, or the initiator has not seen it.
    if (is(entry, "load cpu1.pending[0]")) EXPECT_NE(post.function, nullptr);
  };
  flush(fixture);
  recorder.before = nullptr;
  EXPECT_EQ(post.function, nullptr) << "free again";
  EXPECT_ORDER(last("load cpu1.pending[0]", 0), std::memory_order_acquire);
}

TEST(M10, LoadedMmIsEmptyThenCr3ChangesThenItNamesTheNewMm) {
  Two fixture;
  fixture.run_mm_on({0});
  fixture.switch_to(0, fixture.other);
  EXPECT_BEFORE("store cpu0.loaded_mm", "write CR3");
  EXPECT_BEFORE("write CR3", last("store cpu0.loaded_mm"));
  EXPECT_EQ(entry_at("store cpu0.loaded_mm").value, 0u);
  EXPECT_EQ(entry_at(last("store cpu0.loaded_mm")).value,
            reinterpret_cast<std::uintptr_t>(&fixture.other));
}

TEST(M16, AFullBarrierStandsBetweenTheCallersStoreAndUserModeWhereTheMmOrTheLazinessChanges) {
  Two fixture;
  fixture.run_mm_on({0});
  fixture.switch_to(0, fixture.other);
  EXPECT_ONCE("write CR3") << "the mm changes: the load serialises";
  fixture.idle(0);
  recorder.clear();
  fixture.switch_to(0, fixture.other);
  EXPECT_NEVER("write CR3");
  EXPECT_ONCE("fence") << "the laziness changes: R3's fence";
}

TEST(M18, TheRequestIsRewrittenOnlyAfterTheLastAnswer) {
  Two fixture;
  fixture.run_mm_on({0, 1});
  const FlushRequest<Two::H>& request = fixture.system.calls.post_of(0).request;
  VirtAddr asked = 0;
  unsigned looks = 0;
  recorder.before = [&](const Entry&) {
    fixture.system.calls.visit_shared([&](const char* name, auto& word) {
      if (std::strcmp(name, "call_pending") != 0 || word.peek() == 0) return;
      ++looks;
      EXPECT_EQ(request.start, asked) << "while a target has not answered";
    });
  };
  for (asked = 0x5000; asked < 0x8000; asked += 0x1000) {
    flush(fixture, {.start = asked, .end = asked + 0x1000});
  }
  recorder.before = nullptr;
  EXPECT_GE(looks, 9u);
}

TEST(M19, TheOldBitIsClearedAfterCr3HasLeft) {
  Two fixture;
  fixture.run_mm_on({0});
  fixture.switch_to(0, fixture.other);
  EXPECT_BEFORE("write CR3", "and mm.cpu_mask");
  EXPECT_ORDER("and mm.cpu_mask", std::memory_order_release);
}

}  // namespace
}  // namespace shootdown::test
