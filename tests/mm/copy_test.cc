// Moving, sharing, copying, page sizes, and mms that end.
#include <gtest/gtest.h>

#include "tests/mm/fake_memory.h"

namespace shootdown::test {
namespace {

using vm::kPteCow;
using vm::kPteDirty;
using vm::kPteWritable;

struct CopyTest : testing::Test {
  MemoryFixture b;
  VirtAddr large = MemoryFixture::kLargeBase;
  vm::Pte child_pte(unsigned number) { return b.entry(b.other, b.page(number)).peek(); }
  void map_large() {
    ASSERT_TRUE(vm::map_large(b.manager, b.mm, b.large(), MemoryFixture::kRights));
    recorder.clear();
  }
};

// ---- Move

TEST_F(CopyTest, AMoveFlushesTheOldAddressBeforeTheLocksGo) {
  b.run_on({1});
  const vm::Pte before = b.pte(1);
  EXPECT_TRUE(vm::move_page(b.manager, b.mm, b.page(1), b.page(600)));
  EXPECT_EQ(b.pte(1), 0u);
  EXPECT_EQ(b.pte(600), before);
  EXPECT_EQ(values("invlpg"), std::vector<std::uint64_t>{b.page(1)});
  EXPECT_LT(index_of(last("invlpg")), index_of(last("store lock1")) - 1) << "both are still held";
}

TEST_F(CopyTest, AMoveKeepsTheDirtyBitAndFlushesDirtyAndCleanPagesAlike) {
  b.run_on({1});
  b.set_dirty(1);
  EXPECT_TRUE(vm::move_page(b.manager, b.mm, b.page(1), b.page(9)));
  EXPECT_NE(b.pte(9) & kPteDirty, 0u);
  EXPECT_TRUE(vm::move_page(b.manager, b.mm, b.page(2), b.page(10)));
  EXPECT_COUNT(2, "invlpg");
}

TEST_F(CopyTest, NothingMovesFromNowhereToSomewhereTakenOrPastALargePage) {
  map_large();
  EXPECT_FALSE(vm::move_page(b.manager, b.mm, b.page(8), b.page(9)));
  EXPECT_FALSE(vm::move_page(b.manager, b.mm, b.page(1), b.page(2)));
  EXPECT_FALSE(vm::move_page(b.manager, b.mm, b.page(1), large));
  EXPECT_FALSE(vm::move_page(b.manager, b.mm, large, b.page(9)));
  EXPECT_NEVER("add tlb_gen");
  b.memory.allocations_left = 0;
  EXPECT_FALSE(vm::move_page(b.manager, b.mm, b.page(1), b.page(5000)));
}

// ---- Fork and copy on write

TEST_F(CopyTest, AForkSharesPagesAndTakesTheParentsRightToStore) {
  b.run_on({1});
  b.set_dirty(1);
  EXPECT_TRUE(vm::fork(b.manager, b.mm, b.other));
  EXPECT_EQ(vm::frame_of(child_pte(1)), vm::frame_of(b.pte(1)));
  EXPECT_EQ(b.pte(1) & (kPteWritable | kPteCow | kPteDirty), kPteCow | kPteDirty);
  EXPECT_EQ(child_pte(1) & (kPteWritable | kPteCow | kPteDirty), kPteCow);
  EXPECT_EQ(b.memory.references(vm::frame_of(b.pte(1))).peek(), 2u);
  EXPECT_COUNT(4, "invlpg");
  EXPECT_BEFORE(last("invlpg"), last("add pending"));
}

TEST_F(CopyTest, AForkSharesLargePages) {
  map_large();
  EXPECT_TRUE(vm::fork(b.manager, b.mm, b.other));
  EXPECT_TRUE(vm::is_large(b.entry(b.other, large, 2).peek()));
  EXPECT_TRUE(vm::copy_on_write(b.manager, b.other, large + 0x5000));
  EXPECT_NE(vm::frame_of(b.entry(b.other, large, 2).peek()),
            vm::frame_of(b.entry(b.mm, large, 2).peek()));
}

TEST_F(CopyTest, AForkWithoutMemorySaysSoAndFlushesWhatItTook) {
  b.run_on({1});
  b.memory.allocations_left = 2;
  EXPECT_FALSE(vm::fork(b.manager, b.mm, b.other));
  EXPECT_EQ(b.mm.pending.peek(), 0u);
}

TEST_F(CopyTest, ASharedPageIsCopiedAfterTheFlush) {
  ASSERT_TRUE(vm::fork(b.manager, b.mm, b.other));
  b.run_on({1});
  const PhysAddr shared = vm::frame_of(b.pte(1));
  b.memory.at(shared).content = 42;
  EXPECT_TRUE(vm::copy_on_write(b.manager, b.mm, b.page(1)));
  EXPECT_NE(vm::frame_of(b.pte(1)), shared);
  EXPECT_NE(b.pte(1) & kPteWritable, 0u);
  EXPECT_EQ(b.memory.at(vm::frame_of(b.pte(1))).content, 42u);
  EXPECT_BEFORE("exchange pte1", "invlpg");
  EXPECT_BEFORE("invlpg", "copy page");
  EXPECT_BEFORE("copy page", last("exchange pte1"));
  EXPECT_EQ(b.memory.references(shared).peek(), 1u);
}

TEST_F(CopyTest, TheLastOneDoesNotCopy) {
  ASSERT_TRUE(vm::fork(b.manager, b.mm, b.other));
  ASSERT_TRUE(vm::copy_on_write(b.manager, b.mm, b.page(1)));
  recorder.clear();
  EXPECT_TRUE(vm::copy_on_write(b.manager, b.other, b.page(1)));
  EXPECT_NONE_OF("copy page", "invlpg", "write CR3");
  EXPECT_NE(child_pte(1) & kPteWritable, 0u);
}

TEST_F(CopyTest, NoCopyWhereNoneIsAskedForOrWithoutMemory) {
  recorder.clear();
  EXPECT_TRUE(vm::copy_on_write(b.manager, b.mm, b.page(1))) << "writable";
  EXPECT_TRUE(vm::copy_on_write(b.manager, b.mm, b.page(9))) << "not mapped";
  EXPECT_TRUE(vm::copy_on_write(b.manager, b.mm, large)) << "no table";
  vm::protect(b.manager, b.mm, b.pages(2, 1));
  EXPECT_TRUE(vm::copy_on_write(b.manager, b.mm, b.page(2))) << "no CPU may store to it";
  EXPECT_NEVER("copy page");
  ASSERT_TRUE(vm::fork(b.manager, b.mm, b.other));
  b.memory.allocations_left = 0;
  EXPECT_FALSE(vm::copy_on_write(b.manager, b.mm, b.page(1)));
}

TEST_F(CopyTest, AMigratedPageKeepsItsRightsAndItsContent) {
  vm::protect(b.manager, b.mm, b.pages(1, 1));
  const PhysAddr before = vm::frame_of(b.pte(1));
  b.memory.at(before).content = 7;
  EXPECT_TRUE(vm::migrate(b.manager, b.mm, b.page(1)));
  EXPECT_NE(vm::frame_of(b.pte(1)), before);
  EXPECT_EQ(b.pte(1) & kPteWritable, 0u);
  EXPECT_EQ(b.memory.at(vm::frame_of(b.pte(1))).content, 7u);
  EXPECT_EQ(b.memory.at(before).use, FrameUse::free);
}

TEST_F(CopyTest, ASharedPageIsNotMigrated) {
  ASSERT_TRUE(vm::fork(b.manager, b.mm, b.other));
  const vm::Pte before = b.pte(1);
  EXPECT_TRUE(vm::migrate(b.manager, b.mm, b.page(1)));
  EXPECT_TRUE(vm::migrate(b.manager, b.mm, large)) << "nothing to do";
  EXPECT_EQ(b.pte(1), before);
  vm::unmap(b.manager, b.other, b.pages(0, 4));
  b.memory.allocations_left = 0;
  EXPECT_FALSE(vm::migrate(b.manager, b.mm, b.page(1)));
}

// ---- Page sizes

TEST_F(CopyTest, ASplitBreaksFlushesAndMakes) {
  map_large();
  b.run_on({1});
  auto& upper = b.entry(b.mm, large, 2);
  recorder.names[&upper] = "upper";
  const PhysAddr page = vm::frame_of(upper.peek());
  EXPECT_TRUE(vm::split(b.manager, b.mm, large + 0x3000));
  EXPECT_EQ(b.entry(b.mm, large + 0x3000).peek(), (page + 0x3000) | MemoryFixture::kRights | 1);
  EXPECT_EQ(b.memory.references(page).peek(), FakeMemory::kParts);
  EXPECT_BEFORE("exchange upper", "write CR3");
  EXPECT_BEFORE("write CR3", last("exchange upper"));
  EXPECT_FALSE(vm::split(b.manager, b.mm, large)) << "it is done";
  EXPECT_FALSE(vm::split(b.manager, b.mm, VirtAddr{1} << 40));
}

TEST_F(CopyTest, ASplitReachesLazyCpus) {
  map_large();
  b.run_on({1});
  b.fixture.idle(1);
  EXPECT_TRUE(vm::split(b.manager, b.mm, large));
  EXPECT_EQ(b.fixture.loaded(1), &b.fixture.system.kernel_mm) << "it may fill the other size";
}

TEST_F(CopyTest, TheLastPartReleasesTheLargePage) {
  map_large();
  const unsigned used = b.memory.in_use();
  ASSERT_TRUE(vm::split(b.manager, b.mm, large));
  vm::unmap(b.manager, b.mm, b.large(), vm::EmptyTables::release);
  EXPECT_ONCE("release page");
  EXPECT_EQ(b.memory.in_use(), used - FakeMemory::kParts);
}

TEST_F(CopyTest, ACollapseCopiesTheSmallPagesAndRetiresTheirTable) {
  b.run_on({1});
  b.memory.at(vm::frame_of(b.pte(2))).content = 5;
  b.set_dirty(2);
  EXPECT_TRUE(vm::collapse(b.manager, b.mm, b.page(1)));
  const vm::Pte upper = b.entry(b.mm, b.page(0), 2).peek();
  ASSERT_TRUE(vm::is_large(upper));
  EXPECT_EQ(b.memory.at(vm::frame_of(upper) + 0x2000).content, 5u);
  EXPECT_BEFORE("write CR3", "copy page");
  EXPECT_COUNT(4, "release page");
  EXPECT_ONCE("release table");
  EXPECT_ONCE("note dirty");
}

TEST_F(CopyTest, NothingCollapsesThatCannot) {
  vm::protect(b.manager, b.mm, b.pages(1, 1));
  EXPECT_FALSE(vm::collapse(b.manager, b.mm, b.page(0))) << "one is read-only";
  vm::unmap(b.manager, b.mm, b.pages(0, 4));
  EXPECT_FALSE(vm::collapse(b.manager, b.mm, b.page(0))) << "nothing is mapped";
  EXPECT_FALSE(vm::collapse(b.manager, b.mm, large)) << "no table";
  EXPECT_FALSE(vm::collapse(b.manager, b.mm, VirtAddr{1} << 40));
  ASSERT_TRUE(vm::map(b.manager, b.mm, b.pages(9, 1), MemoryFixture::kRights));
  EXPECT_FALSE(vm::collapse(b.manager, b.mm, b.page(0))) << "there is no part for it";
  b.memory.allocations_left = 0;
  EXPECT_FALSE(vm::collapse(b.manager, b.mm, b.page(0)));
  EXPECT_FALSE(vm::split(b.manager, b.mm, b.page(0)));
}

// ---- The end

TEST_F(CopyTest, ADestroyedMmGivesEverythingBackAndIsLoadedNowhere) {
  map_large();
  ASSERT_TRUE(vm::fork(b.manager, b.mm, b.other));
  b.run_on({1});
  b.fixture.idle(1);
  vm::destroy(b.manager, b.mm);
  EXPECT_EQ(b.fixture.loaded(1), &b.fixture.system.kernel_mm);
  EXPECT_BEFORE("write CR3", "release table");
  EXPECT_NEVER("release page") << "the child has them all";
  vm::destroy(b.manager, b.other);
  EXPECT_EQ(b.memory.in_use(), 0u);
}

TEST(Isolation, BothRootsShareTheUserHalf) {
  MemoryFixture b({}, {.isolation = {.enabled = true}});
  const auto top = [&](PhysAddr root) {
    return b.memory.at(root).words[vm::entry_index(MemoryFixture::kBase, 4)].peek();
  };
  EXPECT_EQ(top(b.mm.core.root), top(b.mm.core.user_root));
  EXPECT_TRUE(vm::is_table(top(b.mm.core.root)));
  vm::destroy(b.manager, b.mm);
  vm::destroy(b.manager, b.other);
  EXPECT_EQ(b.memory.in_use(), 0u);
}

TEST(Isolation, AnMmWithoutMemoryForBothRootsIsNotMade) {
  MemoryFixture b({}, {.isolation = {.enabled = true}});
  vm::destroy(b.manager, b.other);
  const unsigned used = b.memory.in_use();
  for (const unsigned left : {0U, 1U}) {
    b.memory.allocations_left = left;
    EXPECT_FALSE(vm::create(b.manager, b.other));
    EXPECT_EQ(b.memory.in_use(), used);
  }
}

}  // namespace
}  // namespace shootdown::test
