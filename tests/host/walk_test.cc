// The paging-structure caches of every level, and walks in several steps (SDM vol. 3, 4.10.3).
#include "hal/host/walk.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/host/two_mm_fixture.h"

namespace shootdown::host {
namespace {

constexpr VirtAddr kOtherGigabyte = kPage + (VirtAddr{1} << 30);
constexpr VirtAddr kOtherHalfTerabyte = kPage + (VirtAddr{1} << 39);

/// Which pointers on the way to `address` are cached, from the top: "321" is all three.
std::string pointers(TwoMmFixture& mms, VirtAddr address, std::uint16_t pcid = kFirst) {
  std::string levels;
  for (unsigned level = 3; level >= 1; --level) {
    if (mms.fixture.tlb().find_table(address, pcid, level) != nullptr) {
      levels += std::to_string(level);
    }
  }
  return levels;
}

/// Leaves only the pointer to the table of `level` on the way to kPage, and no translation.
void keep_only(TwoMmFixture& mms, unsigned level) {
  Tlb& tlb = mms.fixture.tlb();
  tlb.entries.clear();
  tlb.psc.remove_if([&](const PscEntry& pointer) { return pointer.level() != level; });
}

/// A walk that begins with nothing cached and stops after the entry of `level`.
void expect_stop(unsigned level, const std::string& expected) {
  TwoMmFixture mms;
  mms.tables.map(kPage);
  mms.fixture.at(2, EventKind::fill, 0, kPage, level);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    HostHal::full_fence();
    EXPECT_EQ(pointers(mms, kPage), expected);
    EXPECT_EQ(mms.fixture.tlb().entries.size(), level == 1 ? 1u : 0u);
    for (unsigned at = 1; at <= 4; ++at) {
      EXPECT_EQ((mms.tables.entry(kPage, at) & kPteAccessed) != 0, at >= level)
          << "accessed bit of level " << at << ", stop at " << level;
    }
  });
}

// ---- What a walk caches

TEST(Walk, CachesAPointerToEachTableOnItsWay) {
  TwoMmFixture mms;
  mms.tables.map(kPage);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.read(kPage));
    EXPECT_EQ(pointers(mms, kPage), "321");
    EXPECT_EQ(pointers(mms, kFar), "32") << "another page table";
    EXPECT_EQ(pointers(mms, kOtherGigabyte), "3");
    EXPECT_EQ(pointers(mms, kOtherHalfTerabyte), "");
    EXPECT_EQ(pointers(mms, kPage, kSecond), "") << "another PCID";
  });
}

TEST(Walk, CachesNoPointerFromAnEntryThatMapsAPage) {
  TwoMmFixture mms;
  mms.tables.map_large(kLarge);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.read(kLarge));
    EXPECT_EQ(pointers(mms, kLarge), "32");
  });
}

TEST(Walk, CachesPointersAsFarAsTablesGo) {
  TwoMmFixture mms;
  mms.tables.entry(kPage, 2) = 0;
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_FALSE(mms.read(kFar));
    EXPECT_EQ(pointers(mms, kPage), "") << "a fault drops what its walk has used";
  });
}

TEST(Walk, StartsAtTheLowestTableThatACachedPointerLeadsTo) {
  for (unsigned level = 1; level <= 3; ++level) {
    TwoMmFixture mms;
    const std::uint32_t frame = mms.tables.map(kPage);
    mms.run([&] {
      mms.load(mms.tables, kFirst);
      EXPECT_TRUE(mms.read(kPage));
      keep_only(mms, level);
      // The entry that the pointer was read from, and all above, are not looked at any more.
      for (unsigned above = 4; above > level; --above) mms.tables.entry(kPage, above) = 0;
      EXPECT_EQ(mms.reaches(kPage), frame) << "level " << level;
    });
  }
}

TEST(Walk, LooksAtTheEntriesBelowThePointerItStartsFrom) {
  TwoMmFixture mms;
  mms.tables.map(kPage);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.read(kPage));
    keep_only(mms, 2);
    mms.tables.entry(kPage, 2) = 0;
    EXPECT_FALSE(mms.read(kPage));
  });
}

