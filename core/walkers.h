// Software that walks page tables with interrupts off and no lock, and the wait for it.
#pragma once

#include <utility>

#include "core/broadcast_hooks.h"
#include "core/completion.h"
#include "core/flush_dispatch.h"
#include "core/hal.h"
#include "core/system.h"

namespace shootdown {

/// Returns when each online CPU has had its interrupts on since the call began: a walk that started
/// before is over, and one that starts later finds what was unhooked gone. A CPU that comes online
/// meanwhile is in no walk. Context: as for `flush_tlb_mm_range`.
template <Hal H>
void wait_for_walkers(System<H>& system) {
  const PreemptionOff<H> guard;
  internal::check_post_is_free(system, system.self());
  H::trace(TraceEvent{.kind = TraceKind::walkers_begin});
  system.calls.call(
      system.calls.online(), [](CpuId) { return true; },
      [](const CallPost<H>&, Acknowledgement<H> acknowledgement) {
        return std::move(acknowledgement).give();
      },
      nullptr, [] {}, [] { return CallSubject{.what = "a wait for walkers of page tables"}; });
}

/// Turns the token of a flush that freed tables into the permission to release them. Costs nothing
/// where that flush has interrupted every CPU that may walk them, and an interrupt of every CPU
/// elsewhere; a caller with many tables keeps them until walkers have moved on by themselves
/// (`kernel-glue/mm/walkers.h`). Context: as for `flush_tlb_mm_range`, and in no walk.
template <Hal H>
WalkersQuiet exclude_walkers(System<H>& system, TablesUnreachable tables) {
  if (!flush_interrupts_targets(system)) wait_for_walkers(system);
  return WalkersQuiet(std::move(tables));
}

/// The same for tables of the kernel's half, whose flush no hypervisor replaces.
template <Hal H>
KernelWalkersQuiet exclude_walkers(System<H>& system, KernelTablesUnreachable tables) {
  if (internal::broadcasts(system)) wait_for_walkers(system);
  return KernelWalkersQuiet(std::move(tables));
}

}  // namespace shootdown
