// What manuals permit and few processors do: a dirty bit that comes late, a spurious fault, an
// older entry that comes back, EFER.TCE.
#include <gtest/gtest.h>

#include <vector>

#include "tests/host/two_mm_fixture.h"

namespace shootdown::host {
namespace {

/// CPU 0 stores to kPage; CPU 1 changes the entry while CPU 0's walker has read it and not yet set
/// the dirty bit. Returns the entry afterwards.
std::uint64_t stored_while(bool races, std::uint64_t changed, bool* stored = nullptr) {
  TwoMmFixture mms({.hardware = {.cpus = 2, .dirty_races = races}});
  MachineFixture& fixture = mms.fixture;
  const std::uint32_t frame = mms.tables.map(kPage, Tables::kLeaf | kPteAccessed);
  for (unsigned level = 2; level <= 4; ++level) mms.tables.entry(kPage, level) |= kPteAccessed;
  std::uint64_t* entry = &mms.tables.entry(kPage, 1);
  fixture.machine().cpu(0).cr3 = mms.tables.cr3(kFirst);
  // The first operation is the store, the second the step in its middle, if there is one.
  fixture.at(2, EventKind::preempt, 1);
  bool done = false;
  fixture.on(0, [&] { done = mms.write(kPage); });
  const std::uint64_t value = changed == 0 ? 0 : FramePool::address(frame) | changed;
  fixture.on(1, [&] { fixture.machine().memory().exchange_word(entry, value); });
  const Report& report = fixture.run();
  EXPECT_FALSE(report.failed()) << report.title;
  EXPECT_EQ(*fixture.frames().words(frame), done ? 1U : 0U);
  if (stored != nullptr) *stored = done;
  return *entry;
}

constexpr std::uint64_t kReadOnly = kPtePresent | kPteUser | kPteAccessed;

TEST(Latitude, ADirtyBitMayComeAfterTheWriteBitHasGone) {
  bool stored = false;
  const std::uint64_t late = stored_while(/*races=*/true, kReadOnly, &stored);
  EXPECT_EQ(late & (kPteWritable | kPteDirty), kPteDirty);
  EXPECT_TRUE(stored);
  // Without the switch the store is over before the change.
  EXPECT_EQ(stored_while(/*races=*/false, kReadOnly) & kPteDirty, 0U);
}

TEST(Latitude, ADirtyBitMayComeBehindAChangeOfWhatHardwareIgnores) {
  // As a fork leaves an entry: shared, and read-only.
  for (const std::uint64_t bit : {std::uint64_t{1} << 9, std::uint64_t{1} << 52}) {
    bool stored = false;
    EXPECT_EQ(stored_while(/*races=*/true, kReadOnly | bit, &stored) & (bit | kPteDirty),
              bit | kPteDirty);
    EXPECT_TRUE(stored);
  }
}

TEST(Latitude, ADirtyBitComesInNoEntryThatMapsSomethingElse) {
  bool stored = true;
  EXPECT_EQ(stored_while(/*races=*/true, 0, &stored), 0U);
  EXPECT_FALSE(stored);
}

/// Remembers what an entry held whenever a walker told how old its translation is.
struct StampWatcher final : SilentObserver {
  void on_fill(CpuId /*cpu*/, VirtAddr /*address*/, Provenance& /*from*/) override {
    if (entry != nullptr) held.push_back(*entry);
  }
  const std::uint64_t* entry{nullptr};
  std::vector<std::uint64_t> held;
};

/// What the entries of `level` held when the walker of a store told its age; CPU 1 clears the
/// entry's right to write before the walker sets its bits.
std::vector<std::uint64_t> held_at_stamps(const Setup& setup, unsigned level) {
  StampWatcher watcher;
  Setup with_watcher = setup;
  with_watcher.hardware.cpus = 2;
  with_watcher.observer = &watcher;
  TwoMmFixture mms(with_watcher);
  mms.tables.map(kPage, Tables::kLeaf);
  for (unsigned at = level + 1; at <= 4; ++at) mms.tables.entry(kPage, at) |= kPteAccessed;
  std::uint64_t* entry = &mms.tables.entry(kPage, level);
  watcher.entry = entry;
  MachineFixture& fixture = mms.fixture;
  fixture.machine().cpu(0).cr3 = mms.tables.cr3(kFirst);
  fixture.at(2, EventKind::preempt, 1);
  fixture.on(0, [&] { mms.write(kPage); });
  fixture.on(1, [&] { fixture.machine().memory().clear_bits(entry, kPteWritable); });
  EXPECT_FALSE(fixture.run().failed());
  EXPECT_EQ(*entry & kPteWritable, 0U);
  return watcher.held;
}

TEST(Latitude, ATranslationIsAsOldAsTheReadOfItsEntry) {
  // The last stamp is the leaf's, the first one that of the pointers to tables.
  const auto leaf = held_at_stamps({.hardware = {.dirty_races = true}}, 1);
  ASSERT_FALSE(leaf.empty());
  EXPECT_NE(leaf.back() & kPteWritable, 0U) << "the entry has changed since it was read";
  const auto pointer = held_at_stamps({.errata = {.walker_is_late = true}}, 4);
  ASSERT_FALSE(pointer.empty());
  EXPECT_NE(pointer.front() & kPteWritable, 0U) << "the entry has changed since it was read";
}

TEST(Latitude, AStoreThroughAReadOnlyEntryFaultsOnce) {
  for (const bool may_fault : {true, false}) {
    TwoMmFixture mms({.hardware = {.spurious_faults = may_fault}});
    mms.tables.map(kPage, kPtePresent | kPteUser);
    mms.run([&] {
      mms.load(mms.tables, kFirst);
      EXPECT_TRUE(mms.read(kPage));
      mms.tables.entry(kPage, 1) |= kPteWritable;
      EXPECT_EQ(mms.write(kPage), !may_fault);
      EXPECT_TRUE(mms.write(kPage)) << "the fault has dropped the entry";
    });
  }
}

struct OlderEntries : testing::Test {
  TwoMmFixture mms{{.hardware = {.older_entries = true}}};
  std::uint32_t old_frame{0};
  std::uint32_t new_frame{0};