TEST(Walk, APointerServesEveryAddressBelowItsTable) {
  TwoMmFixture mms;
  mms.tables.map(kPage);
  const std::uint32_t far = mms.tables.map(kFar);
  const std::uint32_t other = mms.tables.map(kOtherGigabyte);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.read(kPage));
    mms.tables.entry(kPage, 4) = 0;
    EXPECT_EQ(mms.reaches(kFar), far);
    EXPECT_EQ(mms.reaches(kOtherGigabyte), other);
  });
}

TEST(Walk, TheRightToWriteIsThatOfTheEntriesThatWereRead) {
  for (unsigned level = 1; level <= 3; ++level) {
    TwoMmFixture mms;
    mms.tables.map(kPage);
    mms.tables.entry(kPage, 4) &= ~kPteWritable;
    mms.run([&] {
      mms.load(mms.tables, kFirst);
      EXPECT_TRUE(mms.read(kPage));
      keep_only(mms, level);
      mms.tables.entry(kPage, 4) |= kPteWritable;
      EXPECT_TRUE(mms.read(kPage));
      EXPECT_FALSE(mms.fixture.tlb().find(kPage, kFirst)->rights.writable) << "level " << level;
      EXPECT_TRUE(mms.write(kPage)) << "the fault drops the pointer, and the access starts anew";
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
  TwoMmFixture mms;
  mms.tables.entry(kPage, 2) = 0;
  mms.fixture.at(2, EventKind::fill, 0, kPage, 2);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    HostHal::full_fence();
    EXPECT_EQ(pointers(mms, kPage), "32");
  });
}

TEST(EarlyStop, DoesNotCacheALargePage) {
  TwoMmFixture mms;
  mms.tables.map_large(kLarge);
  mms.fixture.at(2, EventKind::fill, 0, kLarge, 2);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    HostHal::full_fence();
    EXPECT_EQ(pointers(mms, kLarge), "32");
    EXPECT_EQ(mms.fixture.tlb().entries.size(), 0u);
    EXPECT_EQ(mms.tables.entry(kLarge, 2) & kPteAccessed, 0u);
  });
}

TEST(EarlyStop, DoesNothingWhereThePointerIsCachedAlready) {
  TwoMmFixture mms;
  mms.tables.map(kPage);
  mms.fixture.at(3, EventKind::fill, 0, kPage, 3);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.read(kPage));
    const unsigned before = mms.fixture.tlb().psc.size();
    HostHal::full_fence();
    EXPECT_EQ(mms.fixture.tlb().psc.size(), before);
  });
}

TEST(EarlyStop, MakesAWalkInSeveralSteps) {
  // One step each for the entries of level 4, 3 and 2, and between them memory changes.
  TwoMmFixture mms;
  const std::uint32_t frame = mms.tables.map(kPage);
  for (unsigned level = 4; level >= 2; --level) {
    mms.fixture.at(level == 4 ? 2 : 1, EventKind::fill, 0, kPage, level);
  }
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    for (unsigned level = 4; level >= 2; --level) {
      HostHal::full_fence();
      mms.tables.entry(kPage, level) = 0;
    }
    EXPECT_EQ(mms.reaches(kPage), frame) << "each entry was read before it was cleared";
  });
}

TEST(EarlyStop, AnInvalidationBetweenTheStepsBeginsTheWalkAnew) {
  TwoMmFixture mms;
  mms.tables.map(kPage);
  mms.fixture.at(2, EventKind::fill, 0, kPage, 3);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    HostHal::full_fence();
    mms.tables.entry(kPage, 4) = 0;
    HostHal::invlpg(kFar);
    EXPECT_FALSE(mms.read(kPage));
  });
}

// ---- What drops pointers, at each level

TEST(PointerLevels, InvlpgDropsAllOfTheCurrentPcidWhateverTheAddress) {
  TwoMmFixture mms;
  mms.tables.map(kPage);
  mms.run([&] {
    for (const std::uint16_t pcid : {kFirst, kSecond}) {
      mms.load(mms.tables, pcid);
      EXPECT_TRUE(mms.read(kPage));
    }
    HostHal::invlpg(kOtherHalfTerabyte);
    EXPECT_EQ(pointers(mms, kPage, kSecond), "");
    EXPECT_EQ(pointers(mms, kPage, kFirst), "321");
  });
}

