// Temporary address spaces: mappings that only this CPU sees for a moment, as for patching code.
#pragma once

#include "core/hal.h"
#include "core/switch_mm.h"
#include "core/system.h"

namespace shootdown {

/// Uses another address space for a scope. Interrupts are off meanwhile.
///
/// A lazy CPU leaves its mm first: otherwise the way back would be a switch to it, which ends
/// laziness without comparing generations, for an mm that may have been torn down because no CPU
/// showed it as loaded (O25).
template <Hal H>
class TemporaryMm {
 public:
  /// Context: preemption off. `mm` is used by one CPU at a time.
  TemporaryMm(System<H>& system, Mm<H>& mm) : system_(system), mm_(mm) {
    CpuState<H>& self = system.self();
    if (self.shared.is_lazy.owner_load()) leave_mm(system);
    previous_ = self.own.loaded_mm.owner_load();
    switch_mm(system, mm);
  }
  ~TemporaryMm() {
    switch_mm(system_, *previous_);
    // With lazily kept masks the switch has left the bit. No other flush comes for this mm, and
    // a stale bit would outlive it.
    const bool kept = system_.config().targets.mask_policy == MaskPolicy::kept_lazily;
    if (kept && !mm_.is_kernel) mm_.cpus.clear(H::this_cpu());
  }
  TemporaryMm(const TemporaryMm&) = delete;
  TemporaryMm& operator=(const TemporaryMm&) = delete;

 private:
  InterruptsOff<H> interrupts_off_;
  System<H>& system_;
  Mm<H>& mm_;
  Mm<H>* previous_;
};

}  // namespace shootdown
