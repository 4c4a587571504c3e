// Pages of 1 GiB, and page tables of five levels.
#include <gtest/gtest.h>

#include "tests/host/two_mm_fixture.h"

namespace shootdown::host {
namespace {

constexpr VirtAddr kGiB = VirtAddr{1} << 30;
constexpr VirtAddr kInTheMiddle = kPage + (kGiB / 2);

TEST(HugePage, OneEntryTranslatesAllOfIt) {
  TwoMmFixture mms;
  const std::uint32_t frame = mms.tables.map_huge(kPage);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_EQ(mms.reaches(kInTheMiddle), frame);
    EXPECT_TRUE(mms.caches(kPage, kFirst));
    EXPECT_TRUE(mms.caches(kPage + kGiB - 1, kFirst));
    EXPECT_FALSE(mms.caches(kPage + kGiB, kFirst));
    EXPECT_EQ(mms.fixture.tlb().entries.size(), 1U);
    EXPECT_FALSE(mms.caches_table(kPage, kFirst)) << "there is no page table";
    EXPECT_EQ(mms.tables.entry(kPage, 3) & kPteAccessed, kPteAccessed);
  });
}

TEST(HugePage, AnyAddressOfItDropsIt) {
  TwoMmFixture mms;
  mms.tables.map_huge(kPage);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.read(kPage));
    HostHal::invlpg(kPage + kGiB);
    EXPECT_TRUE(mms.caches(kPage, kFirst)) << "the next page";
    HostHal::invlpg(kInTheMiddle);
    EXPECT_FALSE(mms.caches(kPage, kFirst));
    EXPECT_TRUE(mms.read(kPage));
    HostHal::invpcid(InvpcidType::address, kFirst, kPage + kGiB - 0x1000);
    EXPECT_FALSE(mms.caches(kPage, kFirst));
  });
}

TEST(HugePage, ItIsStaleUntilItIsDropped) {
  TwoMmFixture mms;
  const std::uint32_t before = mms.tables.map_huge(kPage);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_EQ(mms.reaches(kPage), before);
    const std::uint32_t after = mms.tables.map_huge(kPage);
    EXPECT_EQ(mms.reaches(kInTheMiddle), before);
    HostHal::invlpg(kPage);
    EXPECT_EQ(mms.reaches(kInTheMiddle), after);
  });
}

TEST(HugePage, BesideAPartOfAnotherSizeItIsAFault) {
  for (const unsigned level : {1U, 2U}) {
    TwoMmFixture mms;
    if (level == 1) {
      mms.tables.map(kPage);
    } else {
      mms.tables.map_large(kPage);
    }
    const Report& report = mms.fixture.run([&] {
      mms.load(mms.tables, kFirst);
      EXPECT_TRUE(mms.read(kPage));
      mms.tables.map_huge(kPage);
      // The pointers to the tables below go, the translation stays.
      mms.fixture.tlb().psc.clear();
      mms.read(kInTheMiddle);
    });
    EXPECT_STREQ(report.title.c_str(), "two translations of different sizes for one address")
        << level;
  }
}

TEST(HugePage, ASpeculativeWalkMeetsTheOtherSize) {
  TwoMmFixture mms;
  mms.tables.map_huge(kPage);
  const Report& report = mms.fixture.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.read(kPage));
    mms.tables.entry(kPage, 3) = 0;
    mms.tables.map(kPage);
    Machine& machine = mms.fixture.machine();
    machine.translation().speculate(machine.cpu(0), {.address = kPage, .level = 1});
  });
  EXPECT_STREQ(report.title.c_str(), "two translations of different sizes for one address");
}

struct FiveLevels : testing::Test {
  TwoMmFixture mms{{.hardware = {.five_levels = true}}};
};

constexpr VirtAddr kHigh = (VirtAddr{3} << 48) | kPage;  // not canonical with four levels

TEST_F(FiveLevels, TheHighestPartOfAnAddressCounts) {
  const std::uint32_t low = mms.tables.map(kPage);
  const std::uint32_t high = mms.tables.map(kHigh);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_EQ(mms.reaches(kPage), low);
    EXPECT_EQ(mms.reaches(kHigh), high);
    HostHal::invlpg(kHigh);
    EXPECT_FALSE(mms.caches(kHigh, kFirst));
    EXPECT_TRUE(mms.caches(kPage, kFirst));
  });
}

TEST_F(FiveLevels, EachLevelHasItsPointer) {
  mms.tables.map(kPage);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.read(kPage));
    for (unsigned level = 1; level <= 4; ++level) {
      EXPECT_NE(mms.fixture.tlb().find_table(kPage, kFirst, level), nullptr) << level;
    }
    EXPECT_EQ(mms.fixture.tlb().psc.size(), 4U);
    mms.tables.entry(kPage, 5) = 0;
    EXPECT_TRUE(mms.read(kPage));
    mms.fixture.tlb().entries.clear();
    EXPECT_TRUE(mms.read(kPage)) << "through the pointers";
    HostHal::invlpg(kPage);
    EXPECT_FALSE(mms.read(kPage));
  });
}

TEST_F(FiveLevels, AWalkMayStopAfterTheTopEntry) {
  mms.tables.map(kPage);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    Machine& machine = mms.fixture.machine();
    machine.translation().speculate(machine.cpu(0), {.address = kPage, .level = 5});
    EXPECT_NE(mms.fixture.tlb().find_table(kPage, kFirst, 4), nullptr);
    EXPECT_EQ(mms.fixture.tlb().psc.size(), 1U);
  });
}

TEST(FourLevels, AnAddressOfFiveIsNotCanonical) {
  for (const bool five : {false, true}) {
    TwoMmFixture mms({.hardware = {.five_levels = five}});
    mms.tables.map(kPage);
    const Report& report = mms.fixture.run([&] {
      mms.load(mms.tables, kFirst);
      HostHal::invpcid(InvpcidType::address, kFirst, kHigh);
    });
    EXPECT_EQ(report.failed(), !five);
  }
}

}  // namespace
}  // namespace shootdown::host
