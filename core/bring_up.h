// CPUs that come and go.
#pragma once

#include "core/hal.h"
#include "core/local_flush.h"
#include "core/paravirt/hub.h"
#include "core/switch_mm.h"
#include "core/system.h"

namespace shootdown {

/// Brings this CPU into the core, or back into it: the kernel's space in slot 0, every other slot
/// empty, an empty TLB. What the TLB and CR3 held before means nothing (O24).
///
/// Context: interrupts off, after `initialize_system`, before any other call here on this CPU.
/// CR4.PCIDE and CR4.PGE are already what the configuration says.
template <Hal H>
void initialize_cpu(System<H>& system) {
  require<H>(!H::interrupts_enabled(), Rule::r2, "initialize_cpu needs interrupts off");
  CpuPrivate<H>& own = system.self().own;
  own.cr4 = H::read_cr4();
  require<H>(((own.cr4 & kCr4Pcid) != 0) == system.config.pcid, Rule::r2,
             "CR4.PCIDE is not what the configuration says");
  own.slots = {};
  own.next_slot = 1;
  own.set_loaded_slot(0);
  own.user_flush = 0;
  own.invalidate_other = false;
  own.deferred = {};
  // Online first: whoever frees kernel mappings from now on reaches this CPU, and what was freed
  // before goes with the flush below. The other way round, a flush in between would reach nobody.
  system.calls.set_online(H::this_cpu());
  if constexpr (HalHub<H>) H::hub_open();
  load_mm(system, system.kernel_mm, 0, true,
          system.kernel_mm.tlb_gen.load(std::memory_order_acquire));
  own.loaded_mm.store(&system.kernel_mm, std::memory_order_release);
  internal::drop_everything(system);
}

/// Takes this CPU out of the core: it leaves its space, answers what is queued for it, and is no
/// target from then on. It may come back through `initialize_cpu`.
///
/// Context: interrupts off until the CPU stops. Nobody waits for a CPU that has gone: a call is
/// either queued before the queue closes, and answered here, or not at all (O17).
template <Hal H>
void take_cpu_offline(System<H>& system) {
  require<H>(!H::interrupts_enabled(), Rule::r12, "a CPU goes offline with interrupts off");
  leave_mm(system);
  system.calls.close_queue();
  if constexpr (HalHub<H>) {
    // As with the queue: closed first, then what came before is answered, or its sender waits for
    // ever.
    H::hub_close();
    handle_hub_interrupt(system);
  }
}

}  // namespace shootdown
