// Lockless walkers: what they see, and when tables and pages that they may hold are released.
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <utility>

#include "tests/mm/fake_memory.h"

namespace shootdown::test {
namespace {

using vm::EmptyTables;

struct WalkersTest : testing::Test {
  MemoryFixture b{{.flush_interrupts_targets = false}};
  void free_table() { vm::unmap(b.manager, b.mm, b.pages(0, 4), EmptyTables::release); }
};

TEST_F(WalkersTest, AReferenceKeepsThePage) {
  const PhysAddr page = vm::get_page(b.manager, b.mm, b.page(1) + 0x123);
  EXPECT_EQ(page, vm::frame_of(b.pte(1)));
  vm::unmap(b.manager, b.mm, b.pages(1, 1));
  EXPECT_NEVER("release page");
  vm::put(b.manager, page);
  EXPECT_ONCE("release page");
}

TEST_F(WalkersTest, WalksWithInterruptsOffAndAnnouncesItself) {
  recorder.names[&b.manager.walkers[0].sequence] = "walks";
  recorder.clear();
  const PhysAddr page = vm::get_page(b.manager, b.mm, b.page(1));
  EXPECT_BEFORE("interrupts off", "store walks");
  EXPECT_BEFORE("store walks", "fence");
  EXPECT_BEFORE("fence", "load pte1");
  EXPECT_ORDER("load pte1", std::memory_order_acquire);
  EXPECT_BEFORE("walker done", last("store walks"));
  EXPECT_BEFORE(last("store walks"), "interrupts on");
  EXPECT_EQ(b.manager.walkers[0].sequence.peek() % 2, 0u);
  vm::put(b.manager, page);
}

TEST_F(WalkersTest, FindsNothingWhereNothingIsMapped) {
  EXPECT_EQ(vm::get_page(b.manager, b.mm, b.page(9)), vm::kNoFrame);
  EXPECT_EQ(vm::get_page(b.manager, b.mm, VirtAddr{1} << 40), vm::kNoFrame);
}

TEST_F(WalkersTest, FindsLargePages) {
  ASSERT_TRUE(vm::map_large(b.manager, b.mm, b.large(), MemoryFixture::kRights));
  const PhysAddr page = vm::get_page(b.manager, b.mm, MemoryFixture::kLargeBase);
  EXPECT_EQ(page, vm::frame_of(b.entry(b.mm, MemoryFixture::kLargeBase, 2).peek()));
  EXPECT_EQ(b.memory.references(page).peek(), 2u);
  vm::put(b.manager, page);
}

TEST_F(WalkersTest, GivesThePageBackIfItWasUnmappedMeanwhile) {
  const PhysAddr page = vm::frame_of(b.pte(1));
  recorder.names[&b.memory.references(page)] = "references";
  recorder.before = [&](const Entry& entry) {
    if (is(entry, "push references")) b.entry(b.mm, b.page(1)).poke(0);
  };
  EXPECT_EQ(vm::get_page(b.manager, b.mm, b.page(1)), vm::kNoFrame);
  EXPECT_EQ(b.memory.references(page).peek(), 1u);
}

TEST_F(WalkersTest, TakesNoReferenceToAPageThatIsBeingReleased) {
  b.memory.references(vm::frame_of(b.pte(1))).poke(0);
  EXPECT_EQ(vm::get_page(b.manager, b.mm, b.page(1)), vm::kNoFrame);
}

// ---- Tables

TEST_F(WalkersTest, ATableWaitsForTheWalkerThatIsInside) {
  std::optional<vm::LocklessWalk<FakeMemory>> walk;
  b.fixture.as(2, [&] { walk.emplace(b.manager); });
  free_table();
  EXPECT_NEVER("release table");
  vm::collect_tables(b.manager);
  EXPECT_NEVER("release table") << "the walker is still inside";
  b.fixture.as(2, [&] { walk.reset(); });
  vm::collect_tables(b.manager);
  EXPECT_ONCE("release table");
  EXPECT_EQ(b.memory.records_left, 4u);
}

TEST_F(WalkersTest, AWalkerThatCameLaterIsNotWaitedFor) {
  free_table();
  std::optional<vm::LocklessWalk<FakeMemory>> walk;
  b.fixture.as(2, [&] { walk.emplace(b.manager); });
  vm::collect_tables(b.manager);
  EXPECT_ONCE("release table");
  b.fixture.as(2, [&] { walk.reset(); });
}

TEST_F(WalkersTest, AWalkerThatLeftAndCameBackIsNotWaitedFor) {
  std::optional<vm::LocklessWalk<FakeMemory>> walk;
  b.fixture.as(2, [&] { walk.emplace(b.manager); });
  free_table();
  b.fixture.as(2, [&] {
    walk.reset();
    walk.emplace(b.manager);
  });
  vm::collect_tables(b.manager);
  EXPECT_ONCE("release table");
  b.fixture.as(2, [&] { walk.reset(); });
}

TEST_F(WalkersTest, WithoutMemoryForARecordEverybodyIsInterrupted) {
  b.memory.records_left = 0;
  recorder.clear();
  free_table();
  EXPECT_EQ(values("send interrupt"), std::vector<std::uint64_t>{0b1110});
  EXPECT_BEFORE("send interrupt", "release table");
}

TEST_F(WalkersTest, TheSequencesAreReadBehindTheUnhookingAndAFence) {
  recorder.names[&b.manager.walkers[1].sequence] = "walks1";
  auto& upper = b.entry(b.mm, b.page(0), 2);
  recorder.names[&upper] = "upper";
  free_table();
  EXPECT_BEFORE("exchange upper", last("fence"));
  EXPECT_BEFORE(last("fence"), "load walks1");
  EXPECT_ORDER("load walks1", std::memory_order_acquire);
  vm::collect_tables(b.manager);
}

TEST(Walkers, AFlushThatInterruptsItsTargetsNeedsNoRecord) {
  MemoryFixture b;
  vm::unmap(b.manager, b.mm, b.pages(0, 4), EmptyTables::release);
  EXPECT_ONCE("release table");
  EXPECT_EQ(b.memory.records_left, 4u);
}

}  // namespace
}  // namespace shootdown::test
