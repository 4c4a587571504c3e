// What each invalidating instruction drops and what it leaves (SDM vol. 3, 4.10.4.1).
#include <gtest/gtest.h>

#include <vector>

#include "tests/host/two_mm_fixture.h"

namespace shootdown::host {
namespace {

// ---- MOV to CR3

TEST(MovToCr3, DropsTheEntriesOfTheNewPcidAndNoOthers) {
  TwoMmFixture mms;
  mms.tables.map(kPage);
  mms.other.map(kPage);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.read(kPage));
    mms.load(mms.other, kSecond);
    EXPECT_TRUE(mms.caches(kPage, kFirst) && mms.caches_table(kPage, kFirst));
    EXPECT_TRUE(mms.read(kPage));
    mms.load(mms.tables, kFirst);
    EXPECT_FALSE(mms.caches(kPage, kFirst) || mms.caches_table(kPage, kFirst));
    EXPECT_TRUE(mms.caches(kPage, kSecond) && mms.caches_table(kPage, kSecond));
  });
}

TEST(MovToCr3, WithTheKeepBitDropsNothing) {
  TwoMmFixture mms;
  mms.tables.map(kPage);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.read(kPage));
    mms.load(mms.other, kSecond, kKeep);
    EXPECT_FALSE(mms.read(kPage)) << "the entry belongs to another PCID";
    mms.load(mms.tables, kFirst, kKeep);
    EXPECT_TRUE(mms.caches(kPage, kFirst) && mms.caches_table(kPage, kFirst));
    EXPECT_EQ(HostHal::read_cr3(), mms.tables.cr3(kFirst)) << "the bit is not part of CR3";
  });
}

TEST(MovToCr3, WithoutPcidsDropsEverythingButGlobalEntries) {
  TwoMmFixture mms({.hardware = {.pcid = false}});
  mms.tables.map(kPage);
  mms.tables.map(kFar, Tables::kLeaf | kPteGlobal);
  mms.run([&] {
    mms.load(mms.tables, 0);
    EXPECT_TRUE(mms.read(kPage) && mms.read(kFar));
    mms.load(mms.other, 0);
    EXPECT_FALSE(mms.caches(kPage, 0));
    EXPECT_FALSE(mms.caches_table(kPage, 0) || mms.caches_table(kFar, 0));
    EXPECT_TRUE(mms.caches(kFar, 0));
  });
}

TEST(MovToCr3, WithTheKeepBitFaultsWithoutPcids) {
  TwoMmFixture mms({.hardware = {.pcid = false}});
  const Report& report = mms.fixture.run([&] { mms.load(mms.tables, 0, kKeep); });
  EXPECT_EQ(report.kind, &kFault);
  EXPECT_EQ(report.title, "a load of CR3 faults");
}

TEST(MovToCr3, KeepsGlobalEntriesAndTheyServeEveryPcid) {
  TwoMmFixture mms;
  const std::uint32_t frame = mms.tables.map(kPage, Tables::kLeaf | kPteGlobal);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.read(kPage));
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.caches(kPage, kFirst));
    EXPECT_FALSE(mms.caches_table(kPage, kFirst)) << "table pointers are never global";
    mms.load(mms.other, kSecond);
    EXPECT_EQ(mms.reaches(kPage), frame);
  });
}

// ---- INVLPG

TEST(Invlpg, DropsThePageInTheCurrentPcidOnly) {
  TwoMmFixture mms;
  mms.tables.map(kPage);
  mms.tables.map(kFar);
  mms.run([&] {
    for (const std::uint16_t pcid : {kFirst, kSecond}) {
      mms.load(mms.tables, pcid);
      EXPECT_TRUE(mms.read(kPage) && mms.read(kFar));
    }
    HostHal::invlpg(kPage + 0x123);
    EXPECT_FALSE(mms.caches(kPage, kSecond));
    EXPECT_TRUE(mms.caches(kFar, kSecond)) << "another page";
    EXPECT_TRUE(mms.caches(kPage, kFirst)) << "another PCID";
  });
}

