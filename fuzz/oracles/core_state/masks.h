// Verifies: a CPU whose CR3 holds a space is in that space's mask (O7); a space is not destroyed
// while a CPU has it loaded or is in its mask (O31; O5 where the CPU is lazy: it can walk).
// Does not verify: that bits of CPUs that have left are cleared; they cost an interrupt.
#pragma once

#include "fuzz/oracles/core_state/core.h"

namespace shootdown::fuzz {

class MaskChecker {
 public:
  explicit MaskChecker(const Core& core) : core_(core) {}
  void after_change(CpuId cpu) const {
    const unsigned space = core_.truth().cpu(cpu).space;
    if (space != kNoSpace && !core_.is_in_mask(cpu, space)) [[unlikely]] {
      report(cpu, space);
    }
  }
  void on_destroy(unsigned space) const;

 private:
  void report(CpuId cpu, unsigned space) const;
  const Core& core_;
};

}  // namespace shootdown::fuzz
