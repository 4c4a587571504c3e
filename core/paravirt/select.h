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
/// `initialize_system` and before a second CPU runs: both keys may be code that is rewritten.
template <HalParavirt H>
void select_backend(System<H>& system, const FlushOps<H>& ops) {
  require<H>(system.is_initialized(), Rule::r13, "a backend is selected before the system");
  system.ops = &ops;
  // The concurrent path leaves this CPU's own part to the backend, which has to do it at the same
  // time as the others'. A backend with `flush_others` alone never touches this CPU: with the key
  // on, no code would flush its own TLB. Off, the local part is done first.
  if (ops.flush_multi == nullptr) H::set_concurrent_flush(false);
  H::set_native_flush(ops.flush_multi == kNativeOps<H>.flush_multi);
}

}  // namespace shootdown