TEST(Invlpg, DropsAllTablePointersOfTheCurrentPcidOnly) {
  TwoMmFixture mms;
  mms.tables.map(kPage);
  mms.tables.map(kFar);
  mms.run([&] {
    for (const std::uint16_t pcid : {kFirst, kSecond}) {
      mms.load(mms.tables, pcid);
      EXPECT_TRUE(mms.read(kPage) && mms.read(kFar));
    }
    HostHal::invlpg(kPage);
    EXPECT_FALSE(mms.caches_table(kPage, kSecond) || mms.caches_table(kFar, kSecond));
    EXPECT_TRUE(mms.caches_table(kPage, kFirst) && mms.caches_table(kFar, kFirst));
  });
}

TEST(Invlpg, OfAnAddressThatIsNotCanonicalDropsNothing) {
  TwoMmFixture mms;
  mms.tables.map(kPage);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.read(kPage));
    for (const VirtAddr address : {VirtAddr{1} << 47, kPage | (VirtAddr{1} << 63)}) {
      HostHal::invlpg(address);
      EXPECT_TRUE(mms.caches(kPage, kFirst) && mms.caches_table(kPage, kFirst));
    }
    HostHal::invlpg(~VirtAddr{0} << 47);
    EXPECT_TRUE(mms.caches(kPage, kFirst)) << "canonical, and another page";
    EXPECT_FALSE(mms.caches_table(kPage, kFirst));
  });
}

TEST(Invlpg, DropsGlobalEntriesOfEveryPcid) {
  TwoMmFixture mms;
  mms.tables.map(kPage, Tables::kLeaf | kPteGlobal);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.read(kPage));
    mms.load(mms.other, kSecond);
    HostHal::invlpg(kPage);
    EXPECT_FALSE(mms.caches(kPage, kFirst));
  });
}

TEST(Invlpg, DropsALargePageFromAnyAddressInIt) {
  TwoMmFixture mms;
  const std::uint32_t frame = mms.tables.map_large(kLarge);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_EQ(mms.reaches(kLarge), frame);
    EXPECT_EQ(mms.reaches(kLarge + 0x12'3000), frame) << "one entry covers it all";
    EXPECT_EQ(mms.fixture.tlb().entries.size(), 1u);
    HostHal::invlpg(kLarge + 0x1f'f000);
    EXPECT_EQ(mms.fixture.tlb().entries.size(), 0u);
  });
}

TEST(Invlpg, OfALargePageLeavesSmallEntriesFromBefore) {
  TwoMmFixture mms;
  mms.tables.map(kLarge);
  mms.tables.map(kLarge + 0x1000);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.read(kLarge) && mms.read(kLarge + 0x1000));
    mms.tables.map_large(kLarge);  // The range is collapsed.
    HostHal::invlpg(kLarge);
    EXPECT_FALSE(mms.caches(kLarge, kFirst));
    EXPECT_TRUE(mms.caches(kLarge + 0x1000, kFirst))
        << "a kernel that collapses a range steps by 4 KiB";
  });
}

// ---- INVPCID

/// The first mm's page and a global page, cached under both PCIDs; the second PCID is loaded.
struct Invpcid : testing::Test {
  TwoMmFixture mms;
  Invpcid() {
    mms.tables.map(kPage);
    mms.tables.map(kNext);
    mms.tables.map(kFar, Tables::kLeaf | kPteGlobal);
  }
  void run(InvpcidType type, std::uint16_t pcid, VirtAddr address, MachineFixture::Program check) {
    mms.run([&] {
      for (const std::uint16_t loaded : {kFirst, kSecond}) {
        mms.load(mms.tables, loaded);
        EXPECT_TRUE(mms.read(kPage) && mms.read(kNext) && mms.read(kFar));
      }
      HostHal::invpcid(type, pcid, address);
      check();
    });
  }
};

