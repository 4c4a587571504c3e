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
// handler; so does any CPU in `switch_mm`, also one that only leaves lazy mode. No CPU can become
// a straggler later: a CPU that switches in makes itself visible, then reads the slot.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "core/broadcast_hooks.h"
#include "core/flush_dispatch.h"
#include "core/global_slots.h"
#include "core/hal.h"
#include "core/range.h"
#include "core/request.h"
#include "core/system.h"
#include "core/trace.h"
#include "core/types.h"

namespace shootdown::internal {

/// See broadcast_hooks.h.
template <HalBroadcast H>
inline constexpr bool kBroadcastIsIncluded<H> = true;

/// One INVLPGB. Context: preemption off until `await_broadcasts`, which waits for this CPU's only.
template <HalBroadcast H>
void broadcast(System<H>& system, const Invlpgb& what) {
  ++system.self().own.counters.broadcasts;
  H::invlpgb(what);
}

template <HalBroadcast H>
void await_broadcasts() {
  H::tlbsync();
}

/// Invalidates the 4 KiB pages of `range`, in as few pieces as the processor permits.
template <HalBroadcast H>
void broadcast_pages(System<H>& system, Invlpgb what, const FlushRange& range) {
  const std::uint64_t most = system.config.broadcast.max_pages;
  what.address = range.start;
  for (std::uint64_t left = range.strides(); left != 0; left -= what.count) {
    what.count = static_cast<std::uint32_t>(std::min(left, most));
    broadcast(system, what);
    what.address += std::uint64_t{what.count} << kPageShift;
  }
}

/// What `request` asks for, under the space's global slot. Asynchronous.
template <HalBroadcast H>
void broadcast_request(System<H>& system, const FlushRequest<H>& request, Slot slot) {
  if (request.names_pages()) {
    broadcast_pages(system, {.scope = InvlpgbScope::pages, .pcid = pcid_of(slot)}, request.range());
  } else {
    broadcast(system, {.scope = InvlpgbScope::context, .pcid = pcid_of(slot)});
  }
}

/// Gives `mm` a global slot, unless it has one or none is to be had. Context: preemption off.
template <HalBroadcast H>
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
template <HalBroadcast H>
void return_global_slot(System<H>& system, Mm<H>& mm) {
  const Slot slot = global_slot_of(system, mm);
  if (slot == kNoGlobalSlot) return;
  mm.global_slot.store(kNoGlobalSlot, std::memory_order_relaxed);
  mm.in_transition.store(false, std::memory_order_relaxed);
  H::trace(TraceEvent{.kind = TraceKind::slot_returned, .mm = &mm, .value = slot});
  system.global_slots.give_back(slot);
}

/// The CPUs of `members` that may have `mm` loaded on a slot of their own.
template <HalBroadcast H>
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
    // After loaded_mm, in one seq_cst order with it: what is seen here is at least as new. A CPU
    // that has meanwhile gone on to another space's global slot has left this space, too.
    if (loaded == nullptr || !target.on_global.load(std::memory_order_seq_cst)) {
      found.set(cpu);
    }
  });
  return found;
}

/// The flush of a space with a global slot. Interrupts are for CPUs that the broadcast does not
/// reach, or that have to leave the space. Returns the ticks until all was done.
///
/// With lazily kept masks bits of CPUs that have left may stay set until the space retires. They
/// cost nothing: the mask is read in transition, where the loaded space decides, and at the end.
template <HalBroadcast H>
std::uint64_t flush_by_broadcast(System<H>& system, Mm<H>& mm, FlushRequest<H>& request, Slot slot,
                                 bool retires) {
  // M14: acquire, against the release of the flush that found no straggler and ended the
  // transition: what it read comes before what this flush does without a look at other CPUs.
  const bool in_transition = mm.in_transition.load(std::memory_order_acquire);
  // A lazy CPU on a slot of its own keeps the transition from ending, so it is a target too.
  request.frees_tables |= in_transition;
  request.by_hand |= in_transition;
  H::trace(TraceEvent{
      .kind = TraceKind::flush_broadcast, .mm = &mm, .request = &request, .value = slot});
  const std::uint64_t since = H::ticks();
  broadcast_request(system, request, slot);
  if (in_transition || retires) {
    const CpuMask<H::kMaxCpus> members = mm.cpus.read();
    // The last flush is for the whole mask. A CPU that has just named another space as its loaded
    // one clears its bit behind that, when the space's memory may be in other use; its answer
    // comes behind both.
    const auto stragglers = retires ? members : find_stragglers(system, mm, members);
    if (!stragglers.empty()) {
      static_cast<void>(flush_on_cpus(system, stragglers, request));
    } else if (in_transition) {
      // No straggler is left, and no CPU can come back to a slot of its own. Release orders the
      // reads above before the store, against the acquire of the next flush, which will not look.
      mm.in_transition.store(false, std::memory_order_release);
    }
  }
  // M14: on the CPU that issued them. Preemption has been off since then.
  await_broadcasts<H>();
  return H::ticks() - since;
}

/// By hardware: no CPU is interrupted, and every PCID is covered, loaded or not. Returns the ticks
/// until it was done everywhere.
template <HalBroadcast H>
std::uint64_t broadcast_kernel(System<H>& system, const FlushRange& range) {
  // As the cross call does: TLBSYNC waits for other CPUs, too.
  require<H>(H::interrupts_enabled(), Rule::r12, "a flush of kernel mappings needs interrupts on");
  require<H>(!H::in_interrupt(), Rule::r12,
             "a flush of kernel mappings cannot start in an interrupt handler");
  const std::uint64_t since = H::ticks();
  if (range.all()) {
    broadcast(system, {.scope = InvlpgbScope::everything});
  } else {
    broadcast_pages(system, {.scope = InvlpgbScope::kernel_pages}, range);
  }
  await_broadcasts<H>();
  return H::ticks() - since;
}

}  // namespace shootdown::internal
