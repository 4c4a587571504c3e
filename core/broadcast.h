// Hardware broadcast: mms that run on many CPUs get a global ASID, and their flushes are
// INVLPGB instructions instead of interrupts.
//
//   grant   set asid_transition | release | publish global_asid
//   flush   bump tlb_gen | full barrier | read global_asid | INVLPGB | interrupts | TLBSYNC
//   switch  be visible | full barrier | read global_asid | load that ASID, keeping its entries
//
// Why no generation is compared on a global ASID. No CPU has an entry under it when it is granted
// (global_asids.h). A flusher that sees the ASID invalidates it on every CPU. One that does not see
// it has read after its bump, when its page-table stores were visible: what a CPU caches under the
// ASID it caches later, and so from the new tables. Read before the bump, those stores could still
// be on their way while another CPU grants the ASID, loads it and caches an old entry.
//
// Transition. Until each CPU has moved, some run the mm on ASIDs of their own, which broadcasts
// do not reach. A flush interrupts these CPUs, lazy ones included, and they move in their handler;
// so does any CPU in `switch_mm`, also one that only leaves lazy mode. No CPU can move to a dynamic
// ASID later: a CPU that switches in makes itself visible, then reads the global ASID.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "core/broadcast_hooks.h"
#include "core/flush_dispatch.h"
#include "core/global_asids.h"
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
  const std::uint64_t most = system.config().broadcast.max_pages;
  what.address = range.start;
  for (std::uint64_t left = range.strides(); left != 0; left -= what.count) {
    what.count = static_cast<std::uint32_t>(std::min(left, most));
    broadcast(system, what);
    what.address += std::uint64_t{what.count} << kPageShift;
  }
}

/// What `request` asks for, under the mm's global ASID. Asynchronous.
template <HalBroadcast H>
void broadcast_request(System<H>& system, const FlushRequest<H>& request, Asid asid) {
  if (request.names_pages()) {
    broadcast_pages(system, {.scope = InvlpgbScope::pages, .pcid = pcid_of(asid)}, request.range());
  } else {
    broadcast(system, {.scope = InvlpgbScope::context, .pcid = pcid_of(asid)});
  }
}

/// Gives `mm` a global ASID, unless it has one or none is to be had. Context: preemption off.
template <HalBroadcast H>
void grant_global_asid(System<H>& system, Mm<H>& mm) {
  if (!system.global_asids.try_lock()) return;
  if (mm.global_asid.load(std::memory_order_relaxed) == kNoGlobalAsid) {
    const Asid asid = system.global_asids.take([&] {
      broadcast(system, {.scope = InvlpgbScope::all_contexts});
      await_broadcasts<H>();
    });
    if (asid != kNoGlobalAsid) {
      H::trace(TraceEvent{.kind = TraceKind::asid_granted, .mm = &mm, .value = asid});
      // M14: release orders the flag before the ASID, against the acquire in `global_asid_of`. Seen
      // without the flag, the ASID would tell a flusher that broadcasts reach every CPU.
      mm.asid_transition.store(true, std::memory_order_relaxed);
      mm.global_asid.store(asid, std::memory_order_release);
    }
  }
  system.global_asids.unlock();
}

/// Takes the ASID of an mm that no CPU has loaded. Context: any thread.
template <HalBroadcast H>
void return_global_asid(System<H>& system, Mm<H>& mm) {
  const Asid asid = global_asid_of(system, mm);
  if (asid == kNoGlobalAsid) return;
  mm.global_asid.store(kNoGlobalAsid, std::memory_order_relaxed);
  mm.asid_transition.store(false, std::memory_order_relaxed);
  H::trace(TraceEvent{.kind = TraceKind::asid_returned, .mm = &mm, .value = asid});
  system.global_asids.give_back(asid);
}

/// The CPUs of `members` that may have `mm` loaded on an ASID of their own.
template <HalBroadcast H>
[[nodiscard]] CpuMask<H::kMaxCpus> find_cpus_on_dynamic_asid(const System<H>& system,
                                                             const Mm<H>& mm,
                                                             const CpuMask<H::kMaxCpus>& members) {
  CpuMask<H::kMaxCpus> found;
  members.for_each([&](CpuId cpu) {
    const CpuPrivate<H>& target = system.cpus[cpu].own;
    // R8: null is the switching window. That CPU may have read the ASID before it was granted.
    // Seq_cst, behind the bump and the read of the ASID, against the CPU's store of null, its
    // barrier and its read of the ASID. That a locked operation is such a barrier is an axiom of
    // the HAL (hal.h), not of C++.
    const Mm<H>* loaded = target.loaded_mm.load(std::memory_order_seq_cst);
    if (loaded != nullptr && loaded != &mm) return;
    // M14: after loaded_mm, whose load acquires: the CPU stores on_global before it names the mm,
    // so what is seen here is at least as new. A CPU that has meanwhile gone on to another mm's
    // global ASID has left this mm, too.
    if (loaded == nullptr || !target.on_global.load(std::memory_order_seq_cst)) {
      found.set(cpu);
    }
  });
  return found;
}

/// The flush of an mm with a global ASID. Interrupts are for CPUs that the broadcast does not
/// reach, or that have to leave the mm. Returns the ticks until all was done.
///
/// With lazily kept masks bits of CPUs that have left may stay set until the mm retires. They
/// cost nothing: the mask is read in transition, where the loaded mm decides, and at the end.
template <Waiting kWaiting, HalBroadcast H>
std::uint64_t flush_by_broadcast(System<H>& system, CpuState<H>& self, Mm<H>& mm,
                                 FlushRequest<H>& request, Asid asid, bool retires) {
  // M14: acquire, against the release of the flush that found no CPU on a dynamic ASID and ended
  // the transition: what it read comes before what this flush does without a look at other CPUs.
  const bool asid_transition = mm.asid_transition.load(std::memory_order_acquire);
  // A lazy CPU on an ASID of its own keeps the transition from ending, so it is a target too.
  request.frees_tables |= asid_transition;
  request.needs_ipi_handler |= asid_transition;
  H::trace(TraceEvent{
      .kind = TraceKind::flush_broadcast, .mm = &mm, .request = &request, .value = asid});
  const std::uint64_t since = H::ticks();
  broadcast_request(system, request, asid);
  if (asid_transition || retires) {
    const CpuMask<H::kMaxCpus> members = mm.cpus.read(system.mask_words());
    // The last flush is for the whole mask. A CPU that has just named another mm as its loaded
    // one clears its bit behind that, when the mm's memory may be in other use; its answer
    // comes behind both.
    const auto targets = retires ? members : find_cpus_on_dynamic_asid(system, mm, members);
    if (!targets.empty()) {
      static_cast<void>(send_request<kWaiting>(system, self, targets));
    } else if (asid_transition) {
      // No CPU on a dynamic ASID is left, and no CPU can come back to an ASID of its own. Release
      // orders the reads above before the store, against the acquire of the next flush, which will
      // not look.
      mm.asid_transition.store(false, std::memory_order_release);
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
  // As the SMP function call does: TLBSYNC waits for other CPUs, too.
  static_cast<void>(system.calls.waiting_here("a flush of kernel mappings needs interrupts on"));
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
