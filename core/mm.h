// An address space as the flush core sees it.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/cpu_mask.h"
#include "core/hal.h"
#include "core/types.h"

namespace shootdown {

/// One address space. Lives in the kernel's own mm object; the core allocates nothing.
///
/// Lifetime: `initialize_mm` before the first switch to it; not destroyed or initialised again
/// while any CPU has it loaded, lazily or not (O31).
template <Hal H>
struct Mm {
  /// Identity, which the system gives out. Written once, by `initialize_mm`; constant while any CPU
  /// can reach this object.
  ContextId context{kNoContext};
  /// Physical address of the top page table. Written once, by `initialize_mm`.
  PhysAddr root{0};
  /// The same for user mode under page-table isolation: a root without the kernel's mappings.
  PhysAddr user_root{0};
  /// True for the kernel's own mm: it has no user half, is in no mask and is never flushed by
  /// range.
  bool is_kernel{false};

  /// The ASID of this mm on every CPU, or kNoGlobalAsid: then each CPU chooses its own. Set
  /// once, under the lock of the pool (global_asids.h); cleared by `retire_mm`. It shares a line
  /// with the constants because it changes as rarely.
  typename H::template Atomic<Asid> global_asid{kNoGlobalAsid};
  /// Some CPU may still run on an ASID of its own. Set before the ASID is published (M14), cleared
  /// by the flush that finds no such CPU.
  typename H::template Atomic<bool> asid_transition{false};

  /// Generation of the translations. Any CPU may bump it, by a locked add only (R1). On a line of
  /// its own: flushers write it and handlers read it, while switchers write the mask.
  alignas(kCacheLine) typename H::template Atomic<Generation> tlb_gen{kNoGeneration};

  /// CPUs that may hold usable translations. Each CPU writes only its own bit: it sets it in
  /// `switch_mm`, and clears it there or, with lazily kept masks, in the flush function. When it
  /// retires, what is left there goes.
  alignas(kCacheLine) AtomicCpuMask<H> cpus{};

  /// Reclaim batches: additions in the upper half, additions known to be flushed in the lower
  /// (M12). Both count modulo 2^32; reclaim_batch.h says why they do not meet by counting round.
  alignas(kCacheLine) typename H::template Atomic<std::uint64_t> batch_marks{0};

  /// Calls `visit(name, field)` for each shared word, so that tools can label addresses.
  template <class Visit>
  void visit_shared(Visit&& visit) {
    visit("global_asid", global_asid);
    visit("asid_transition", asid_transition);
    visit("tlb_gen", tlb_gen);
    visit("batch_marks", batch_marks);
    cpus.visit_shared(visit);
  }
};

}  // namespace shootdown
