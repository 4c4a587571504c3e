// What the memory manager tells devices that walk an mm's tables beside the CPUs, and when.
#include <gtest/gtest.h>

#include "tests/mm/fake_memory.h"

namespace shootdown::test {
namespace {

struct Secondary : testing::Test {
  MemoryFixture b;
};

TEST_F(Secondary, HearsOfAnUnmapBehindTheCpusAndBeforeTheRelease) {
  b.run_on({1});
  vm::unmap(b.manager, b.mm, b.pages(1, 2));
  EXPECT_ONCE("flush secondary");
  EXPECT_EQ(values("flush secondary"), std::vector<std::uint64_t>{b.page(1)});
  EXPECT_BEFORE(last("invlpg"), "flush secondary");
  EXPECT_BEFORE("flush secondary", "release page");
}

TEST_F(Secondary, HearsOfFreedTablesBeforeTheirRelease) {
  vm::unmap(b.manager, b.mm, b.pages(0, 4), vm::EmptyTables::release);
  EXPECT_BEFORE("flush secondary", "release table");
}

TEST_F(Secondary, HearsOfRightsThatAreTakenAwayAlsoEarly) {
  vm::protect(b.manager, b.mm, b.pages(0, 1));
  EXPECT_ONCE("flush secondary");
  recorder.clear();
  vm::protect_early(b.manager, b.mm, b.pages(1, 1));
  EXPECT_ONCE("flush secondary");
}

TEST_F(Secondary, HearsOfAReclaimedPageWhenItJoinsTheBatchUnderItsLock) {
  vm::Reclaimer<FakeMemory> reclaimer;
  EXPECT_TRUE(reclaimer.reclaim(b.manager, b.mm, b.page(1)));
  EXPECT_BEFORE("exchange pte1", "flush secondary");
  EXPECT_BEFORE("flush secondary", "store lock1");
  recorder.clear();
  reclaimer.flush(b.manager);
  EXPECT_NEVER("flush secondary") << "an operation that settles a batch has only CPUs to flush";
}

TEST_F(Secondary, HearsOfAMovedAndOfACopiedPageUnderTheLock) {
  ASSERT_TRUE(vm::move_page(b.manager, b.mm, b.page(1), b.page(9)));
  EXPECT_EQ(values("flush secondary"), std::vector<std::uint64_t>{b.page(1)});
  recorder.clear();
  vm::migrate(b.manager, b.mm, b.page(2));
  EXPECT_BEFORE("flush secondary", "release page");
}

TEST_F(Secondary, LetsGoOfAnMmBeforeItsFirstTableGoes) {
  vm::destroy(b.manager, b.mm);
  EXPECT_ONCE("secondary ends");
  EXPECT_BEFORE("secondary ends", "add pending");
  EXPECT_BEFORE("secondary ends", "release table");
  recorder.clear();
  ASSERT_TRUE(vm::create(b.manager, b.mm));
  EXPECT_ONCE("secondary begins");
}

TEST_F(Secondary, HearsOfTheKernelsHalf) {
  constexpr VirtAddr kStart = 0xffff'8000'0000'0000;
  const KernelQuiet quiet = vm::flush_kernel_range(b.manager, kStart, kStart + vm::kSmallPage);
  static_cast<void>(quiet);
  EXPECT_BEFORE(last("invlpg"), "flush secondary kernel");
  EXPECT_EQ(values("flush secondary kernel"), std::vector<std::uint64_t>{kStart});
}

}  // namespace
}  // namespace shootdown::test
