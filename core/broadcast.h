// Hardware broadcast: spaces that run on many CPUs get a global slot, and their flushes are
// INVLPGB instructions instead of interrupts.
//
//   grant   set in_transition | release | publish global_slot
//   flush   bump tlb_gen | full barrier | read global_slot | INVLPGB | interrupts | TLBSYNC
//   switch  be visible | full barrier | read global_slot | load that slot, keeping its entries
//
// Why no generation is compared on a global slot. No CPU has an entry under it when it is granted
// (global_slots.h). A flusher that sees the slot invalidates it on every CPU. One that does not see
// it has read after its bump, when its page-table stores were visible: what a CPU caches under the
// slot it caches later, and so from the new tables. Read before the bump, those stores could still
// be on their way while another CPU grants the slot, loads it and caches an old entry.
//
// Transition. Until each CPU has moved, some run the space on slots of their own, which broadcasts
// do not reach. A flush interrupts these stragglers, lazy ones included, and they move in their
// handler; so does any CPU in `switch_mm`, also one that only leaves lazy mode. Nobody can become a
// straggler later: whoever switches in makes itself visible, then reads the slot.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "core/hal.h"
#include "core/range.h"
#include "core/request.h"
#include "core/system.h"
#include "core/trace.h"
#include "core/types.h"

namespace shootdown::internal {

/// Whether this system broadcasts. A HAL without the instructions compiles to "no".
template <Hal H>
[[nodiscard]] constexpr bool broadcasts(const System<H>& system) {
  if constexpr (HalBroadcast<H>) {
    return system.config.broadcast;
  } else {
    return false;
  }
}

/// The slot that `mm` has on every CPU, or kNoGlobalSlot. M14: acquire, so that the transition
/// flag, which was set before, is seen with it.
template <Hal H>
[[nodiscard]] Slot global_slot_of(const System<H>& system, const Mm<H>& mm) {
  if (!broadcasts(system)) return kNoGlobalSlot;
  return mm.global_slot.load(std::memory_order_acquire);
}

/// One INVLPGB. Context: preemption off until `await_broadcasts`, which waits for this CPU's only.
template <Hal H>
void broadcast(System<H>& system, const Invlpgb& what) {
  ++system.self().own.counters.broadcasts;
  if constexpr (HalBroadcast<H>) H::invlpgb(what);
}

template <Hal H>
void await_broadcasts() {
  if constexpr (HalBroadcast<H>) H::tlbsync();
}

/// Invalidates the 4 KiB pages of `range`, in as few pieces as the processor permits.
template <Hal H>
void broadcast_pages(System<H>& system, Invlpgb what, const FlushRange& range) {
  const std::uint64_t most = system.config.broadcast_max_pages;
  what.address = range.start;
  for (std::uint64_t left = range.strides(); left != 0; left -= what.count) {
    what.count = static_cast<std::uint32_t>(std::min(left, most));
    broadcast(system, what);
    what.address += std::uint64_t{what.count} << kPageShift;
  }
}

/// What `request` asks for, under the space's global slot. Asynchronous.
template <Hal H>
void broadcast_request(System<H>& system, const FlushRequest<H>& request, Slot slot) {
  if (request.names_pages()) {
    broadcast_pages(system, {.scope = InvlpgbScope::pages, .pcid = pcid_of(slot)}, request.range());
  } else {
    broadcast(system, {.scope = InvlpgbScope::context, .pcid = pcid_of(slot)});
  }
}

/// Gives `mm` a global slot, unless it has one or none is to be had. Context: preemption off.
template <Hal H>
void grant_global_slot(System<H>& system, Mm<H>& mm) {
  if (!system.global_slots.try_lock()) return;
  if (mm.global_slot.load(std::memory_order_relaxed) == kNoGlobalSlot) {
    const Slot slot = system.global_slots.take([&] {
      broadcast(system, {.scope = InvlpgbScope::all_contexts});
      await_broadcasts<H>();
    });
    if (slot != kNoGlobalSlot) {
      H::trace(TraceEvent{.kind = TraceKind::slot_granted, .mm = &mm, .value = slot});
      // M14: release orders the flag before the slot, against the acquire in `global_slot_of`. Seen
      // without the flag, the slot would tell a flusher that broadcasts reach every CPU.
      mm.in_transition.store(true, std::memory_order_relaxed);
      mm.global_slot.store(slot, std::memory_order_release);
    }
  }
  system.global_slots.unlock();
}

/// Takes the slot of a space that no CPU has loaded. Context: any thread.
template <Hal H>
void return_global_slot(System<H>& system, Mm<H>& mm) {
  const Slot slot = global_slot_of(system, mm);
  if (slot == kNoGlobalSlot) return;
  mm.global_slot.store(kNoGlobalSlot, std::memory_order_relaxed);
  mm.in_transition.store(false, std::memory_order_relaxed);
  H::trace(TraceEvent{.kind = TraceKind::slot_returned, .mm = &mm, .value = slot});
  system.global_slots.give_back(slot);
}

/// The CPUs of `members` that may have `mm` loaded on a slot of their own.
template <Hal H>
[[nodiscard]] CpuMask<H::kMaxCpus> find_stragglers(const System<H>& system, const Mm<H>& mm,
                                                   const CpuMask<H::kMaxCpus>& members) {
  CpuMask<H::kMaxCpus> found;
  members.for_each([&](CpuId cpu) {
    const CpuPrivate<H>& target = system.cpus[cpu].own;
    // R8: null is the switching window. That CPU may have read the slot before it was granted.
    // Seq_cst, behind the bump and the read of the slot, against the CPU's store of null, its
    // barrier and its read of the slot. That a locked operation is such a barrier is an axiom of
    // the HAL (hal.h), not of C++.
    const Mm<H>* loaded = target.loaded_mm.load(std::memory_order_seq_cst);
    if (loaded != nullptr && loaded != &mm) return;
    // After loaded_mm: what is seen here is at least as new. A CPU that has meanwhile gone on to
    // another space's global slot has left this space, too.
    if (loaded == nullptr || !target.on_global.load(std::memory_order_seq_cst)) {
      found.set(cpu);
    }
  });
  return found;
}

}  // namespace shootdown::internal
