// Flushes of the kernel's own mappings, which every CPU has loaded all the time, lazy or not.
#pragma once

#include <utility>

#include "core/broadcast_hooks.h"
#include "core/completion.h"
#include "core/flush_dispatch.h"
#include "core/hal.h"
#include "core/local_flush.h"
#include "core/range.h"
#include "core/system.h"

namespace shootdown {

namespace internal {

/// What a flush of kernel mappings asks of each CPU. No mm, no generation: ASIDs are untouched.
template <Hal H>
struct KernelFlushCall {
  System<H>* system;
  FlushRange range;
};

template <Hal H>
void flush_kernel_here(const KernelFlushCall<H>& call) {
  System<H>& system = *call.system;
  if (call.range.all()) {
    flush_everything(system);
  } else {
    for_each_stride(call.range, [&](VirtAddr address) { flush_one_kernel(system, address); });
  }
}

template <Hal H>
Answered run_kernel_flush_call(const CallPost<H>& post, Acknowledgement<H> acknowledgement) {
  const auto& call = *static_cast<const KernelFlushCall<H>*>(post.argument);
  ++call.system->self().own.counters.remote_flush_received;
  flush_kernel_here(call);
  return std::move(acknowledgement).give();
}

/// What is flushed if `asked` is asked for.
template <Hal H>
FlushRange enter_kernel_range(const System<H>& system, const FlushRange& asked) {
  // With the erratum a single INVLPG leaves the entry where it is.
  const bool useless = system.config().processor.invlpg_leaves_globals &&
                       system.config().processor.pcid && system.config().kernel_is_global() &&
                       !broadcasts(system);
  return enter_range<H>(asked, useless ? 0 : system.config().limits.ceiling_strides);
}

template <Hal H>
void flush_kernel(System<H>& system, const FlushRange& asked) {
  const FlushRange range = enter_kernel_range(system, asked);
  PreemptionOff<H> guard;
  require<H>(H::this_cpu() < H::kMaxCpus, Rule::r13, "this_cpu() is out of range");
  require<H>(system.self().own.is_up, Rule::r2, "a CPU flushes that is not up");
  check_post_is_free(system, system.self());
  KernelFlushCall<H> call{.system = &system, .range = range};
  H::trace(TraceEvent{.kind = TraceKind::kernel_begin, .value = asked.start, .value2 = asked.end});
  // M1: orders the caller's page-table stores before the read of the online mask, against a CPU
  // that comes online and flushes everything behind its locked set; and before the broadcast.
  H::full_fence();
  if constexpr (HalBroadcast<H>) {
    if (broadcasts(system)) {
      const std::uint64_t ticks = broadcast_kernel(system, range);
      H::trace(TraceEvent{.kind = TraceKind::kernel_end, .value = ticks});
      return;
    }
  }
  Counters& counters = system.self().own.counters;
  ++counters.remote_flush_sent;
  const std::uint64_t ticks =
      count_call(counters, system.calls.call(
                               system.calls.online(), [](CpuId) { return true; },
                               run_kernel_flush_call<H>, &call, [&] { flush_kernel_here(call); },
                               [&] {
                                 return CallSubject{.what = "a flush of kernel mappings",
                                                    .start = range.start,
                                                    .end = range.end};
                               }));
  H::trace(TraceEvent{.kind = TraceKind::kernel_end, .value = ticks});
}

}  // namespace internal

/// Flushes [start, end) of the kernel's half on every CPU that is online, and with it every 4 KiB
/// page that holds a byte of it. An `end` of 0 is 2^64; it may be kFlushAll. Leaf entries only.
/// Context: as for `flush_tlb_mm_range`.
template <Hal H>
KernelQuiet flush_tlb_kernel_range(System<H>& system, VirtAddr start, VirtAddr end) {
  internal::flush_kernel(system, {.start = start, .end = end});
  return KernelQuiet(true);
}

/// Flushes everything, of every mm, global entries included, on every CPU that is online. Also
/// what has to follow when page tables of the kernel's half were unhooked: INVLPG reaches the
/// cached table pointers of one PCID only. Context: as for `flush_tlb_mm_range`.
template <Hal H>
KernelTablesUnreachable flush_tlb_all(System<H>& system) {
  internal::flush_kernel(system, {});
  return KernelTablesUnreachable(true);
}

}  // namespace shootdown
