// What the modelled machine tells its oracles.
#pragma once

#include <cstdint>
#include <string>

#include "core/cpu_mask.h"
#include "core/hal.h"
#include "core/trace.h"
#include "core/types.h"
#include "hal/host/cpus.h"
#include "hal/host/tlb.h"

namespace shootdown::host {

/// What an instruction, a broadcast or a hypervisor has made one CPU drop. Page faults and what
/// hardware drops by itself do not count.
struct Dropped {
  VirtAddr address{0};
  std::uint64_t pages{0};  // of 4 KiB from there on; 0: all
  std::uint16_t pcid{0};
  bool every_pcid{false};
  bool globals{false};      // global entries as well, which are in every PCID
  std::uint32_t root{~0U};  // only what was cached through this top table; all ones: through any
};

/// Callbacks at the moment something happens, on the acting CPU's fiber, between two visible
/// operations. They must not perform visible operations; they may report a failure, which ends the
/// run.
class Observer {
 public:
  virtual ~Observer() = default;
  /// A visible operation of `cpu` that changed shared or CPU state is done.
  virtual void after_change(CpuId cpu) = 0;
  /// CR3 of `cpu` was written.
  virtual void on_cr3(CpuId cpu) = 0;
  /// `cpu` executes a TLB invalidation, explicit or by CR3, right now.
  virtual void on_invalidate(CpuId cpu) = 0;
  /// `cpu` has dropped translations.
  virtual void on_dropped(CpuId /*cpu*/, const Dropped& /*what*/) {}
  /// A translation of `address` was read from memory for `cpu`, or kDevice; `from` is to be filled.
  virtual void on_fill(CpuId cpu, VirtAddr address, Provenance& from) = 0;
  /// A walk of `cpu`, or kDevice, is about to read the table in `frame`, as which it was used in
  /// its `life` when the pointer to it was read. False: it must not, the run has failed.
  virtual bool on_walk(CpuId cpu, std::uint32_t frame, std::uint32_t life) = 0;
  /// `cpu` is about to load from `address` through `entry`, or to store to it.
  virtual void on_use(CpuId cpu, VirtAddr address, const TlbEntry& entry, bool write) = 0;
  /// A store that `cpu` has executed through `entry` leaves its store buffer, and reaches the
  /// frame. `life` is the frame's when the store was executed.
  virtual void on_page_store(CpuId /*cpu*/, VirtAddr /*address*/, const TlbEntry& /*entry*/,
                             std::uint32_t /*life*/) {}
  /// A plain store of `cpu` to a word of a page table leaves its store buffer: `word` is about to
  /// become `value`. Not `is_there`: the table was released meanwhile.
  virtual void on_entry_stored(CpuId /*cpu*/, const std::uint64_t* /*word*/, bool /*is_there*/,
                               std::uint64_t /*value*/) {}
  /// `cpu` sends the call-function interrupt.
  virtual void on_ipi(CpuId cpu, const CpuMask<kHostCpus>& targets) = 0;
  /// `cpu` asks a hypervisor or hub to flush `targets`.
  virtual void on_remote_flush(CpuId /*cpu*/, const CpuMask<kHostCpus>& /*targets*/) {}
  /// `cpu` issues an INVLPGB, and has waited for all that it issued.
  virtual void on_broadcast(CpuId cpu, const Invlpgb& what) = 0;
  virtual void on_broadcasts_done(CpuId cpu) = 0;
  virtual void on_trace(CpuId cpu, const TraceEvent& event) = 0;
  /// A name for a shared word, for timelines.
  virtual std::string label(const void* address) = 0;
  /// How they show what is in it. `bits` is the value itself; of a pointer `value` is 0 or 1 only,
  /// the same in every process.
  virtual std::string shown(const void* /*address*/, std::uint64_t value, std::uint64_t /*bits*/) {
    return std::to_string(value);
  }
};

}  // namespace shootdown::host
