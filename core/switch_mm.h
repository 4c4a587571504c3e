// Address-space switching, ASIDs and lazy mode.
//
// One half of each of the two handshakes lives here. The flusher increments the generation in
// flush.h and reads the mask there; its reads of loaded_mm and is_lazy are in target_filter.h.
//   switch-in (R2):  set own mask bit   | full barrier | read tlb_gen
//   lazy exit (R3):  clear is_lazy      | full barrier | read tlb_gen
//   flusher   (R1):  bump tlb_gen       | full barrier | read mask, then loaded_mm and is_lazy
// In every interleaving, the flusher sees this CPU or this CPU sees the new generation.
#pragma once

#include <atomic>

#include "core/broadcast_hooks.h"
#include "core/cpu_state.h"
#include "core/hal.h"
#include "core/local_flush.h"
#include "core/system.h"
#include "core/trace.h"
#include "core/types.h"
#include "core/user_pcid.h"

namespace shootdown {

/// An ASID for an address space, and whether its entries may be kept.
struct AsidChoice {
  Asid asid;
  bool must_flush;
};

namespace internal {

/// Empties every ASID but the loaded one, whose kernel entries were invalidated page by page: the
/// others still hold them (page-table isolation, or kernel mappings that are not global).
template <Hal H>
void forget_other_asids(System<H>& system) {
  CpuPrivate<H>& own = system.self().own;
  for (Asid asid = 0; asid < kDynamicAsids; ++asid) {
    if (asid != own.loaded_asid) own.asids[asid] = {};
  }
  own.invalidate_other = false;
}

}  // namespace internal

/// Picks the ASID for `mm`. `wanted` is its generation, read after this CPU became visible in the
/// mask: an older value could call a stale ASID fresh (R2).
template <Hal H>
[[nodiscard]] AsidChoice choose_asid(System<H>& system, const Mm<H>& mm, Generation wanted) {
  CpuPrivate<H>& own = system.self().own;
  if (!system.config().processor.pcid) return {.asid = 0, .must_flush = true};
  if (own.invalidate_other) internal::forget_other_asids(system);
  // M14: the ASID is read after this CPU became visible, or a flusher that has granted it meanwhile
  // would not find this CPU on its own ASID. Broadcasts keep the ASID fresh, so nothing is
  // compared.
  const Asid global = internal::global_asid_of(system, mm);
  if (global != kNoGlobalAsid) return {.asid = global, .must_flush = false};
  for (Asid asid = 0; asid < kDynamicAsids; ++asid) {
    if (own.asids[asid].context != mm.context) continue;
    return {.asid = asid, .must_flush = own.asids[asid].generation < wanted};
  }
  const Asid victim = own.next_asid;
  own.next_asid = (victim + 1) % kDynamicAsids;
  return {.asid = victim, .must_flush = true};
}

/// Loads `mm` in `asid`. With `must_flush` the ASID is given to `mm` at generation `fresh` first.
template <Hal H>
void load_mm(System<H>& system, Mm<H>& mm, Asid asid, bool must_flush, Generation fresh) {
  CpuPrivate<H>& own = system.self().own;
  const std::uint64_t cr3 = cr3_value(system, mm, asid);
  if (must_flush) {
    // R4, M5: `fresh` was read before the load, so entries filled after the load are at least that
    // new. A value read afterwards could claim changes whose old entries were filled in between.
    own.asids[asid] = {.context = mm.context, .generation = fresh};
    mark_user_pcid(system, own, asid);
    H::write_cr3(cr3);
  } else {
    H::write_cr3(cr3 | kCr3KeepEntries);
  }
}

namespace internal {

/// Moves this CPU, which has `mm` loaded, to the mm's global ASID. True if it was not there and
/// the mm has one. Context: interrupts off.
template <Hal H>
[[gnu::noinline, clang::preserve_most]] bool join_global_asid(System<H>& system, Mm<H>& mm) {
  const Asid global = global_asid_of(system, mm);
  if (global == kNoGlobalAsid) return false;
  CpuPrivate<H>& own = system.self().own;
  if (own.loaded_asid == global) return false;
  load_mm(system, mm, global, /*must_flush=*/false, kNoGeneration);
  own.set_loaded_asid(global);
  return true;
}

/// Leaves lazy mode on the address space that is already loaded. Returns with fresh translations,
/// and says whether it had to flush for that.
template <Hal H>
bool resume_from_lazy(System<H>& system, Mm<H>& mm) {
  CpuState<H>& self = system.self();
  self.shared.is_lazy.store(false, std::memory_order_relaxed);
  // R3, M3: orders the store of is_lazy before the load of tlb_gen, against the flusher's locked
  // bump before its load of is_lazy. Otherwise it skips this CPU as lazy while this CPU misses the
  // bump.
  H::full_fence();
  const Generation generation = mm.tlb_gen.load(std::memory_order_acquire);
  // What counts is the ASID that is loaded: broadcasts have kept a global one fresh, but not the
  // one that this CPU chose before the mm became global.
  if (join_global_asid(system, mm) || is_global_asid(self.own.loaded_asid)) return false;
  const Asid asid = self.own.loaded_asid;
  const bool must_flush = self.own.asids[asid].generation < generation;
  if (must_flush) load_mm(system, mm, asid, true, generation);
  return must_flush;
}

/// R2: makes this CPU visible to flushers of `mm`, with a full barrier behind it.
template <Hal H>
void announce(const System<H>& system, Mm<H>& mm, CpuId cpu) {
  if (mm.is_kernel) return;
  const bool kept = system.config().targets.mask_policy == MaskPolicy::kept_lazily;
  if (kept && mm.cpus.test(cpu)) {
    // The bit is still there from last time. What must be visible now is the empty `loaded_mm`: it
    // makes this CPU a target by its loaded mm (R8), and the barrier stands for the locked set.
    H::full_fence();
  } else {
    mm.cpus.set(cpu);
  }
}

}  // namespace internal

/// Makes `next` the address space of this CPU, not lazy. Switching to the loaded one is cheap, and
/// is how a CPU leaves lazy mode.
///
/// Context: interrupts off. `next` stays valid until this CPU has switched away again.
/// Orders: a full barrier between becoming visible to flushers and the first walk (R2).
///
/// M16: between the caller's store of the task that runs next and that task's first access in user
/// mode there is a full barrier: the load of CR3 if the mm changes, R3's fence on the way out of
/// lazy mode. A membarrier system call that finds another task running, and so interrupts no CPU,
/// relies on it. Without a change of mm and of laziness there is none here.
template <Hal H>
void switch_mm(System<H>& system, Mm<H>& next) {
  require<H>(!H::interrupts_enabled(), Rule::r2, "switch_mm needs interrupts off");
  const CpuId cpu = H::this_cpu();
  CpuState<H>& self = system.cpus[cpu];
  Mm<H>* const loaded = self.own.loaded_mm.owner_load();
  const bool was_lazy = self.shared.is_lazy.owner_load();
  H::trace(TraceEvent{.kind = TraceKind::switch_begin, .mm = &next});

  if (loaded == &next) {
    const bool flushed = was_lazy && internal::resume_from_lazy(system, next);
    if (!was_lazy) static_cast<void>(internal::join_global_asid(system, next));
    H::trace(TraceEvent{
        .kind = TraceKind::switch_end, .mm = &next, .value = static_cast<std::uint64_t>(flushed)});
    return;
  }

  require<H>(loaded != nullptr, Rule::r2, "a CPU switches that is not up");
  require<H>(next.context != kNoContext, Rule::r13, "a switch to an mm that was not initialised");
  Mm<H>& previous = *loaded;

  // M11: before the announcement and its barrier, and so before the read of the generation below,
  // against the flusher's bump before its read of the flag. Cleared later, a flusher could still
  // skip this CPU for being lazy after it has read the old generation.
  if (was_lazy) self.shared.is_lazy.store(false, std::memory_order_relaxed);
  internal::escalate_deferred_pages(system);

  // M10, R8: null tells an NMI on this CPU that CR3 and the bookkeeping may disagree from here on,
  // and a flusher that goes by the loaded mm that it must not skip this CPU.
  self.own.loaded_mm.store(nullptr, std::memory_order_release);

  internal::announce(system, next, cpu);
  // R2, M2, M6: the barrier above orders the announcement before this load, against the flusher's
  // bump before its reads. Acquire: the page-table stores before that bump are visible too.
  const Generation generation = next.tlb_gen.load(std::memory_order_acquire);
  const AsidChoice choice = choose_asid(system, next, generation);
  load_mm(system, next, choice.asid, choice.must_flush, generation);

  self.own.set_loaded_asid(choice.asid);
  // Release: after CR3, and for an NMI on this CPU after the ASID.
  self.own.loaded_mm.store(&next, std::memory_order_release);
  // R7, M19: only now. Until CR3 has left, this CPU can walk the old tables, and a flush that frees
  // them must find it.
  const bool clears = system.config().targets.mask_policy == MaskPolicy::cleared_at_switch;
  if (clears && !previous.is_kernel) previous.cpus.clear(cpu);
  H::trace(TraceEvent{.kind = TraceKind::switch_end,
                      .mm = &next,
                      .value = static_cast<std::uint64_t>(choice.must_flush)});
}

/// This CPU will not use the user half of the loaded mm for a while: flushers may skip it. The
/// mm stays loaded and the bit stays in its mask. May be called again while lazy.
///
/// Context: interrupts off, or preemption off in a kernel thread. Ends with `switch_mm`.
template <Hal H>
void enter_lazy_tlb(System<H>& system) {
  CpuState<H>& self = system.self();
  // Before the loaded mm is read: a flush interrupt takes a lazy CPU, and no other, to the
  // kernel's mm. Asked the other way round, one that arrives in between leaves this CPU lazy on
  // the kernel's mm, by what was loaded before.
  if (self.shared.is_lazy.owner_load()) return;
  // Acquire, for the compiler: orders this load before that of the mm, against an interrupt of this
  // CPU. Both may be plain loads, which it could exchange.
  std::atomic_signal_fence(std::memory_order_acquire);
  const Mm<H>* loaded = self.own.loaded_mm.owner_load();
  require<H>(loaded != nullptr, Rule::r2, "a CPU becomes lazy that is not up");
  if (loaded->is_kernel) return;
  H::trace(TraceEvent{.kind = TraceKind::enter_lazy, .mm = loaded});
  // M4: no barrier. Seen late, it costs the flusher a needless interrupt and nothing else. Release:
  // what this CPU did in user memory comes before the promise, against the flusher that skips it
  // and releases that memory. x86 keeps that order by itself, a compiler does not.
  self.shared.is_lazy.store(true, std::memory_order_release);
}

/// Moves this CPU to the kernel's own mm, for idle states that lose the TLB and for flushes that
/// free tables. Context: interrupts off.
template <Hal H>
void leave_mm(System<H>& system) {
  switch_mm(system, system.kernel_mm);
}

/// True if user addresses on this CPU mean what they mean to `current`, the mm of the running
/// task, and no flush that has returned is missing. For NMI handlers and other code that interrupts
/// anything (O22). False inside a switch, under a temporary mm, while lazy, when flushers skip
/// this CPU (R3), and between an early answer and its flush. Context: any; a kernel that changes
/// the running task does so when `switch_mm` has returned.
template <Hal H>
[[nodiscard]] bool user_access_ok(System<H>& system, const Mm<H>& current) {
  // By its number: an NMI may come before this CPU has been brought up.
  const CpuState<H>& self = system.cpus[H::this_cpu()];
  return self.own.loaded_mm.owner_load() == &current && !self.shared.is_lazy.owner_load() &&
         !self.own.early_acked_flush_pending.owner_load();
}

}  // namespace shootdown
