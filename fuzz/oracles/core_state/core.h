// What checkers of the core's state look at: the data of the core in the simulated kernel, beside
// the truth of the machine.
#pragma once

#include <array>

#include "core/shootdown_all.h"
#include "fuzz/kernel/sim_kernel.h"
#include "fuzz/oracles/hardware/truth.h"

namespace shootdown::fuzz {

class Core {
 public:
  explicit Core(const Truth& truth) : truth_(truth) {}

  /// The kernel whose state it is, for all runs.
  void watch(SimKernel& sim) { sim_ = &sim; }
  void start();

  [[nodiscard]] const Truth& truth() const { return truth_; }
  [[nodiscard]] host::Machine& machine() const { return truth_.machine(); }
  [[nodiscard]] SimKernel& sim() const { return *sim_; }
  [[nodiscard]] System<host::HostHal>& system() const { return sim_->system(); }
  [[nodiscard]] const Config& config() const { return system().config(); }
  [[nodiscard]] const CpuPrivate<host::HostHal>& own(CpuId cpu) const {
    return system().cpus[cpu].own;
  }
  [[nodiscard]] Asid loaded_asid(CpuId cpu) const { return own(cpu).loaded_asid.peek(); }
  /// What the loaded ASID has recorded; a global one records nothing.
  [[nodiscard]] Generation recorded(CpuId cpu) const {
    const Asid asid = loaded_asid(cpu);
    return is_global_asid(asid) ? kNoGeneration : own(cpu).asids[asid].generation.peek();
  }
  /// What the CPU takes for loaded, as it sees that itself; null inside a switch.
  [[nodiscard]] const Mm<host::HostHal>* loaded(CpuId cpu) const {
    return own(cpu).loaded_mm.seen_by(machine().cpu(cpu));
  }
  [[nodiscard]] const Mm<host::HostHal>& core_mm(unsigned mm) const { return sim_->mm(mm).core; }
  /// The CPU has promised not to use the user memory that it has loaded, as it sees that itself.
  [[nodiscard]] bool is_lazy(CpuId cpu) const { return lazy_flag(cpu).seen_by(machine().cpu(cpu)); }
  /// The same by what memory says, and since when.
  struct Laziness {
    bool lazy{false};
    std::uint64_t since{0};
  };
  [[nodiscard]] const Laziness& laziness(CpuId cpu) const { return laziness_[cpu]; }
  void track_lazy(CpuId cpu) {
    Laziness& state = laziness_[cpu];
    const bool lazy = lazy_flag(cpu).peek();
    if (lazy && !state.lazy) state.since = machine().step();
    state.lazy = lazy;
  }
  /// The mm's mask.
  [[nodiscard]] host::HostCpuMask mask(unsigned mm) const {
    host::HostCpuMask copy;
    for (std::size_t i = 0; i < host::HostCpuMask::kWords; ++i) {
      copy.set_word(i, mask_words_[mm][i]->peek());
    }
    return copy;
  }
  [[nodiscard]] bool is_in_mask(CpuId cpu, unsigned mm) const {
    return ((mask_words_[mm][cpu / 64]->peek() >> (cpu % 64)) & 1) != 0;
  }
  /// Under page-table isolation: the user PCID, or its entry for the address, will be flushed on
  /// the way to user mode.
  [[nodiscard]] bool user_flush_is_pending(CpuId cpu, Asid asid) const;
  [[nodiscard]] bool user_flush_is_pending(CpuId cpu, Asid asid, VirtAddr address) const;
  /// A switch to the mm that the ASID names would keep its entries.
  [[nodiscard]] bool loads_without_flush(CpuId cpu, Asid asid) const;
  /// The CPU may use what it holds under this PCID without a flush before.
  [[nodiscard]] bool trusts(CpuId cpu, std::uint16_t pcid, bool global) const;

 private:
  [[nodiscard]] const host::HostAtomic<bool>& lazy_flag(CpuId cpu) const {
    return system().cpus[cpu].shared.is_lazy;
  }

  const Truth& truth_;
  SimKernel* sim_{nullptr};
  std::array<Laziness, kMaxCpus> laziness_{};
  using MaskWords = std::array<const host::HostAtomic<std::uint64_t>*, host::HostCpuMask::kWords>;
  std::array<MaskWords, kMaxMms + 1> mask_words_{};
};

}  // namespace shootdown::fuzz
