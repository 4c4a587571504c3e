// INVLPGB and TLBSYNC on the modelled machine: what is dropped, where, and when.
#include <gtest/gtest.h>

#include <vector>

#include "tests/host/two_mm_fixture.h"

namespace shootdown::host {
namespace {

Invlpgb pages(VirtAddr address, std::uint32_t count = 1) {
  return {.scope = InvlpgbScope::pages, .count = count, .pcid = kFirst, .address = address};
}

/// What CPU 0 issues drops on CPU 1, which has pages of two PCIDs and a global one cached.
struct Broadcast : testing::Test {
  static constexpr VirtAddr kShared = kPage + 0x60'0000;  // global

  TwoMmFixture mms{{.hardware = {.cpus = 2}}};

  Broadcast() {
    for (Tables* mm : {&mms.tables, &mms.other}) {
      for (const VirtAddr page : {kPage, kNext, kFar}) mm->map(page);
    }
    mms.tables.map(kShared, Tables::kLeaf | kPteGlobal);
  }
  void fill() {
    mms.load(mms.other, kSecond);
    for (const VirtAddr page : {kPage, kNext, kFar}) ASSERT_TRUE(mms.read(page));
    mms.load(mms.tables, kFirst);
    for (const VirtAddr page : {kPage, kNext, kFar, kShared}) ASSERT_TRUE(mms.read(page));
  }
  /// Issues and waits, after CPU 1 has filled its TLB.
  void issue(const Invlpgb& what) {
    mms.fixture.on(0, [what] {
      HostHal::full_fence();
      HostHal::invlpgb(what);
      HostHal::tlbsync();
    });
    mms.fixture.on(1, [this] { fill(); });
    mms.fixture.at(0, EventKind::preempt, 1);
    const Report& report = mms.fixture.run();
    EXPECT_FALSE(report.failed()) << report.title;
  }
  bool has(VirtAddr address, std::uint16_t pcid) {
    return mms.fixture.tlb(1).find(address, pcid) != nullptr;
  }
  bool has_table(VirtAddr address, std::uint16_t pcid) {
    return mms.fixture.tlb(1).find_table(address, pcid) != nullptr;
  }
};

TEST_F(Broadcast, PagesGoInOnePcidWithTheTablesOnTheirWay) {
  issue(pages(kPage));
  EXPECT_FALSE(has(kPage, kFirst) || has_table(kPage, kFirst));
  EXPECT_TRUE(has(kNext, kFirst) && has(kFar, kFirst) && has_table(kFar, kFirst));
  EXPECT_TRUE(has(kPage, kSecond) && has_table(kPage, kSecond));
}

TEST_F(Broadcast, PagesAreAsManyAsCounted) {
  issue(pages(kPage, 2));
  EXPECT_FALSE(has(kPage, kFirst) || has(kNext, kFirst));
  EXPECT_TRUE(has(kFar, kFirst));
}

TEST_F(Broadcast, WithALargeStrideTheSmallPagesInBetweenStay) {
  Invlpgb what = pages(kPage, 2);
  what.stride_shift = kLargePageShift;
  issue(what);
  EXPECT_FALSE(has(kPage, kFirst) || has(kFar, kFirst));
  EXPECT_TRUE(has(kNext, kFirst)) << "its address was not named";
}

TEST_F(Broadcast, PagesThatAreGlobalStay) {
  issue(pages(kShared));
  EXPECT_TRUE(has(kShared, kFirst));
}

TEST_F(Broadcast, KernelPagesGoInEveryPcidGlobalOnesToo) {
  Invlpgb what = pages(kShared);
  what.scope = InvlpgbScope::kernel_pages;
  issue(what);
  EXPECT_FALSE(has(kShared, kFirst));
  EXPECT_TRUE(has(kPage, kFirst));
}

TEST_F(Broadcast, KernelPagesGoInBothPcids) {
  Invlpgb what = pages(kPage);
  what.scope = InvlpgbScope::kernel_pages;
  issue(what);
  EXPECT_FALSE(has(kPage, kFirst) || has(kPage, kSecond) || has_table(kPage, kSecond));
}

TEST_F(Broadcast, AContextGoesWithoutGlobalEntries) {
  issue({.scope = InvlpgbScope::context, .pcid = kFirst});
  EXPECT_FALSE(has(kPage, kFirst) || has(kFar, kFirst) || has_table(kFar, kFirst));
  EXPECT_TRUE(has(kShared, kFirst) && has(kPage, kSecond));
}

TEST_F(Broadcast, AllContextsLeaveGlobalEntries) {
  issue({.scope = InvlpgbScope::all_contexts});
  EXPECT_FALSE(has(kPage, kFirst) || has(kPage, kSecond));
  EXPECT_TRUE(has(kShared, kFirst));
}

TEST_F(Broadcast, EverythingLeavesNothing) {
  issue({.scope = InvlpgbScope::everything});
  EXPECT_EQ(mms.fixture.tlb(1).entries.size() + mms.fixture.tlb(1).psc.size(), 0u);
}

TEST_F(Broadcast, NothingArrivesBeforeTheSync) {
  bool there = false;
  mms.fixture.on(0, [&] {
    HostHal::full_fence();
    HostHal::invlpgb(pages(kPage));
    there = has(kPage, kFirst);
    HostHal::tlbsync();
  });
  mms.fixture.on(1, [this] { fill(); });
  mms.fixture.at(0, EventKind::preempt, 1);
  EXPECT_FALSE(mms.fixture.run().failed());
  EXPECT_TRUE(there);
  EXPECT_FALSE(has(kPage, kFirst));
}

TEST_F(Broadcast, TheScheduleMayDeliverEarlierAndInAnyOrder) {
  std::vector<bool> there;
  mms.fixture.on(0, [&] {
    HostHal::full_fence();  // The other CPU fills first.
    HostHal::invlpgb(pages(kPage));
    HostHal::invlpgb(pages(kFar));
    HostHal::full_fence();  // The second message arrives before this one.
    there = {has(kPage, kFirst), has(kFar, kFirst)};
    HostHal::full_fence();  // And now the first.
    there.push_back(has(kPage, kFirst));
  });
  mms.fixture.on(1, [this] { fill(); });
  mms.fixture.at(0, EventKind::preempt, 1);
  mms.fixture.at(13, EventKind::deliver, 1, 1);
  mms.fixture.at(1, EventKind::deliver, 1, 7);
  const Report& report = mms.fixture.run();
  EXPECT_FALSE(report.failed()) << report.title;
  EXPECT_EQ(there, (std::vector<bool>{true, false, false}));
}

TEST_F(Broadcast, DeliveringNothingIsNothing) {
  mms.fixture.on(1, [this] { fill(); });
  mms.fixture.at(3, EventKind::deliver, 0, 5);
  EXPECT_FALSE(mms.fixture.run().failed());
  EXPECT_TRUE(has(kPage, kFirst));
}

TEST_F(Broadcast, SyncWaitsForThisCpusOnly) {
  bool there = false;
  mms.fixture.on(0, [&] { HostHal::invlpgb(pages(kPage)); });
  mms.fixture.on(1, [&] {
    fill();
    HostHal::tlbsync();
    there = has(kPage, kFirst);
  });
  EXPECT_FALSE(mms.fixture.run().failed());
  EXPECT_TRUE(there) << "CPU 0 has not waited, and no other CPU can";
}

TEST_F(Broadcast, EachArrivalIsAStepInWhichOthersMayAct) {
  std::uint64_t issued = 0;
  std::uint64_t synced = 0;
  mms.fixture.on(0, [&] {
    HostHal::invlpgb(pages(kPage));
    issued = mms.fixture.machine().step();
    HostHal::tlbsync();
    synced = mms.fixture.machine().step();
  });
  EXPECT_FALSE(mms.fixture.run().failed());
  EXPECT_EQ(synced - issued, 3u) << "two arrivals and the end of the wait";
}

TEST_F(Broadcast, ItInterruptsNobody) {
  issue({.scope = InvlpgbScope::everything});
  EXPECT_EQ(mms.fixture.machine().interrupts().delivered(), 0u);
}

TEST_F(Broadcast, FaultsOnTooManyPages) {
  mms.fixture.on(0, [] { HostHal::invlpgb(pages(kPage, kInvlpgbMaxPages + 1)); });
  const Report& report = mms.fixture.run();
  EXPECT_EQ(report.kind, &kFault);
  EXPECT_EQ(report.title, "INVLPGB faults");
}

TEST(BroadcastWithoutPcids, FaultsOnAPcid) {
  TwoMmFixture mms({.hardware = {.pcid = false}});
  EXPECT_EQ(mms.fixture.run([] { HostHal::invlpgb(pages(kPage)); }).kind, &kFault);
}

}  // namespace
}  // namespace shootdown::host
