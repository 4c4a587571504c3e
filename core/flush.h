// The entry points: what a kernel calls after it changed page tables.
//
// A flush promises that when it returns, no CPU can use a translation of the range from before the
// page-table change, and that the effects of earlier uses are visible. The caller promises that its
// page-table stores come before the call, and that it releases memory only with the token.
#pragma once

#include <atomic>

#include "core/completion.h"
#include "core/flush_function.h"
#include "core/hal.h"
#include "core/system.h"
#include "core/trace.h"

namespace shootdown {

/// What a range flush covers. `end` may be kFlushAll. Addresses are multiples of the stride.
struct FlushRange {
  VirtAddr start{0};
  VirtAddr end{kFlushAll};
  std::uint8_t stride_shift{kPageShift};
};

namespace internal {

/// Binds a request to its system, because a call record carries one pointer.
template <Hal H>
struct FlushCall {
  System<H>* system;
  FlushRequest<H>* request;
};

template <Hal H>
void run_flush_call(void* argument) {
  const auto& call = *static_cast<const FlushCall<H>*>(argument);
  flush_function(*call.system, *call.request);
}

/// R6: a flush that frees tables reaches lazy CPUs too, because they walk speculatively. Otherwise
/// a lazy CPU is skipped; it compares generations when it leaves lazy mode (R3). The flag is read
/// when the target is queued, as late as possible: CPUs that go idle in between need no interrupt.
template <Hal H>
bool is_wanted(const System<H>& system, const FlushRequest<H>& request, CpuId cpu) {
  // R1, R3: seq_cst, in one order with the bump before it and with the lazy CPU's store-fence-load.
  return request.frees_tables || !system.cpus[cpu].shared.is_lazy.load(std::memory_order_seq_cst);
}

}  // namespace internal

/// Flushes this CPU, if it is in `targets`, and the others of `targets` at the same time: the local
/// part runs after the interrupts have left and before the wait. Counts and traces one send, which
/// may reach nobody when every target is lazy. Context: as for `flush_tlb_mm_range`.
template <Hal H>
void flush_tlb_multi(System<H>& system, const CpuMask<H::kMaxCpus>& targets,
                     FlushRequest<H>& request) {
  CpuState<H>& self = system.self();
  internal::FlushCall<H> call{.system = &system, .request = &request};
  ++self.own.counters.remote_flush_sent;
  H::trace(TraceEvent{.kind = TraceKind::flush_send,
                      .reason = FlushReason::remote_send,
                      .mm = request.mm,
                      .request = &request,
                      .value = request.pages()});
  const bool run_local = targets.test(request.initiator);
  self.own.counters.targets_queued += system.calls.call(
      targets, [&](CpuId cpu) { return internal::is_wanted(system, request, cpu); },
      internal::run_flush_call<H>, &call,
      [&] {
        if (run_local) flush_function(system, request);
      });
}

/// Flushes the CPUs of `targets` other than this one, and returns when they are done: the form that
/// remote-only paravirtual backends offer. Context: as for `flush_tlb_mm_range`.
template <Hal H>
void flush_tlb_others(System<H>& system, const CpuMask<H::kMaxCpus>& targets,
                      FlushRequest<H>& request) {
  CpuMask<H::kMaxCpus> others = targets;
  others.clear(request.initiator);
  flush_tlb_multi(system, others, request);
}

namespace internal {

template <Hal H>
void flush_locally(System<H>& system, const FlushRequest<H>& request) {
  InterruptsOff<H> guard;
  flush_function(system, request);
}

template <Hal H>
void flush_on_cpus(System<H>& system, const CpuMask<H::kMaxCpus>& targets,
                   FlushRequest<H>& request) {
  const CpuId self = request.initiator;
  // R13: compare with "none"; CPU 0 is a target like any other.
  if (targets.first_except(self) == kNoCpu) {
    if (targets.test(self)) flush_locally(system, request);
    return;
  }
  // The key is off when a backend can only flush others: its flush would not include this CPU, so
  // the local part has to come first.
  if (H::concurrent_flush_enabled()) {
    flush_tlb_multi(system, targets, request);
  } else {
    if (targets.test(self)) flush_locally(system, request);
    flush_tlb_others(system, targets, request);
  }
}

/// Takes this CPU's request; the caller releases it. Preemption is off.
template <Hal H>
FlushRequest<H>& acquire_request(System<H>& system) {
  CpuState<H>& self = system.self();
  require<H>(!self.own.request_in_use, Rule::r10, "a flush started inside another one");
  self.own.request_in_use = true;
  return self.request;
}

template <Hal H>
void flush_mm(System<H>& system, Mm<H>& mm, FlushRange range, bool frees_tables) {
  static_assert(sizeof(FlushRequest<H>) == kCacheLine, "a request is one cache line");
  require<H>(H::interrupts_enabled(), Rule::r12, "a flush needs interrupts on");
  require<H>(!H::in_interrupt(), Rule::r12, "a flush cannot start in an interrupt handler");
  require<H>(!mm.is_kernel, Rule::r13, "the kernel's space is not flushed by range");
  PreemptionOff<H> guard;
  FlushRequest<H>& request = acquire_request(system);
  request.mm = &mm;
  request.start = range.start;
  request.end = range.end;
  request.stride_shift = range.stride_shift;
  request.frees_tables = frees_tables;
  request.initiator = H::this_cpu();
  if (!request.all() && request.strides() > system.config.ceiling_strides) {
    request.start = 0;
    request.end = kFlushAll;
  }
  request.reason = request.all() ? FlushReason::local_mm_shootdown : FlushReason::local_shootdown;
  // R1, M1: the locked add is the full barrier between the caller's page-table stores and the reads
  // of the mask and of is_lazy below, against the switcher's set-then-read (R2) and the lazy exit's
  // clear-then-read (R3). Later, and a CPU that switches in meanwhile is told by nobody.
  request.generation = mm.tlb_gen.fetch_add(1, std::memory_order_seq_cst) + 1;
  H::trace(TraceEvent{
      .kind = TraceKind::flush_begin, .mm = &mm, .request = &request, .value = request.generation});
  flush_on_cpus(system, mm.cpus.read(), request);
  H::trace(TraceEvent{.kind = TraceKind::flush_end, .mm = &mm, .request = &request});
  system.self().own.request_in_use = false;
}

}  // namespace internal

/// Flushes `range` of `mm` on every CPU. For changes of leaf entries: no page table is freed.
///
/// Context: a thread with interrupts on; not in an interrupt or NMI handler (R12). The caller may
/// run any address space. The page-table stores come before the call in program order. Returns when
/// no CPU can use an old entry of the range; data frames may be released then.
template <Hal H>
TranslationsQuiet flush_tlb_mm_range(System<H>& system, Mm<H>& mm, FlushRange range) {
  internal::flush_mm(system, mm, range, /*frees_tables=*/false);
  return CompletionAccess::translations_quiet();
}

/// The same for a range whose page tables were unhooked as well: it reaches lazy CPUs (R6), and the
/// tables may be released when it returns. Context: as for `flush_tlb_mm_range`.
template <Hal H>
WalkersQuiet flush_tlb_mm_range_freed_tables(System<H>& system, Mm<H>& mm, FlushRange range) {
  internal::flush_mm(system, mm, range, /*frees_tables=*/true);
  return CompletionAccess::walkers_quiet();
}

/// Flushes the 4 KiB page at `address`. Context: as for `flush_tlb_mm_range`.
template <Hal H>
TranslationsQuiet flush_tlb_page(System<H>& system, Mm<H>& mm, VirtAddr address) {
  const VirtAddr page = address & ~((VirtAddr{1} << kPageShift) - 1);
  return flush_tlb_mm_range(system, mm, {.start = page, .end = page + (VirtAddr{1} << kPageShift)});
}

/// Flushes everything of `mm`. Context: as for `flush_tlb_mm_range`.
template <Hal H>
TranslationsQuiet flush_tlb_mm(System<H>& system, Mm<H>& mm) {
  return flush_tlb_mm_range(system, mm, {});
}

/// The call-function interrupt's work. Context: its handler, interrupts off.
template <Hal H>
void handle_call_function_interrupt(System<H>& system) {
  system.calls.run_queue();
}

}  // namespace shootdown