TEST_F(Invpcid, OfAnAddressDropsItInThatPcidOnly) {
  run(InvpcidType::address, kFirst, kPage + 0x10, [&] {
    EXPECT_FALSE(mms.caches(kPage, kFirst));
    EXPECT_TRUE(mms.caches(kNext, kFirst));
    EXPECT_TRUE(mms.caches(kPage, kSecond)) << "although this one is loaded";
  });
}

TEST_F(Invpcid, OfAnAddressDropsTheTablePointersOnItsWayOnly) {
  run(InvpcidType::address, kFirst, kPage, [&] {
    EXPECT_FALSE(mms.caches_table(kPage, kFirst));
    EXPECT_TRUE(mms.caches_table(kFar, kFirst)) << "where INVLPG drops them all";
  });
}

TEST_F(Invpcid, OfAnAddressLeavesGlobalEntries) {
  run(InvpcidType::address, kFirst, kFar, [&] { EXPECT_TRUE(mms.caches(kFar, kFirst)); });
}

TEST_F(Invpcid, OfAContextDropsThatPcidButGlobalEntries) {
  run(InvpcidType::context, kFirst, 0, [&] {
    EXPECT_FALSE(mms.caches(kPage, kFirst) || mms.caches(kNext, kFirst));
    EXPECT_FALSE(mms.caches_table(kPage, kFirst) || mms.caches_table(kFar, kFirst));
    EXPECT_TRUE(mms.caches(kFar, kFirst));
    EXPECT_TRUE(mms.caches(kPage, kSecond) && mms.caches_table(kPage, kSecond));
  });
}

TEST_F(Invpcid, OfEverythingDropsGlobalEntriesToo) {
  run(InvpcidType::everything, 0, 0,
      [&] { EXPECT_EQ(mms.fixture.tlb().entries.size() + mms.fixture.tlb().psc.size(), 0u); });
}

TEST_F(Invpcid, OfAllContextsLeavesGlobalEntries) {
  run(InvpcidType::all_contexts, 0, 0, [&] {
    EXPECT_EQ(mms.fixture.tlb().entries.size(), 1u);
    EXPECT_TRUE(mms.caches(kFar, kFirst));
    EXPECT_EQ(mms.fixture.tlb().psc.size(), 0u);
  });
}

