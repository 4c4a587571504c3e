// Cached translations against the manual: what fills them, what drops them, what survives (SDM
// vol. 3, 4.8 and 4.10).
#include "hal/host/tlb.h"

#include <gtest/gtest.h>

#include "tests/host/two_mm_fixture.h"

namespace shootdown::host {
namespace {

// ---- Filling

TEST(Tlb, AnAccessCachesTheTranslationAndGoesOnUsingIt) {
  TwoMmFixture mms;
  const std::uint32_t frame = mms.tables.map(kPage);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_EQ(mms.reaches(kPage), frame);
    mms.tables.entry(kPage, 1) = 0;
    EXPECT_EQ(mms.reaches(kPage), frame) << "memory has changed, the cached entry has not";
    HostHal::invlpg(kPage);
    EXPECT_FALSE(mms.read(kPage));
  });
}

TEST(Tlb, AStoreReachesTheFrame) {
  TwoMmFixture mms;
  const std::uint32_t frame = mms.tables.map(kPage);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.write(kPage));
    EXPECT_TRUE(mms.write(kPage));
  });
  EXPECT_EQ(*mms.fixture.frames().words(frame), 2u);
}

TEST(Tlb, TheWalkerSetsAccessedOnEveryLevelAndDirtyForStoresOnly) {
  TwoMmFixture mms;
  mms.tables.map(kPage);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.read(kPage));
    for (unsigned level = 1; level <= 4; ++level) {
      EXPECT_NE(mms.tables.entry(kPage, level) & kPteAccessed, 0u) << "level " << level;
    }
    EXPECT_EQ(mms.tables.entry(kPage, 1) & kPteDirty, 0u);
    EXPECT_TRUE(mms.write(kPage));
    EXPECT_NE(mms.tables.entry(kPage, 1) & kPteDirty, 0u);
  });
}

TEST(Tlb, AStoreThroughACleanEntryWalksAgain) {
  TwoMmFixture mms;
  mms.tables.map(kPage);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.read(kPage));
    const std::uint32_t moved = mms.tables.map(kPage);
    EXPECT_TRUE(mms.write(kPage));
    EXPECT_EQ(*mms.fixture.frames().words(moved), 1u) << "the walk found the new frame";
    EXPECT_NE(mms.tables.entry(kPage, 1) & kPteDirty, 0u);
  });
}

TEST(Tlb, AStoreThroughADirtyEntryDoesNotLookAtMemory) {
  TwoMmFixture mms;
  const std::uint32_t frame = mms.tables.map(kPage);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.write(kPage));
    mms.tables.entry(kPage, 1) = 0;
    EXPECT_TRUE(mms.write(kPage));
    EXPECT_EQ(mms.tables.entry(kPage, 1), 0u);
  });
  EXPECT_EQ(*mms.fixture.frames().words(frame), 2u);
}

TEST(Tlb, TwoSizesOfOneAddressEndTheRun) {
  for (const bool flushes : {true, false}) {
    TwoMmFixture mms;
    mms.tables.map_large(kLarge);
    MachineFixture& fixture = mms.fixture;
    fixture.on(0, [&] {
      mms.load(mms.tables, kFirst);
      EXPECT_TRUE(mms.read(kLarge));
      mms.tables.entry(kLarge, 2) = 0;
      mms.tables.map(kLarge);  // The page is split.
      if (flushes) HostHal::invlpg(kLarge);
      // A store through a clean entry walks, and finds the other size.
      EXPECT_TRUE(mms.write(kLarge));
    });
    const Report& report = fixture.run();
    EXPECT_EQ(report.kind, flushes ? nullptr : &kFault);
    if (!flushes) {
      EXPECT_EQ(report.title, "two translations of different sizes for one address");
    }
  }
}

