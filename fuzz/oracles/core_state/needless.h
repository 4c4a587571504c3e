// Verifies: no interrupt, call, hypercall or hub message that cannot have an effect (O19).
// Does not verify: whether a flush could have been cheaper (generations.h for one case).
#pragma once

#include <array>

#include "fuzz/oracles/core_state/core.h"
#include "fuzz/oracles/core_state/requests.h"

namespace shootdown::fuzz {

class NeedlessChecker {
 public:
  NeedlessChecker(const Core& core, const RequestChecker& requests)
      : core_(core), requests_(requests) {}

  void start();
  void on_flush_begun(CpuId cpu);
  void on_flush_returned(CpuId cpu) { flushing_.clear(core_.truth().thread_on(cpu)); }
  void after_change() {
    flushing_.for_each([&](unsigned thread) {
      // Word by word: the oracle does not rely on the core's union.
      const host::HostCpuMask now = core_.mask(requests_.flush(thread).mm);
      for (std::size_t i = 0; i < host::HostCpuMask::kWords; ++i) {
        in_mask_[thread].set_word(i, in_mask_[thread].word(i) | now.word(i));
      }
    });
  }
  void on_call_queued(CpuId cpu, CpuId target, bool needs_interrupt);
  void on_ipi(CpuId cpu, const host::HostCpuMask& targets);
  void on_remote_flush(CpuId cpu, const host::HostCpuMask& targets) const;

 private:
  /// How a target is asked to flush.
  enum class Asked : std::uint8_t { by_interrupt, by_hypervisor };
  void check_target(CpuId cpu, CpuId target, Asked asked) const;

  const Core& core_;
  const RequestChecker& requests_;
  host::HostCpuMask flushing_;                            // threads whose flush is on its way
  std::array<host::HostCpuMask, kMaxCpus> in_mask_;       // ... members since each began
  std::array<host::HostCpuMask, kMaxCpus> to_interrupt_;  // words were empty, interrupts to come
};

}  // namespace shootdown::fuzz
