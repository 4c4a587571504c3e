// Verifies: a CPU leaves a temporary mm as it entered it: with the mm loaded that it had
// before, not lazy, and out of the temporary mm's mask (O25).
// Does not verify: what it does meanwhile, which other oracles judge as anywhere.
#pragma once

#include <array>

#include "fuzz/oracles/core_state/core.h"

namespace shootdown::fuzz {

class TemporaryChecker {
 public:
  explicit TemporaryChecker(const Core& core) : core_(core) {}
  void on_begin(CpuId cpu);
  void on_end(CpuId cpu) const;

 private:
  struct Before {
    const void* loaded{nullptr};
    bool lazy{false};
  };

  const Core& core_;
  std::array<Before, kMaxCpus> before_{};
};

}  // namespace shootdown::fuzz
