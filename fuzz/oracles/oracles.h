// The oracles: they watch the modelled machine, what the kernel tells and the core's state, and end
// the run at the first broken promise. This class is the sum of the two families of checkers,
// which do not know it: hardware truth (hardware/) and core state (core_state/). It passes each
// event on to those that judge by it, in the order in which their reports count.
#pragma once

#include <array>
#include <string>

#include "fuzz/events/events.h"
#include "fuzz/oracles/core_state/core_state.h"
#include "fuzz/oracles/hardware/hardware_truth.h"
#include "fuzz/oracles/labels.h"
#include "hal/host/observer.h"

namespace shootdown::fuzz {

class Oracles final : public host::Observer, public KernelEvents {
 public:
  explicit Oracles(host::Machine& machine)
      : machine_(machine),
        hardware_(machine),
        core_(hardware_.truth, hardware_.order),
        labels_(machine) {
    hardware_.truth.tell(core_.asids);
  }

  /// The kernel whose state they look at, for all runs.
  void watch(SimKernel& sim) {
    core_.core.watch(sim);
    labels_.watch(sim);
  }
  /// Tells a forgotten call (O17) from other runs that get stuck (O18).
  void refine(host::Report& report) const { core_.requests.refine(report); }

  // ---- What the kernel tells

  void on_start(const KernelView& kernel, unsigned mms) override;
  void on_table_write(const std::uint64_t* word, std::uint64_t before,
                      std::uint64_t after) override;
  void on_table_store(const std::uint64_t* word, std::uint64_t before,
                      std::uint64_t after) override;
  void on_kernel_entry_store(unsigned page) override;
  void on_kernel_entry_changed(unsigned page) override;
  void on_page_allocated(std::uint32_t frame) override;
  void on_release(std::uint32_t frame) override;
  void on_destroy(unsigned mm) override;
  void on_software_use(std::uint32_t frame, host::FrameKind kind, const char* verb) override;
  void on_missing_entry(unsigned index) override;
  void on_missing_part(unsigned part) override;
  void on_needless_record() override;
  void on_software_walk(const std::uint64_t* word) override;
  void on_walker_holds(std::uint32_t frame) override;
  void on_store_recorded(std::uint32_t frame) override;
  void on_copy(std::uint32_t to, std::uint32_t from) override;
  void on_cleaned(unsigned mm, VirtAddr start, VirtAddr end) override;
  void on_page_read(std::uint32_t frame) override;
  void on_operation(bool replaces) override;
  void begin_promise() override;
  void note_promise(unsigned mm, VirtAddr start, VirtAddr end) override;
  void on_promise() override;
  void on_unmapped(unsigned mm, unsigned first, unsigned last) override;
  void on_protected(unsigned mm, unsigned first, unsigned last) override;
  void begin_fork(unsigned parent) override;
  void on_forked(unsigned parent, unsigned child) override;
  void begin_lookup(unsigned mm, unsigned page) override;
  void end_lookup(std::uint32_t frame) override;
  void on_nmi_access(CpuId cpu, unsigned mm) override;
  void on_kernel_entered(CpuId cpu) override;
  void on_temporary_begin(CpuId cpu) override;
  void on_temporary_end(CpuId cpu) override;
  void on_offline(CpuId cpu) override;
  void on_bring_up(CpuId cpu) override;
  void on_online(CpuId cpu) override;
  void on_program_end(CpuId cpu) override;

  /// The run is over, and has not failed.
  void on_run_end() { hardware_.references.on_run_end(); }

  // ---- What the machine tells

  void after_change(CpuId cpu) override;
  void on_cr3(CpuId cpu) override;
  void on_invalidate(CpuId cpu) override;
  void on_dropped(CpuId cpu, const host::Dropped& what) override;
  void on_fill(CpuId cpu, VirtAddr address, host::Provenance& from) override;
  bool on_walk(CpuId cpu, std::uint32_t frame, std::uint32_t life) override;
  void on_use(CpuId cpu, VirtAddr address, const host::TlbEntry& entry, bool write) override;
  void on_page_store(CpuId cpu, VirtAddr address, const host::TlbEntry& entry,
                     std::uint32_t life) override;
  void on_entry_stored(CpuId cpu, const std::uint64_t* word, bool is_there,
                       std::uint64_t value) override;
  void on_ipi(CpuId cpu, const host::HostCpuMask& targets) override;
  void on_remote_flush(CpuId cpu, const host::HostCpuMask& targets) override;
  void on_broadcast(CpuId cpu, const Invlpgb& what) override;
  void on_broadcasts_done(CpuId cpu) override;
  void on_trace(CpuId cpu, const TraceEvent& event) override;
  std::string label(const void* address) override { return labels_.of(address); }
  std::string shown(const void* address, std::uint64_t value, std::uint64_t bits) override {
    return labels_.shown(address, value, bits);
  }

 private:
  // What the core tells of itself.
  void check_order(CpuId cpu, const TraceEvent& event);
  void begin_flush(CpuId cpu, const TraceEvent& event);
  void end_flush(CpuId cpu);
  void end_batch(CpuId cpu);
  void begin_kernel_flush(CpuId cpu, const AskedRange& range);
  void begin_switch(CpuId cpu);
  void end_switch(CpuId cpu);
  void end_handler(CpuId cpu, const TraceEvent& event);
  /// The CPU goes on with what its TLB holds.
  void check_loaded(CpuId cpu, After after);

  host::Machine& machine_;
  HardwareTruth hardware_;
  CoreState core_;
  Labels labels_;
  std::array<AskedRange, kMaxCpus> asked_{};  // by the flush that the thread begins next
  std::array<bool, kMaxCpus> switch_was_lazy_{};
};

}  // namespace shootdown::fuzz
