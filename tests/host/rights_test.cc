// The user and no-execute bits: what they permit, that a translation keeps them, and when a fault
// drops one that lacks a right.
#include <gtest/gtest.h>

#include "tests/host/two_mm_fixture.h"

namespace shootdown::host {
namespace {

constexpr std::uint64_t kUser = kPtePresent | kPteWritable | kPteUser;
constexpr std::uint64_t kSupervisor = kPtePresent | kPteWritable;
constexpr PageAccess kUserRead{.mode = Mode::user};
constexpr PageAccess kUserWrite{.write = true, .mode = Mode::user};
constexpr PageAccess kUserFetch{.fetch = true, .mode = Mode::user};
constexpr PageAccess kFetch{.fetch = true};

struct RightsOfEntries : testing::Test {
  explicit RightsOfEntries(const Hardware& hardware = {}) : mms({.hardware = hardware}) {}

  bool may(const PageAccess& what, VirtAddr address = kPage) {
    return mms.fixture.machine().translation().access(address, what) == AccessResult::done;
  }
  std::uint64_t& entry(unsigned level = 1) { return mms.tables.entry(kPage, level); }

  TwoMmFixture mms;
};

TEST_F(RightsOfEntries, TheUserBitIsForUsers) {
  mms.tables.map(kPage, kSupervisor);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_FALSE(may(kUserRead));
    EXPECT_FALSE(may(kUserWrite));
    EXPECT_EQ(entry() & kPteDirty, 0U) << "what is not permitted is not done";
    EXPECT_TRUE(may({}));
    EXPECT_TRUE(may({.write = true}));
    entry() |= kPteUser;
    EXPECT_TRUE(may(kUserRead));
  });
}

TEST_F(RightsOfEntries, NoExecuteIsForFetches) {
  mms.tables.map(kPage, kUser | kPteNoExecute);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_FALSE(may(kFetch));
    EXPECT_FALSE(may(kUserFetch));
    EXPECT_TRUE(may(kUserWrite));
    entry() &= ~kPteNoExecute;
    EXPECT_TRUE(may(kFetch));
  });
}

TEST_F(RightsOfEntries, EachLevelMustGiveARight) {
  mms.tables.map(kPage);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    for (unsigned level = 1; level <= 4; ++level) {
      const std::uint64_t before = entry(level);
      entry(level) = before & ~kPteUser;
      HostHal::invlpg(kPage);
      EXPECT_FALSE(may(kUserRead)) << level;
      EXPECT_TRUE(may(kFetch)) << level;
      entry(level) = before | kPteNoExecute;
      HostHal::invlpg(kPage);
      EXPECT_TRUE(may(kUserRead)) << level;
      EXPECT_FALSE(may(kFetch)) << level;
      entry(level) = before;
    }
  });
}

TEST_F(RightsOfEntries, ATranslationKeepsThemUntilItIsDropped) {
  mms.tables.map(kPage);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(may(kUserFetch));
    entry() = (entry() & ~kPteUser) | kPteNoExecute;
    EXPECT_TRUE(may(kUserFetch));
    HostHal::invlpg(kPage);
    EXPECT_FALSE(may(kUserRead));
    EXPECT_FALSE(may(kFetch));
  });
}

TEST_F(RightsOfEntries, ACachedPointerKeepsThoseOfTheEntriesAboveIt) {
  mms.tables.map(kPage);
  mms.tables.map(kNext);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(may(kUserRead));
    entry(2) = (entry(2) & ~kPteUser) | kPteNoExecute;
    EXPECT_TRUE(may(kUserFetch, kNext));
    mms.load(mms.tables, kFirst);
    EXPECT_FALSE(may(kUserRead, kNext));
    EXPECT_FALSE(may(kFetch, kNext));
  });
}

struct SpuriousRights : RightsOfEntries {
  SpuriousRights() : RightsOfEntries({.spurious_faults = true}) {}
};

TEST_F(SpuriousRights, AUsersAccessThatLacksTheUserBitFaultsOnce) {
  mms.tables.map(kPage, kSupervisor);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(may({}));
    entry() |= kPteUser;
    EXPECT_FALSE(may(kUserRead));
    EXPECT_TRUE(may(kUserRead)) << "the fault has dropped the entry";
  });
}

TEST_F(SpuriousRights, AFetchThatLacksItsRightFaultsOnce) {
  mms.tables.map(kPage, kUser | kPteNoExecute);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(may({}));
    entry() &= ~kPteNoExecute;
    EXPECT_FALSE(may(kFetch));
    EXPECT_TRUE(may(kFetch)) << "the fault has dropped the entry";
  });
}

}  // namespace
}  // namespace shootdown::host
