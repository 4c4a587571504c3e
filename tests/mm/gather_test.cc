// What an operation does with an entry that another has changed and not flushed: the pending count
// and the batch.
#include <gtest/gtest.h>

#include <utility>

#include "tests/mm/fake_memory.h"

namespace shootdown::test {
namespace {

struct GatherTest : testing::Test {
  MemoryFixture b;
  /// Runs `work` as CPU 2 the first time that `what` happens.
  void at_first(const std::string& what, const std::function<void()>& work) {
    recorder.before = [this, what, work, done = false](const Entry& entry) mutable {
      if (is(entry, what) && !std::exchange(done, true)) b.fixture.as(2, work);
    };
  }
};

using M13_Gather = GatherTest;

TEST_F(M13_Gather, ThePendingCountIsUpFromTheFirstChangeUntilAfterTheFlush) {
  b.run_on({1});
  std::vector<std::uint32_t> seen;
  recorder.before = [&](const Entry& entry) {
    const bool matters = is(entry, "exchange pte1") || is(entry, "invlpg");
    if (matters) seen.push_back(b.mm.pending.peek());
  };
  vm::unmap(b.manager, b.mm, b.pages(1, 1));
  EXPECT_EQ(seen, (std::vector<std::uint32_t>{1, 1}));
  EXPECT_EQ(b.mm.pending.peek(), 0u);
  EXPECT_BEFORE(last("invlpg"), last("add pending"));
}

using O21_Gather = GatherTest;

TEST_F(O21_Gather, WhoFindsAnEntryGoneFlushesForWhoTookIt) {
  b.run_on({1});
  // CPU 0 has let go of the lock and not flushed; CPU 2 unmaps the same page.
  std::size_t flushed = 0;
  at_first("load pending", [&] {
    vm::unmap(b.manager, b.mm, b.pages(1, 1));
    flushed = count("write CR3", 1);
  });
  vm::unmap(b.manager, b.mm, b.pages(1, 1));
  EXPECT_EQ(flushed, 1u) << "everything, because it cannot know what the other one took";
}

TEST_F(O21_Gather, WhoFindsARightGoneFlushesForWhoTookIt) {
  b.run_on({1});
  std::size_t flushed = 0;
  at_first("load pending", [&] {
    vm::protect_early(b.manager, b.mm, b.pages(1, 1));
    flushed = count("write CR3", 1);
  });
  vm::protect(b.manager, b.mm, b.pages(1, 1));
  EXPECT_EQ(flushed, 1u);
}

TEST_F(GatherTest, AForcedFlushReachesLazyCpus) {
  b.run_on({1});
  b.fixture.idle(1);
  at_first("load pending", [&] { vm::unmap(b.manager, b.mm, b.pages(1, 1)); });
  vm::unmap(b.manager, b.mm, b.pages(1, 1));
  EXPECT_EQ(b.fixture.loaded(1), &b.fixture.system.kernel_mm)
      << "it is not known whether the other one frees tables";
}

using M12_Gather = GatherTest;

TEST_F(M12_Gather, WhoFindsAPageInABatchFlushes) {
  b.run_on({1});
  vm::Reclaimer<FakeMemory> reclaimer;
  EXPECT_TRUE(reclaimer.reclaim(b.manager, b.mm, b.page(1)));
  EXPECT_NONE_OF("write CR3", "invlpg");
  for (const auto& operation : std::vector<std::function<void()>>{
           [&] { vm::unmap(b.manager, b.mm, b.pages(1, 1)); },
           [&] { vm::protect(b.manager, b.mm, b.pages(1, 1)); },
           [&] { vm::protect_early(b.manager, b.mm, b.pages(1, 1)); },
           [&] { vm::move_page(b.manager, b.mm, b.page(1), b.page(8)); },
           [&] { vm::fork(b.manager, b.mm, b.other); },
       }) {
    recorder.clear();
    b.mm.core.batch_marks.fetch_add(ReclaimBatch<FakeMemory::Hal>::kOneAddition,
                                    std::memory_order_seq_cst);
    operation();
    EXPECT_GE(count("add tlb_gen"), 1u);
    EXPECT_EQ(b.mm.core.batch_marks.peek() >> 32, b.mm.core.batch_marks.peek() & 0xffff'ffff);
  }
  reclaimer.flush(b.manager);
}

using R1_Gather = GatherTest;

TEST_F(R1_Gather, PagesAreNotReleasedByAnEarlyFlush) {
  vm::Gather<FakeMemory> gather(b.manager, b.mm);
  gather.removed(b.page(1), 1, b.entry(b.mm, b.page(1)).exchange(0, {}));
  EXPECT_EQ(refused_by([&] { gather.finish_early(); }), Rule::r1) << "pages wait for all CPUs";
  gather.finish();
}

TEST_F(GatherTest, AFullGatherFlushesAndGoesOn) {
  ASSERT_TRUE(vm::map(b.manager, b.mm, b.pages(4, 40), MemoryFixture::kRights));
  b.run_on({1});
  vm::unmap(b.manager, b.mm, b.pages(0, 44));
  EXPECT_COUNT(44, "release page");
  EXPECT_COUNT(2, "add tlb_gen");
  EXPECT_BEFORE("invlpg", "release page") << "32 pages";
}

// ---- Reclaim

TEST_F(GatherTest, AReclaimedPageIsReleasedAfterTheBatchFlush) {
  b.run_on({1});
  vm::Reclaimer<FakeMemory> reclaimer;
  EXPECT_TRUE(reclaimer.reclaim(b.manager, b.mm, b.page(1)));
  EXPECT_FALSE(reclaimer.reclaim(b.manager, b.mm, b.page(1)));
  EXPECT_FALSE(reclaimer.reclaim(b.manager, b.mm, MemoryFixture::kLargeBase));
  EXPECT_NEVER("release page");
  reclaimer.flush(b.manager);
  EXPECT_BEFORE("write CR3", "release page");
}

TEST_F(M12_Gather, TheMarkIsSetBeforeTheLockGoes) {
  recorder.names[&b.mm.core.batch_marks] = "marks";
  vm::Reclaimer<FakeMemory> reclaimer;
  EXPECT_TRUE(reclaimer.reclaim(b.manager, b.mm, b.page(1)));
  EXPECT_BEFORE("exchange pte1", "add marks");
  EXPECT_BEFORE("add marks", "store lock1");
  reclaimer.flush(b.manager);
}

TEST_F(GatherTest, ADirtyPageDoesNotWaitForTheBatch) {
  b.run_on({1});
  b.set_dirty(1);
  vm::Reclaimer<FakeMemory> reclaimer;
  EXPECT_TRUE(reclaimer.reclaim(b.manager, b.mm, b.page(1)));
  EXPECT_BEFORE("invlpg", "store lock1");
  EXPECT_ONCE("release page");
}

TEST_F(GatherTest, AFullBatchFlushesItself) {
  ASSERT_TRUE(vm::map(b.manager, b.mm, b.pages(4, 40), MemoryFixture::kRights));
  vm::Reclaimer<FakeMemory> reclaimer;
  for (unsigned page = 0; page < 33; ++page) {
    EXPECT_TRUE(reclaimer.reclaim(b.manager, b.mm, b.page(page)));
  }
  EXPECT_COUNT(32, "release page");
  reclaimer.flush(b.manager);
  EXPECT_COUNT(33, "release page");
}

}  // namespace
}  // namespace shootdown::test
