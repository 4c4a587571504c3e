// KVM: targets that the host has descheduled are not interrupted; the host flushes them on the way
// back in.
//
// State    per vCPU one byte, in memory that guest and host share: "preempted", and "flush when it
//          is entered again".
// Writers  the host sets "preempted" when it deschedules the vCPU between two instructions, and
//          exchanges the byte with 0 before it enters it again. Guests add the flush bit, to a byte
//          that says "preempted" and to no other.
// Argument The two meet in one atomic word (M17). If the guest's compare-and-swap comes first, the
//          host's exchange finds the flush bit and the vCPU does not execute one instruction
//          before the flush. If the exchange comes first, the compare-and-swap fails and the vCPU
//          is interrupted like any other. A flag that the guest itself could set, "halted" or
//          "lazy", would not do: the host may have read it already.
#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>

#include "core/flush_dispatch.h"
#include "core/flush_ops.h"
#include "core/system.h"
#include "core/target_filter.h"
#include "core/trace.h"

namespace shootdown {

/// Bits of the byte `preempted` of KVM's steal-time record (Linux, Documentation/virt/kvm/x86/
/// msr.rst, MSR_KVM_STEAL_TIME).
inline constexpr std::uint8_t kVcpuPreempted = 1;
inline constexpr std::uint8_t kVcpuFlushOnEntry = 2;

/// `vcpu_state` is the byte of a CPU, at the place where the host knows it to be by now.
template <class H>
concept HalKvm = HalParavirt<H> && requires(CpuId cpu) {
  { H::vcpu_state(cpu) } -> std::same_as<typename H::template Atomic<std::uint8_t>&>;
};

namespace internal {

/// Leaves the flush of preempted targets to the host. What remains has to be interrupted.
///
/// This CPU needs no exception: it runs, so its byte does not say "preempted".
template <HalKvm H>
CpuMask<H::kMaxCpus> skip_preempted(System<H>& system, const CpuMask<H::kMaxCpus>& targets,
                                    const FlushRequest<H>& request) {
  CpuMask<H::kMaxCpus> remaining = targets;
  if (request.needs_interrupts()) return remaining;
  targets.for_each([&](CpuId cpu) {
    // A lazy target costs nothing as it is; a flush on entry would take its translations.
    if (!is_wanted(system, request, cpu)) return;
    auto& word = H::vcpu_state(cpu);
    std::uint8_t state = word.load(std::memory_order_relaxed);
    if ((state & kVcpuPreempted) == 0) return;
    const auto flagged = static_cast<std::uint8_t>(state | kVcpuFlushOnEntry);
    // M17: locked, against the host's exchange on entry. Also if the flush bit is set already: it
    // may be consumed since it was read, and then no flush answers this request. R1: the
    // request's page-table stores and its bump are before it, so a host that sees the bit flushes
    // what they left.
    if (!word.compare_exchange(state, flagged, std::memory_order_seq_cst)) return;
    remaining.clear(cpu);
    ++system.self().own.counters.vcpus_skipped;
    H::trace(TraceEvent{
        .kind = TraceKind::vcpu_skipped, .mm = request.mm, .request = &request, .value = cpu});
  });
  return remaining;
}

template <HalKvm H>
std::uint64_t kvm_flush_multi(System<H>& system, const CpuMask<H::kMaxCpus>& targets,
                              FlushRequest<H>& request) {
  return native_flush_multi(system, skip_preempted(system, targets, request), request);
}

template <HalKvm H>
std::uint64_t kvm_flush_others(System<H>& system, const CpuMask<H::kMaxCpus>& targets,
                               FlushRequest<H>& request) {
  CpuMask<H::kMaxCpus> others = targets;
  others.clear(request.initiator);
  return kvm_flush_multi(system, others, request);
}

}  // namespace internal

/// Tables go after the walkers: a vCPU may be preempted in the middle of a walk, and is not waited
/// for.
template <HalKvm H>
static constexpr FlushOps<H> kKvmOps{.name = "kvm",
                                     .flush_user = internal::native_flush_user<H>,
                                     .flush_kernel = internal::native_flush_kernel<H>,
                                     .flush_one_user = internal::native_flush_one_user<H>,
                                     .flush_multi = internal::kvm_flush_multi<H>,
                                     .flush_others = internal::kvm_flush_others<H>,
                                     .remove_table = TableRemoval::after_walkers};

}  // namespace shootdown
