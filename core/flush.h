// The entry points for user mappings: what a kernel calls after it changed page tables.
//
// A flush promises that when it returns, no CPU can use a translation of the range from before the
// page-table change, and that the effects of earlier uses are visible. The caller promises that its
// page-table stores come before the call, and that it releases memory only with the token.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/broadcast_hooks.h"
#include "core/completion.h"
#include "core/flush_dispatch.h"
#include "core/hal.h"
#include "core/range.h"
#include "core/system.h"
#include "core/trace.h"

namespace shootdown {

namespace internal {

/// What else a flush is asked for.
struct FlushOptions {
  bool frees_tables{false};
  bool early{false};
  bool retires{false};  // the last flush of the mm: afterwards no CPU has it loaded
};

/// Sends the published request where there is hardware broadcast: that way if the mm has a global
/// ASID, else by interrupts, and then an mm that runs on many CPUs gets one for the next time.
template <Waiting kWaiting, HalBroadcast H>
std::uint64_t send_or_broadcast(System<H>& system, CpuState<H>& self, Mm<H>& mm,
                                FlushRequest<H>& request) {
  const bool retires = request.needs_ipi_handler;
  // M14: load the global ASID after the increment of the generation. Loaded earlier, a flusher
  // can miss an ASID granted in between, and no flush invalidates stale entries cached under it.
  const Asid global = global_asid_of(system, mm);
  if (global != kNoGlobalAsid) {
    return flush_by_broadcast<kWaiting>(system, self, mm, request, global, retires);
  }
  const CpuMask<H::kMaxCpus> members = mm.cpus.read(system.mask_words());
  const std::uint64_t ticks = send_request<kWaiting>(system, self, members);
  if (!retires && members.count() > system.config().broadcast.threshold) {
    grant_global_asid(system, mm);
  }
  return ticks;
}

/// Sends a request whose generation is set. Returns the ticks until all was done.
template <class Way, Hal H>
[[gnu::always_inline]] inline std::uint64_t send_flush(System<H>& system, CpuState<H>& self,
                                                       Mm<H>& mm, const FlushRequest<H>& request) {
  if constexpr (!Way::kIsCommon && HalBroadcast<H>) {
    if (broadcasts(system)) {
      FlushRequest<H>& published = publish(system, self, request);
      const PostInUse<H> in_use(self);
      return send_or_broadcast<Way::kWaiting>(system, self, mm, published);
    }
  }
  return flush_on_cpus<Way>(system, self, mm.cpus.read(system.mask_words()), request);
}

/// Begins a flush of `range`, which is what has become of `asked`: from here on each CPU that
/// switches to the mm is fresh. Returns what the others are to do. Preemption is off.
template <Hal H>
[[gnu::always_inline]] inline FlushRequest<H> enter_flush(CpuState<H>& self, Mm<H>& mm,
                                                          const FlushRange& range,
                                                          FlushOptions options) {
  FlushRequest<H> request{
      .mm = &mm,
      .start = range.start,
      .end = range.end,
      .initiator = self.own.number,
      .reason = range.all() ? FlushReason::local_mm_shootdown : FlushReason::local_shootdown,
      .stride_shift = range.stride_shift,
      .frees_tables = options.frees_tables,
      .acknowledges_early = options.early,
      // The mm is destroyed next: lazy CPUs have to leave it.
      .needs_ipi_handler = options.retires};
  // R1, M1: the locked add is the full barrier between the caller's page-table stores and the reads
  // of the mask, of loaded_mm and of is_lazy below, against the switcher's set-then-read (R2) and
  // the lazy exit's clear-then-read (R3). If the increment came after the read of the
  // mask, a CPU switching in between would neither be in the copy of the mask nor see the new
  // generation.
  request.generation = mm.tlb_gen.fetch_add(1, std::memory_order_seq_cst) + 1;
  H::trace(TraceEvent{
      .kind = TraceKind::flush_begin, .mm = &mm, .request = &request, .value = request.generation});
  return request;
}

/// A flush is called for.
template <Hal H>
[[gnu::always_inline]] inline void trace_asked(const Mm<H>& mm, const FlushRange& asked) {
  H::trace(TraceEvent{
      .kind = TraceKind::flush_asked, .mm = &mm, .value = asked.start, .value2 = asked.end});
}

template <Hal H>
[[gnu::noinline, clang::preserve_most]] void flush_closed(System<H>& system, Mm<H>& mm,
                                                          VirtAddr start, VirtAddr end,
                                                          std::uint8_t stride_shift,
                                                          FlushOptions options);

/// Flushes `range`, which is what has become of `asked`.
template <class Way, Hal H>
[[gnu::always_inline]] inline void flush_entered(System<H>& system, Mm<H>& mm,
                                                 const FlushRange& asked, const FlushRange& range,
                                                 FlushOptions options) {
  if constexpr (Way::kWaiting == Waiting::open) {
    // Rare, and so a flush with interrupts off costs the others nothing. By values: an address
    // would put a range into memory that is in registers.
    if (!H::interrupts_enabled()) [[unlikely]] {
      return flush_closed(system, mm, asked.start, asked.end, asked.stride_shift, options);
    }
  }
  PreemptionOff<H> guard;
  trace_asked(mm, asked);
  CpuState<H>& self = begin_flush(system);
  const FlushRequest<H> request = enter_flush(self, mm, range, options);
  const std::uint64_t ticks = send_flush<Way>(system, self, mm, request);
  H::trace(
      TraceEvent{.kind = TraceKind::flush_end, .mm = &mm, .request = &request, .value = ticks});
}

/// R12: with interrupts off, where the machine permits it.
template <Hal H>
void flush_closed(System<H>& system, Mm<H>& mm, VirtAddr start, VirtAddr end,
                  std::uint8_t stride_shift, FlushOptions options) {
  static_cast<void>(system.calls.waiting_here("a flush needs interrupts on"));
  const FlushRange asked{.start = start, .end = end, .stride_shift = stride_shift};
  flush_entered<ClosedWay<H>>(system, mm, asked, enter_range<H>(asked, system.ceiling()), options);
}

/// A flush of any kind, on any machine.
template <Hal H>
[[gnu::noinline, clang::preserve_most]] void flush_unusual(System<H>& system, Mm<H>& mm,
                                                           const FlushRange& asked,
                                                           FlushOptions options) {
  const FlushRange range = enter_range<H>(asked, system.ceiling());
  if (holds<Question::is_common>(system)) {
    flush_entered<CommonWay<H>>(system, mm, asked, range, options);
  } else {
    flush_entered<GeneralWay<H>>(system, mm, asked, range, options);
  }
}

/// Flushes `asked`, which `pages` holds in whole pages. The common case is one of some pages of the
/// lower half, in the common plan; that the range is of that kind is told by a few comparisons.
template <Hal H>
[[gnu::always_inline]] inline void flush_mm(System<H>& system, Mm<H>& mm, const FlushRange& asked,
                                            const FlushRange& pages, FlushOptions options) {
  // A copy: its fields stay in registers.
  const FlushRange range{.start = pages.start, .end = pages.end};
  if (holds<Question::is_common>(system) && pages.stride_shift == kPageShift &&
      is_ordinary(range, system.ceiling())) [[likely]] {
    // The compiler does not see that this follows.
    if (range.all()) __builtin_unreachable();
    flush_entered<CommonWay<H>>(system, mm, asked, range, options);
  } else {
    flush_unusual(system, mm, asked, options);
  }
}

/// After the last flush of `mm`: with lazily kept masks CPUs that were offline then have left their
/// bits behind. They know nothing of the mm, whether they are back or not.
template <Hal H>
void empty_mask(const System<H>& system, Mm<H>& mm) {
  if (system.config().targets.mask_policy == MaskPolicy::kept_lazily) mm.cpus.reset();
}

}  // namespace internal

/// Flushes `range` of `mm` on every CPU. For changes of leaf entries: no page table is freed. An
/// empty range is refused (R13).
///
/// Context: a thread with interrupts on, or off where the configuration permits it
/// (`TargetConfig::closed_waits`); not in an interrupt or NMI handler (R12). The caller may run any
/// address space. The page-table stores come before the call in program order. Returns when
/// no CPU can use an old entry of the range; data frames may be released then.
template <Hal H>
TranslationsQuiet flush_tlb_mm_range(System<H>& system, Mm<H>& mm, const FlushRange& range) {
  internal::flush_mm(system, mm, range, range, {});
  return TranslationsQuiet(mm.context);
}

/// The same for a range whose page tables were unhooked as well: it reaches lazy CPUs (R6). The
/// tables may be released when software walkers are quiet as well (`exclude_walkers`). A lazy CPU
/// need not have left the mm, only its old tables: the top table goes with `retire_mm`. Context:
/// as for `flush_tlb_mm_range`.
template <Hal H>
TablesUnreachable flush_tlb_mm_range_freed_tables(System<H>& system, Mm<H>& mm,
                                                  const FlushRange& range) {
  internal::flush_mm(system, mm, range, range, {.frees_tables = true});
  return TablesUnreachable(mm.context);
}

/// The same for changes after which nothing is released, such as taking away a right: where the
/// configuration permits it, targets answer before they flush, and flush before they return to user
/// mode. Context: as for `flush_tlb_mm_range`.
template <Hal H>
UserReturnClosed flush_tlb_mm_range_early(System<H>& system, Mm<H>& mm, const FlushRange& range) {
  internal::flush_mm(system, mm, range, range,
                     {.early = system.config().targets.early_acknowledgement});
  return UserReturnClosed(mm.context);
}

/// Flushes the 4 KiB page that holds the byte at `address`. Context: as for `flush_tlb_mm_range`.
template <Hal H>
TranslationsQuiet flush_tlb_page(System<H>& system, Mm<H>& mm, VirtAddr address) {
  const FlushRange byte{.start = address, .end = address + 1};
  internal::flush_mm(system, mm, byte, round_outwards(byte.start, byte.end, kPageShift), {});
  return TranslationsQuiet(mm.context);
}

/// Flushes everything of `mm`. Context: as for `flush_tlb_mm_range`.
template <Hal H>
TranslationsQuiet flush_tlb_mm(System<H>& system, Mm<H>& mm) {
  if (internal::holds<Question::is_common>(system)) [[likely]] {
    internal::flush_entered<internal::CommonWay<H>>(system, mm, {}, {}, {});
  } else {
    internal::flush_unusual(system, mm, {}, {});
  }
  return TranslationsQuiet(mm.context);
}

/// The last flush of `mm`: everything, on every CPU, and every CPU that keeps the mm loaded
/// lazily moves to the kernel's own. No CPU is left in its mask. Its top table may be released
/// then, the others as after `flush_tlb_mm_range_freed_tables`, and it may be initialised anew
/// (O31). Context: as for `flush_tlb_mm_range`; no thread of the mm is left, and the mm
/// is not flushed or switched to again.
template <Hal H>
MmRetired retire_mm(System<H>& system, Mm<H>& mm) {
  internal::flush_unusual(system, mm, {}, {.frees_tables = true, .retires = true});
  // Lazy CPUs have left; what is left runs a thread, whose tables the caller is about to release.
  require<H>(!internal::is_loaded(system, mm), Rule::r7, "an mm is retired while a CPU runs it");
  internal::empty_mask(system, mm);
  if constexpr (HalBroadcast<H>) internal::return_global_asid(system, mm);
  return MmRetired(mm.context);
}

/// The call-function interrupt's work. Context: its handler, interrupts off.
template <Hal H>
void handle_call_function_interrupt(System<H>& system) {
  system.calls.run_pending();
}

}  // namespace shootdown
