// Verifies, where stores wait in store buffers: a switch that changes the mm, or leaves lazy mode,
// returns when all stores that its caller made before it are in memory (O36, M16). A membarrier
// system call that finds another task running interrupts no CPU because of that.
// Does not verify: switches that change neither, in which the core promises no barrier.
#pragma once

#include <array>

#include "fuzz/oracles/core_state/core.h"

namespace shootdown::fuzz {

class MembarrierChecker {
 public:
  explicit MembarrierChecker(const Core& core) : core_(core) {}
  void on_switch_begin(CpuId cpu);
  void on_switch_end(CpuId cpu) const;

 private:
  struct Before {
    const void* loaded{nullptr};
    bool lazy{false};
    std::uint64_t stores{0};  // that the CPU had made
    std::uint64_t step{0};
  };

  const Core& core_;
  std::array<Before, kMaxCpus> before_{};
};

}  // namespace shootdown::fuzz
