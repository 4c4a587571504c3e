// The table of flush operations that a hypervisor or a broadcast hub (UV BAU) may replace.
#pragma once

#include <cstdint>

#include "core/cpu_mask.h"
#include "core/hal.h"
#include "core/request.h"
#include "core/types.h"

namespace shootdown {

template <Hal H>
struct System;

/// When page tables may go that a flush has made unreachable.
enum class TableRemoval : std::uint8_t {
  /// When the flush returns: it has interrupted every CPU that might walk them in software.
  at_once,
  /// When every walker that keeps itself safe by switching interrupts off has finished: the flush
  /// completes without waiting for such a CPU to take an interrupt.
  after_walkers,
};

/// The six operations. Constant tables; `select_backend` gives one to the system at boot. Each is
/// `static`: a variable that several objects share is a unique symbol under g++, which not every
/// kernel's loader knows. So a table is known by its functions, and not by its address.
///
/// Promise of the two remote ones: as of `flush_tlb_mm_range`, for the CPUs of the mask. A backend
/// need not advance the generations of its targets' ASIDs: an ASID that stays behind is flushed
/// once more later, which is a waste and no error (O4). It must not advance them without a flush by
/// the target's own hand. Both return the ticks until all targets were flushed.
template <Hal H>
struct FlushOps {
  using Mask = CpuMask<H::kMaxCpus>;
  const char* name;
  /// This CPU's loaded context, both halves, except global entries. Context: interrupts off.
  void (*flush_user)(System<H>& system);
  /// Everything of this CPU, global entries included. Context: interrupts off.
  void (*flush_kernel)(System<H>& system);
  /// One user address of this CPU's loaded context, both halves. Context: interrupts off.
  void (*flush_one_user)(System<H>& system, VirtAddr address);
  /// The CPUs of the mask, this one among them or not. Null: the backend has only `flush_others`.
  std::uint64_t (*flush_multi)(System<H>& system, const Mask& targets, FlushRequest<H>& request);
  /// The CPUs of the mask except this one, whose own part has been done before.
  std::uint64_t (*flush_others)(System<H>& system, const Mask& targets, FlushRequest<H>& request);
  /// What the removal of page tables has to wait for beside the flush.
  TableRemoval remove_table;
};

namespace internal {

/// The table of the bare machine, every system's default; flush_dispatch.h. A function, because g++
/// does not join the declaration of a variable template with a later definition.
template <Hal H>
const FlushOps<H>& native_ops();

}  // namespace internal

/// A HAL under which another table may be in use. For one that does not say so the operations are
/// the processor's own, and nothing of the table is looked at.
template <class H>
concept HalParavirt = Hal<H> && H::kTakesBackends;

/// What a backend does when a CPU comes and goes, besides what the core does. A backend that has
/// something to do specialises it (paravirt/uv_bau.h).
template <Hal H>
struct BackendHotplug {
  static constexpr bool kAttends = false;
  /// Context: this CPU is online in the core, with interrupts off.
  static void cpu_online() {}
  /// Context: this CPU's words are closed to calls, with interrupts off.
  static void cpu_offline(System<H>& /*system*/) {}
};

}  // namespace shootdown
