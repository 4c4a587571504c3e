// Xen, paravirtual guests: the guest does not own the TLB, so this CPU's part is a hypercall as
// well, and one hypercall flushes any set of virtual CPUs, this one among them.
//
// An operation drops what the virtual CPU has cached from any root: everything, or one address. A
// CPU in the switching window is therefore flushed with any root in CR3. ASIDs' generations stay
// behind (O4).
//
// The HAL's page-table stores must have reached memory when the core is called: a HAL that queues
// them for a multicall drains its queue first, or this flush drops old entries before the new ones
// exist.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>

#include "core/flush_dispatch.h"
#include "core/flush_ops.h"
#include "core/system.h"
#include "core/target_filter.h"

namespace shootdown {

/// Commands of an operation (Xen public headers, xen.h, MMUEXT_*).
inline constexpr std::uint32_t kXenFlushLocal = 6;
inline constexpr std::uint32_t kXenInvlpgLocal = 7;
inline constexpr std::uint32_t kXenFlushMulti = 8;
inline constexpr std::uint32_t kXenInvlpgMulti = 9;

/// One extended MMU operation; the layout is Xen's.
struct XenOperation {
  std::uint32_t command{0};
  std::uint32_t padding{0};
  std::uint64_t address{0};     // for the two that take one
  std::uint64_t processors{0};  // address of a bit map of virtual CPUs, for the two multi ones
};
static_assert(sizeof(XenOperation) == 24);

/// `xen_operation` executes one operation for this domain and returns 0, or a negative error.
/// Virtual CPUs are numbered as CPUs are.
template <class H>
concept HalXen = HalParavirt<H> && requires(const XenOperation& operation) {
  { H::xen_operation(operation) } -> std::same_as<int>;
};

namespace internal {

/// False if Xen refuses. Context: interrupts off.
template <HalXen H>
bool xen_flush_here(System<H>& system) {
  if (H::xen_operation({.command = kXenFlushLocal}) != 0) return false;
  ++system.self().own.counters.local_flush_all;
  return true;
}

template <HalXen H>
void xen_flush_user(System<H>& system) {
  if (!xen_flush_here(system)) native_flush_user(system);
}

template <HalXen H>
void xen_flush_kernel(System<H>& system) {
  if (!xen_flush_here(system)) {
    native_flush_kernel(system);
    return;
  }
  clear_pending_user_flushes(system.self().own);
}

template <HalXen H>
void xen_flush_one_user(System<H>& system, VirtAddr address) {
  if (H::xen_operation({.command = kXenInvlpgLocal, .address = address}) != 0) {
    native_flush_one_user(system, address);
    return;
  }
  ++system.self().own.counters.local_flush_one;
}

/// The targets that have to be flushed. Xen leaves virtual CPUs out that are not up, and reports no
/// error for them, so the core's own view of what is online decides.
template <HalXen H>
CpuMask<H::kMaxCpus> xen_targets(const System<H>& system, const CpuMask<H::kMaxCpus>& targets,
                                 const FlushRequest<H>& request) {
  CpuMask<H::kMaxCpus> wanted = filter_targets(system, targets, request);
  wanted &= system.calls.online();
  return wanted;
}

template <HalXen H>
bool xen_flush_set(System<H>& system, const CpuMask<H::kMaxCpus>& targets,
                   const FlushRequest<H>& request) {
  if (request.needs_interrupts()) return false;
  const CpuMask<H::kMaxCpus> wanted = xen_targets(system, targets, request);
  if (wanted.empty()) return true;
  std::array<std::uint64_t, CpuMask<H::kMaxCpus>::kWords> bits;
  for (std::size_t i = 0; i < bits.size(); ++i) bits[i] = wanted.word(i);
  XenOperation operation{.command = kXenFlushMulti,
                         .processors = reinterpret_cast<std::uintptr_t>(bits.data())};
  if (request.names_pages() && request.strides() == 1) {
    operation.command = kXenInvlpgMulti;
    operation.address = request.start;
  }
  ++system.self().own.counters.remote_hypercalls;
  return H::xen_operation(operation) == 0;
}

template <HalXen H>
std::uint64_t xen_flush_multi(System<H>& system, const CpuMask<H::kMaxCpus>& targets,
                              FlushRequest<H>& request) {
  const std::uint64_t start = H::ticks();
  if (xen_flush_set(system, targets, request)) {
    trace_send(system.self(), request);
    return count_call(system.self().own.counters, {.ticks = H::ticks() - start});
  }
  ++system.self().own.counters.native_fallbacks;
  return native_flush_multi(system, targets, request);
}

template <HalXen H>
std::uint64_t xen_flush_others(System<H>& system, const CpuMask<H::kMaxCpus>& targets,
                               FlushRequest<H>& request) {
  CpuMask<H::kMaxCpus> others = targets;
  others.clear(request.initiator);
  return xen_flush_multi(system, others, request);
}

}  // namespace internal

/// Tables go after the walkers: the hypercall returns while a walker on another CPU has interrupts
/// off.
template <HalXen H>
static constexpr FlushOps<H> kXenOps{.name = "xen",
                                     .flush_user = internal::xen_flush_user<H>,
                                     .flush_kernel = internal::xen_flush_kernel<H>,
                                     .flush_one_user = internal::xen_flush_one_user<H>,
                                     .flush_multi = internal::xen_flush_multi<H>,
                                     .flush_others = internal::xen_flush_others<H>,
                                     .remove_table = TableRemoval::after_walkers};

}  // namespace shootdown
