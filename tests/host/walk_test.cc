// The paging-structure caches of every level, and walks in several steps (SDM vol. 3, 4.10.3).
#include "hal/host/walk.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/host/world.h"

namespace shootdown::host {
namespace {

constexpr VirtAddr kOtherGigabyte = kPage + (VirtAddr{1} << 30);
constexpr VirtAddr kOtherHalfTerabyte = kPage + (VirtAddr{1} << 39);

/// Which pointers on the way to `address` are cached, from the top: "321" is all three.
std::string pointers(World& world, VirtAddr address, std::uint16_t pcid = kFirst) {
  std::string levels;
  for (unsigned level = 3; level >= 1; --level) {
    if (world.lab.tlb().find_table(address, pcid, level) != nullptr) {
      levels += std::to_string(level);
    }
  }
  return levels;
}

/// Leaves only the pointer to the table of `level` on the way to kPage, and no translation.
void keep_only(World& world, unsigned level) {
  Tlb& tlb = world.lab.tlb();
  tlb.entries.clear();
  tlb.psc.remove_if([&](const PscEntry& pointer) { return pointer.level() != level; });
}

/// A walk that begins with nothing cached and stops after the entry of `level`.
void expect_stop(unsigned level, const std::string& expected) {
  World world;
  world.tables.map(kPage);
  world.lab.at(2, EventKind::fill, 0, kPage, level);
  world.run([&] {
    world.load(world.tables, kFirst);
    HostHal::full_fence();
    EXPECT_EQ(pointers(world, kPage), expected);
    EXPECT_EQ(world.lab.tlb().entries.size(), level == 1 ? 1u : 0u);
    for (unsigned at = 1; at <= 4; ++at) {
      EXPECT_EQ((world.tables.entry(kPage, at) & kPteAccessed) != 0, at >= level)
          << "accessed bit of level " << at << ", stop at " << level;
    }
  });
}

// ---- What a walk caches

TEST(Walk, CachesAPointerToEachTableOnItsWay) {
  World world;
  world.tables.map(kPage);
  world.run([&] {
    world.load(world.tables, kFirst);
    EXPECT_TRUE(world.read(kPage));
    EXPECT_EQ(pointers(world, kPage), "321");
    EXPECT_EQ(pointers(world, kFar), "32") << "another page table";
    EXPECT_EQ(pointers(world, kOtherGigabyte), "3");
    EXPECT_EQ(pointers(world, kOtherHalfTerabyte), "");
    EXPECT_EQ(pointers(world, kPage, kSecond), "") << "another PCID";
  });
}

TEST(Walk, CachesNoPointerFromAnEntryThatMapsAPage) {
  World world;
  world.tables.map_large(kLarge);
  world.run([&] {
    world.load(world.tables, kFirst);
    EXPECT_TRUE(world.read(kLarge));
    EXPECT_EQ(pointers(world, kLarge), "32");
  });
}

TEST(Walk, CachesPointersAsFarAsTablesGo) {
  World world;
  world.tables.entry(kPage, 2) = 0;
  world.run([&] {
    world.load(world.tables, kFirst);
    EXPECT_FALSE(world.read(kFar));
    EXPECT_EQ(pointers(world, kPage), "") << "a fault drops what its walk has used";
  });
}

TEST(Walk, StartsAtTheLowestTableThatACachedPointerLeadsTo) {
  for (unsigned level = 1; level <= 3; ++level) {
    World world;
    const std::uint32_t frame = world.tables.map(kPage);
    world.run([&] {
      world.load(world.tables, kFirst);
      EXPECT_TRUE(world.read(kPage));
      keep_only(world, level);
      // The entry that the pointer was read from, and all above, are not looked at any more.
      for (unsigned above = 4; above > level; --above) world.tables.entry(kPage, above) = 0;
      EXPECT_EQ(world.reaches(kPage), frame) << "level " << level;
    });
  }
}

TEST(Walk, LooksAtTheEntriesBelowThePointerItStartsFrom) {
  World world;
  world.tables.map(kPage);
  world.run([&] {
    world.load(world.tables, kFirst);
    EXPECT_TRUE(world.read(kPage));
    keep_only(world, 2);
    world.tables.entry(kPage, 2) = 0;
    EXPECT_FALSE(world.read(kPage));
  });
}

TEST(Walk, APointerServesEveryAddressBelowItsTable) {
  World world;
  world.tables.map(kPage);
  const std::uint32_t far = world.tables.map(kFar);
  const std::uint32_t other = world.tables.map(kOtherGigabyte);
  world.run([&] {
    world.load(world.tables, kFirst);
    EXPECT_TRUE(world.read(kPage));
    world.tables.entry(kPage, 4) = 0;
    EXPECT_EQ(world.reaches(kFar), far);
    EXPECT_EQ(world.reaches(kOtherGigabyte), other);
  });
}

TEST(Walk, TheRightToWriteIsThatOfTheEntriesThatWereRead) {
  for (unsigned level = 1; level <= 3; ++level) {
    World world;
    world.tables.map(kPage);
    world.tables.entry(kPage, 4) &= ~kPteWritable;
    world.run([&] {
      world.load(world.tables, kFirst);
      EXPECT_TRUE(world.read(kPage));
      keep_only(world, level);
      world.tables.entry(kPage, 4) |= kPteWritable;
      EXPECT_TRUE(world.read(kPage));
      EXPECT_FALSE(world.lab.tlb().find(kPage, kFirst)->writable) << "level " << level;
      EXPECT_TRUE(world.write(kPage)) << "the fault drops the pointer, and the access starts anew";
    });
  }
}

// ---- Walks that stop early

TEST(EarlyStop, CachesPointersDownToItsLevelAndNoTranslation) {
  expect_stop(4, "3");
  expect_stop(3, "32");
  expect_stop(2, "321");
  expect_stop(1, "321");
}

TEST(EarlyStop, OfAnAbsentTableCachesWhatIsThere) {
  World world;
  world.tables.entry(kPage, 2) = 0;
  world.lab.at(2, EventKind::fill, 0, kPage, 2);
  world.run([&] {
    world.load(world.tables, kFirst);
    HostHal::full_fence();
    EXPECT_EQ(pointers(world, kPage), "32");
  });
}

TEST(EarlyStop, DoesNotCacheALargePage) {
  World world;
  world.tables.map_large(kLarge);
  world.lab.at(2, EventKind::fill, 0, kLarge, 2);
  world.run([&] {
    world.load(world.tables, kFirst);
    HostHal::full_fence();
    EXPECT_EQ(pointers(world, kLarge), "32");
    EXPECT_EQ(world.lab.tlb().entries.size(), 0u);
    EXPECT_EQ(world.tables.entry(kLarge, 2) & kPteAccessed, 0u);
  });
}

TEST(EarlyStop, DoesNothingWhereThePointerIsCachedAlready) {
  World world;
  world.tables.map(kPage);
  world.lab.at(3, EventKind::fill, 0, kPage, 3);
  world.run([&] {
    world.load(world.tables, kFirst);
    EXPECT_TRUE(world.read(kPage));
    const unsigned before = world.lab.tlb().psc.size();
    HostHal::full_fence();
    EXPECT_EQ(world.lab.tlb().psc.size(), before);
  });
}

TEST(EarlyStop, MakesAWalkInSeveralSteps) {
  // One step each for the entries of level 4, 3 and 2, and between them memory changes.
  World world;
  const std::uint32_t frame = world.tables.map(kPage);
  for (unsigned level = 4; level >= 2; --level) {
    world.lab.at(level == 4 ? 2 : 1, EventKind::fill, 0, kPage, level);
  }
  world.run([&] {
    world.load(world.tables, kFirst);
    for (unsigned level = 4; level >= 2; --level) {
      HostHal::full_fence();
      world.tables.entry(kPage, level) = 0;
    }
    EXPECT_EQ(world.reaches(kPage), frame) << "each entry was read before it was cleared";
  });
}

TEST(EarlyStop, AnInvalidationBetweenTheStepsBeginsTheWalkAnew) {
  World world;
  world.tables.map(kPage);
  world.lab.at(2, EventKind::fill, 0, kPage, 3);
  world.run([&] {
    world.load(world.tables, kFirst);
    HostHal::full_fence();
    world.tables.entry(kPage, 4) = 0;
    HostHal::invlpg(kFar);
    EXPECT_FALSE(world.read(kPage));
  });
}

// ---- What drops pointers, at each level

TEST(PointerLevels, InvlpgDropsAllOfTheCurrentPcidWhateverTheAddress) {
  World world;
  world.tables.map(kPage);
  world.run([&] {
    for (const std::uint16_t pcid : {kFirst, kSecond}) {
      world.load(world.tables, pcid);
      EXPECT_TRUE(world.read(kPage));
    }
    HostHal::invlpg(kOtherHalfTerabyte);
    EXPECT_EQ(pointers(world, kPage, kSecond), "");
    EXPECT_EQ(pointers(world, kPage, kFirst), "321");
  });
}

TEST(PointerLevels, InvpcidOfAnAddressDropsThoseOnTheWay) {
  World world;
  world.tables.map(kPage);
  world.tables.map(kFar);
  world.tables.map(kOtherGigabyte);
  world.run([&] {
    world.load(world.tables, kFirst);
    EXPECT_TRUE(world.read(kPage) && world.read(kFar) && world.read(kOtherGigabyte));
    HostHal::invpcid(InvpcidType::address, kFirst, kPage);
    EXPECT_EQ(pointers(world, kPage), "");
    EXPECT_EQ(pointers(world, kFar), "1") << "its page table is not on the way to the address";
    EXPECT_EQ(pointers(world, kOtherGigabyte), "21");
  });
}

TEST(PointerLevels, InvpcidOfAPcidDropsAllOfIt) {
  World world;
  world.tables.map(kPage);
  world.run([&] {
    for (const std::uint16_t pcid : {kFirst, kSecond}) {
      world.load(world.tables, pcid);
      EXPECT_TRUE(world.read(kPage));
    }
    HostHal::invpcid(InvpcidType::context, kFirst, 0);
    EXPECT_EQ(pointers(world, kPage, kFirst), "");
    EXPECT_EQ(pointers(world, kPage, kSecond), "321");
  });
}

TEST(PointerLevels, ALoadOfCr3DropsThoseOfTheNewPcidUnlessItKeeps) {
  World world;
  world.tables.map(kPage);
  world.run([&] {
    for (const std::uint16_t pcid : {kFirst, kSecond}) {
      world.load(world.tables, pcid);
      EXPECT_TRUE(world.read(kPage));
    }
    world.load(world.tables, kFirst, kKeep);
    EXPECT_EQ(pointers(world, kPage, kFirst), "321");
    world.load(world.tables, kFirst);
    EXPECT_EQ(pointers(world, kPage, kFirst), "");
    EXPECT_EQ(pointers(world, kPage, kSecond), "321");
  });
}

TEST(PointerLevels, AFaultDropsThoseOnTheWay) {
  World world;
  world.tables.map(kPage);
  world.tables.map(kFar);
  world.run([&] {
    world.load(world.tables, kFirst);
    EXPECT_TRUE(world.read(kPage) && world.read(kFar));
    EXPECT_FALSE(world.read(kNext));
    EXPECT_EQ(pointers(world, kPage), "");
    EXPECT_EQ(pointers(world, kFar), "1");
  });
}

TEST(PointerLevels, EachCanBeEvicted) {
  World world;
  world.tables.map(kPage);
  world.lab.at(3, EventKind::evict, 0, 2);
  world.run([&] {
    world.load(world.tables, kFirst);
    EXPECT_TRUE(world.read(kPage));
    HostHal::full_fence();
    EXPECT_EQ(pointers(world, kPage), "31") << "0 is the translation, and pointers follow";
  });
}

// ---- What observers hear

class LifeWatcher final : public SilentObserver {
 public:
  bool on_walk(CpuId /*cpu*/, std::uint32_t frame, std::uint32_t life) override {
    lives += std::to_string(life);
    return frame != FramePool::kNoFrame;
  }
  std::string lives;
};

TEST(PointerLevels, APointerNamesTheLifeOfTheFrameThatItWasReadFor) {
  LifeWatcher watcher;
  World world({.observer = &watcher});
  world.tables.map(kPage);
  world.run([&] {
    FramePool& frames = world.lab.frames();
    world.load(world.tables, kFirst);
    EXPECT_TRUE(world.read(kPage));
    EXPECT_EQ(watcher.lives, "1111");
    const std::uint32_t table = FramePool::frame_at(world.tables.entry(kPage, 2));
    world.lab.tlb().entries.clear();
    frames.release(table, 0, 0);
    EXPECT_EQ(frames.allocate(FrameKind::table, 0, 0, 0), table);
    world.tables.map(kPage);
    watcher.lives.clear();
    EXPECT_TRUE(world.read(kPage));
    EXPECT_EQ(watcher.lives, "1") << "the old pointer is followed to the frame's second life";
    HostHal::invlpg(kPage);
    watcher.lives.clear();
    EXPECT_TRUE(world.read(kPage));
    EXPECT_EQ(watcher.lives, "1112");
  });
}

}  // namespace
}  // namespace shootdown::host
