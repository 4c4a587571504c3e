// Each oracle about a device's TLB is seen to fire, and what the memory manager tells it is enough.
#include "hal/host/device.h"

#include <gtest/gtest.h>

#include "fuzz/events/layout.h"
#include "tests/oracles/oracle_fixture.h"

namespace shootdown::fuzz {
namespace {

constexpr Header kDevice{.device = true};

/// The device walks in mm 0, as the schedule could have it do.
Step walk(OracleFixture& fixture, VirtAddr address) {
  return act([&fixture, address] { fixture.machine.device().walk(0, address, 1); });
}

/// A device that forgets nothing from the first flush on.
struct Stubborn {
  host::Tlb before;
  bool has_begun{false};
  explicit Stubborn(OracleFixture& fixture, bool entries = true) {
    const auto begin = [this, &fixture, entries] {
      before = fixture.machine.device().tlb();
      if (!entries) before.entries.clear();
      has_begun = true;
    };
    fixture.before(TraceKind::flush_begin, 0, begin);
    fixture.before(TraceKind::kernel_begin, 0, begin);
    fixture.before_change = [this, &fixture](CpuId) {
      if (has_begun) const_cast<host::Tlb&>(fixture.machine.device().tlb()) = before;
    };
  }
};

TEST(O6_Device, FiresWhenAFrameIsReleasedThatADeviceCanUse) {
  for (const bool kernel : {false, true}) {
    OracleFixture fixture;
    const Stubborn stubborn(fixture);
    fixture.expect("O6 a frame is released while a device can use it",
                   {{walk(fixture, kernel ? kernel_address(1) : page_address(1)),
                     op(kernel ? "kernel_unmap page=1" : "unmap mm=0 page=1")}},
                   kDevice);
  }
}

TEST(O5_Device, FiresWhenATableIsReleasedThatADeviceCanWalk) {
  OracleFixture fixture;
  const Stubborn stubborn(fixture, /*entries=*/false);
  fixture.expect("O5 a page table is released while a device can walk it",
                 {{walk(fixture, page_address(1)), op("free_table mm=0 page=0")}}, kDevice);
}

TEST(O21_Device, FiresWhenAChangeIsCompleteThatADeviceHasNotHeardOf) {
  OracleFixture fixture;
  const Stubborn stubborn(fixture);
  fixture.expect("O21 a change is complete while a device can use what was before",
                 {{walk(fixture, page_address(1)), op("protect mm=0 page=1")}}, kDevice);
}

TEST(O5_Device, FiresWhenADeviceWalksATableThatWasReleased) {
  OracleFixture fixture;
  host::Tlb before;
  fixture.expect(
      "O5 a walk reads a page table that was released",
      {{walk(fixture, page_address(1)), act([&] { before = fixture.machine.device().tlb(); }),
        op("free_table mm=0 page=0"), wrong([&] {
          before.entries.clear();
          const_cast<host::Tlb&>(fixture.machine.device().tlb()) = before;
          fixture.machine.device().walk(0, page_address(2), 1);
          fixture.machine.stop_if_failed();
        })}},
      kDevice);
}

}  // namespace
}  // namespace shootdown::fuzz
