// What the machine, the core and the page tables hold at one moment, in words: what a story shows
// beside its steps. It reads and changes nothing.
#pragma once

#include <map>
#include <string>

#include "fuzz/kernel/sim_kernel.h"
#include "hal/host/machine.h"

namespace shootdown::fuzz {

/// Names of places, such as "cpu1/tlb/5", and what is there. What is empty or at rest has no name.
///
///   cpuN/runs, asid, asid/K, lazy, mode, interrupts, handler, owed, deferred, answered
///   cpuN/cr3, tlb/K, tables/WHICH, buffer/K, calls, waits/WHAT, host
///   mmN/generation, cpus, asid, page/N; kernel/page/N; online
///
/// A cached translation that memory does not justify any more ends with ", stale".
using State = std::map<std::string, std::string>;

inline constexpr const char* kStale = ", stale";

/// `label` and `shown` are those of the machine's observer.
[[nodiscard]] State state_of(host::Machine& machine, SimKernel& sim, host::Observer& names);

}  // namespace shootdown::fuzz
