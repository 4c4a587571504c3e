// The flush function: brings this CPU's TLB up to a request. One function for targets and
// initiator.
//
// Three generations meet: the mm's (G), this CPU's ASID's (S), the request's (Q).
//   Q given and Q <= S            done before: another flush already covered it.
//   S == G                        nothing is missing.
//   Q == S + 1 and Q == G         only this request is missing: its pages are enough, if it names
//                                 any (R5).
//   otherwise                     more is missing than the request names: flush the whole context.
#pragma once

#include <atomic>

#include "core/hal.h"
#include "core/local_flush.h"
#include "core/request.h"
#include "core/switch_mm.h"
#include "core/system.h"
#include "core/trace.h"
#include "core/user_pcid.h"

namespace shootdown {

namespace internal {

/// How the flush function drops what it has to in the common plan: the processor's instructions,
/// here and now.
template <Hal H>
struct CommonWay {
  static constexpr bool kIsCommon = true;
  static constexpr Waiting kWaiting = Waiting::open;

  [[gnu::always_inline]] static void flush_context(System<H>& system, CpuPrivate<H>& own) {
    flush_both_halves(system, own);
  }
  [[gnu::always_inline]] static void flush_pages(System<H>& system, CpuPrivate<H>& own,
                                                 const FlushRequest<H>& request) {
    const FlushRange pages = request.pages_of_4_kib();
    if (holds<Question::one_half>(system)) [[likely]] {
      flush_pages_in_kernel_half(own, pages);
    } else {
      flush_pages_at_once(own, pages);
    }
  }
};

/// ... and in every other: as the operations say, or with the user half's part put off.
template <Hal H>
struct GeneralWay {
  static constexpr bool kIsCommon = false;
  static constexpr Waiting kWaiting = Waiting::open;

