// The flush function: brings this CPU's TLB up to a request. One function for targets and
// initiator.
//
// Three generations meet: the space's (G), this CPU's slot's (S), the request's (Q).
//   Q given and Q <= S            done before: another flush already covered it.
//   S == G                        nothing is missing.
//   Q == S + 1 and Q == G         only this request is missing: its pages are enough (R5).
//   otherwise                     more is missing than the request names: flush the whole context.
#pragma once

#include <atomic>

#include "core/hal.h"
#include "core/request.h"
#include "core/switch_mm.h"
#include "core/system.h"
#include "core/trace.h"

namespace shootdown {

/// Drops every entry of the loaded context. Context: interrupts off.
template <Hal H>
void flush_loaded_context(System<H>& system) {
  CpuPrivate<H>& own = system.self().own;
  H::write_cr3(cr3_value(system, *own.loaded_mm, own.loaded_slot));
  ++own.counters.local_flush_all;
}

/// Drops the pages of `request` from the loaded context, one by one. Context: interrupts off.
template <Hal H>
void flush_loaded_pages(System<H>& system, const FlushRequest<H>& request) {
  Counters& counters = system.self().own.counters;
  const std::uint64_t stride = std::uint64_t{1} << request.stride_shift;
  for (VirtAddr address = request.start; address < request.end; address += stride) {
    H::invlpg(address);
    ++counters.local_flush_one;
  }
}

namespace internal {

/// The part of the flush function that compares generations and flushes.
template <Hal H>
HandlerOutcome catch_up(System<H>& system, const FlushRequest<H>& request, SlotState& slot) {
  const Generation wanted = request.generation;
  if (wanted != kNoGeneration && wanted <= slot.generation) return HandlerOutcome::already_fresh;
  Mm<H>& mm = *system.self().own.loaded_mm;
  // R4, M5: read before the flush below, and this value is what gets recorded. M6: acquire, so that
  // the page-table stores of every flush up to this generation are visible to later walks.
  const Generation generation = mm.tlb_gen.load(std::memory_order_acquire);
  if (generation == slot.generation) return HandlerOutcome::already_fresh;
  require<H>(slot.generation < generation, Rule::r4, "a slot is newer than its address space");
  require<H>(wanted <= generation, Rule::r1, "a request is newer than its address space");

  const bool only_this_one_missing = wanted == slot.generation + 1 && wanted == generation;
  const bool by_page = !request.all() && only_this_one_missing;
  if (by_page) {
    flush_loaded_pages(system, request);
  } else {
    flush_loaded_context(system);
  }
  slot.generation = generation;
  return by_page ? HandlerOutcome::partial : HandlerOutcome::full;
}

template <Hal H>
HandlerOutcome flush_for(System<H>& system, const FlushRequest<H>& request) {
  CpuState<H>& self = system.self();
  Mm<H>* loaded = self.own.loaded_mm;
  // Also on the initiator: it may flush a space that it does not run.
  if (request.mm != nullptr && request.mm != loaded) return HandlerOutcome::other_mm;
  if (loaded->is_kernel) return HandlerOutcome::kernel_mm;
  if (self.shared.is_lazy.load(std::memory_order_relaxed)) {
    // Rare: tables are being freed, or this CPU became lazy after it was chosen. The slot's
    // generation stays behind on purpose, so the next switch to this space flushes.
    ++self.own.counters.lazy_left_by_flush;
    leave_mm(system);
    return HandlerOutcome::left_lazy;
  }
  SlotState& slot = self.own.slots[self.own.loaded_slot];
  require<H>(slot.context == loaded->context, Rule::r4, "the loaded slot belongs to another space");
  return catch_up(system, request, slot);
}

}  // namespace internal

/// Context: interrupts off; on a target inside the call-function interrupt, on the initiator from
/// the flush itself. Records the generation it read before it flushed (R4).
template <Hal H>
void flush_function(System<H>& system, const FlushRequest<H>& request) {
  require<H>(!H::interrupts_enabled(), Rule::r12, "the flush function needs interrupts off");
  CpuPrivate<H>& own = system.self().own;
  const bool remote = request.initiator != H::this_cpu();
  if (remote) ++own.counters.remote_flush_received;
  const Slot slot = own.loaded_slot;
  const Generation before = own.slots[slot].generation;
  H::trace(TraceEvent{.kind = TraceKind::handler_begin, .mm = request.mm, .request = &request});
  const HandlerOutcome outcome = internal::flush_for(system, request);
  H::trace(TraceEvent{.kind = TraceKind::handler_end,
                      .reason = remote ? FlushReason::remote_shootdown : request.reason,
                      .outcome = outcome,
                      .mm = request.mm,
                      .request = &request,
                      .value = before,
                      .value2 = own.slots[slot].generation});
}

}  // namespace shootdown
