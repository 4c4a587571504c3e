// Address-space switching, PCID slots and lazy mode.
//
// Each half of the two handshakes lives here; the other half is in flush.h.
//   switch-in (R2):  set own mask bit   | full barrier | read tlb_gen
//   lazy exit (R3):  clear is_lazy      | full barrier | read tlb_gen
//   flusher   (R1):  bump tlb_gen       | full barrier | read mask, then is_lazy
// Whatever the interleaving, the flusher sees this CPU or this CPU sees the new generation.
#pragma once

#include <atomic>

#include "core/cpu_state.h"
#include "core/hal.h"
#include "core/system.h"
#include "core/trace.h"
#include "core/types.h"

namespace shootdown {

/// A slot for an address space, and whether its entries may be kept.
struct SlotChoice {
  Slot slot;
  bool must_flush;
};

/// Picks the slot for `mm`. `wanted` is its generation, read after this CPU became visible in the
/// mask: an older value could call a stale slot fresh (R2).
template <Hal H>
[[nodiscard]] SlotChoice choose_slot(System<H>& system, const Mm<H>& mm, Generation wanted) {
  CpuPrivate<H>& own = system.self().own;
  if (!system.config.pcid) return {.slot = 0, .must_flush = true};
  for (Slot slot = 0; slot < kSlots; ++slot) {
    if (own.slots[slot].context != mm.context) continue;
    return {.slot = slot, .must_flush = own.slots[slot].generation < wanted};
  }
  const Slot victim = own.next_slot;
  own.next_slot = (victim + 1) % kSlots;
  return {.slot = victim, .must_flush = true};
}

/// Loads `mm` in `slot`. With `must_flush` the slot is given to `mm` at generation `fresh` first.
template <Hal H>
void load_mm(System<H>& system, Mm<H>& mm, Slot slot, bool must_flush, Generation fresh) {
  CpuPrivate<H>& own = system.self().own;
  const std::uint64_t cr3 = cr3_value(system, mm, slot);
  if (must_flush) {
    // R4, M5: `fresh` was read before the load, so entries filled after the load are at least that
    // new. A value read afterwards could claim changes whose old entries were filled in between.
    own.slots[slot] = {.context = mm.context, .generation = fresh};
    H::write_cr3(cr3);
  } else {
    H::write_cr3(cr3 | kCr3KeepEntries);
  }
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
  const Slot slot = self.own.loaded_slot;
  const bool must_flush = self.own.slots[slot].generation < generation;
  if (must_flush) load_mm(system, mm, slot, true, generation);
  return must_flush;
}

/// Makes `next` the address space of this CPU, not lazy. Switching to the loaded one is cheap, and
/// is how a CPU leaves lazy mode.
///
/// Context: interrupts off. `next` stays valid until this CPU has switched away again.
/// Orders: a full barrier between becoming visible in the mask and the first walk (R2).
template <Hal H>
void switch_mm(System<H>& system, Mm<H>& next) {
  require<H>(!H::interrupts_enabled(), Rule::r2, "switch_mm needs interrupts off");
  const CpuId cpu = H::this_cpu();
  CpuState<H>& self = system.cpus[cpu];
  Mm<H>& previous = *self.own.loaded_mm;
  const bool was_lazy = self.shared.is_lazy.load(std::memory_order_relaxed);
  H::trace(TraceEvent{.kind = TraceKind::switch_begin, .mm = &next});

  if (&previous == &next) {
    const bool flushed = was_lazy && resume_from_lazy(system, next);
    H::trace(TraceEvent{
        .kind = TraceKind::switch_end, .mm = &next, .value = static_cast<std::uint64_t>(flushed)});
    return;
  }

  // Before the mask bit: a flusher that finds the bit must not skip this CPU for being lazy. x86
  // keeps the order of the two stores, and the bit's locked operation is a full barrier behind
  // both.
  if (was_lazy) self.shared.is_lazy.store(false, std::memory_order_relaxed);

  // M10: null tells an NMI on this CPU that CR3 and the bookkeeping may disagree from here on. For
  // other CPUs the window needs no mark: the own bit is in both masks until CR3 has moved (R8).
  self.own.loaded_mm = nullptr;
  std::atomic_signal_fence(std::memory_order_seq_cst);

  if (!next.is_kernel) next.cpus.set(cpu);
  // R2, M2, M6: the locked operation above orders the bit before this load, against the flusher's
  // bump before its read of the mask. Acquire: the page-table stores before that bump are visible
  // too.
  const Generation generation = next.tlb_gen.load(std::memory_order_acquire);
  const SlotChoice choice = choose_slot(system, next, generation);
  load_mm(system, next, choice.slot, choice.must_flush, generation);

  std::atomic_signal_fence(std::memory_order_seq_cst);
  self.own.loaded_mm = &next;
  self.own.loaded_slot = choice.slot;
  // R7, M19: only now. Until CR3 has left, this CPU can walk the old tables, and a flush that frees
  // them must find it.
  if (!previous.is_kernel) previous.cpus.clear(cpu);
  H::trace(TraceEvent{.kind = TraceKind::switch_end,
                      .mm = &next,
                      .value = static_cast<std::uint64_t>(choice.must_flush)});
}

/// This CPU will not use the user half of the loaded space for a while: flushers may skip it. The
/// space stays loaded and the bit stays in its mask. May be called again while lazy.
///
/// Context: interrupts off, or preemption off in a kernel thread. Ends with `switch_mm`.
template <Hal H>
void enter_lazy_tlb(System<H>& system) {
  CpuState<H>& self = system.self();
  if (self.own.loaded_mm->is_kernel) return;
  H::trace(TraceEvent{.kind = TraceKind::enter_lazy, .mm = self.own.loaded_mm});
  // M4: no barrier. Seen late, it costs the flusher a needless interrupt and nothing else.
  if (!self.shared.is_lazy.load(std::memory_order_relaxed)) {
    self.shared.is_lazy.store(true, std::memory_order_relaxed);
  }
}

/// Moves this CPU to the kernel's own space, for idle states that lose the TLB and for flushes that
/// free tables. Context: interrupts off.
template <Hal H>
void leave_mm(System<H>& system) {
  switch_mm(system, system.kernel_mm);
}

/// Brings this CPU into the core: the kernel's space in slot 0, every other slot empty, then
/// online. Context: interrupts off, once per CPU, after `initialize_system`, before any other call
/// here. CR4.PCIDE must already be what the configuration says.
template <Hal H>
void initialize_cpu(System<H>& system) {
  require<H>(!H::interrupts_enabled(), Rule::r2, "initialize_cpu needs interrupts off");
  CpuPrivate<H>& own = system.self().own;
  own.slots = {};
  own.next_slot = 1;
  own.loaded_slot = 0;
  load_mm(system, system.kernel_mm, 0, true,
          system.kernel_mm.tlb_gen.load(std::memory_order_acquire));
  own.loaded_mm = &system.kernel_mm;
  system.calls.set_online(H::this_cpu());
}

}  // namespace shootdown
