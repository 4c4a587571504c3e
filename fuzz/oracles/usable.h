// Which translations CPUs may use right now: for the oracles that ask.
#pragma once

#include "fuzz/kernel/guest.h"
#include "fuzz/oracles/oracles.h"

namespace shootdown::fuzz {

template <class Concerns, class Visit>
void Oracles::for_each_usable(Concerns&& concerns, Visit&& visit) {
  for (CpuId id = 0; id < machine_.cpu_count(); ++id) {
    const host::HostCpu& cpu = machine_.cpu(id);
    for (const host::TlbEntry& entry : cpu.tlb.entries) {
      if (entry.from.space == kKernelSpace || !concerns(entry)) continue;
      touch_cpu(id);
      if (cpu_[id].space == kNoSpace || cpu_[id].offline || !uses_user_half(id)) break;
      // A target that answered early flushes before it leaves its handler.
      if (guest_->system().config.early_acknowledgement && cpu.in_interrupt) break;
      if (entry.pcid == machine_.pcid_of(cpu.cr3)) visit(id, entry);
    }
  }
}

}  // namespace shootdown::fuzz
