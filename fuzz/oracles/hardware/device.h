// Verifies: a device that walks the page tables keeps nothing that is released (O5, O6), and
// nothing older than what an operation has promised (O20, O21). Does not verify: what the device
// does with what it keeps.
#pragma once

#include "fuzz/oracles/hardware/truth.h"

namespace shootdown::fuzz {

class DeviceChecker {
 public:
  explicit DeviceChecker(const Truth& truth) : truth_(truth) {}
  void on_release(std::uint32_t frame) const;
  /// Nothing of the page from before `version` is left, says the operation of the CPU.
  void on_promised(CpuId cpu, unsigned mm, std::uint32_t life, unsigned page, std::uint64_t version,
                   Oracle oracle) const;

 private:
  const Truth& truth_;
};

}  // namespace shootdown::fuzz