TEST(PointerLevels, InvpcidOfAnAddressDropsThoseOnTheWay) {
  TwoMmFixture mms;
  mms.tables.map(kPage);
  mms.tables.map(kFar);
  mms.tables.map(kOtherGigabyte);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.read(kPage) && mms.read(kFar) && mms.read(kOtherGigabyte));
    HostHal::invpcid(InvpcidType::address, kFirst, kPage);
    EXPECT_EQ(pointers(mms, kPage), "");
    EXPECT_EQ(pointers(mms, kFar), "1") << "its page table is not on the way to the address";
    EXPECT_EQ(pointers(mms, kOtherGigabyte), "21");
  });
}

TEST(PointerLevels, InvpcidOfAPcidDropsAllOfIt) {
  TwoMmFixture mms;
  mms.tables.map(kPage);
  mms.run([&] {
    for (const std::uint16_t pcid : {kFirst, kSecond}) {
      mms.load(mms.tables, pcid);
      EXPECT_TRUE(mms.read(kPage));
    }
    HostHal::invpcid(InvpcidType::context, kFirst, 0);
    EXPECT_EQ(pointers(mms, kPage, kFirst), "");
    EXPECT_EQ(pointers(mms, kPage, kSecond), "321");
  });
}

TEST(PointerLevels, ALoadOfCr3DropsThoseOfTheNewPcidUnlessItKeeps) {
  TwoMmFixture mms;
  mms.tables.map(kPage);
  mms.run([&] {
    for (const std::uint16_t pcid : {kFirst, kSecond}) {
      mms.load(mms.tables, pcid);
      EXPECT_TRUE(mms.read(kPage));
    }
    mms.load(mms.tables, kFirst, kKeep);
    EXPECT_EQ(pointers(mms, kPage, kFirst), "321");
    mms.load(mms.tables, kFirst);
    EXPECT_EQ(pointers(mms, kPage, kFirst), "");
    EXPECT_EQ(pointers(mms, kPage, kSecond), "321");
  });
}

TEST(PointerLevels, AFaultDropsThoseOnTheWay) {
  TwoMmFixture mms;
  mms.tables.map(kPage);
  mms.tables.map(kFar);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.read(kPage) && mms.read(kFar));
    EXPECT_FALSE(mms.read(kNext));
    EXPECT_EQ(pointers(mms, kPage), "");
    EXPECT_EQ(pointers(mms, kFar), "1");
  });
}

TEST(PointerLevels, EachCanBeEvicted) {
  TwoMmFixture mms;
  mms.tables.map(kPage);
  mms.fixture.at(3, EventKind::evict, 0, 2);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.read(kPage));
    HostHal::full_fence();
    EXPECT_EQ(pointers(mms, kPage), "31") << "0 is the translation, and pointers follow";
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
  TwoMmFixture mms({.observer = &watcher});
  mms.tables.map(kPage);
  mms.run([&] {
    FramePool& frames = mms.fixture.frames();
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.read(kPage));
    EXPECT_EQ(watcher.lives, "1111");
    const std::uint32_t table = FramePool::frame_at(mms.tables.entry(kPage, 2));
    mms.fixture.tlb().entries.clear();
    frames.release(table, 0, 0);
    EXPECT_EQ(frames.allocate(FrameKind::table, 0, 0, 0), table);
    mms.tables.map(kPage);
    watcher.lives.clear();
    EXPECT_TRUE(mms.read(kPage));
    EXPECT_EQ(watcher.lives, "1") << "the old pointer is followed to the frame's second life";
    HostHal::invlpg(kPage);
    watcher.lives.clear();
    EXPECT_TRUE(mms.read(kPage));
    EXPECT_EQ(watcher.lives, "1112");
  });
}

}  // namespace
}  // namespace shootdown::host
