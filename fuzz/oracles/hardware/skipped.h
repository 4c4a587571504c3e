// Verifies: a virtual CPU that a flush leaves to the host is flushed by it before it runs again
// (O26).
// Does not verify: the hypervisor's own steps (hal/host/hypervisor.h).
#pragma once

#include <array>

#include "fuzz/oracles/hardware/truth.h"

namespace shootdown::fuzz {

class SkippedChecker {
 public:
  explicit SkippedChecker(const Truth& truth) : truth_(truth) {}

  void on_flush_begun(CpuId cpu) {
    flush_[truth_.thread_on(cpu)].skipped = {};
    flush_[truth_.thread_on(cpu)].begin = truth_.machine().step();
  }
  void on_skipped(CpuId cpu, CpuId target);
  void on_flush_returned(CpuId cpu) const;

 private:
  struct Flush {
    std::uint64_t begin{0};
    host::HostCpuMask skipped;                            // left to the host
    std::array<std::uint64_t, kMaxCpus> entry_flushes{};  // of those, at that time
  };

  const Truth& truth_;
  std::array<Flush, kMaxCpus> flush_{};  // of each thread
};

}  // namespace shootdown::fuzz
