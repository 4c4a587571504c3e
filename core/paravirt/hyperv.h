// Hyper-V: a hypercall flushes any set of virtual processors, running or not, without an interrupt
// in the guest.
//
// Why that is enough: the hypercall drops, on each processor named, what was cached through the
// mm's root under every PCID. A CPU in the switching window may have read the old generation
// and keep its ASID; the ASID is empty then, and what it fills afterwards is new. ASIDs'
// generations stay behind, which costs one more flush and breaks nothing (O4).
//
// Under page-table isolation the user half hangs from another root, so the hypercall is for all
// address spaces.
#pragma once

#include <concepts>
#include <cstdint>

#include "core/capacities.h"
#include "core/flush_dispatch.h"
#include "core/flush_ops.h"
#include "core/paravirt/hyperv_input.h"
#include "core/system.h"
#include "core/target_filter.h"

namespace shootdown {

/// `hyperv_processor` is the virtual processor number of a CPU, or kNoProcessor. `hyperv_input` is
/// this CPU's input page. `hyperv_call` executes the hypercall over this CPU's input page and
/// returns the result; context of both: interrupts off. `hyperv_takes_sparse_sets` is a constant.
template <class H>
concept HalHyperv = HalParavirt<H> && requires(CpuId cpu, std::uint64_t control) {
  { H::hyperv_processor(cpu) } -> std::same_as<std::uint32_t>;
  { H::hyperv_input() } -> std::same_as<HypervPage&>;
  { H::hyperv_call(control) } -> std::same_as<std::uint64_t>;
  { H::hyperv_takes_sparse_sets() } -> std::same_as<bool>;
};

namespace internal {

/// The virtual processors of the targets that have to be flushed. False if one of them cannot be
/// named. The mask is the caller's copy: it does not change while other CPUs switch.
template <HalHyperv H>
bool name_processors(const System<H>& system, const CpuMask<H::kMaxCpus>& targets,
                     const FlushRequest<H>& request, ProcessorSet& processors) {
  bool known = true;
  targets.for_each([&](CpuId cpu) {
    if (cpu != request.initiator && !is_wanted(system, request, cpu)) return;
    const std::uint32_t processor = H::hyperv_processor(cpu);
    // Not known is not processor 0: the wrong one would be flushed and this one would not.
    known = known && processor != kNoProcessor && processors.add(processor);
  });
  return known && (processors.is_plain() || H::hyperv_takes_sparse_sets());
}

/// Runs a hypercall to its end; the hypervisor may return after a part of the list. False if it
/// failed, or got no further: it would be asked for ever, with interrupts off.
template <HalHyperv H>
bool complete_hypercall(std::uint64_t control) {
  const std::uint64_t count = (control >> kHypervCountShift) & kHypervRepetitions;
  std::uint64_t done = 0;
  do {
    const std::uint64_t result = H::hyperv_call(control | (done << kHypervStartShift));
    if ((result & kHypervStatus) != 0) return false;
    const std::uint64_t now = (result >> kHypervCountShift) & kHypervRepetitions;
    if (count != 0 && now <= done) return false;
    done = now;
  } while (done < count);
  return true;
}

/// False if the hypervisor did not do it, or only in part: then the caller has to.
template <HalHyperv H>
bool flush_by_hypercall(System<H>& system, const CpuMask<H::kMaxCpus>& targets,
                        const FlushRequest<H>& request) {
  if (request.needs_interrupts()) return false;
  ProcessorSet processors;
  if (!name_processors(system, targets, request, processors)) return false;
  if (processors.empty()) return true;  // All targets are lazy: no hypercall.
  // The list names 4 KiB pages at any stride: each small entry of a large page goes as well,
  // so it is not `names_pages` that decides here.
  const bool every_mm = request.mm == nullptr || system.config().isolation.enabled;
  const HypervFlush flush{.address_space = every_mm ? 0 : request.mm->root,
                          .flags = every_mm ? kHypervAllAddressSpaces : 0,
                          .start = request.all() ? 0 : request.start,
                          .end = request.all() ? 0 : request.end};
  // The input page is this CPU's, and an interrupt handler might use it.
  InterruptsOff<H> guard;
  ++system.self().own.counters.remote_hypercalls;
  const std::uint64_t control =
      write_hyperv_flush(H::hyperv_input(), flush, processors, capacities<H>());
  return complete_hypercall<H>(control);
}

/// This CPU may be among the targets: the hypervisor flushes the caller as well.
template <HalHyperv H>
std::uint64_t hyperv_flush_multi(System<H>& system, const CpuMask<H::kMaxCpus>& targets,
                                 FlushRequest<H>& request) {
  const std::uint64_t start = H::ticks();
  if (flush_by_hypercall(system, targets, request)) {
    trace_send(system.self(), request);
    return count_call(system.self().own.counters, {.ticks = H::ticks() - start});
  }
  ++system.self().own.counters.native_fallbacks;
  return native_flush_multi(system, targets, request);
}

template <HalHyperv H>
std::uint64_t hyperv_flush_others(System<H>& system, const CpuMask<H::kMaxCpus>& targets,
                                  FlushRequest<H>& request) {
  CpuMask<H::kMaxCpus> others = targets;
  others.clear(request.initiator);
  return hyperv_flush_multi(system, others, request);
}

}  // namespace internal

/// Tables go after the walkers: the hypercall returns while a walker on another CPU has interrupts
/// off.
template <HalHyperv H>
static constexpr FlushOps<H> kHypervOps{.name = "hyperv",
                                        .flush_user = internal::native_flush_user<H>,
                                        .flush_kernel = internal::native_flush_kernel<H>,
                                        .flush_one_user = internal::native_flush_one_user<H>,
                                        .flush_multi = internal::hyperv_flush_multi<H>,
                                        .flush_others = internal::hyperv_flush_others<H>,
                                        .remove_table = TableRemoval::after_walkers};

}  // namespace shootdown