  static void flush_context(System<H>& system, CpuPrivate<H>& own) {
    if constexpr (HalParavirt<H>) {
      system.ops()->flush_user(system);
    } else {
      flush_both_halves(system, own);
    }
  }
  static void flush_pages(System<H>& system, CpuPrivate<H>& own, const FlushRequest<H>& request) {
    const FlushRange pages = request.pages_of_4_kib();
    if constexpr (HalParavirt<H>) {
      // An operation of a backend reaches both halves.
      if (system.ops()->flush_one_user != native_flush_one_user<H>) {
        return for_each_stride(
            pages, [&](VirtAddr address) { system.ops()->flush_one_user(system, address); });
      }
    }
    // Not when tables go: between the load of the user root and the invalidations the walker could
    // follow a cached pointer to a table that is no longer one (R6).
    if (system.config().isolation.defer_user_pages && has_user_pcids(system) &&
        !request.frees_tables) {
      return flush_pages_and_defer(system, own, pages);
    }
    flush_pages_in_both_halves(system, own, pages);
  }
};

/// The latter on any machine, for an initiator that has interrupts off.
template <Hal H>
struct ClosedWay : GeneralWay<H> {
  static constexpr Waiting kWaiting = Waiting::closed;
};

/// The rest of `catch_up`: the ASID has `has`, the mm `generation`, and the request is not all that
/// is missing.
template <class Way, Hal H>
[[gnu::noinline, clang::preserve_most]] HandlerOutcome catch_up_further(System<H>& system,
                                                                        CpuPrivate<H>& own,
                                                                        Generation has,
                                                                        Generation wanted,
                                                                        Generation generation) {
  if (generation == has) return HandlerOutcome::already_fresh;
  require<H>(has < generation, Rule::r4, "an ASID is newer than its address space");
  require<H>(wanted <= generation, Rule::r1, "a request is newer than its address space");
  Way::flush_context(system, own);
  own.loaded->generation = generation;
  return HandlerOutcome::full;
}

/// R4, M5: read before the flush, and this value is what gets recorded. M6: acquire, so that the
/// page-table stores of every flush up to this generation are visible to later walks.
template <Hal H>
[[gnu::always_inline]] inline Generation generation_to_reach(const Mm<H>& mm) {
  return mm.tlb_gen.load(std::memory_order_acquire);
}

/// The part of the flush function that compares generations and flushes.
template <class Way, Hal H>
[[gnu::always_inline]] inline HandlerOutcome catch_up(System<H>& system, CpuPrivate<H>& own,
                                                      const FlushRequest<H>& request, Mm<H>& mm,
                                                      AsidState<H>& asid) {
  const Generation wanted = request.generation;
  const Generation has = asid.generation;
  if (wanted != has + 1) [[unlikely]] {
    if (wanted != kNoGeneration && wanted <= has) return HandlerOutcome::already_fresh;
    return catch_up_further<Way>(system, own, has, wanted, generation_to_reach(mm));
  }
  const Generation generation = generation_to_reach(mm);
  if (wanted != generation) [[unlikely]] {
    return catch_up_further<Way>(system, own, wanted - 1, wanted, generation);
  }
  const bool by_page = request.names_pages();
  if (by_page) {
    Way::flush_pages(system, own, request);
  } else {
    Way::flush_context(system, own);
  }
  own.loaded->generation = generation;
  return by_page ? HandlerOutcome::partial : HandlerOutcome::full;
}

/// This CPU does not run `mm`. With lazily kept masks this is where its bit goes, on the initiator
/// as on any target: an mm is left without touching its mask.
template <Hal H>
void leave_mask(System<H>& system, Mm<H>& mm) {
  const bool kept = system.config().targets.mask_policy == MaskPolicy::kept_lazily;
  if (kept && mm.cpus.test(H::this_cpu())) mm.cpus.clear(H::this_cpu());
}

/// A request for an mm that this CPU does not run.
template <Hal H>
[[gnu::noinline, clang::preserve_most]] HandlerOutcome flush_elsewhere(System<H>& system,
                                                                       CpuState<H>& self,
                                                                       Mm<H>& mm) {
  require<H>(self.own.is_up, Rule::r2, "a CPU flushes that is not up");
  ++self.own.counters.wrong_cpu;
  leave_mask(system, mm);
  return HandlerOutcome::other_mm;
}

/// A lazy CPU leaves `loaded`. Rare: tables are being freed, or this CPU became lazy after it was
/// chosen. The ASID's generation stays behind on purpose, so the next switch to this mm flushes.
template <Hal H>
[[gnu::noinline, clang::preserve_most]] HandlerOutcome leave_lazily(System<H>& system,
                                                                    CpuState<H>& self,
                                                                    Mm<H>& loaded) {
  ++self.own.counters.lazy_left_by_flush;
  leave_mm(system);
  leave_mask(system, loaded);
  return HandlerOutcome::left_lazy;
}

template <class Way, Hal H>
[[gnu::always_inline]] inline HandlerOutcome flush_for(System<H>& system, CpuState<H>& self,
                                                       const FlushRequest<H>& request) {
  Mm<H>* const loaded = self.own.loaded_mm.owner_load();
  Mm<H>* mm = request.mm;
  if (mm == nullptr) {
    mm = loaded;
    if (mm->is_kernel) return HandlerOutcome::kernel_mm;
  } else if (mm != loaded) [[unlikely]] {
    // Also on the initiator: it may flush an mm that it does not run.
    return flush_elsewhere(system, self, *mm);
  }
  const bool is_lazy = self.shared.is_lazy.owner_load();
  if (is_lazy) [[unlikely]]
    return leave_lazily(system, self, *mm);
  if (!Way::kIsCommon && broadcasts(system)) {
    // Broadcasts keep a global ASID fresh, and nothing older is cached under one that is new here.
    if (join_global_asid(system, *mm)) return HandlerOutcome::joined_global;
    if (is_global_asid(self.own.loaded_asid)) return HandlerOutcome::already_fresh;
  }
  AsidState<H>& asid = *self.own.loaded;
  require<H>(asid.context == mm->context, Rule::r4, "the loaded ASID belongs to another mm");
  return catch_up<Way>(system, self.own, request, *mm, asid);
}

/// Why this CPU flushes, for the trace.
template <Hal H>
FlushReason reason_here(const FlushRequest<H>& request, HandlerOutcome outcome, bool remote) {
  if (!remote) return request.reason;
  return outcome == HandlerOutcome::other_mm ? FlushReason::remote_wrong_cpu
                                             : FlushReason::remote_shootdown;
}

/// The flush function in one of the two ways, where it is known that interrupts are off and which
/// CPU this is. `remote`: the request is another CPU's.
template <class Way, Hal H>
[[gnu::always_inline]] inline void flush_here_by(System<H>& system, CpuState<H>& self,
                                                 const FlushRequest<H>& request, bool remote) {
  CpuPrivate<H>& own = self.own;
  if (remote) ++own.counters.remote_flush_received;
  const Asid asid = own.loaded_asid;
  const Generation before = own.generation_of(asid);
  H::trace(TraceEvent{.kind = TraceKind::handler_begin, .mm = request.mm, .request = &request});
  const HandlerOutcome outcome = flush_for<Way>(system, self, request);
  H::trace(TraceEvent{.kind = TraceKind::handler_end,
                      .reason = reason_here(request, outcome, remote),
                      .outcome = outcome,
                      .mm = request.mm,
                      .request = &request,
                      .value = before,
                      .value2 = own.generation_of(asid)});
}

template <Hal H>
[[gnu::noinline]] void flush_here_otherwise(System<H>& system, CpuState<H>& self,
                                            const FlushRequest<H>& request, bool remote) {
  flush_here_by<GeneralWay<H>>(system, self, request, remote);
}

/// The same in the way of this machine.
template <Hal H>
[[gnu::always_inline]] inline void flush_here(System<H>& system, CpuState<H>& self,
                                              const FlushRequest<H>& request, bool remote) {
  if (holds<Question::is_common>(system)) [[likely]] {
    flush_here_by<CommonWay<H>>(system, self, request, remote);
  } else {
    flush_here_otherwise(system, self, request, remote);
  }
}

}  // namespace internal

/// Context: interrupts off; on a target inside the call-function interrupt, on the initiator from
/// the flush itself. Records the generation it read before it flushed (R4).
template <Hal H>
void flush_function(System<H>& system, const FlushRequest<H>& request) {
  require<H>(!H::interrupts_enabled(), Rule::r12, "the flush function needs interrupts off");
  internal::flush_here(system, system.self(), request, request.initiator != H::this_cpu());
}

}  // namespace shootdown
