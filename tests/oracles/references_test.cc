// O35 fires: what nothing leads to when all programs have ended, and counts that are wrong. O6
// where an entry maps what is released.
#include <gtest/gtest.h>

#include "fuzz/events/layout.h"
#include "tests/oracles/oracle_fixture.h"

namespace shootdown::fuzz {
namespace {

using host::FramePool;

struct O35 : testing::Test {
  OracleFixture fixture;

  PhysAddr page_behind(unsigned mm, unsigned page) {
    return vm::frame_of(fixture.entry_of(mm, page));
  }
  PhysAddr new_page() {
    return fixture.sim.memory().allocate_page(
        {.mm = &fixture.core_mm(0), .address = page_address(1), .level = 1});
  }
};

TEST_F(O35, FiresWhenAPageIsNeverReleased) {
  fixture.expect("O35 a page that nothing maps is never released",
                 {{op("read page=1"), wrong([&] { static_cast<void>(new_page()); })}});
}

TEST_F(O35, FiresWhenAReferenceIsNotGivenBack) {
  fixture.expect("O35 a page has not as many references as entries",
                 {{op("read page=1"), wrong([&] {
                     fixture.sim.memory()
                         .references(page_behind(0, 1))
                         .fetch_add(1, std::memory_order_relaxed);
                   })}});
}

TEST_F(O35, FiresWhenAnEntryHasNoReference) {
  fixture.expect("O35 a page has not as many references as entries",
                 {{op("fork mm=0 to=1"), wrong([&] {
                     fixture.sim.memory()
                         .references(page_behind(1, 1))
                         .fetch_add(~std::uint32_t{0}, std::memory_order_relaxed);
                   })}});
}

// A frame that was there when the run began has no step of the run as its origin.
TEST_F(O35, NamesTheStepOfAnAllocationOnlyIfItIsOneOfTheRun) {
  static_cast<void>(
      fixture.run({{op("read page=1"), wrong([&] { static_cast<void>(new_page()); })}}, {},
                  /*honestly=*/false));
  EXPECT_EQ(fixture.report.first.what, "allocated the frame");
  EXPECT_LE(fixture.report.first.step, fixture.report.second.step);
  static_cast<void>(fixture.run({{op("read page=1"), wrong([&] {
                                    fixture.sim.memory()
                                        .references(page_behind(0, 1))
                                        .fetch_add(1, std::memory_order_relaxed);
                                  })}},
                                {}, /*honestly=*/false));
  EXPECT_EQ(fixture.report.first.what, "");
  EXPECT_EQ(fixture.report.second.what, "runs last");
}

TEST_F(O35, FiresWhenATableIsNeverReleased) {
  fixture.expect("O35 a page table that nothing leads to is never released",
                 {{op("read page=1"), wrong([&] {
                     static_cast<void>(fixture.sim.memory().allocate_table(
                         {.mm = &fixture.core_mm(0), .address = page_address(1), .level = 1}));
                   })}});
}

TEST_F(O35, IsSilentWhileATableWaitsForWalkers) {
  // The table is released when another one is retired, which does not happen here.
  fixture.expect_clean({{op("free_table mm=0 page=1")}, {}}, {.defer_tables = true});
}

TEST_F(O35, IsSilentOverSharedSplitAndMovedPages) {
  fixture.expect_clean(
      {{op("fork mm=0 to=1"), op("write page=1"), op("cow mm=0 page=1"), op("map mm=0 page=16"),
        op("split mm=0 page=16"), op("move mm=0 page=2 to=6"), op("reclaim mm=0 page=3"),
        op("walk page=8"), op("unmap mm=1 page=9")},
       {op("walk page=1")}},
      {.pti = true});
}

TEST_F(O35, FiresWhenAPageIsReleasedThatAnEntryMaps) {
  fixture.expect("O6 a page is released while an entry maps it",
                 {{wrong([&] { fixture.sim.memory().release_page(page_behind(0, 1)); })}});
}

}  // namespace
}  // namespace shootdown::fuzz