/// What a speculative walk for kLarge ends in, if the CPU has cached what `before` mapped and
/// memory holds what `after` maps.
const Report& walk_behind(TwoMmFixture& mms, void (*before)(Tables&), void (*after)(Tables&),
                          bool flushes) {
  before(mms.tables);
  mms.fixture.on(0, [=, &mms] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.read(kLarge));
    mms.tables.entry(kLarge, 2) = 0;
    after(mms.tables);
    if (flushes) HostHal::invlpg(kLarge);
    mms.fixture.machine().translation().speculate(mms.fixture.machine().cpu(0),
                                                  {.address = kLarge, .level = 1});
  });
  return mms.fixture.run();
}

TEST(Tlb, TwoSizesMeetAtAnyAddressOfALargePage) {
  const auto large = [](Tables& tables) { tables.map_large(kLarge); };
  const auto small = [](Tables& tables) { tables.map(kLarge); };
  const auto neighbour = [](Tables& tables) { tables.map(kLarge + 0x1000); };
  struct Case {
    void (*before)(Tables&);
    void (*after)(Tables&);
    bool flushes;
    bool fails;
  };
  for (const Case& each :
       {Case{large, small, false, true}, Case{small, large, false, true},
        Case{large, small, true, false}, Case{small, large, true, false},
        Case{large, large, false, false}, Case{small, small, false, false},
        Case{small, neighbour, false, false}, Case{large, neighbour, false, false}}) {
    TwoMmFixture mms;
    EXPECT_EQ(walk_behind(mms, each.before, each.after, each.flushes).failed(), each.fails);
  }
}

TEST(Tlb, ALargePageIsNotCachedBesideASmallOneAtAnotherAddress) {
  for (const bool flushes : {true, false}) {
    TwoMmFixture mms;
    mms.tables.map(kLarge + 0x3000);
    mms.fixture.on(0, [&] {
      mms.load(mms.tables, kFirst);
      EXPECT_TRUE(mms.read(kLarge + 0x3000));
      mms.tables.entry(kLarge, 2) = 0;
      mms.tables.map_large(kLarge);
      mms.fixture.tlb().psc.clear();
      if (flushes) HostHal::invlpg(kLarge + 0x3000);
      EXPECT_TRUE(mms.read(kLarge));
    });
    EXPECT_EQ(mms.fixture.run().failed(), !flushes);
  }
}

TEST(Tlb, ALoadOfADirtyPageCachesItAsDirty) {
  TwoMmFixture mms;
  mms.tables.map(kPage, Tables::kLeaf | kPteDirty);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.read(kPage));
    EXPECT_TRUE(mms.fixture.tlb().find(kPage, kFirst)->dirty);
  });
}

TEST(Tlb, NotPresentIsNeverCached) {
  TwoMmFixture mms;
  mms.tables.map(kNext);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_FALSE(mms.read(kPage)) << "no leaf";
    EXPECT_FALSE(mms.read(kFar)) << "no table";
    const std::uint32_t near = mms.tables.map(kPage);
    const std::uint32_t far = mms.tables.map(kFar);
    EXPECT_EQ(mms.reaches(kPage), near);
    EXPECT_EQ(mms.reaches(kFar), far);
  });
}

TEST(Tlb, AnUpperLevelWithoutTheWriteBitProtectsThePage) {
  TwoMmFixture mms;
  mms.tables.map(kPage);
  mms.tables.entry(kPage, 3) &= ~kPteWritable;
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_FALSE(mms.write(kPage));
    EXPECT_TRUE(mms.read(kPage));
    EXPECT_FALSE(mms.write(kPage)) << "through the cached table pointer as well";
  });
}

TEST(Tlb, ASpeculativeFillSetsAccessedButNotDirty) {
  TwoMmFixture mms;
  mms.tables.map(kPage);
  mms.fixture.at(2, EventKind::fill, 0, kPage);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    HostHal::full_fence();
    EXPECT_TRUE(mms.caches(kPage, kFirst));
    EXPECT_TRUE(mms.fixture.tlb().find(kPage, kFirst)->from.speculative);
    EXPECT_NE(mms.tables.entry(kPage, 1) & kPteAccessed, 0u);
    EXPECT_EQ(mms.tables.entry(kPage, 1) & kPteDirty, 0u);
  });
}

