// An entry that becomes present over a removal that is not flushed: two frames or two page sizes
// would live under one address.
#include <gtest/gtest.h>

#include <functional>
#include <utility>

#include "tests/mm/fake_memory.h"

namespace shootdown::test {
namespace {

struct FlushPendingTest : testing::Test {
  MemoryFixture b;
  vm::Reclaimer<FakeMemory> reclaimer;
  VirtAddr large = MemoryFixture::kLargeBase;

  ~FlushPendingTest() override { reclaimer.flush(b.manager); }
  /// Runs `work` as CPU 2 when CPU 0 is about to flush its gather, the locks being free.
  void while_unflushed(const std::function<void()>& work) {
    recorder.before = [this, work, done = false](const Entry& entry) mutable {
      if (is(entry, "load pending") && !std::exchange(done, true)) b.fixture.as(2, work);
    };
  }
  void name_upper(VirtAddr address) { recorder.names[&b.entry(b.mm, address, 2)] = "upper"; }
  [[nodiscard]] bool is_settled() const {
    const std::uint64_t marks = b.mm.core.batch_marks.peek();
    return marks >> 32 == (marks & 0xffff'ffff);
  }
};

TEST_F(FlushPendingTest, NothingIsFlushedWhereNothingIsUnflushed) {
  b.run_on({1});
  EXPECT_TRUE(vm::map(b.manager, b.mm, b.pages(4, 8), MemoryFixture::kRights));
  EXPECT_TRUE(vm::map(b.manager, b.mm, b.pages(1030, 1), MemoryFixture::kRights));
  EXPECT_TRUE(vm::map_large(b.manager, b.mm, b.large(), MemoryFixture::kRights));
  EXPECT_TRUE(vm::move_page(b.manager, b.mm, b.page(1), b.page(20)));
  EXPECT_ONCE("add tlb_gen") << "the move's own";
}

using M12_Settle = FlushPendingTest;

TEST_F(M12_Settle, APageIsMappedOverAReclaimedOneAfterAFlushUnderTheLock) {
  b.run_on({1});
  ASSERT_TRUE(reclaimer.reclaim(b.manager, b.mm, b.page(1)));
  recorder.clear();
  EXPECT_TRUE(vm::map(b.manager, b.mm, b.pages(0, 4), MemoryFixture::kRights));
  EXPECT_BEFORE("exchange lock1", "write CR3");
  EXPECT_BEFORE("write CR3", "exchange pte1");
  EXPECT_BEFORE("exchange pte1", "store lock1");
  EXPECT_TRUE(is_settled());
}

TEST_F(FlushPendingTest, APageThatIsThereAlreadyNeedsNothing) {
  b.run_on({1});
  ASSERT_TRUE(reclaimer.reclaim(b.manager, b.mm, b.page(1)));
  recorder.clear();
  EXPECT_TRUE(vm::map(b.manager, b.mm, b.pages(2, 2), MemoryFixture::kRights));
  EXPECT_NEVER("add tlb_gen");
}

using M13_Settle = FlushPendingTest;

TEST_F(M13_Settle, APageIsMappedOverAnotherGathersAfterAFlushOfThatPage) {
  b.run_on({1});
  std::vector<std::uint64_t> flushed;
  std::size_t before = 0;
  while_unflushed([&] {
    recorder.clear();
    EXPECT_TRUE(vm::map(b.manager, b.mm, b.pages(1, 1), MemoryFixture::kRights));
    flushed = values("invlpg");
    before = count("invlpg");
    EXPECT_BEFORE("invlpg", "exchange pte1");
  });
  vm::unmap(b.manager, b.mm, b.pages(1, 2));
  EXPECT_EQ(flushed, std::vector<std::uint64_t>{b.page(1)}) << "the other one is not made";
  EXPECT_EQ(before, 1u);
}

TEST_F(M12_Settle, APageMovesOverAReclaimedOneAfterAFlush) {
  b.run_on({1});
  ASSERT_TRUE(reclaimer.reclaim(b.manager, b.mm, b.page(1)));
  recorder.clear();
  EXPECT_TRUE(vm::move_page(b.manager, b.mm, b.page(2), b.page(1)));
  EXPECT_BEFORE("write CR3", "exchange pte1");
}

TEST_F(M12_Settle, ALargePageTakesTheSmallOnesPlaceAfterAFlushThatReachesLazyCpus) {
  for (unsigned page = 0; page < 4; ++page) {
    ASSERT_TRUE(reclaimer.reclaim(b.manager, b.mm, b.page(page)));
  }
  vm::reclaim_tables(b.manager, b.mm, b.pages(0, 512));
  b.run_on({1});
  b.fixture.idle(1);
  name_upper(b.page(0));
  recorder.clear();
  EXPECT_TRUE(vm::map_large(b.manager, b.mm, b.pages(0, 512), MemoryFixture::kRights));
  EXPECT_BEFORE("exchange lock2", "write CR3");
  EXPECT_BEFORE("write CR3", "exchange upper");
  EXPECT_EQ(b.fixture.loaded(1), &b.fixture.system.kernel_mm) << "it walks speculatively";
  EXPECT_ONCE("add tlb_gen") << "once is enough";
  EXPECT_TRUE(is_settled());
}

// A large page waits for no batch, which spares lazy CPUs: the next page there may be a small one.
TEST_F(M12_Settle, ALargePageIsReclaimedWithAFlushThatReachesLazyCpus) {
  ASSERT_TRUE(vm::map_large(b.manager, b.mm, b.large(), MemoryFixture::kRights));
  b.run_on({1});
  b.fixture.idle(1);
  name_upper(large);
  recorder.clear();
  ASSERT_TRUE(reclaimer.reclaim(b.manager, b.mm, large));
  EXPECT_BEFORE("exchange lock2", "write CR3");
  EXPECT_BEFORE("write CR3", "store lock2");
  EXPECT_EQ(b.fixture.loaded(1), &b.fixture.system.kernel_mm);
  EXPECT_TRUE(is_settled());
}

TEST_F(M13_Settle, ALargePageIsUnmappedWithAFlushThatReachesLazyCpus) {
  for (const bool is_large : {true, false}) {
    const vm::Range range = is_large ? b.large() : b.pages(0, 1);
    if (is_large) ASSERT_TRUE(vm::map_large(b.manager, b.mm, range, MemoryFixture::kRights));
    b.run_on({1});
    b.fixture.idle(1);
    vm::unmap(b.manager, b.mm, range);
    EXPECT_EQ(b.fixture.loaded(1) == &b.fixture.system.kernel_mm, is_large);
  }
}

TEST_F(M13_Settle, ALargePageTakesThePlaceOfAnotherGathersTable) {
  b.run_on({1});
  name_upper(b.page(0));
  while_unflushed([&] {
    vm::reclaim_tables(b.manager, b.mm, b.pages(0, 512));
    recorder.clear();
    b.mm.pending.fetch_add(1, std::memory_order_seq_cst);
    EXPECT_TRUE(vm::map_large(b.manager, b.mm, b.pages(0, 512), MemoryFixture::kRights));
    b.mm.pending.fetch_add(~0U, std::memory_order_seq_cst);
    EXPECT_BEFORE("write CR3", "exchange upper");
  });
  vm::unmap(b.manager, b.mm, b.pages(0, 4));
}

// What is added to a batch while others are flushed is not flushed with them.
TEST_F(M12_Settle, OnlyWhatWasMarkedBeforeTheFlushCountsAsFlushed) {
  ASSERT_TRUE(reclaimer.reclaim(b.manager, b.mm, b.page(1)));
  b.run_on({1});
  bool added = false;
  recorder.before = [&](const Entry& entry) {
    if (!is(entry, "write CR3") || std::exchange(added, true)) return;
    b.mm.core.batch_marks.fetch_add(ReclaimBatch<FakeMemory::Hal>::kOneAddition,
                                    std::memory_order_seq_cst);
  };
  EXPECT_TRUE(vm::map_large(b.manager, b.mm, b.large(), MemoryFixture::kRights));
  recorder.before = nullptr;
  EXPECT_TRUE(added);
  EXPECT_FALSE(is_settled());
  flush_batched(b.manager, b.mm);
}

// ---- Fork

TEST_F(FlushPendingTest, AForkJudgesADirectorysEntriesUnderItsLock) {
  ASSERT_TRUE(vm::map_large(b.manager, b.mm, b.large(), MemoryFixture::kRights));
  name_upper(large);
  recorder.clear();
  EXPECT_TRUE(vm::fork(b.manager, b.mm, b.other));
  EXPECT_BEFORE("exchange lock2", "load upper")
      << "without it the entry is 0 for a moment while the page is split, migrated or made";
  EXPECT_TRUE(vm::is_large(b.entry(b.other, large, 2).peek()));
}

}  // namespace
}  // namespace shootdown::test
