// What the memory manager releases, and with whose token.
#include <gtest/gtest.h>

#include <utility>

#include "tests/mm/fake_memory.h"

namespace shootdown::test {
namespace {

struct Tokens : testing::Test {
  MemoryFixture b;
  System<MemoryFixture::H>& system{b.fixture.system};
  PhysAddr page{vm::frame_of(b.pte(1))};
  PhysAddr table{b.mm.core.root};

  void expect_nothing_released() {
    EXPECT_NEVER("release page");
    EXPECT_NEVER("release table");
  }
};

TEST_F(Tokens, OneMayReleaseManyPages) {
  const TranslationsQuiet quiet = flush_tlb_mm(system, b.mm.core);
  for (unsigned number : {0, 1, 2}) {
    vm::drop_mapping(b.manager, b.mm, vm::frame_of(b.pte(number)), quiet);
  }
  EXPECT_COUNT(3, "release page");
}

TEST_F(Tokens, AreOfTheMmThatThePageIsTakenFrom) {
  const TranslationsQuiet quiet = flush_tlb_mm(system, b.other.core);
  EXPECT_EQ(refused_by([&] { vm::drop_mapping(b.manager, b.mm, page, quiet); }), Rule::r1);
  expect_nothing_released();
}

TEST_F(Tokens, AreOfTheMmThatTheTableIsTakenFrom) {
  const TablesUnreachable quiet = flush_tlb_mm_range_freed_tables(system, b.other.core, {});
  EXPECT_EQ(refused_by([&] { vm::retire_table(b.manager, b.mm, table, quiet); }), Rule::r1);
  expect_nothing_released();
}

TEST_F(Tokens, OfTheLastFlushAreOfTheMmWhoseRootsGo) {
  const MmRetired retired = retire_mm(system, b.other.core);
  EXPECT_EQ(refused_by([&] { vm::internal::release_roots(b.manager, b.mm, retired); }), Rule::r1);
  expect_nothing_released();
}

TEST_F(Tokens, AreUsedUpWhenTheyAreGivenAway) {
  TablesUnreachable spent = flush_tlb_mm_range_freed_tables(system, b.mm.core, {});
  const TranslationsQuiet quiet = std::move(spent);
  // NOLINTBEGIN(bugprone-use-after-move): what is tested
  EXPECT_EQ(refused_by([&] { vm::drop_mapping(b.manager, b.mm, page, spent); }), Rule::r1);
  EXPECT_EQ(refused_by([&] { vm::retire_table(b.manager, b.mm, table, spent); }), Rule::r1);
  // NOLINTEND(bugprone-use-after-move)
  expect_nothing_released();
  vm::drop_mapping(b.manager, b.mm, page, quiet);
  EXPECT_ONCE("release page");
}

TEST_F(Tokens, OfABatchAreOfTheMmsThatWereAdded) {
  ReclaimBatch<MemoryFixture::H> batch;
  batch.add(system, b.other.core);
  const BatchQuiet quiet = batch.flush(system);
  EXPECT_EQ(refused_by([&] { vm::drop_mapping(b.manager, b.mm.core.context, page, quiet); }),
            Rule::r1);
  expect_nothing_released();
  vm::drop_mapping(b.manager, b.other.core.context, page, quiet);
  EXPECT_ONCE("release page");
}

TEST_F(Tokens, OfABatchCoverAnMmThatHasEndedMeanwhile) {
  vm::Reclaimer<FakeMemory> reclaimer;
  ASSERT_TRUE(reclaimer.reclaim(b.manager, b.mm, b.page(1)));
  vm::destroy(b.manager, b.mm);
  ASSERT_TRUE(vm::create(b.manager, b.mm));
  recorder.clear();
  reclaimer.flush(b.manager);
  EXPECT_EQ(values("release page"), std::vector<std::uint64_t>{page});
}

}  // namespace
}  // namespace shootdown::test