TEST(Tlb, ASpeculativeFillOfAnAbsentPageCachesNothing) {
  TwoMmFixture mms;
  mms.tables.map(kNext);
  mms.fixture.at(2, EventKind::fill, 0, kPage);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    HostHal::full_fence();
    EXPECT_EQ(mms.fixture.tlb().entries.size(), 0u);
  });
}

// ---- Page faults

TEST(Tlb, MoreRightsInMemoryNeedNoFlush) {
  TwoMmFixture mms;
  mms.tables.map(kPage, kPtePresent | kPteUser);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.read(kPage));
    mms.tables.entry(kPage, 1) |= kPteWritable;
    EXPECT_TRUE(mms.write(kPage));
  });
}

TEST(Tlb, AFaultDropsTheEntryThatCausedIt) {
  TwoMmFixture mms;
  mms.tables.map(kPage);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.read(kPage));
    mms.tables.entry(kPage, 1) = 0;
    EXPECT_FALSE(mms.write(kPage)) << "the clean entry makes the CPU walk, and nothing is there";
    EXPECT_FALSE(mms.caches(kPage, kFirst));
    EXPECT_FALSE(mms.read(kPage));
  });
}

TEST(Tlb, AFaultDropsTheCachedTablePointerThatItUsed) {
  TwoMmFixture mms;
  mms.tables.map(kNext);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.read(kNext));
    mms.tables.entry(kPage, 2) = 0;  // Another table takes the place of the cached one.
    const std::uint32_t frame = mms.tables.map(kPage);
    EXPECT_FALSE(mms.read(kPage)) << "the old table does not map it";
    EXPECT_EQ(mms.reaches(kPage), frame) << "the fault must not recur";
  });
}

TEST(Tlb, AFaultDropsNothingElse) {
  TwoMmFixture mms;
  mms.tables.map(kPage);
  mms.tables.map(kFar);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.read(kPage) && mms.read(kFar));
    EXPECT_FALSE(mms.read(kNext));
    EXPECT_TRUE(mms.caches(kPage, kFirst) && mms.caches(kFar, kFirst));
    EXPECT_FALSE(mms.caches_table(kNext, kFirst));
    EXPECT_TRUE(mms.caches_table(kFar, kFirst));
  });
}

// ---- The paging-structure cache

TEST(PagingStructureCache, IsUsedAfterTheTableWasUnhooked) {
  TwoMmFixture mms;
  mms.tables.map(kPage);
  const std::uint32_t frame = mms.tables.map(kNext);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.read(kPage));
    mms.tables.entry(kPage, 2) = 0;
    EXPECT_EQ(mms.reaches(kNext), frame) << "the walk starts at the cached pointer";
    HostHal::invlpg(kFar);
    EXPECT_FALSE(mms.read(kPage + 0x2000));
    EXPECT_FALSE(mms.caches_table(kPage, kFirst));
  });
}

TEST(PagingStructureCache, BelongsToItsPcid) {
  TwoMmFixture mms;
  mms.tables.map(kPage);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.read(kPage));
    mms.load(mms.other, kSecond, kKeep);
    EXPECT_FALSE(mms.read(kPage)) << "the other mm has no such table";
  });
}

// ---- Limits and hardware's freedom

