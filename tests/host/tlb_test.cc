// Cached translations against the manual: what fills them, what drops them, what survives (SDM
// vol. 3, 4.8 and 4.10).
#include "hal/host/tlb.h"

#include <gtest/gtest.h>

#include "tests/host/world.h"

namespace shootdown::host {
namespace {

// ---- Filling

TEST(Tlb, AnAccessCachesTheTranslationAndGoesOnUsingIt) {
  World world;
  const std::uint32_t frame = world.tables.map(kPage);
  world.run([&] {
    world.load(world.tables, kFirst);
    EXPECT_EQ(world.reaches(kPage), frame);
    world.tables.entry(kPage, 1) = 0;
    EXPECT_EQ(world.reaches(kPage), frame) << "memory has changed, the cached entry has not";
    HostHal::invlpg(kPage);
    EXPECT_FALSE(world.read(kPage));
  });
}

TEST(Tlb, AStoreReachesTheFrame) {
  World world;
  const std::uint32_t frame = world.tables.map(kPage);
  world.run([&] {
    world.load(world.tables, kFirst);
    EXPECT_TRUE(world.write(kPage));
    EXPECT_TRUE(world.write(kPage));
  });
  EXPECT_EQ(*world.lab.frames().words(frame), 2u);
}

TEST(Tlb, TheWalkerSetsAccessedOnEveryLevelAndDirtyForStoresOnly) {
  World world;
  world.tables.map(kPage);
  world.run([&] {
    world.load(world.tables, kFirst);
    EXPECT_TRUE(world.read(kPage));
    for (unsigned level = 1; level <= 4; ++level) {
      EXPECT_NE(world.tables.entry(kPage, level) & kPteAccessed, 0u) << "level " << level;
    }
    EXPECT_EQ(world.tables.entry(kPage, 1) & kPteDirty, 0u);
    EXPECT_TRUE(world.write(kPage));
    EXPECT_NE(world.tables.entry(kPage, 1) & kPteDirty, 0u);
  });
}

TEST(Tlb, AStoreThroughACleanEntryWalksAgain) {
  World world;
  world.tables.map(kPage);
  world.run([&] {
    world.load(world.tables, kFirst);
    EXPECT_TRUE(world.read(kPage));
    const std::uint32_t moved = world.tables.map(kPage);
    EXPECT_TRUE(world.write(kPage));
    EXPECT_EQ(*world.lab.frames().words(moved), 1u) << "the walk found the new frame";
    EXPECT_NE(world.tables.entry(kPage, 1) & kPteDirty, 0u);
  });
}

TEST(Tlb, AStoreThroughADirtyEntryDoesNotLookAtMemory) {
  World world;
  const std::uint32_t frame = world.tables.map(kPage);
  world.run([&] {
    world.load(world.tables, kFirst);
    EXPECT_TRUE(world.write(kPage));
    world.tables.entry(kPage, 1) = 0;
    EXPECT_TRUE(world.write(kPage));
    EXPECT_EQ(world.tables.entry(kPage, 1), 0u);
  });
  EXPECT_EQ(*world.lab.frames().words(frame), 2u);
}

TEST(Tlb, TwoSizesOfOneAddressEndTheRun) {
  for (const bool flushes : {true, false}) {
    World world;
    world.tables.map_large(kLarge);
    Lab& lab = world.lab;
    lab.on(0, [&] {
      world.load(world.tables, kFirst);
      EXPECT_TRUE(world.read(kLarge));
      world.tables.entry(kLarge, 2) = 0;
      world.tables.map(kLarge);  // The page is split.
      if (flushes) HostHal::invlpg(kLarge);
      // A store through a clean entry walks, and finds the other size.
      EXPECT_TRUE(world.write(kLarge));
    });
    const Report& report = lab.run();
    EXPECT_EQ(report.kind, flushes ? nullptr : &kFault);
    if (!flushes) {
      EXPECT_EQ(report.title, "two translations of different sizes for one address");
    }
  }
}

TEST(Tlb, ALoadOfADirtyPageCachesItAsDirty) {
  World world;
  world.tables.map(kPage, Tables::kLeaf | kPteDirty);
  world.run([&] {
    world.load(world.tables, kFirst);
    EXPECT_TRUE(world.read(kPage));
    EXPECT_TRUE(world.lab.tlb().find(kPage, kFirst)->dirty);
  });
}

TEST(Tlb, NotPresentIsNeverCached) {
  World world;
  world.tables.map(kNext);
  world.run([&] {
    world.load(world.tables, kFirst);
    EXPECT_FALSE(world.read(kPage)) << "no leaf";
    EXPECT_FALSE(world.read(kFar)) << "no table";
    const std::uint32_t near = world.tables.map(kPage);
    const std::uint32_t far = world.tables.map(kFar);
    EXPECT_EQ(world.reaches(kPage), near);
    EXPECT_EQ(world.reaches(kFar), far);
  });
}

TEST(Tlb, AnUpperLevelWithoutTheWriteBitProtectsThePage) {
  World world;
  world.tables.map(kPage);
  world.tables.entry(kPage, 3) &= ~kPteWritable;
  world.run([&] {
    world.load(world.tables, kFirst);
    EXPECT_FALSE(world.write(kPage));
    EXPECT_TRUE(world.read(kPage));
    EXPECT_FALSE(world.write(kPage)) << "through the cached table pointer as well";
  });
}

TEST(Tlb, ASpeculativeFillSetsAccessedButNotDirty) {
  World world;
  world.tables.map(kPage);
  world.lab.at(2, EventKind::fill, 0, kPage);
  world.run([&] {
    world.load(world.tables, kFirst);
    HostHal::full_fence();
    EXPECT_TRUE(world.caches(kPage, kFirst));
    EXPECT_TRUE(world.lab.tlb().find(kPage, kFirst)->from.speculative);
    EXPECT_NE(world.tables.entry(kPage, 1) & kPteAccessed, 0u);
    EXPECT_EQ(world.tables.entry(kPage, 1) & kPteDirty, 0u);
  });
}

TEST(Tlb, ASpeculativeFillOfAnAbsentPageCachesNothing) {
  World world;
  world.tables.map(kNext);
  world.lab.at(2, EventKind::fill, 0, kPage);
  world.run([&] {
    world.load(world.tables, kFirst);
    HostHal::full_fence();
    EXPECT_EQ(world.lab.tlb().entries.size(), 0u);
  });
}

// ---- Page faults

TEST(Tlb, MoreRightsInMemoryNeedNoFlush) {
  World world;
  world.tables.map(kPage, kPtePresent | kPteUser);
  world.run([&] {
    world.load(world.tables, kFirst);
    EXPECT_TRUE(world.read(kPage));
    world.tables.entry(kPage, 1) |= kPteWritable;
    EXPECT_TRUE(world.write(kPage));
  });
}

TEST(Tlb, AFaultDropsTheEntryThatCausedIt) {
  World world;
  world.tables.map(kPage);
  world.run([&] {
    world.load(world.tables, kFirst);
    EXPECT_TRUE(world.read(kPage));
    world.tables.entry(kPage, 1) = 0;
    EXPECT_FALSE(world.write(kPage)) << "the clean entry makes the CPU walk, and nothing is there";
    EXPECT_FALSE(world.caches(kPage, kFirst));
    EXPECT_FALSE(world.read(kPage));
  });
}

TEST(Tlb, AFaultDropsTheCachedTablePointerThatItUsed) {
  World world;
  world.tables.map(kNext);
  world.run([&] {
    world.load(world.tables, kFirst);
    EXPECT_TRUE(world.read(kNext));
    world.tables.entry(kPage, 2) = 0;  // Another table takes the place of the cached one.
    const std::uint32_t frame = world.tables.map(kPage);
    EXPECT_FALSE(world.read(kPage)) << "the old table does not map it";
    EXPECT_EQ(world.reaches(kPage), frame) << "the fault must not recur";
  });
}

TEST(Tlb, AFaultDropsNothingElse) {
  World world;
  world.tables.map(kPage);
  world.tables.map(kFar);
  world.run([&] {
    world.load(world.tables, kFirst);
    EXPECT_TRUE(world.read(kPage) && world.read(kFar));
    EXPECT_FALSE(world.read(kNext));
    EXPECT_TRUE(world.caches(kPage, kFirst) && world.caches(kFar, kFirst));
    EXPECT_FALSE(world.caches_table(kNext, kFirst));
    EXPECT_TRUE(world.caches_table(kFar, kFirst));
  });
}

// ---- The paging-structure cache

TEST(PagingStructureCache, IsUsedAfterTheTableWasUnhooked) {
  World world;
  world.tables.map(kPage);
  const std::uint32_t frame = world.tables.map(kNext);
  world.run([&] {
    world.load(world.tables, kFirst);
    EXPECT_TRUE(world.read(kPage));
    world.tables.entry(kPage, 2) = 0;
    EXPECT_EQ(world.reaches(kNext), frame) << "the walk starts at the cached pointer";
    HostHal::invlpg(kFar);
    EXPECT_FALSE(world.read(kPage + 0x2000));
    EXPECT_FALSE(world.caches_table(kPage, kFirst));
  });
}

TEST(PagingStructureCache, BelongsToItsPcid) {
  World world;
  world.tables.map(kPage);
  world.run([&] {
    world.load(world.tables, kFirst);
    EXPECT_TRUE(world.read(kPage));
    world.load(world.other, kSecond, kKeep);
    EXPECT_FALSE(world.read(kPage)) << "the other space has no such table";
  });
}

// ---- Limits and hardware's freedom

TEST(Tlb, EvictionDropsTheChosenEntryOrTablePointer) {
  World world;
  world.tables.map(kPage);
  world.tables.map(kNext);
  world.lab.at(4, EventKind::evict, 0, 0);
  world.lab.at(1, EventKind::evict, 0, 3);
  world.lab.at(1, EventKind::evict, 0, 7);
  world.run([&] {
    world.load(world.tables, kFirst);
    EXPECT_TRUE(world.read(kPage) && world.read(kNext));
    HostHal::full_fence();
    EXPECT_FALSE(world.caches(kPage, kFirst)) << "0 is the first entry";
    EXPECT_TRUE(world.caches(kNext, kFirst) && world.caches_table(kPage, kFirst));
    EXPECT_EQ(world.lab.tlb().entries.size() + world.lab.tlb().psc.size(), 4u);
    HostHal::full_fence();
    EXPECT_FALSE(world.caches_table(kPage, kFirst)) << "table pointers come behind the entries";
    HostHal::full_fence();
    EXPECT_EQ(world.lab.tlb().psc.size(), 1u) << "7 modulo 3 is the second pointer";
    world.lab.tlb().evict(1);
    world.lab.tlb().evict(1);
    EXPECT_EQ(world.lab.tlb().entries.size() + world.lab.tlb().psc.size(), 0u);
    world.lab.tlb().evict(5);  // Nothing is left to evict.
  });
}

TEST(Tlb, IsBoundedAndHoldsTheNewestEntries) {
  World world;
  constexpr unsigned kMany = Tlb::kEntries + 5;
  for (unsigned i = 0; i < kMany; ++i) world.tables.map(kPage + (VirtAddr{i} * 0x1000));
  world.run([&] {
    world.load(world.tables, kFirst);
    for (unsigned i = 0; i < kMany; ++i) EXPECT_TRUE(world.read(kPage + (VirtAddr{i} * 0x1000)));
    EXPECT_EQ(world.lab.tlb().entries.size(), Tlb::kEntries);
    for (unsigned i = 0; i < kMany; ++i) {
      EXPECT_EQ(world.caches(kPage + (VirtAddr{i} * 0x1000), kFirst), i >= 5) << i;
    }
  });
}

TEST(Tlb, ACleanGlobalEntryOfAnotherPcidDoesNotHideTheWalk) {
  World world;
  const std::uint32_t frame = world.tables.map(kPage, Tables::kLeaf | kPteGlobal);
  world.run([&] {
    world.load(world.tables, kFirst);
    EXPECT_TRUE(world.read(kPage));
    world.load(world.tables, kSecond);
    EXPECT_TRUE(world.write(kPage)) << "the walk sets the dirty bit and replaces the entry";
  });
  EXPECT_EQ(*world.lab.frames().words(frame), 1u);
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
  Lab lab({.observer = &counter});
  Tables tables(lab.frames());
  tables.map(kPage);
  tables.map(kNext);
  lab.run([&] {
    HostHal::write_cr3(tables.cr3(kFirst));
    EXPECT_EQ(lab.machine().translation().access(kPage, false), AccessResult::done);
    EXPECT_EQ(counter.tables_read, 4u);
    EXPECT_EQ(lab.machine().translation().access(kNext, false), AccessResult::done);
    EXPECT_EQ(counter.tables_read, 5u) << "from the cached pointer only the last table is read";
    EXPECT_EQ(counter.filled, (std::vector<VirtAddr>{kPage, kPage, kNext}));
  });
}

TEST(Observer, CanForbidAWalk) {
  WalkCounter counter;
  counter.allowed = false;
  Lab lab({.observer = &counter});
  Tables tables(lab.frames());
  tables.map(kPage);
  lab.run([&] {
    HostHal::write_cr3(tables.cr3(kFirst));
    EXPECT_EQ(lab.machine().translation().access(kPage, false), AccessResult::fault);
    EXPECT_EQ(lab.tlb().entries.size(), 0u);
  });
}

}  // namespace
}  // namespace shootdown::host
