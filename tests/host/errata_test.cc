// Errata that are switches of the machine: what the walker does to entries in two steps, and a
// flush that is none.
#include <gtest/gtest.h>

#include "tests/host/two_mm_fixture.h"

namespace shootdown::host {
namespace {

/// CPU 0 accesses kPage; CPU 1 changes the entry while CPU 0's walker has read it and not yet set
/// its bits.
struct Bench {
  TwoMmFixture mms;
  std::uint32_t other_frame;
  std::uint64_t* entry;

  explicit Bench(Setup setup, std::uint64_t preset = 0)
      : mms([&] {
          setup.hardware.cpus = 2;
          return setup;
        }()),
        other_frame(mms.fixture.frames().allocate(FrameKind::data, 0, 0, 0)) {
    mms.tables.map(kPage, Tables::kLeaf | preset);
    entry = &mms.tables.entry(kPage, 1);
    for (unsigned level = 2; level <= 4; ++level) mms.tables.entry(kPage, level) |= kPteAccessed;
    mms.fixture.machine().cpu(0).cr3 = mms.tables.cr3(kFirst);
    // The first operation is the access, the second the step in its middle, if there is one.
    mms.fixture.at(2, EventKind::preempt, 1);
  }
  void run(bool write, std::uint64_t value) {
    mms.fixture.on(0, [this, write] { mms.fixture.machine().translation().access(kPage, write); });
    mms.fixture.on(1,
                   [this, value] { mms.fixture.machine().memory().exchange_word(entry, value); });
    const Report& report = mms.fixture.run();
    EXPECT_FALSE(report.failed()) << report.title;
  }
  [[nodiscard]] std::uint64_t other_page() const {
    return FramePool::address(other_frame) | Tables::kLeaf;
  }
};

TEST(Erratum, AWalkerThatOverwritesLosesAWriteInBetween) {
  Bench bench({.errata = {.walker_overwrites = true}});
  const std::uint64_t before = *bench.entry;
  bench.run(/*write=*/false, 0);
  EXPECT_EQ(*bench.entry, before | kPteAccessed) << "the page is mapped again";

  Bench moved({.errata = {.walker_overwrites = true}});
  const std::uint64_t old = *moved.entry;
  moved.run(/*write=*/true, moved.other_page());
  EXPECT_EQ(*moved.entry, old | kPteAccessed | kPteDirty);
}

TEST(Erratum, AWalkerThatOverwritesDoesNotIfTheBitsAreThere) {
  Bench bench({.errata = {.walker_overwrites = true}}, kPteAccessed | kPteDirty);
  bench.run(/*write=*/true, bench.other_page());
  EXPECT_EQ(*bench.entry, bench.other_page()) << "CPU 1 came later, and nothing was lost";

  // Accessed only: a load finds nothing to set, a store does.
  Bench clean({.errata = {.walker_overwrites = true}}, kPteAccessed);
  clean.run(/*write=*/false, 0);
  EXPECT_EQ(*clean.entry, 0u);
  Bench stored({.errata = {.walker_overwrites = true}}, kPteAccessed);
  stored.run(/*write=*/true, 0);
  EXPECT_NE(*stored.entry, 0u);
}

TEST(Erratum, AWalkDoesNotGoOnBehindABroadcast) {
  Bench bench({.errata = {.walker_is_late = true}});
  std::uint64_t* const entry = bench.entry;
  host::Machine& machine = bench.mms.fixture.machine();
  AccessResult result = AccessResult::done;
  bench.mms.fixture.on(0, [&] { result = machine.translation().access(kPage, /*write=*/false); });
  bench.mms.fixture.on(1, [&] {
    machine.memory().exchange_word(entry, 0);
    machine.broadcasts().invlpgb({.scope = InvlpgbScope::everything}, Site::current());
    machine.broadcasts().tlbsync(Site::current());
  });
  EXPECT_FALSE(bench.mms.fixture.run().failed());
  EXPECT_EQ(result, AccessResult::fault) << "CPU 1 may have released the page by now";
}

TEST(Erratum, ALateWalkerSetsItsBitsInAnEntryThatIsGone) {
  Bench bench({.errata = {.walker_is_late = true}});
  bench.run(/*write=*/false, 0);
  EXPECT_EQ(*bench.entry, kPteAccessed) << "not 0, and not present";

  Bench stored({.errata = {.walker_is_late = true}});
  stored.run(/*write=*/true, 0);
  EXPECT_EQ(*stored.entry, kPteAccessed | kPteDirty);

  Bench preset({.errata = {.walker_is_late = true}}, kPteAccessed | kPteDirty);
  preset.run(/*write=*/true, 0);
  EXPECT_EQ(*preset.entry, 0u);
}

TEST(Erratum, ALateWalkerLosesNothing) {
  Bench bench({.errata = {.walker_is_late = true}});
  bench.run(/*write=*/true, bench.other_page());
  EXPECT_EQ(*bench.entry, bench.other_page() | kPteAccessed | kPteDirty);
}

TEST(Erratum, WithoutOneAWalkIsOneStep) {
  Bench bench({});
  bench.run(/*write=*/true, 0);
  EXPECT_EQ(*bench.entry, 0u) << "CPU 1 came later";
  EXPECT_TRUE(bench.mms.caches(kPage, kFirst));
}

TEST(Erratum, AWalkerWritesNothingIntoATableThatWasReleasedMeanwhile) {
  Bench bench({.errata = {.walker_overwrites = true}});
  TwoMmFixture& mms = bench.mms;
  const std::uint32_t table = FramePool::frame_at(mms.tables.entry(kPage, 2));
  mms.fixture.on(0, [&] { mms.fixture.machine().translation().access(kPage, /*write=*/false); });
  mms.fixture.on(1, [&] {
    HostHal::full_fence();
    mms.fixture.frames().release(table, 0, 1);
    EXPECT_EQ(mms.fixture.frames().allocate(FrameKind::table, 0, 0, 1), table);
  });
  EXPECT_FALSE(mms.fixture.run().failed());
  EXPECT_EQ(*bench.entry, 0u);
}

TEST(Erratum, AToggleOfTheGlobalBitFlushesNothing) {
  for (const bool erratum : {false, true}) {
    TwoMmFixture mms({.errata = {.pge_toggle_flushes_nothing = erratum}});
    mms.tables.map(kPage);
    mms.tables.map(kFar, Tables::kLeaf | kPteGlobal);
    mms.run([&] {
      const std::uint64_t cr4 = HostHal::read_cr4();
      mms.load(mms.tables, kFirst);
      EXPECT_TRUE(mms.read(kPage) && mms.read(kFar));
      HostHal::write_cr4(cr4 ^ kCr4GlobalPages);
      EXPECT_EQ(HostHal::read_cr4(), cr4 ^ kCr4GlobalPages);
      HostHal::write_cr4(cr4);
      EXPECT_EQ(mms.caches(kPage, kFirst) && mms.caches(kFar, kFirst), erratum);
      EXPECT_EQ(mms.caches_table(kPage, kFirst), erratum);
    });
  }
}

TEST(Erratum, WhatFlushesInThePlaceOfTheToggle) {
  TwoMmFixture mms({.errata = {.pge_toggle_flushes_nothing = true}});
  mms.tables.map(kPage);
  mms.tables.map(kFar, Tables::kLeaf | kPteGlobal);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.read(kPage) && mms.read(kFar));
    mms.load(mms.tables, kFirst);
    EXPECT_FALSE(mms.caches(kPage, kFirst)) << "a load of CR3, where nothing is global";
    EXPECT_TRUE(mms.caches(kFar, kFirst));
    HostHal::invpcid(InvpcidType::everything, 0, 0);
    EXPECT_FALSE(mms.caches(kFar, kFirst));
    EXPECT_TRUE(mms.read(kPage));
    HostHal::write_cr4(HostHal::read_cr4() ^ kCr4Pcid);
    EXPECT_EQ(mms.fixture.tlb().entries.size(), 0u) << "the other bit still does";
  });
}

}  // namespace
}  // namespace shootdown::host
