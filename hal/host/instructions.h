// The instructions of the HAL as the running CPU executes them: fences, loads of control registers,
// TLB invalidations, the interrupt flag, PAUSE. README.md names the manual's rule for each.
//
// Each is one visible operation: the choice point, the effect on the CPU's own state, the hash and
// the timeline, and then what observers hear. All of them are compiler barriers.
#pragma once

#include <cstdint>

#include "core/hal.h"
#include "core/types.h"
#include "hal/host/recorder.h"

namespace shootdown::host {

class Instructions {
 public:
  explicit Instructions(Machine& machine) : machine_(machine) {}

  /// MFENCE.
  void full_fence(Site where);
  /// LFENCE behind it.
  void full_fence_and_wait(Site where);
  /// LFENCE: waits for an MFENCE before it, and with that for the stores before that.
  void load_fence();
  void write_cr3(std::uint64_t value, Site where);
  void write_cr4(std::uint64_t value, Site where);
  void invlpg(VirtAddr address, Site where);
  void invpcid(InvpcidType type, std::uint64_t pcid, VirtAddr address, Site where);
  void set_interrupts(bool on, Site where);
  void pause(Site where);

 private:
  /// The choice point of an instruction that waits for all earlier stores.
  void begin_serialising();
  void full_fence_here(Site where);
  void record_invpcid(InvpcidType type, std::uint64_t pcid, VirtAddr address, Site where);
  /// The instruction raises an exception that the core never expects.
  [[noreturn]] void fault(const char* title, const char* detail, const char* what);

  Machine& machine_;
};

}  // namespace shootdown::host
