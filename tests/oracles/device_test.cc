// Each oracle about a device's TLB is seen to fire, and what the memory manager tells it is enough.
#include "hal/host/device.h"

#include <gtest/gtest.h>

#include "fuzz/events/layout.h"
#include "tests/oracles/trial.h"

namespace shootdown::fuzz {
namespace {

constexpr Header kDevice{.device = true};

/// The device walks in space 0, as the schedule could have it do.
Step walk(Trial& trial, VirtAddr address) {
  return act([&trial, address] { trial.machine.device().walk(0, address, 1); });
}

/// A device that forgets nothing from the first flush on.
struct Stubborn {
  host::Tlb before;
  bool has_begun{false};
  explicit Stubborn(Trial& trial, bool entries = true) {
    const auto begin = [this, &trial, entries] {
      before = trial.machine.device().tlb();
      if (!entries) before.entries.clear();
      has_begun = true;
    };
    trial.before(TraceKind::flush_begin, 0, begin);
    trial.before(TraceKind::kernel_begin, 0, begin);
    trial.before_change = [this, &trial](CpuId) {
      if (has_begun) const_cast<host::Tlb&>(trial.machine.device().tlb()) = before;
    };
  }
};

TEST(O6_Device, FiresWhenAFrameIsReleasedThatADeviceCanUse) {
  for (const bool kernel : {false, true}) {
    Trial trial;
    const Stubborn stubborn(trial);
    trial.expect("O6 a frame is released while a device can use it",
                 {{walk(trial, kernel ? kernel_address(1) : page_address(1)),
                   op(kernel ? "kernel_unmap page=1" : "unmap mm=0 page=1")}},
                 kDevice);
  }
}

TEST(O5_Device, FiresWhenATableIsReleasedThatADeviceCanWalk) {
  Trial trial;
  const Stubborn stubborn(trial, /*entries=*/false);
  trial.expect("O5 a page table is released while a device can walk it",
               {{walk(trial, page_address(1)), op("free_table mm=0 page=0")}}, kDevice);
}

TEST(O21_Device, FiresWhenAChangeIsCompleteThatADeviceHasNotHeardOf) {
  Trial trial;
  const Stubborn stubborn(trial);
  trial.expect("O21 a change is complete while a device can use what was before",
               {{walk(trial, page_address(1)), op("protect mm=0 page=1")}}, kDevice);
}

TEST(O5_Device, FiresWhenADeviceWalksATableThatWasReleased) {
  Trial trial;
  host::Tlb before;
  trial.expect("O5 a walk reads a page table that was released",
               {{walk(trial, page_address(1)), act([&] { before = trial.machine.device().tlb(); }),
                 op("free_table mm=0 page=0"), wrong([&] {
                   before.entries.clear();
                   const_cast<host::Tlb&>(trial.machine.device().tlb()) = before;
                   trial.machine.device().walk(0, page_address(2), 1);
                   trial.machine.stop_if_failed();
                 })}},
               kDevice);
}

}  // namespace
}  // namespace shootdown::fuzz
