// The target filter: which CPUs of a mask a flush has to reach. It is the flusher's half of both
// handshakes in switch_mm.h: behind the increment of the generation it reads is_lazy and loaded_mm.
#pragma once

#include <atomic>

#include "core/cpu_mask.h"
#include "core/cpu_state.h"
#include "core/hal.h"
#include "core/mm.h"
#include "core/request.h"
#include "core/system.h"
#include "core/types.h"

namespace shootdown::internal {

/// R6: a flush that frees tables reaches lazy CPUs too, because they walk speculatively. Otherwise
/// a lazy CPU is skipped; it compares generations when it leaves lazy mode (R3), and one that runs
/// another mm when it switches to this one (R2).
///
/// Each of the two tests stands for itself: what it has read behind the bump is reason enough to
/// skip the CPU, even if the CPU has changed since. So nothing depends on their order; laziness
/// comes first because it has a line of its own, and most often answers.
template <Hal H>
bool is_wanted(const System<H>& system, const FlushRequest<H>& request, CpuId cpu) {
  if (request.frees_tables) return true;
  const CpuState<H>& target = system.cpus[cpu];
  // R1, R3: seq_cst, in one order with the bump before it and with the lazy CPU's fence between its
  // store of is_lazy and its read of the generation.
  if (target.shared.is_lazy.load(std::memory_order_seq_cst)) return false;
  const bool by_mm = system.config().targets.target_test == TargetTest::by_loaded_mm;
  if (!by_mm || request.mm == nullptr) return true;
  // R1, R2: seq_cst, behind the bump. The CPU's barrier between its store of null and its read of
  // the generation is a locked operation or a fence, and that the first is a full barrier is an
  // axiom of the HAL (hal.h), not of C++.
  const Mm<H>* loaded = target.own.loaded_mm.load(std::memory_order_seq_cst);
  // R8: null is the switching window; the CPU may already walk the mm and has not said so yet.
  return loaded == nullptr || loaded == request.mm || request.trims_mask;
}

/// The older form: all tests first, then the queuing. The scratch mask is logically a stack
/// variable.
template <Hal H>
CpuMask<H::kMaxCpus> filter_targets(const System<H>& system, const CpuMask<H::kMaxCpus>& targets,
                                    const FlushRequest<H>& request) {
  CpuMask<H::kMaxCpus> wanted;
  targets.for_each([&](CpuId cpu) {
    if (cpu == request.initiator || is_wanted(system, request, cpu)) wanted.set(cpu);
  });
  return wanted;
}

}  // namespace shootdown::internal
