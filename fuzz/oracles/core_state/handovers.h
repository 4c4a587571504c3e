// Verifies, by the clocks of the C++ memory model: a generation is recorded only where the changes
// that it stands for are visible (M6), and a global ASID is seen only with what came before its
// grant (M14).
// Does not verify: handovers of calls and pages (hardware/order.h, whose clocks it uses).
#pragma once

#include <array>
#include <vector>

#include "fuzz/oracles/core_state/core.h"
#include "fuzz/oracles/hardware/order.h"

namespace shootdown::fuzz {

class HandoverChecker {
 public:
  HandoverChecker(const Core& core, const OrderChecker& order) : core_(core), order_(order) {}

  void start();
  /// The CPU has made the generation, which stands for its changes of entries until now.
  void on_bump(CpuId cpu, unsigned mm, Generation generation);
  /// It has recorded a generation.
  void on_recorded(CpuId cpu) const;
  void on_granted(CpuId cpu, unsigned mm, Asid asid);
  /// A flush of the mm has seen its global ASID.
  void on_asid_seen(CpuId cpu, unsigned mm) const;

 private:
  /// Which CPU made something for an mm, and when on its own clock.
  struct Made {
    std::uint64_t what;
    std::uint32_t life;
    CpuId cpu;
    std::uint32_t time;
  };

  const Core& core_;
  const OrderChecker& order_;
  std::array<std::vector<Made>, kMaxMms + 1> bumps_;
  std::array<Made, kMaxMms + 1> grants_{};
};

}  // namespace shootdown::fuzz
