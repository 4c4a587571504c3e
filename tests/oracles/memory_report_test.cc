// What a memory manager may get wrong with frames ends the run with O6 and does not crash it: each
// access below was made by software, to memory that is not what the access takes it for.
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <string_view>

#include "fuzz/events/layout.h"
#include "tests/oracles/oracle_fixture.h"

namespace shootdown::fuzz {
namespace {

constexpr PhysAddr kBeyondMemory = PhysAddr{1} << 40;

constexpr std::string_view kReadsNoTable =
    "O6 the memory manager reads an entry in a frame that is no table";
constexpr std::string_view kReadsNowhere =
    "O6 the memory manager reads an entry in a frame that does not exist";
constexpr std::string_view kWritesNoTable =
    "O6 the memory manager writes an entry in a frame that is no table";
constexpr std::string_view kWritesNowhere =
    "O6 the memory manager writes an entry in a frame that does not exist";
constexpr std::string_view kLooksNowhere =
    "O6 the memory manager looks for a lock or a count in a frame that does not exist";
constexpr std::string_view kPartThatIsNone =
    "O6 the memory manager looks for a part that a page does not have";

struct MemoryReport : testing::Test {
  OracleFixture fixture;

  SimMemory& memory() { return fixture.sim.memory(); }
  /// The table that maps the small page in mm 0.
  PhysAddr table_of(unsigned page) {
    return vm::find_table(fixture.sim.manager(), fixture.sim.mm(0), page_address(page), 1);
  }
  PhysAddr frame_of(unsigned page) { return vm::frame_of(fixture.entry_of(0, page)); }
  /// A table that was released, and that nothing points to.
  PhysAddr released_table() {
    const PhysAddr table = memory().allocate_table(
        {.mm = &fixture.core_mm(0), .address = page_address(0), .level = 1});
    memory().discard_table(table);
    return table;
  }
  PhysAddr released_page(unsigned page = 5, unsigned level = 1) {
    const PhysAddr frame = memory().allocate_page(
        {.mm = &fixture.core_mm(0), .address = page_address(page), .level = level});
    memory().references(frame).poke(0);
    memory().release_page(frame);
    return frame;
  }
  /// Between two accesses of a program, one CPU does what only a wrong kernel does. It must not get
  /// beyond that.
  void expect(std::string_view title, const std::function<void()>& code) {
    bool survived = false;
    fixture.expect(title, {{op("map mm=0 page=16"), op("write page=1"), wrong([&] {
                              code();
                              survived = true;
                            }),
                            op("read page=1")}});
    EXPECT_FALSE(survived) << "the run goes on after the wrong access";
  }
};

// ---- Entries

using O6_MemoryReport = MemoryReport;

TEST_F(O6_MemoryReport, PeekInAReleasedTable) {
  expect(kReadsNoTable, [&] { (void)memory().entry(released_table(), 3).peek(); });
  EXPECT_EQ(fixture.report.detail, "The frame was released.");
}

TEST_F(O6_MemoryReport, PeekInAPage) {
  expect(kReadsNoTable, [&] { (void)memory().entry(frame_of(1), 0).peek(); });
  EXPECT_EQ(fixture.report.detail, "The frame is something else.");
}

TEST_F(O6_MemoryReport, PeekInNoTable) {
  expect(kReadsNowhere, [&] { (void)memory().entry(vm::kNoFrame, 3).peek(); });
  EXPECT_EQ(fixture.report.detail, "No such memory was ever allocated.");
}

TEST_F(O6_MemoryReport, PeekBeyondMemory) {
  expect(kReadsNowhere, [&] { (void)memory().entry(kBeyondMemory, 0).peek(); });
}

TEST_F(O6_MemoryReport, LoadInAReleasedTable) {
  expect("O6 a lockless walker reads a released page table",
         [&] { (void)memory().entry(released_table(), 3).load(std::memory_order_acquire); });
}

TEST_F(O6_MemoryReport, LoadInNoTable) {
  expect("O6 the memory manager walks in a frame that does not exist",
         [&] { (void)memory().entry(vm::kNoFrame, 3).load(std::memory_order_acquire); });
}

TEST_F(O6_MemoryReport, ExchangeInAReleasedTable) {
  expect(kWritesNoTable,
         [&] { memory().entry(released_table(), 3).exchange(0, std::memory_order_seq_cst); });
}

TEST_F(O6_MemoryReport, ExchangeInNoTable) {
  expect(kWritesNowhere,
         [&] { memory().entry(vm::kNoFrame, 3).exchange(0, std::memory_order_seq_cst); });
}

TEST_F(O6_MemoryReport, BitsSetInAReleasedTable) {
  expect(kWritesNoTable, [&] {
    memory().entry(released_table(), 3).fetch_or(vm::kPteDirty, std::memory_order_seq_cst);
  });
}

TEST_F(O6_MemoryReport, BitsClearedInNoTable) {
  expect(kWritesNowhere, [&] {
    memory().entry(kBeyondMemory, 3).fetch_and(~vm::kPteWritable, std::memory_order_seq_cst);
  });
}

TEST_F(O6_MemoryReport, EntryPreparedInAReleasedTable) {
  expect(kWritesNoTable, [&] { memory().prepare_entry(released_table(), 0, vm::kPtePresent); });
}

TEST_F(O6_MemoryReport, EntryPreparedInNoTable) {
  expect(kWritesNowhere, [&] { memory().prepare_entry(vm::kNoFrame, 0, vm::kPtePresent); });
}

TEST_F(O6_MemoryReport, EntryBeyondItsTable) {
  constexpr std::string_view kNoEntry =
      "O6 the memory manager looks for an entry that a table does not have";
  expect(kNoEntry, [&] { (void)memory().entry(table_of(1), vm::kEntries).peek(); });
  EXPECT_EQ(fixture.report.detail, "A table has entries 0 to 511; asked for entry 512.");
  expect(kNoEntry, [&] { memory().prepare_entry(table_of(1), 1U << 20, 0); });
  expect(kNoEntry, [&] { (void)memory().entry(table_of(1), ~0U).load(std::memory_order_acquire); });
}

// ---- Locks and counts

TEST_F(O6_MemoryReport, CountOfNoFrame) {
  expect(kLooksNowhere,
         [&] { memory().references(vm::kNoFrame).fetch_add(1, std::memory_order_relaxed); });
}

TEST_F(O6_MemoryReport, CountBeyondMemory) {
  expect(kLooksNowhere,
         [&] { memory().references(kBeyondMemory).fetch_add(1, std::memory_order_relaxed); });
}

TEST_F(O6_MemoryReport, LockOfNoFrame) {
  expect(kLooksNowhere,
         [&] { memory().table_lock(vm::kNoFrame).exchange(1, std::memory_order_acquire); });
}

TEST_F(O6_MemoryReport, LocksAndCountsOutliveTheFramesUse) {
  fixture.expect(
      "ok", {{wrong([&] {
        EXPECT_EQ(memory().table_lock(released_table()).load(std::memory_order_acquire), 0U);
        EXPECT_EQ(memory().references(released_page()).load(std::memory_order_acquire), 0U);
      })}});
}

// ---- Pages

TEST_F(O6_MemoryReport, CopyToATable) {
  expect("O6 the memory manager copies a page in a frame that is no page",
         [&] { memory().copy_page(table_of(1), frame_of(1), 1); });
}

TEST_F(O6_MemoryReport, CopyFromAReleasedPage) {
  expect("O6 the memory manager copies a page in a frame that is no page",
         [&] { memory().copy_page(frame_of(1), released_page(), 1); });
}

TEST_F(O6_MemoryReport, CopyFromNoFrame) {
  expect("O6 the memory manager copies a page in a frame that does not exist",
         [&] { memory().copy_page(frame_of(1), vm::kNoFrame, 1); });
}

TEST_F(O6_MemoryReport, ReadOfNoFrame) {
  constexpr std::string_view kReadNowhere =
      "O6 the memory manager reads a page in a frame that does not exist";
  expect(kReadNowhere, [&] { memory().read_page(vm::kNoFrame); });
  expect(kReadNowhere, [&] { memory().read_page(kBeyondMemory); });
}

TEST_F(O6_MemoryReport, StoreRememberedOfATable) {
  expect("O6 the memory manager remembers a store in a frame that is no page",
         [&] { memory().note_dirty(table_of(1)); });
}

TEST_F(O6_MemoryReport, StoreRememberedOfNoFrame) {
  expect("O6 the memory manager remembers a store in a frame that does not exist",
         [&] { memory().note_dirty(vm::kNoFrame); });
}

// ---- Parts of large pages

TEST_F(O6_MemoryReport, PartOutOfRange) {
  ASSERT_EQ(page_shift(kSmallPages), kLargePageShift);
  expect(kPartThatIsNone, [&] { (void)memory().part(frame_of(kSmallPages), vm::kEntries); });
}

TEST_F(O6_MemoryReport, PartOfASmallPage) {
  expect(kPartThatIsNone, [&] { (void)memory().part(frame_of(1), kLargePagePart); });
}

TEST_F(O6_MemoryReport, PartOfAReleasedPage) {
  expect("O6 the memory manager looks for a part in a frame that is no page",
         [&] { (void)memory().part(released_page(kSmallPages, 2), kLargePagePart); });
}

TEST_F(O6_MemoryReport, PartOfATable) {
  expect("O6 the memory manager looks for a part in a frame that is no page",
         [&] { (void)memory().part(table_of(1), kLargePagePart); });
}

TEST_F(O6_MemoryReport, PartOfNoFrame) {
  expect("O6 the memory manager looks for a part in a frame that does not exist",
         [&] { (void)memory().part(vm::kNoFrame, kLargePagePart); });
}

TEST_F(O6_MemoryReport, LargePagesHaveAllParts) {
  fixture.expect("ok", {{op("map mm=0 page=16"), wrong([&] {
                           const PhysAddr page = frame_of(kSmallPages);
                           for (unsigned index = 0; index < vm::kEntries; ++index) {
                             EXPECT_EQ(memory().part(page, index),
                                       index == kLargePagePart ? page : vm::kNoFrame);
                           }
                         }),
                         op("split mm=0 page=16"), op("write page=16"), op("collapse mm=0 page=16"),
                         op("read page=16")}});
}

// ---- Releases

TEST_F(O6_MemoryReport, PageReleasedTwice) {
  expect("O6 a frame is released twice", [&] { memory().release_page(released_page()); });
}

TEST_F(O6_MemoryReport, TableReleasedTwice) {
  expect("O6 a frame is released twice", [&] { memory().release_table(released_table()); });
}

TEST_F(O6_MemoryReport, TableReleasedAsAPage) {
  expect("O6 the memory manager releases a page in a frame that is no page",
         [&] { memory().release_page(table_of(1)); });
}

TEST_F(O6_MemoryReport, PageReleasedAsATable) {
  expect("O6 the memory manager releases a table in a frame that is no table",
         [&] { memory().release_table(frame_of(1)); });
}

TEST_F(O6_MemoryReport, NothingReleased) {
  expect("O6 the memory manager releases a page in a frame that does not exist",
         [&] { memory().release_page(vm::kNoFrame); });
  expect("O6 the memory manager releases a table in a frame that does not exist",
         [&] { memory().release_table(kBeyondMemory); });
}

TEST_F(O6_MemoryReport, TableDiscardedTwice) {
  expect("O6 the memory manager discards a table in a frame that is no table",
         [&] { memory().discard_table(released_table()); });
}

TEST_F(O6_MemoryReport, NothingDiscarded) {
  expect("O6 the memory manager discards a table in a frame that does not exist",
         [&] { memory().discard_table(vm::kNoFrame); });
}

// ---- Records

TEST_F(O6_MemoryReport, RecordReturnedTwice) {
  expect("O6 the memory manager gives a record back that it does not have", [&] {
    vm::DeferredTable<HostHal>* record = memory().allocate_record();
    ASSERT_NE(record, nullptr);
    memory().release_record(record);
    memory().release_record(record);
  });
}

TEST_F(O6_MemoryReport, NoRecordReturned) {
  expect("O6 the memory manager gives a record back that it does not have",
         [&] { memory().release_record(nullptr); });
}

TEST_F(O6_MemoryReport, ForeignRecordReturned) {
  vm::DeferredTable<HostHal> foreign{};
  expect("O6 the memory manager gives a record back that it does not have",
         [&] { memory().release_record(&foreign); });
}

}  // namespace
}  // namespace shootdown::fuzz
