// Verifies: a CPU whose CR3 holds an mm is in that mm's mask (O7); an mm is not destroyed
// while a CPU has it loaded or is in its mask (O31; O5 where the CPU is lazy: it can walk).
// Does not verify: that bits of CPUs that have left are cleared; they cost an interrupt.
#pragma once

#include "fuzz/oracles/core_state/core.h"

namespace shootdown::fuzz {

class MaskChecker {
 public:
  explicit MaskChecker(const Core& core) : core_(core) {}
  void after_change(CpuId cpu) const {
    const unsigned mm = core_.truth().cpu(cpu).mm;
    if (mm != kNoMm && !core_.is_in_mask(cpu, mm)) [[unlikely]] {
      report(cpu, mm);
    }
  }
  void on_destroy(unsigned mm) const;

 private:
  void report(CpuId cpu, unsigned mm) const;
  const Core& core_;
};

}  // namespace shootdown::fuzz