TEST(InvpcidFault, OnAnAddressThatIsNotCanonical) {
  for (const VirtAddr address : {VirtAddr{0x0000'8000'0000'0000}, 0xffff'7fff'ffff'f000}) {
    TwoMmFixture mms;
    const Report& report =
        mms.fixture.run([&] { HostHal::invpcid(InvpcidType::address, kFirst, address); });
    EXPECT_EQ(report.kind, &kFault);
    EXPECT_EQ(report.title, "INVPCID faults");
  }
}

TEST(InvpcidFault, NotOnTheLastCanonicalAddresses) {
  TwoMmFixture mms;
  mms.run([] {
    HostHal::invpcid(InvpcidType::address, kFirst, 0x0000'7fff'ffff'f000);
    HostHal::invpcid(InvpcidType::address, kFirst, 0xffff'8000'0000'0000);
    HostHal::invpcid(InvpcidType::context, kFirst, 0x0000'8000'0000'0000);
  });
}

TEST(InvpcidFault, OnAPcidWhilePcidsAreOff) {
  for (const InvpcidType type : {InvpcidType::address, InvpcidType::context}) {
    TwoMmFixture mms({.hardware = {.pcid = false}});
    EXPECT_EQ(mms.fixture.run([&] { HostHal::invpcid(type, kFirst, 0); }).kind, &kFault);
  }
  TwoMmFixture mms({.hardware = {.pcid = false}});
  mms.run([] {
    HostHal::invpcid(InvpcidType::address, 0, kPage);
    HostHal::invpcid(InvpcidType::everything, 0, 0);
  });
}

// ---- CR4

TEST(MovToCr4, DropsEverythingIfTheGlobalBitChanges) {
  TwoMmFixture mms;
  mms.tables.map(kPage);
  mms.tables.map(kFar, Tables::kLeaf | kPteGlobal);
  mms.run([&] {
    const std::uint64_t cr4 = HostHal::read_cr4();
    mms.load(mms.tables, kFirst);
    for (const std::uint64_t value : {cr4 ^ kCr4GlobalPages, cr4}) {
      EXPECT_TRUE(mms.read(kPage) && mms.read(kFar));
      HostHal::write_cr4(value);
      EXPECT_EQ(mms.fixture.tlb().entries.size() + mms.fixture.tlb().psc.size(), 0u);
      EXPECT_EQ(HostHal::read_cr4(), value);
    }
  });
}

TEST(MovToCr4, DropsNothingIfOtherBitsChange) {
  TwoMmFixture mms;
  mms.tables.map(kPage);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.read(kPage));
    HostHal::write_cr4(HostHal::read_cr4() | (std::uint64_t{1} << 9));
    HostHal::write_cr4(HostHal::read_cr4());
    EXPECT_TRUE(mms.caches(kPage, kFirst));
  });
}

TEST(MovToCr4, FaultsIfItEnablesPcidsWhileCr3NamesOne) {
  for (const std::uint16_t pcid : {std::uint16_t{0}, kFirst}) {
    TwoMmFixture mms;
    const Report& report = mms.fixture.run([&] {
      const std::uint64_t cr4 = HostHal::read_cr4();
      HostHal::write_cr4(cr4 & ~kCr4Pcid);
      mms.load(mms.tables, pcid);
      HostHal::write_cr4(cr4);
    });
    EXPECT_EQ(report.failed(), pcid != 0);
    if (pcid != 0) EXPECT_EQ(report.title, "a write of CR4 faults");
  }
}

TEST(GlobalPages, AreOrdinaryWhileTheGlobalBitIsOff) {
  TwoMmFixture mms;
  mms.tables.map(kPage, Tables::kLeaf | kPteGlobal);
  mms.run([&] {
    HostHal::write_cr4(HostHal::read_cr4() & ~kCr4GlobalPages);
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.read(kPage));
    mms.load(mms.other, kSecond);
    EXPECT_FALSE(mms.read(kPage)) << "the entry belongs to the first PCID";
    mms.load(mms.tables, kFirst);
    EXPECT_FALSE(mms.caches(kPage, kFirst)) << "and goes with it";
  });
}

TEST(Cr4, StartsAsTheConfigurationSays) {
  for (const bool pcid : {false, true}) {
    TwoMmFixture mms({.hardware = {.pcid = pcid}});
    EXPECT_EQ((mms.fixture.machine().cpu(0).cr4 & kCr4Pcid) != 0, pcid);
  }
}

// ---- Errata

TEST(Erratum, InvlpgLeavesGlobalEntriesWhilePcidsAreOn) {
  for (const bool pcid : {true, false}) {
    TwoMmFixture mms({.hardware = {.pcid = pcid}, .errata = {.invlpg_leaves_globals = true}});
    mms.tables.map(kPage, Tables::kLeaf | kPteGlobal);
    mms.tables.map(kNext);
    mms.run([&] {
      const std::uint16_t loaded = pcid ? kFirst : 0;
      mms.load(mms.tables, loaded);
      EXPECT_TRUE(mms.read(kPage) && mms.read(kNext));
      HostHal::invlpg(kPage);
      HostHal::invlpg(kNext);
      EXPECT_EQ(mms.caches(kPage, loaded), pcid);
      EXPECT_FALSE(mms.caches(kNext, loaded));
      EXPECT_FALSE(mms.caches_table(kPage, loaded));
    });
  }
}

}  // namespace
}  // namespace shootdown::host
