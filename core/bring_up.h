// CPUs that come and go.
#pragma once

#include "core/flush_dispatch.h"
#include "core/flush_ops.h"
#include "core/hal.h"
#include "core/local_flush.h"
#include "core/switch_mm.h"
#include "core/system.h"

namespace shootdown {

namespace internal {

/// The HAL has calls of a hub, all of `HalUvBau` or only some.
template <Hal H>
inline constexpr bool kHasBau = requires { H::bau_open(); } || requires { H::bau_outstanding(); };

/// Forgets what an earlier life of this CPU has left, but for what it has counted.
template <Hal H>
void reset_cpu(System<H>& system) {
  CpuState<H>& self = system.self();
  CpuPrivate<H>& own = self.own;
  own.asids = {};
  own.next_asid = 1;
  own.number = H::this_cpu();
  own.bit = CpuMask<H::kMaxCpus>::bit_of(own.number);
  own.post = &system.calls.post_of(own.number);
  own.set_loaded_asid(0);
  clear_pending_user_flushes(own);
  if (own.early_acked_flush_pending.owner_load()) {
    own.early_acked_flush_pending.store(false, std::memory_order_relaxed);
  }
  if (self.shared.is_lazy.owner_load()) {
    self.shared.is_lazy.store(false, std::memory_order_relaxed);
  }
  own.post_use = PostUse::free;
}

}  // namespace internal

/// Brings this CPU into the core, or back into it after `take_cpu_offline`: the kernel's mm in
/// ASID 0, every other ASID empty, an empty TLB. What the TLB and CR3 held before means nothing
/// (O24). A CPU that has not gone offline is refused: it may be in the mask of an mm, and calls
/// may wait for it.
///
/// Context: interrupts off, after `initialize_system`, before any other call here on this CPU.
/// CR4.PCIDE and CR4.PGE are already what the configuration says.
template <Hal H>
void initialize_cpu(System<H>& system) {
  static_assert(BackendHotplug<H>::kAttends || !internal::kHasBau<H>,
                "this HAL has a hub: include core/paravirt/uv_bau.h, and see HalUvBau");
  require<H>(!H::interrupts_enabled(), Rule::r2, "initialize_cpu needs interrupts off");
  require<H>(H::this_cpu() < H::kMaxCpus, Rule::r13, "this_cpu() is out of range");
  require<H>(system.is_initialized(), Rule::r13, "a CPU is initialised before the system");
  require<H>(H::this_cpu() < system.cpu_count(), Rule::r13,
             "a CPU comes up that the configuration does not count");
  if constexpr (HalCpuPointer<H>) {
    CpuState<H>* const here = &system.cpus[H::this_cpu()];
    require<H>(H::cpu_pointer() == nullptr || H::cpu_pointer() == here, Rule::r10,
               "a CPU is brought up in a second system, or under another number");
    H::set_cpu_pointer(here);
  }
  CpuPrivate<H>& own = system.self().own;
  require<H>(!own.is_up, Rule::r10, "a CPU is brought up that has not gone offline");
  own.cr4 = H::read_cr4();
  require<H>(((own.cr4 & kCr4Pcid) != 0) == system.config().processor.pcid, Rule::r2,
             "CR4.PCIDE is not what the configuration says");
  internal::reset_cpu(system);
  // Online first: from now on a flush of kernel mappings reaches this CPU, and what was freed
  // before goes with the flush below. The other way round, a flush in between would not reach this
  // CPU.
  system.calls.set_online(H::this_cpu());
  BackendHotplug<H>::cpu_online();
  // R4, M5, M6: as in `switch_mm`, read before the load, with the page-table stores that go with
  // it.
  load_mm(system, system.kernel_mm, 0, true,
          system.kernel_mm.tlb_gen.load(std::memory_order_acquire));
  // Release: after CR3, as in `switch_mm`.
  own.loaded_mm.store(&system.kernel_mm, std::memory_order_release);
  internal::drop_everything(system);
  own.is_up = true;
}

/// Takes this CPU out of the core: it leaves its mm, answers what is pending, and is no
/// target from then on. It may come back through `initialize_cpu`.
///
/// Context: interrupts off until the CPU stops. It waits for the answers to what it has submitted,
/// and runs meanwhile what others ask it for. No sender waits for a CPU that has gone: a call is
/// either pushed before its word closes, and answered here, or not at all (O17).
template <Hal H>
void take_cpu_offline(System<H>& system) {
  require<H>(!H::interrupts_enabled(), Rule::r12, "a CPU goes offline with interrupts off");
  CpuPrivate<H>& own = system.self().own;
  require<H>(own.is_up, Rule::r2, "a CPU goes offline that is not up");
  require<H>(own.post_use != PostUse::by_flush, Rule::r10,
             "a CPU goes offline in the middle of a flush");
  // R10: a target reads the post until it answers.
  if (own.post_use == PostUse::by_submit) internal::take_post_back(system, system.self());
  leave_mm(system);
  system.calls.close();
  BackendHotplug<H>::cpu_offline(system);
  own.post_use = PostUse::by_none;
  own.is_up = false;
}

}  // namespace shootdown
