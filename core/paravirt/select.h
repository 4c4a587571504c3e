// Putting a backend in the place of the native operations.
#pragma once

#include "core/flush_dispatch.h"
#include "core/flush_ops.h"
#include "core/system.h"

namespace shootdown {

/// The same backend without its concurrent operation: what one looks like whose hypervisor, or
/// whose author, offers flushes of other CPUs only.
template <Hal H>
[[nodiscard]] constexpr FlushOps<H> remote_only(FlushOps<H> ops) {
  ops.flush_multi = nullptr;
  return ops;
}

/// Uses `ops` from now on; they live as long as the system. Context: boot, interrupts off, after
/// `initialize_system` and before the first CPU is up: the plan may be code that is rewritten.
template <HalParavirt H>
void select_backend(System<H>& system, const FlushOps<H>& ops) {
  require<H>(system.is_initialized(), Rule::r13, "a backend is selected before the system");
  // The concurrent way leaves this CPU's own part to the backend, which has to do it at the same
  // time as the others'. A backend with `flush_others` alone never touches this CPU: in that way no
  // code would flush its own TLB. So the plan is a serial one (`plan_of`).
  internal::fix(system, system.config(), ops);
}

}  // namespace shootdown
