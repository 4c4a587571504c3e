// Verifies: CR3 is not loaded with a top table that was released (O31); an NMI handler that was
// told that it may reads its own task's mm (O22); an entry from user mode leaves the user root
// before it uses more than that maps (O32).
// Does not verify: that the core's records agree with CR3 (core_state/bookkeeping.h).
#pragma once

#include "fuzz/oracles/hardware/truth.h"

namespace shootdown::fuzz {

class RootChecker {
 public:
  explicit RootChecker(const Truth& truth) : truth_(truth) {}
  void on_cr3(CpuId cpu) const;
  void on_nmi_access(CpuId cpu, unsigned mm) const;
  void on_kernel_entered(CpuId cpu) const;

 private:
  const Truth& truth_;
};

}  // namespace shootdown::fuzz