  /// The old frame is cached, memory maps the new one, and a speculative walk has found it.
  void cache_both() {
    mms.load(mms.tables, kFirst);
    old_frame = mms.reaches(kPage);
    new_frame = mms.tables.map(kPage);
    Machine& machine = mms.fixture.machine();
    machine.translation().speculate(machine.cpu(0), {.address = kPage, .level = 1});
  }
};

TEST_F(OlderEntries, OneComesBackWhenTheNewerOneIsEvicted) {
  mms.tables.map(kPage);
  mms.run([&] {
    cache_both();
    EXPECT_EQ(mms.reaches(kPage), new_frame);
    mms.fixture.tlb().drop_found(kPage, kFirst);
    EXPECT_EQ(mms.reaches(kPage), old_frame);
    mms.fixture.tlb().drop_found(kPage, kFirst);
    EXPECT_EQ(mms.reaches(kPage), new_frame) << "nothing is cached, so this walks";
  });
}

TEST_F(OlderEntries, AnInvalidationDropsThemAll) {
  mms.tables.map(kPage);
  mms.run([&] {
    cache_both();
    HostHal::invlpg(kPage);
    EXPECT_FALSE(mms.caches(kPage, kFirst));
  });
}

TEST_F(OlderEntries, ACopyIsNotKept) {
  mms.tables.map(kPage);
  mms.run([&] {
    mms.load(mms.tables, kFirst);
    EXPECT_TRUE(mms.read(kPage));
    Machine& machine = mms.fixture.machine();
    machine.translation().speculate(machine.cpu(0), {.address = kPage, .level = 1});
    EXPECT_EQ(mms.fixture.tlb().entries.size(), 1U);
  });
}

TEST(Tce, InvlpgLeavesTablesThatAreNotOnItsWay) {
  for (const bool tce : {true, false}) {
    TwoMmFixture mms({.hardware = {.tce = tce}});
    mms.tables.map(kPage);
    mms.tables.map(kFar);
    mms.run([&] {
      mms.load(mms.tables, kFirst);
      EXPECT_TRUE(mms.read(kPage) && mms.read(kFar));
      HostHal::invlpg(kPage);
      EXPECT_FALSE(mms.caches(kPage, kFirst));
      EXPECT_FALSE(mms.caches_table(kPage, kFirst));
      EXPECT_EQ(mms.caches_table(kFar, kFirst), tce);
    });
  }
}

}  // namespace
}  // namespace shootdown::host
