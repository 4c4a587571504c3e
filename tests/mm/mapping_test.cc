// Mapping, unmapping, rights, and what is flushed and released when.
#include <gtest/gtest.h>

#include "tests/mm/fake_memory.h"

namespace shootdown::test {
namespace {

using vm::EmptyTables;
using Reasons = std::vector<std::uint64_t>;

struct MappingTest : testing::Test {
  MemoryFixture b;
};

TEST_F(MappingTest, MapsOnlyWhatIsNotMapped) {
  const vm::Pte before = b.pte(2);
  EXPECT_TRUE(vm::map(b.manager, b.mm, b.pages(2, 4), 0));
  EXPECT_EQ(b.pte(2), before);
  EXPECT_EQ(b.pte(4) & ~vm::kPteFrame, vm::kPtePresent);
  EXPECT_NEVER("add tlb_gen") << "what was not present needs no flush";
}

TEST_F(MappingTest, MapsAcrossTables) {
  EXPECT_TRUE(vm::map(b.manager, b.mm, b.pages(510, 4), MemoryFixture::kRights));
  EXPECT_TRUE(vm::is_present(b.entry(b.mm, b.page(511)).peek()));
  EXPECT_TRUE(vm::is_present(b.entry(b.mm, b.page(513)).peek()));
}

TEST_F(MappingTest, SaysWhenMemoryRunsOutAndKeepsWhatItHas) {
  b.memory.allocations_left = 1;
  EXPECT_FALSE(vm::map(b.manager, b.mm, b.pages(4, 3), 0));
  EXPECT_TRUE(vm::is_present(b.pte(4)));
  EXPECT_FALSE(vm::is_present(b.pte(5)));
  b.memory.allocations_left = 0;
  EXPECT_FALSE(vm::map(b.manager, b.mm, b.pages(1024, 1), 0)) << "no memory for a table";
  EXPECT_FALSE(vm::map_large(b.manager, b.mm, b.large(), 0));
}

TEST_F(MappingTest, MapsAlthoughTheEmptyTableIsReleasedMeanwhile) {
  vm::unmap(b.manager, b.mm, b.pages(0, 4));
  bool released = false;
  recorder.before = [&](const Entry& entry) {
    if (released || !is(entry, "exchange lock1")) return;
    released = true;
    vm::reclaim_tables(b.manager, b.mm, b.pages(0, 1));
    EXPECT_FALSE(vm::is_present(b.entry(b.mm, b.page(0), 2).peek()));
  };
  EXPECT_TRUE(vm::map(b.manager, b.mm, b.pages(1, 1), MemoryFixture::kRights));
  recorder.before = nullptr;
  EXPECT_TRUE(released);
  EXPECT_TRUE(vm::is_present(b.pte(1)));
}

TEST_F(MappingTest, ALargePageIsInTheWayOfSmallOnesAndTheOtherWayRound) {
  ASSERT_TRUE(vm::map_large(b.manager, b.mm, b.large(), MemoryFixture::kRights));
  EXPECT_FALSE(vm::map(
      b.manager, b.mm,
      {.start = MemoryFixture::kLargeBase, .end = MemoryFixture::kLargeBase + vm::kSmallPage}, 0));
  EXPECT_FALSE(vm::map_large(b.manager, b.mm,
                             {.start = MemoryFixture::kBase, .end = MemoryFixture::kLargeBase}, 0));
}

TEST_F(MappingTest, UnmapFlushesBeforeItReleases) {
  b.run_on({1});
  vm::unmap(b.manager, b.mm, b.pages(1, 2));
  EXPECT_BEFORE("add pending", "exchange pte1") << "M13: before the first change";
  EXPECT_BEFORE("exchange pte2", "add tlb_gen");
  EXPECT_EQ(values("invlpg"), (Reasons{b.page(1), b.page(2)}));
  EXPECT_BEFORE("invlpg", "release page");
  EXPECT_COUNT(2, "release page");
  EXPECT_EQ(b.mm.pending.peek(), 0u);
}

TEST_F(MappingTest, UnmapOfNothingFlushesNothing) {
  vm::unmap(b.manager, b.mm, b.pages(8, 4));
  vm::unmap(b.manager, b.mm, b.large());
  EXPECT_NEVER("add tlb_gen");
  EXPECT_COUNT(2, "looked") << "but it says what it saw";
}

TEST_F(MappingTest, UnmapKeepsAPageThatSomebodyElseMaps) {
  const PhysAddr page = vm::frame_of(b.pte(1));
  b.memory.references(page).poke(2);
  vm::unmap(b.manager, b.mm, b.pages(1, 1));
  EXPECT_NEVER("release page");
  EXPECT_EQ(b.memory.references(page).peek(), 1u);
}

TEST_F(MappingTest, ADirtyPageIsFlushedUnderTheLock) {
  b.run_on({1});
  b.set_dirty(1);
  const PhysAddr page = vm::frame_of(b.pte(1));
  vm::unmap(b.manager, b.mm, b.pages(1, 1));
  EXPECT_BEFORE("invlpg", "store lock1") << "an operation that cleans the page must not miss it";
  EXPECT_TRUE(b.memory.dirty.contains(page));
  EXPECT_ONCE("add tlb_gen") << "and once";
}

TEST_F(MappingTest, ACleanPageIsFlushedAfterTheLock) {
  b.run_on({1});
  vm::unmap(b.manager, b.mm, b.pages(1, 1));
  EXPECT_BEFORE("store lock1", "invlpg");
}

TEST_F(MappingTest, LargePagesAreFlushedWithEverything) {
  ASSERT_TRUE(vm::map_large(b.manager, b.mm, b.large(0, 2), MemoryFixture::kRights));
  b.run_on({1});
  vm::unmap(b.manager, b.mm, b.large(0, 2));
  EXPECT_NEVER("invlpg") << "small entries may be left below them";
  EXPECT_ONCE("write CR3");
}

TEST_F(MappingTest, ARangeOfMixedSizesIsFlushedByTheSmallest) {
  ASSERT_TRUE(vm::map_large(b.manager, b.mm, b.large(), MemoryFixture::kRights));
  ASSERT_TRUE(vm::map(b.manager, b.mm, b.pages(511, 1), MemoryFixture::kRights));
  b.run_on({1});
  vm::unmap(b.manager, b.mm, {.start = b.page(511), .end = b.large().end});
  EXPECT_NEVER("invlpg") << "513 small strides are more than the ceiling";
  EXPECT_ONCE("write CR3");
}

using R13_Mapping = MappingTest;

TEST_F(R13_Mapping, PartOfALargePageIsRefused) {
  ASSERT_TRUE(vm::map_large(b.manager, b.mm, b.large(), MemoryFixture::kRights));
  const vm::Range part{.start = MemoryFixture::kLargeBase,
                       .end = MemoryFixture::kLargeBase + vm::kSmallPage};
  EXPECT_THROW(vm::LockedRegion<FakeMemory>(b.manager, b.mm, part.start)
                   .for_each_present(part, [](auto&, VirtAddr) {}),
               CheckFailed);
}

// ---- Tables

TEST_F(MappingTest, UnmapReleasesEmptyTablesAndReachesLazyCpus) {
  b.run_on({1});
  b.fixture.idle(1);
  const unsigned used = b.memory.in_use();
  recorder.clear();
  vm::unmap(b.manager, b.mm, b.pages(0, 4), EmptyTables::release);
  EXPECT_EQ(b.fixture.loaded(1), &b.fixture.system.kernel_mm) << "R6";
  EXPECT_BEFORE("write CR3", "release table");
  EXPECT_EQ(b.memory.in_use(), used - 5) << "four pages and their table";
}

TEST_F(MappingTest, ATableThatMapsSomethingStays) {
  vm::unmap(b.manager, b.mm, b.pages(0, 3), EmptyTables::release);
  vm::reclaim_tables(b.manager, b.mm, b.pages(0, 512));
  EXPECT_NEVER("release table");
  EXPECT_TRUE(vm::is_present(b.pte(3)));
}

TEST_F(MappingTest, EmptyTablesCanBeReclaimedLater) {
  vm::unmap(b.manager, b.mm, b.pages(0, 4));
  EXPECT_NEVER("release table");
  vm::reclaim_tables(b.manager, b.mm, b.pages(0, 4));
  EXPECT_ONCE("release table");
  EXPECT_TRUE(vm::map(b.manager, b.mm, b.pages(0, 1), 0)) << "a new one is made";
}

// ---- Rights

TEST_F(MappingTest, ProtectFlushesWhatCouldBeStoredTo) {
  b.run_on({1});
  vm::protect(b.manager, b.mm, b.pages(1, 1));
  EXPECT_EQ(b.pte(1) & vm::kPteWritable, 0u);
  EXPECT_ONCE("invlpg");
  recorder.clear();
  vm::protect(b.manager, b.mm, b.pages(1, 1));
  EXPECT_NEVER("add tlb_gen") << "the second time nothing changes";
}

TEST_F(MappingTest, ProtectEarlyAsksForEarlyAnswers) {
  MemoryFixture early({}, {.targets = {.early_acknowledgement = true}});
  early.run_on({1});
  vm::protect_early(early.manager, early.mm, early.pages(1, 1));
  EXPECT_ONCE("invlpg");
  EXPECT_BEFORE("trace call_run", "invlpg");
}

TEST_F(MappingTest, EachRightIsTakenWithAFlushAndGivenWithoutOne) {
  b.run_on({1});
  const vm::Pte before = b.pte(1);
  for (const vm::Right right : {vm::Right::store, vm::Right::fetch, vm::Right::access}) {
    recorder.clear();
    vm::protect(b.manager, b.mm, b.pages(1, 1), right);
    EXPECT_EQ(b.pte(1), vm::without(before, right));
    EXPECT_NE(b.pte(1), before);
    EXPECT_ONCE("invlpg");
    recorder.clear();
    vm::protect_early(b.manager, b.mm, b.pages(1, 1), right);
    EXPECT_NEVER("add tlb_gen") << "the second time nothing changes";
    vm::unprotect(b.manager, b.mm, b.pages(1, 1), right);
    EXPECT_EQ(b.pte(1), before);
    EXPECT_NEVER("add tlb_gen");
  }
}

TEST_F(MappingTest, UnprotectNeedsNoFlush) {
  vm::protect(b.manager, b.mm, b.pages(0, 4));
  b.run_on({1});
  vm::unprotect(b.manager, b.mm, b.pages(0, 4));
  EXPECT_NEVER("add tlb_gen");
  EXPECT_NE(b.pte(1) & vm::kPteWritable, 0u);
}

TEST_F(MappingTest, UnprotectOfASharedPageAsksForACopy) {
  vm::protect(b.manager, b.mm, b.pages(1, 1));
  b.memory.references(vm::frame_of(b.pte(1))).poke(2);
  vm::unprotect(b.manager, b.mm, b.pages(1, 1));
  EXPECT_EQ(b.pte(1) & vm::kPteWritable, 0u);
  EXPECT_NE(b.pte(1) & vm::kPteCow, 0u);
}

TEST_F(MappingTest, CleanFlushesUnderTheLock) {
  b.run_on({1});
  b.set_dirty(1);
  vm::clean(b.manager, b.mm, b.pages(0, 4));
  EXPECT_EQ(b.pte(1) & vm::kPteDirty, 0u);
  EXPECT_NE(b.pte(1) & vm::kPteWritable, 0u);
  EXPECT_BEFORE("invlpg", "store lock1");
  EXPECT_BEFORE("invlpg", "cleaned");
  recorder.clear();
  vm::clean(b.manager, b.mm, b.pages(0, 4));
  EXPECT_NEVER("add tlb_gen");
}

struct PlainStoresTest : testing::Test {
  MemoryFixture b{{.plain_stores = true}};
};

TEST_F(PlainStoresTest, AnEmptyEntryIsStoredToBeforeItsLockGoes) {
  recorder.names[&b.entry(b.mm, b.page(4))] = "empty";
  EXPECT_TRUE(vm::map(b.manager, b.mm, b.pages(4, 1), MemoryFixture::kRights));
  EXPECT_TRUE(vm::is_present(b.pte(4)));
  EXPECT_ORDER("store empty", std::memory_order_release);
  EXPECT_NEVER("exchange empty");
  EXPECT_BEFORE("store empty", "store lock1");
}

}  // namespace
}  // namespace shootdown::test
