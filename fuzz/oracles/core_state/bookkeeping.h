// Verifies: what a CPU records of itself agrees with its registers whenever an interrupt or an NMI
// may ask (O8, O22, O23); a lazy CPU has a user space loaded and does not use it (O9); a CPU does
// not write its own state while a user root is loaded, which does not map it (O32); its ASIDs name
// each mm at most once (O14).
// Does not verify: that the records are recent (generations.h, asids.h).
#pragma once

#include <array>

#include "fuzz/oracles/core_state/core.h"
#include "fuzz/oracles/hardware/flushes.h"

namespace shootdown::fuzz {

class BookkeepingChecker {
 public:
  explicit BookkeepingChecker(const Core& core) : core_(core) {}

  void start() {
    owes_.fill(false);
    called_for_.fill({});
  }
  /// CR3 was loaded, and `Truth` does not know yet.
  void before_cr3(CpuId cpu) const { check_user_root(cpu); }
  /// ... and now it does.
  void on_cr3(CpuId cpu);
  void on_switch_end(CpuId cpu) const;
  /// O9: the CPU uses user memory.
  void on_use(CpuId cpu) const {
    if (core_.is_lazy(cpu)) report_lazy_use(cpu);
  }
  /// O22: what user_access_ok would say, and CR3.
  void check_root(CpuId cpu) const {
    // Where NMIs arrive, they ask for themselves.
    if (core_.sim().takes_nmis()) return;
    const Mm<host::HostHal>* loaded = core_.loaded(cpu);
    const Truth::Cpu& state = core_.truth().cpu(cpu);
    if (loaded == nullptr || state.offline) return;
    // Then user_access_ok is false, with any mm loaded.
    if (core_.is_lazy(cpu) ||
        core_.own(cpu).early_acked_flush_pending.seen_by(core_.machine().cpu(cpu))) {
      return;
    }
    if (state.mm == kNoMm ? loaded->is_kernel : loaded == &core_.core_mm(state.mm)) return;
    report_root(cpu);
  }
  void check_user_root(CpuId cpu) const {
    if (core_.truth().cpu(cpu).on_user_root) [[unlikely]] {
      compare_own_state(cpu);
    }
  }
  /// The CPU runs a call for this flush, which it may answer before it flushes.
  void on_call_run(CpuId cpu, const FlushChecker::Wanted& wanted) {
    // The store that ends the debt of the call before may wait in the store buffer still, and that
    // debt is judged by the flush which it was for.
    check_debt(cpu);
    called_for_[cpu] = wanted;
  }
  /// O22: the flush that an early answer owes is over.
  void check_debt(CpuId cpu) {
    if (!core_.config().targets.early_acknowledgement) return;
    const bool owes = core_.own(cpu).early_acked_flush_pending.seen_by(core_.machine().cpu(cpu));
    const bool is_over = owes_[cpu] && !owes;
    owes_[cpu] = owes;
    if (is_over) [[unlikely]] {
      check_paid(cpu);
    }
  }
  /// O8, O23, O9.
  void check_consistency(CpuId cpu) const {
    const Mm<host::HostHal>* loaded = core_.loaded(cpu);
    if (core_.machine().cpu(cpu).interrupts_enabled) {
      if (const char* disagrees = what_disagrees(cpu, loaded); disagrees != nullptr) {
        report_disagreement(cpu, disagrees);
      }
      if (core_.machine().cpu(cpu).cr4 != core_.own(cpu).cr4.peek()) report_cr4(cpu);
    }
    if (core_.laziness(cpu).lazy && loaded != nullptr && loaded->is_kernel) report_lazy(cpu);
  }

 private:
  [[nodiscard]] const char* what_disagrees(CpuId cpu, const Mm<host::HostHal>* loaded) const {
    const CpuPrivate<host::HostHal>& own = core_.own(cpu);
    const host::HostCpu& hardware = core_.machine().cpu(cpu);
    const Asid asid = own.loaded_asid.peek();
    if (loaded == nullptr) return "says that it is inside a switch.";
    if (hardware.cr3 != (core_.sim().in_user_mode(cpu)
                             ? user_cr3_value(core_.system(), *loaded, asid)
                             : cr3_value(core_.system(), *loaded, asid))) {
      return "names another mm, half or ASID than CR3.";
    }
    if (own.on_global.seen_by(hardware) != is_global_asid(asid)) {
      return "is wrong about whether the ASID is global.";
    }
    if (is_global_asid(asid) ? loaded->global_asid.seen_by(hardware) != asid
                             : own.asids[asid].context.peek() != loaded->context) {
      return "names an ASID that belongs to another mm.";
    }
    return nullptr;
  }
  void compare_own_state(CpuId cpu) const;
  void check_paid(CpuId cpu) const;
  void report_root(CpuId cpu) const;
  void report_disagreement(CpuId cpu, const char* disagrees) const;
  void report_cr4(CpuId cpu) const;
  void report_lazy(CpuId cpu) const;
  void report_lazy_use(CpuId cpu) const;

  const Core& core_;
  std::array<bool, kMaxCpus> owes_{};  // a flush that it has answered for
  std::array<FlushChecker::Wanted, kMaxCpus> called_for_{};
  std::array<std::uint64_t, kMaxCpus> own_state_{};  // a checksum, when the user root was loaded
};

}  // namespace shootdown::fuzz
