// Cached translations against the manual: what fills them, what drops them, what survives (SDM
// vol. 3, 4.8 and 4.10).
#include "hal/host/tlb.h"

#include <gtest/gtest.h>

#include "tests/host/lab.h"

namespace shootdown::host {
namespace {

constexpr VirtAddr kPage = 0x4000'0000;
constexpr VirtAddr kNext = kPage + 0x1000;      // in the same page table
constexpr VirtAddr kFar = kPage + 0x20'0000;    // in another page table
constexpr VirtAddr kLarge = kPage + 0x40'0000;  // a 2 MiB page
constexpr std::uint16_t kFirst = 1;
constexpr std::uint16_t kSecond = 2;
constexpr std::uint64_t kKeep = std::uint64_t{1} << 63;

/// One CPU, two address spaces, PCIDs 1 and 2.
struct World {
  explicit World(bool pcid = true)
      : lab({.pcid = pcid}), tables(lab.frames()), other(lab.frames()) {}

  void load(Tables& space, std::uint16_t pcid, std::uint64_t keep = 0) {
    HostHal::write_cr3(space.cr3(pcid) | keep);
  }
  bool read(VirtAddr address) { return lab.machine().access(address, false) == AccessResult::done; }
  bool write(VirtAddr address) { return lab.machine().access(address, true) == AccessResult::done; }
  /// The frame that a load of `address` reaches now, or kNoFrame after a fault.
  std::uint32_t reaches(VirtAddr address) {
    if (!read(address)) return FramePool::kNoFrame;
    return lab.tlb().find(address, lab.machine().pcid_of(HostHal::read_cr3()))->frame;
  }
  bool caches(VirtAddr address, std::uint16_t pcid) {
    return lab.tlb().find(address, pcid) != nullptr;
  }
  bool caches_table(VirtAddr address, std::uint16_t pcid) {
    return lab.tlb().find_table(address, pcid) != nullptr;
  }
  void run(Lab::Program program) {
    const Report& report = lab.run(std::move(program));
    EXPECT_FALSE(report.failed()) << report.title;
  }

