// One modelled CPU and two sets of page tables, for tests of what the TLB caches. Sets up empty
// tables (`tables`, `other`), which a test maps pages in and loads under PCID 1 or 2. Records
// nothing: a test asks the TLB by `caches` and `reaches`. A run that reports something fails the
// test.
//
//   World world;
//   const std::uint32_t frame = world.tables.map(kPage);
//   world.run([&] { world.load(world.tables, kFirst); EXPECT_EQ(world.reaches(kPage), frame); });
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <utility>

#include "tests/host/machine_fixture.h"

namespace shootdown::host {

inline constexpr VirtAddr kPage = 0x4000'0000;
inline constexpr VirtAddr kNext = kPage + 0x1000;      // in the same page table
inline constexpr VirtAddr kFar = kPage + 0x20'0000;    // in another page table
inline constexpr VirtAddr kLarge = kPage + 0x40'0000;  // a 2 MiB page
inline constexpr std::uint16_t kFirst = 1;
inline constexpr std::uint16_t kSecond = 2;
inline constexpr std::uint64_t kKeep = std::uint64_t{1} << 63;

/// One CPU, two address spaces, PCIDs 1 and 2.
struct TwoMmFixture {
  explicit TwoMmFixture(const Setup& options = {})
      : fixture(options),
        tables(fixture.frames(), fixture.machine().top_level()),
        other(fixture.frames(), fixture.machine().top_level()) {}

  void load(Tables& mm, std::uint16_t pcid, std::uint64_t keep = 0) {
    HostHal::write_cr3(mm.cr3(pcid) | keep);
  }
  bool read(VirtAddr address) {
    return fixture.machine().translation().access(address, false) == AccessResult::done;
  }
  bool write(VirtAddr address) {
    return fixture.machine().translation().access(address, true) == AccessResult::done;
  }
  /// The frame that a load of `address` reaches now, or kNoFrame after a fault.
  std::uint32_t reaches(VirtAddr address) {
    if (!read(address)) return FramePool::kNoFrame;
    return fixture.tlb().find(address, fixture.machine().running().pcid())->frame;
  }
  bool caches(VirtAddr address, std::uint16_t pcid) {
    return fixture.tlb().find(address, pcid) != nullptr;
  }
  bool caches_table(VirtAddr address, std::uint16_t pcid) {
    return fixture.tlb().find_table(address, pcid) != nullptr;
  }
  void run(MachineFixture::Program program) {
    const Report& report = fixture.run(std::move(program));
    EXPECT_FALSE(report.failed()) << report.title;
  }

  MachineFixture fixture;
  Tables tables;
  Tables other;
};

}  // namespace shootdown::host