TEST(Tlb, EvictionDropsTheChosenEntryOrTablePointer) {
  TwoMmFixture mms;
  mms.tables.map(kPage);
  mms.tables.map(kNext);
  mms.fixture.at(4, EventKind::evict, 0, 0);
  mms.fixture.at(1, EventKind::evict, 0, 3);
  mms.fixture.at(1, EventKind::evict, 0, 7);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.read(kPage) && mms.read(kNext));
    HostHal::full_fence();
    EXPECT_FALSE(mms.caches(kPage, kFirst)) << "0 is the first entry";
    EXPECT_TRUE(mms.caches(kNext, kFirst) && mms.caches_table(kPage, kFirst));
    EXPECT_EQ(mms.fixture.tlb().entries.size() + mms.fixture.tlb().psc.size(), 4u);
    HostHal::full_fence();
    EXPECT_FALSE(mms.caches_table(kPage, kFirst)) << "table pointers come behind the entries";
    HostHal::full_fence();
    EXPECT_EQ(mms.fixture.tlb().psc.size(), 1u) << "7 modulo 3 is the second pointer";
    mms.fixture.tlb().evict(1);
    mms.fixture.tlb().evict(1);
    EXPECT_EQ(mms.fixture.tlb().entries.size() + mms.fixture.tlb().psc.size(), 0u);
    mms.fixture.tlb().evict(5);  // Nothing is left to evict.
  });
}

TEST(Tlb, IsBoundedAndHoldsTheNewestEntries) {
  TwoMmFixture mms;
  constexpr unsigned kMany = Tlb::kEntries + 5;
  for (unsigned i = 0; i < kMany; ++i) mms.tables.map(kPage + (VirtAddr{i} * 0x1000));
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    for (unsigned i = 0; i < kMany; ++i) EXPECT_TRUE(mms.read(kPage + (VirtAddr{i} * 0x1000)));
    EXPECT_EQ(mms.fixture.tlb().entries.size(), Tlb::kEntries);
    for (unsigned i = 0; i < kMany; ++i) {
      EXPECT_EQ(mms.caches(kPage + (VirtAddr{i} * 0x1000), kFirst), i >= 5) << i;
    }
  });
}

TEST(Tlb, ACleanGlobalEntryOfAnotherPcidDoesNotHideTheWalk) {
  TwoMmFixture mms;
  const std::uint32_t frame = mms.tables.map(kPage, Tables::kLeaf | kPteGlobal);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.read(kPage));
    mms.load(mms.tables, kSecond);
    EXPECT_TRUE(mms.write(kPage)) << "the walk sets the dirty bit and replaces the entry";
  });
  EXPECT_EQ(*mms.fixture.frames().words(frame), 1u);
}

// ---- The observer's view

class WalkCounter final : public SilentObserver {
 public:
  bool on_walk(CpuId /*cpu*/, std::uint32_t /*frame*/, std::uint32_t /*life*/) override {
    ++tables_read;
    return allowed;
  }
  void on_fill(CpuId /*cpu*/, VirtAddr address, Provenance& /*from*/) override {
    filled.push_back(address);
  }
  unsigned tables_read{0};
  bool allowed{true};
  std::vector<VirtAddr> filled;
};

TEST(Observer, IsToldOfEveryTableThatAWalkReads) {
  WalkCounter counter;
  MachineFixture fixture({.observer = &counter});
  Tables tables(fixture.frames());
  tables.map(kPage);
  tables.map(kNext);
  fixture.run([&] {
    HostHal::write_cr3(tables.cr3(kFirst));
    EXPECT_EQ(fixture.machine().translation().access(kPage, false), AccessResult::done);
    EXPECT_EQ(counter.tables_read, 4u);
    EXPECT_EQ(fixture.machine().translation().access(kNext, false), AccessResult::done);
    EXPECT_EQ(counter.tables_read, 5u) << "from the cached pointer only the last table is read";
    EXPECT_EQ(counter.filled, (std::vector<VirtAddr>{kPage, kPage, kNext}));
  });
}

TEST(Observer, CanForbidAWalk) {
  WalkCounter counter;
  counter.allowed = false;
  MachineFixture fixture({.observer = &counter});
  Tables tables(fixture.frames());
  tables.map(kPage);
  fixture.run([&] {
    HostHal::write_cr3(tables.cr3(kFirst));
    EXPECT_EQ(fixture.machine().translation().access(kPage, false), AccessResult::fault);
    EXPECT_EQ(fixture.tlb().entries.size(), 0u);
  });
}

}  // namespace
}  // namespace shootdown::host