  Lab lab;
  Tables tables;
  Tables other;
};

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
  world.lab.at(2, ActionKind::fill, 0, kPage);
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
  world.lab.at(2, ActionKind::fill, 0, kPage);
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

// ---- MOV to CR3

TEST(MovToCr3, DropsTheEntriesOfTheNewPcidAndNoOthers) {
  World world;
  world.tables.map(kPage);
  world.other.map(kPage);
  world.run([&] {
    world.load(world.tables, kFirst);
    EXPECT_TRUE(world.read(kPage));
    world.load(world.other, kSecond);
    EXPECT_TRUE(world.caches(kPage, kFirst) && world.caches_table(kPage, kFirst));
    EXPECT_TRUE(world.read(kPage));
    world.load(world.tables, kFirst);
    EXPECT_FALSE(world.caches(kPage, kFirst) || world.caches_table(kPage, kFirst));
    EXPECT_TRUE(world.caches(kPage, kSecond) && world.caches_table(kPage, kSecond));
  });
}

TEST(MovToCr3, WithTheKeepBitDropsNothing) {
  World world;
  world.tables.map(kPage);
  world.run([&] {
    world.load(world.tables, kFirst);
    EXPECT_TRUE(world.read(kPage));
    world.load(world.other, kSecond, kKeep);
    EXPECT_FALSE(world.read(kPage)) << "the entry belongs to another PCID";
    world.load(world.tables, kFirst, kKeep);
    EXPECT_TRUE(world.caches(kPage, kFirst) && world.caches_table(kPage, kFirst));
    EXPECT_EQ(HostHal::read_cr3(), world.tables.cr3(kFirst)) << "the bit is not part of CR3";
  });
}

TEST(MovToCr3, WithoutPcidsDropsEverythingButGlobalEntries) {
  World world(/*pcid=*/false);
  world.tables.map(kPage);
  world.tables.map(kFar, Tables::kLeaf | kPteGlobal);
  world.run([&] {
    world.load(world.tables, 0);
    EXPECT_TRUE(world.read(kPage) && world.read(kFar));
    world.load(world.other, 0);
    EXPECT_FALSE(world.caches(kPage, 0));
    EXPECT_FALSE(world.caches_table(kPage, 0) || world.caches_table(kFar, 0));
    EXPECT_TRUE(world.caches(kFar, 0));
  });
}

TEST(MovToCr3, WithTheKeepBitFaultsWithoutPcids) {
  World world(/*pcid=*/false);
  const Report& report = world.lab.run([&] { world.load(world.tables, 0, kKeep); });
  EXPECT_EQ(report.oracle, Oracle::check);
  EXPECT_EQ(report.title, "a load of CR3 faults");
}

TEST(MovToCr3, KeepsGlobalEntriesAndTheyServeEveryPcid) {
  World world;
  const std::uint32_t frame = world.tables.map(kPage, Tables::kLeaf | kPteGlobal);
  world.run([&] {
    world.load(world.tables, kFirst);
    EXPECT_TRUE(world.read(kPage));
    world.load(world.tables, kFirst);
    EXPECT_TRUE(world.caches(kPage, kFirst));
    EXPECT_FALSE(world.caches_table(kPage, kFirst)) << "table pointers are never global";
    world.load(world.other, kSecond);
    EXPECT_EQ(world.reaches(kPage), frame);
  });
}

// ---- INVLPG

TEST(Invlpg, DropsThePageInTheCurrentPcidOnly) {
  World world;
  world.tables.map(kPage);
  world.tables.map(kFar);
  world.run([&] {
    for (const std::uint16_t pcid : {kFirst, kSecond}) {
      world.load(world.tables, pcid);
      EXPECT_TRUE(world.read(kPage) && world.read(kFar));
    }
    HostHal::invlpg(kPage + 0x123);
    EXPECT_FALSE(world.caches(kPage, kSecond));
    EXPECT_TRUE(world.caches(kFar, kSecond)) << "another page";
    EXPECT_TRUE(world.caches(kPage, kFirst)) << "another PCID";
  });
}

TEST(Invlpg, DropsAllTablePointersOfTheCurrentPcidOnly) {
  World world;
  world.tables.map(kPage);
  world.tables.map(kFar);
  world.run([&] {
    for (const std::uint16_t pcid : {kFirst, kSecond}) {
      world.load(world.tables, pcid);
      EXPECT_TRUE(world.read(kPage) && world.read(kFar));
    }
    HostHal::invlpg(kPage);
    EXPECT_FALSE(world.caches_table(kPage, kSecond) || world.caches_table(kFar, kSecond));
    EXPECT_TRUE(world.caches_table(kPage, kFirst) && world.caches_table(kFar, kFirst));
  });
}

TEST(Invlpg, DropsGlobalEntriesOfEveryPcid) {
  World world;
  world.tables.map(kPage, Tables::kLeaf | kPteGlobal);
  world.run([&] {
    world.load(world.tables, kFirst);
    EXPECT_TRUE(world.read(kPage));
    world.load(world.other, kSecond);
    HostHal::invlpg(kPage);
    EXPECT_FALSE(world.caches(kPage, kFirst));
  });
}

TEST(Invlpg, DropsALargePageFromAnyAddressInIt) {
  World world;
  const std::uint32_t frame = world.tables.map_large(kLarge);
  world.run([&] {
    world.load(world.tables, kFirst);
    EXPECT_EQ(world.reaches(kLarge), frame);
    EXPECT_EQ(world.reaches(kLarge + 0x12'3000), frame) << "one entry covers it all";
    EXPECT_EQ(world.lab.tlb().entries.size(), 1u);
    HostHal::invlpg(kLarge + 0x1f'f000);
    EXPECT_EQ(world.lab.tlb().entries.size(), 0u);
  });
}

TEST(Invlpg, OfALargePageLeavesSmallEntriesFromBefore) {
  World world;
  world.tables.map(kLarge);
  world.tables.map(kLarge + 0x1000);
  world.run([&] {
    world.load(world.tables, kFirst);
    EXPECT_TRUE(world.read(kLarge) && world.read(kLarge + 0x1000));
    world.tables.map_large(kLarge);  // The range is collapsed.
    HostHal::invlpg(kLarge);
    EXPECT_FALSE(world.caches(kLarge, kFirst));
    EXPECT_TRUE(world.caches(kLarge + 0x1000, kFirst)) << "whoever collapses steps by 4 KiB";
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
  world.lab.at(4, ActionKind::evict, 0, 0);
  world.lab.at(1, ActionKind::evict, 0, 1);
  world.lab.at(1, ActionKind::evict, 0, 7);
  world.lab.at(1, ActionKind::evict, 0, 7);
  world.run([&] {
    world.load(world.tables, kFirst);
    EXPECT_TRUE(world.read(kPage) && world.read(kNext));
    HostHal::full_fence();
    EXPECT_FALSE(world.caches(kPage, kFirst)) << "0 is the first entry";
    EXPECT_TRUE(world.caches(kNext, kFirst) && world.caches_table(kPage, kFirst));
    HostHal::full_fence();
    EXPECT_FALSE(world.caches_table(kPage, kFirst)) << "table pointers come behind the entries";
    HostHal::full_fence();
    EXPECT_FALSE(world.caches(kNext, kFirst)) << "the choice wraps around";
    HostHal::full_fence();
    EXPECT_EQ(world.lab.tlb().entries.size(), 0u) << "nothing is left to evict";
  });
}

TEST(Tlb, IsBoundedAndHoldsTheNewestEntries) {
  World world;
  constexpr unsigned kMany = Tlb::kEntries + 5;
  for (unsigned i = 0; i < kMany; ++i) world.tables.map(kPage + (i * 0x1000));
  world.run([&] {
    world.load(world.tables, kFirst);
    for (unsigned i = 0; i < kMany; ++i) EXPECT_TRUE(world.read(kPage + (i * 0x1000)));
    EXPECT_EQ(world.lab.tlb().entries.size(), Tlb::kEntries);
    for (unsigned i = 0; i < kMany; ++i) {
      EXPECT_EQ(world.caches(kPage + (i * 0x1000), kFirst), i >= 5) << i;
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
  bool on_walk(CpuId /*cpu*/, std::uint32_t /*frame*/) override {
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
    EXPECT_EQ(lab.machine().access(kPage, false), AccessResult::done);
    EXPECT_EQ(counter.tables_read, 4u);
    EXPECT_EQ(lab.machine().access(kNext, false), AccessResult::done);
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
    EXPECT_EQ(lab.machine().access(kPage, false), AccessResult::fault);
    EXPECT_EQ(lab.tlb().entries.size(), 0u);
  });
}

}  // namespace
}  // namespace shootdown::host
