// What each invalidating instruction drops and what it leaves (SDM vol. 3, 4.10.4.1).
#include <gtest/gtest.h>

#include <vector>

#include "tests/host/world.h"

namespace shootdown::host {
namespace {

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
  World world({.hardware = {.pcid = false}});
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
  World world({.hardware = {.pcid = false}});
  const Report& report = world.lab.run([&] { world.load(world.tables, 0, kKeep); });
  EXPECT_EQ(report.kind, &kFault);
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

TEST(Invlpg, OfAnAddressThatIsNotCanonicalDropsNothing) {
  World world;
  world.tables.map(kPage);
  world.run([&] {
    world.load(world.tables, kFirst);
    EXPECT_TRUE(world.read(kPage));
    for (const VirtAddr address : {VirtAddr{1} << 47, kPage | (VirtAddr{1} << 63)}) {
      HostHal::invlpg(address);
      EXPECT_TRUE(world.caches(kPage, kFirst) && world.caches_table(kPage, kFirst));
    }
    HostHal::invlpg(~VirtAddr{0} << 47);
    EXPECT_TRUE(world.caches(kPage, kFirst)) << "canonical, and another page";
    EXPECT_FALSE(world.caches_table(kPage, kFirst));
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
    EXPECT_TRUE(world.caches(kLarge + 0x1000, kFirst))
        << "a kernel that collapses a range steps by 4 KiB";
  });
}

// ---- INVPCID

/// The first space's page and a global page, cached under both PCIDs; the second PCID is loaded.
struct Invpcid : testing::Test {
  World world;
  Invpcid() {
    world.tables.map(kPage);
    world.tables.map(kNext);
    world.tables.map(kFar, Tables::kLeaf | kPteGlobal);
  }
  void run(InvpcidType type, std::uint16_t pcid, VirtAddr address, Lab::Program check) {
    world.run([&] {
      for (const std::uint16_t loaded : {kFirst, kSecond}) {
        world.load(world.tables, loaded);
        EXPECT_TRUE(world.read(kPage) && world.read(kNext) && world.read(kFar));
      }
      HostHal::invpcid(type, pcid, address);
      check();
    });
  }
};

TEST_F(Invpcid, OfAnAddressDropsItInThatPcidOnly) {
  run(InvpcidType::address, kFirst, kPage + 0x10, [&] {
    EXPECT_FALSE(world.caches(kPage, kFirst));
    EXPECT_TRUE(world.caches(kNext, kFirst));
    EXPECT_TRUE(world.caches(kPage, kSecond)) << "although this one is loaded";
  });
}

TEST_F(Invpcid, OfAnAddressDropsTheTablePointersOnItsWayOnly) {
  run(InvpcidType::address, kFirst, kPage, [&] {
    EXPECT_FALSE(world.caches_table(kPage, kFirst));
    EXPECT_TRUE(world.caches_table(kFar, kFirst)) << "where INVLPG drops them all";
  });
}

TEST_F(Invpcid, OfAnAddressLeavesGlobalEntries) {
  run(InvpcidType::address, kFirst, kFar, [&] { EXPECT_TRUE(world.caches(kFar, kFirst)); });
}

TEST_F(Invpcid, OfAContextDropsThatPcidButGlobalEntries) {
  run(InvpcidType::context, kFirst, 0, [&] {
    EXPECT_FALSE(world.caches(kPage, kFirst) || world.caches(kNext, kFirst));
    EXPECT_FALSE(world.caches_table(kPage, kFirst) || world.caches_table(kFar, kFirst));
    EXPECT_TRUE(world.caches(kFar, kFirst));
    EXPECT_TRUE(world.caches(kPage, kSecond) && world.caches_table(kPage, kSecond));
  });
}

TEST_F(Invpcid, OfEverythingDropsGlobalEntriesToo) {
  run(InvpcidType::everything, 0, 0,
      [&] { EXPECT_EQ(world.lab.tlb().entries.size() + world.lab.tlb().psc.size(), 0u); });
}

TEST_F(Invpcid, OfAllContextsLeavesGlobalEntries) {
  run(InvpcidType::all_contexts, 0, 0, [&] {
    EXPECT_EQ(world.lab.tlb().entries.size(), 1u);
    EXPECT_TRUE(world.caches(kFar, kFirst));
    EXPECT_EQ(world.lab.tlb().psc.size(), 0u);
  });
}

TEST(InvpcidFault, OnAnAddressThatIsNotCanonical) {
  for (const VirtAddr address : {VirtAddr{0x0000'8000'0000'0000}, 0xffff'7fff'ffff'f000}) {
    World world;
    const Report& report =
        world.lab.run([&] { HostHal::invpcid(InvpcidType::address, kFirst, address); });
    EXPECT_EQ(report.kind, &kFault);
    EXPECT_EQ(report.title, "INVPCID faults");
  }
}

TEST(InvpcidFault, NotOnTheLastCanonicalAddresses) {
  World world;
  world.run([] {
    HostHal::invpcid(InvpcidType::address, kFirst, 0x0000'7fff'ffff'f000);
    HostHal::invpcid(InvpcidType::address, kFirst, 0xffff'8000'0000'0000);
    HostHal::invpcid(InvpcidType::context, kFirst, 0x0000'8000'0000'0000);
  });
}

TEST(InvpcidFault, OnAPcidWhilePcidsAreOff) {
  for (const InvpcidType type : {InvpcidType::address, InvpcidType::context}) {
    World world({.hardware = {.pcid = false}});
    EXPECT_EQ(world.lab.run([&] { HostHal::invpcid(type, kFirst, 0); }).kind, &kFault);
  }
  World world({.hardware = {.pcid = false}});
  world.run([] {
    HostHal::invpcid(InvpcidType::address, 0, kPage);
    HostHal::invpcid(InvpcidType::everything, 0, 0);
  });
}

// ---- CR4

TEST(MovToCr4, DropsEverythingIfTheGlobalBitChanges) {
  World world;
  world.tables.map(kPage);
  world.tables.map(kFar, Tables::kLeaf | kPteGlobal);
  world.run([&] {
    const std::uint64_t cr4 = HostHal::read_cr4();
    world.load(world.tables, kFirst);
    for (const std::uint64_t value : {cr4 ^ kCr4GlobalPages, cr4}) {
      EXPECT_TRUE(world.read(kPage) && world.read(kFar));
      HostHal::write_cr4(value);
      EXPECT_EQ(world.lab.tlb().entries.size() + world.lab.tlb().psc.size(), 0u);
      EXPECT_EQ(HostHal::read_cr4(), value);
    }
  });
}

TEST(MovToCr4, DropsNothingIfOtherBitsChange) {
  World world;
  world.tables.map(kPage);
  world.run([&] {
    world.load(world.tables, kFirst);
    EXPECT_TRUE(world.read(kPage));
    HostHal::write_cr4(HostHal::read_cr4() | (std::uint64_t{1} << 9));
    HostHal::write_cr4(HostHal::read_cr4());
    EXPECT_TRUE(world.caches(kPage, kFirst));
  });
}

TEST(MovToCr4, FaultsIfItEnablesPcidsWhileCr3NamesOne) {
  for (const std::uint16_t pcid : {std::uint16_t{0}, kFirst}) {
    World world;
    const Report& report = world.lab.run([&] {
      const std::uint64_t cr4 = HostHal::read_cr4();
      HostHal::write_cr4(cr4 & ~kCr4Pcid);
      world.load(world.tables, pcid);
      HostHal::write_cr4(cr4);
    });
    EXPECT_EQ(report.failed(), pcid != 0);
    if (pcid != 0) EXPECT_EQ(report.title, "a write of CR4 faults");
  }
}

TEST(GlobalPages, AreOrdinaryWhileTheGlobalBitIsOff) {
  World world;
  world.tables.map(kPage, Tables::kLeaf | kPteGlobal);
  world.run([&] {
    HostHal::write_cr4(HostHal::read_cr4() & ~kCr4GlobalPages);
    world.load(world.tables, kFirst);
    EXPECT_TRUE(world.read(kPage));
    world.load(world.other, kSecond);
    EXPECT_FALSE(world.read(kPage)) << "the entry belongs to the first PCID";
    world.load(world.tables, kFirst);
    EXPECT_FALSE(world.caches(kPage, kFirst)) << "and goes with it";
  });
}

TEST(Cr4, StartsAsTheConfigurationSays) {
  for (const bool pcid : {false, true}) {
    World world({.hardware = {.pcid = pcid}});
    EXPECT_EQ((world.lab.machine().cpu(0).cr4 & kCr4Pcid) != 0, pcid);
  }
}

// ---- Errata

TEST(Erratum, InvlpgLeavesGlobalEntriesWhilePcidsAreOn) {
  for (const bool pcid : {true, false}) {
    World world({.hardware = {.pcid = pcid}, .errata = {.invlpg_leaves_globals = true}});
    world.tables.map(kPage, Tables::kLeaf | kPteGlobal);
    world.tables.map(kNext);
    world.run([&] {
      const std::uint16_t loaded = pcid ? kFirst : 0;
      world.load(world.tables, loaded);
      EXPECT_TRUE(world.read(kPage) && world.read(kNext));
      HostHal::invlpg(kPage);
      HostHal::invlpg(kNext);
      EXPECT_EQ(world.caches(kPage, loaded), pcid);
      EXPECT_FALSE(world.caches(kNext, loaded));
      EXPECT_FALSE(world.caches_table(kPage, loaded));
    });
  }
}

}  // namespace
}  // namespace shootdown::host
