// What the memory manager releases, and with whose token.
#include <gtest/gtest.h>

#include <utility>

#include "tests/mm/fake_memory.h"

namespace shootdown::test {
namespace {

struct Tokens : testing::Test {
  MemoryBench b;
  System<MemoryBench::H>& system{b.bench.system};
  PhysAddr page{vm::frame_of(b.pte(1))};
  PhysAddr table{b.space.mm.root};

  void expect_nothing_released() {
    EXPECT_NEVER("release page");
    EXPECT_NEVER("release table");
  }
};

TEST_F(Tokens, OneMayReleaseManyPages) {
  const TranslationsQuiet quiet = flush_tlb_mm(system, b.space.mm);
  for (unsigned number : {0, 1, 2}) {
    vm::drop_mapping(b.manager, b.space, vm::frame_of(b.pte(number)), quiet);
  }
  EXPECT_COUNT(3, "release page");
}

TEST_F(Tokens, AreOfTheSpaceThatThePageIsTakenFrom) {
  const TranslationsQuiet quiet = flush_tlb_mm(system, b.other.mm);
  EXPECT_EQ(refused_by([&] { vm::drop_mapping(b.manager, b.space, page, quiet); }), Rule::r1);
  expect_nothing_released();
}

TEST_F(Tokens, AreOfTheSpaceThatTheTableIsTakenFrom) {
  const TablesUnreachable quiet = flush_tlb_mm_range_freed_tables(system, b.other.mm, {});
  EXPECT_EQ(refused_by([&] { vm::retire_table(b.manager, b.space, table, quiet); }), Rule::r1);
  expect_nothing_released();
}

TEST_F(Tokens, OfTheLastFlushAreOfTheSpaceWhoseRootsGo) {
  const SpaceRetired retired = retire_mm(system, b.other.mm);
  EXPECT_EQ(refused_by([&] { vm::internal::release_roots(b.manager, b.space, retired); }),
            Rule::r1);
  expect_nothing_released();
}

TEST_F(Tokens, AreUsedUpWhenTheyAreGivenAway) {
  TablesUnreachable spent = flush_tlb_mm_range_freed_tables(system, b.space.mm, {});
  const TranslationsQuiet quiet = std::move(spent);
  // NOLINTBEGIN(bugprone-use-after-move): what is tested
  EXPECT_EQ(refused_by([&] { vm::drop_mapping(b.manager, b.space, page, spent); }), Rule::r1);
  EXPECT_EQ(refused_by([&] { vm::retire_table(b.manager, b.space, table, spent); }), Rule::r1);
  // NOLINTEND(bugprone-use-after-move)
  expect_nothing_released();
  vm::drop_mapping(b.manager, b.space, page, quiet);
  EXPECT_ONCE("release page");
}

TEST_F(Tokens, OfABatchAreOfTheSpacesThatWereAdded) {
  ReclaimBatch<MemoryBench::H> batch;
  batch.add(system, b.other.mm);
  const BatchQuiet quiet = batch.flush(system);
  EXPECT_EQ(refused_by([&] { vm::drop_mapping(b.manager, b.space.mm.context, page, quiet); }),
            Rule::r1);
  expect_nothing_released();
  vm::drop_mapping(b.manager, b.other.mm.context, page, quiet);
  EXPECT_ONCE("release page");
}

TEST_F(Tokens, OfABatchCoverASpaceThatHasEndedMeanwhile) {
  vm::Reclaimer<FakeMemory> reclaimer;
  ASSERT_TRUE(reclaimer.reclaim(b.manager, b.space, b.page(1)));
  vm::destroy(b.manager, b.space);
  ASSERT_TRUE(vm::create(b.manager, b.space));
  recorder.clear();
  reclaimer.flush(b.manager);
  EXPECT_EQ(values("release page"), std::vector<std::uint64_t>{page});
}

}  // namespace
}  // namespace shootdown::test
