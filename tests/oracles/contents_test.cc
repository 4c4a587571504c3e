// O33 and O34 fire: two pages under one address, contents, and what operations leave.
#include <gtest/gtest.h>

#include <string_view>

#include "fuzz/events/layout.h"
#include "tests/oracles/oracle_fixture.h"

namespace shootdown::fuzz {
namespace {

using host::FramePool;

struct ContentsTest : testing::Test {
  OracleFixture fixture;

  /// The entry that maps the small page.
  SimEntry entry(unsigned mm, unsigned page) {
    const PhysAddr table =
        vm::find_table(fixture.sim.manager(), fixture.sim.mm(mm), page_address(page), 1);
    return fixture.sim.memory().entry(table, vm::entry_index(page_address(page), 1));
  }
  /// Gives the page another frame, as an operation that forgets to flush does.
  void map_anew(unsigned mm, unsigned page) {
    entry(mm, page).exchange(0, std::memory_order_seq_cst);
    const PhysAddr frame = fixture.sim.memory().allocate_page(
        {.mm = &fixture.core_mm(mm), .address = page_address(page), .level = 1});
    entry(mm, page).exchange(frame | kUserRights | vm::kPtePresent, std::memory_order_seq_cst);
    fixture.machine.stop_if_failed();
  }
  /// Tells the oracles that an operation is done, which was not even begun.
  void claim(std::string_view text) {
    const host::ModelScope scope;
    fixture.oracles.begin_promise();
    fixture.sim.tell_what_is_left(op(text).op);
    fixture.machine.stop_if_failed();
  }
  void claim_fork(unsigned parent, unsigned child) {
    const host::ModelScope scope;
    fixture.oracles.begin_promise();
    fixture.oracles.begin_fork(parent);
    fixture.oracles.on_forked(parent, child);
    fixture.machine.stop_if_failed();
  }
};

struct O33 : ContentsTest {};
struct O34 : ContentsTest {};

TEST_F(O33, FiresWhenAPageIsMappedWhileACpuCanUseAnotherOne) {
  fixture.expect("O33 a page is mapped while a CPU can use another one at its address",
                 {{await(1), wrong([&] { map_anew(0, 1); })}, {op("read page=1"), go(1)}});
}

TEST_F(O33, FiresWhenACpuUsesAnotherPageThanTheOneThatIsMapped) {
  // A lazy CPU cannot use what it has when the page is mapped, and comes back with it.
  fixture.expect(
      "O33 a CPU uses another page than the one that is mapped at the address",
      {{await(1), wrong([&] { map_anew(0, 1); }), go(2)},
       {op("read page=1"), op("idle"), go(1), await(2), op("resume"), op("read page=1")}});
}

TEST_F(O33, FiresWhenAnMmReadsWhatAnotherOneHasStored) {
  fixture.expect(
      "O33 a page does not hold what was stored to it last",
      {{op("write page=1"), wrong([&] {
          const vm::Pte shared = entry(0, 1).peek();
          entry(1, 1).exchange(shared, std::memory_order_seq_cst);
        }),
        op("switch_to mm=1"), op("write page=1"), op("switch_to mm=0"), op("read page=1")}});
}

TEST_F(O33, FiresWhenACopyLosesAStore) {
  fixture.expect("O33 a page does not hold what was stored to it last",
                 {{op("write page=1"), op("fork mm=0 to=1"), op("cow mm=0 page=1"), wrong([&] {
                     const PhysAddr frame = vm::frame_of(entry(0, 1).peek());
                     const PhysAddr empty = vm::frame_of(entry(0, 2).peek());
                     fixture.sim.memory().copy_page(frame, empty, 1);
                   }),
                   op("read page=1")}});
}

TEST_F(O34, FiresWhenAPageIsStillMappedAfterUnmap) {
  fixture.expect("O34 a page is still mapped when it has been unmapped",
                 {{wrong([&] { claim("unmap mm=0 page=2 count=2"); })}});
}

TEST_F(O34, FiresWhenAPageIsStillMappedAfterItsTableWasFreed) {
  fixture.expect("O34 a page is still mapped when it has been unmapped",
                 {{wrong([&] { claim("free_table mm=0 page=15"); })}});
}

TEST_F(O34, FiresWhenARightIsLeft) {
  fixture.expect("O34 a page has kept a right when it has been protected",
                 {{op("protect mm=0 page=2"), op("unprotect mm=0 page=2"),
                   wrong([&] { claim("protect mm=0 page=2"); })}});
}

TEST_F(O34, FiresWhenARightComesBackThatWasNotGiven) {
  for (const Header& header : {Header{.take_fetch = true}, Header{.take_access = true}}) {
    OracleFixture other;
    const auto give_back = [&](bool replaces) {
      SimMm& mm = other.sim.mm(0);
      const PhysAddr table = vm::find_table(other.sim.manager(), mm, page_address(2), 1);
      SimEntry entry = other.sim.memory().entry(table, vm::entry_index(page_address(2), 1));
      other.oracles.on_operation(replaces);
      const vm::Pte now = entry.peek();
      entry.exchange((now | kUserRights) & ~vm::kPteNoExecute, std::memory_order_seq_cst);
      other.machine.stop_if_failed();
    };
    other.expect("ok", {{op("protect mm=0 page=2"), wrong([&] { give_back(false); })}}, header);
    other.expect("O34 a right comes back that was taken from a page",
                 {{op("protect mm=0 page=2"), wrong([&] { give_back(true); })}}, header);
  }
}

TEST_F(O34, FiresWhenARightIsLostThatWasNotTaken) {
  const auto lose = [&](bool replaces) {
    SimEntry own = entry(0, 2);
    fixture.oracles.on_operation(replaces);
    own.fetch_and(~(vm::kPteWritable | vm::kPteCow), std::memory_order_seq_cst);
    fixture.machine.stop_if_failed();
  };
  fixture.expect("ok", {{op("protect mm=0 page=1"), wrong([&] { lose(false); })}});
  fixture.expect("O34 a page loses a right that was not taken",
                 {{op("protect mm=0 page=1"), wrong([&] { lose(true); })}});
}

TEST_F(O34, IsSilentWhereNothingIsMappedAndNoRightIsLeft) {
  fixture.expect("ok", {{op("unmap mm=0 page=2"), op("protect mm=0 page=1"), wrong([&] {
                           claim("unmap mm=0 page=2");
                           claim("protect mm=0 page=1 count=2");
                         })}});
}

TEST_F(O34, IsSilentAboutAMappingThatIsInAStoreBuffer) {
  fixture.expect("ok", {{op("map mm=0 page=4"), wrong([&] {
                           const host::ModelScope scope;
                           SimEntry own = entry(0, 5);
                           own.store(own.peek(), std::memory_order_relaxed);
                           claim("unmap mm=0 page=4");
                         })}},
                 {.tso = true});
}

TEST_F(O34, FiresAgainWhenTheStoreIsInMemory) {
  fixture.expect("O34 a page is still mapped when it has been unmapped",
                 {{op("map mm=0 page=4"), wrong([&] {
                     SimEntry own = entry(0, 5);
                     own.store(own.peek(), std::memory_order_relaxed);
                     HostHal::full_fence();
                     claim("unmap mm=0 page=4");
                   })}},
                 {.tso = true});
}

TEST_F(O34, FiresWhenAForkLosesAPage) {
  fixture.expect("O34 a fork loses a page",
                 {{op("unmap mm=1 page=3"), wrong([&] { claim_fork(0, 1); })}});
}

TEST_F(O34, FiresWhenAChildHasOtherContent) {
  fixture.expect("O34 a fork's child has other content than the parent",
                 {{op("write page=3"), wrong([&] { claim_fork(0, 1); })}});
}

TEST_F(O34, FiresWhenAWalkReturnsAForeignPage) {
  fixture.expect("O34 a lockless walk returns a page that was not mapped there", {{wrong([&] {
                   const host::ModelScope scope;
                   fixture.oracles.begin_lookup(0, 1);
                   fixture.oracles.end_lookup(FramePool::frame_at(entry(0, 2).peek()));
                   fixture.machine.stop_if_failed();
                 })}});
}

TEST_F(O34, FiresWhenAWalkAmongManyChangesReturnsAForeignPage) {
  fixture.expect("O34 a lockless walk returns a page that was not mapped there", {{wrong([&] {
                   const host::ModelScope scope;
                   fixture.oracles.begin_lookup(0, 1);
                   const vm::Pte other = entry(0, 2).peek();
                   const vm::Pte own = entry(0, 1).peek();
                   for (unsigned i = 0; i < 40; ++i) {
                     entry(0, 1).exchange(0, std::memory_order_seq_cst);
                     entry(0, 1).exchange(own, std::memory_order_seq_cst);
                   }
                   fixture.oracles.end_lookup(FramePool::frame_at(other));
                   fixture.machine.stop_if_failed();
                 })}});
}

TEST_F(O34, FiresWhenAnEntryThatStaysLosesItsAccessedBit) {
  fixture.expect("O34 an entry loses its accessed bit",
                 {{op("read page=1"), wrong([&] {
                     entry(0, 1).fetch_and(~vm::kPteAccessed, std::memory_order_seq_cst);
                     fixture.machine.stop_if_failed();
                   })}});
}

TEST_F(O34, FiresWhenAnEntryComesBackWithoutItsAccessedBit) {
  fixture.expect("O34 an entry loses its accessed bit",
                 {{op("read page=1"), wrong([&] {
                     const host::ModelScope scope;
                     fixture.oracles.on_operation(/*replaces=*/true);
                     const vm::Pte old = entry(0, 1).exchange(0, std::memory_order_seq_cst);
                     entry(0, 1).exchange(old & ~vm::kPteAccessed, std::memory_order_seq_cst);
                     fixture.machine.stop_if_failed();
                   })}});
}

TEST_F(O34, IsSilentWhereAMappingBeginsWithoutAnAccessedBit) {
  fixture.expect("ok", {{op("read page=1"), op("unmap mm=0 page=1"), op("map mm=0 page=1"),
                         op("read page=1"), op("replace mm=0 page=1"), op("fork mm=0 to=1"),
                         op("cow mm=0 page=1"), op("move mm=0 page=2 to=6")}});
}

TEST_F(O34, IsSilentWhenAPageCameOrWentDuringTheWalk) {
  fixture.expect("ok", {{wrong([&] {
                   fixture.oracles.begin_lookup(0, 1);
                   const std::uint32_t before = FramePool::frame_at(entry(0, 1).peek());
                   map_anew(0, 1);
                   const std::uint32_t after = FramePool::frame_at(entry(0, 1).peek());
                   fixture.oracles.end_lookup(after);
                   fixture.oracles.begin_lookup(0, 1);
                   fixture.oracles.end_lookup(after);
                   EXPECT_NE(before, after);
                   fixture.machine.stop_if_failed();
                 })}});
}

}  // namespace
}  // namespace shootdown::fuzz
