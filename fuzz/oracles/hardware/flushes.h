// Verifies: when a flush returns, no CPU can use a translation of the asked pages from before it
// (O1), and none goes on after a switch or a flush function with one that a completed flush or
// operation has ruled out (O1, O2, O13); a CPU goes on with translations of the mm that its CR3
// holds only (O4).
// Does not verify: what no instruction reaches right now, which are `Leftovers`.
#pragma once

#include <array>

#include "fuzz/oracles/hardware/truth.h"

namespace shootdown::fuzz {

/// After what the loaded translations are looked at.
enum class After : std::uint8_t { switch_in, lazy_exit, handler };

class FlushChecker {
 public:
  explicit FlushChecker(Truth& truth) : truth_(truth) {}

  void start() { flush_.fill({}); }

  /// A flush of the mm begins on the CPU. From here on its pages are to be as they are now.
  void on_flush_begun(CpuId cpu, unsigned mm, const AskedRange& asked);
  /// It returns; then what it demands is in force.
  void on_flush_returns(CpuId cpu);
  /// ... and each CPU is looked at. `early`: targets may have answered before they flush.
  void on_flush_returned(CpuId cpu, bool early) const;
  void on_kernel_flush_begun(CpuId cpu, const AskedRange& asked);
  void on_kernel_flush_returned(CpuId cpu);
  /// The CPU goes on, with the kernel's pages and with those of its mm.
  void on_kernel_loaded(CpuId cpu) const;
  void on_loaded(CpuId cpu, After after) const;

  /// What a flush asks for: of each page, that nothing older than this version is left.
  struct Wanted {
    unsigned mm{kNoMm};
    std::array<std::uint64_t, kPages> pages{};
  };
  /// Of the flush that the thread began last.
  [[nodiscard]] const Wanted& wanted(unsigned thread) const { return flush_[thread].wanted; }

 private:
  struct Flush {
    Wanted wanted;
    std::array<std::uint64_t, kKernelPages> kernel_wanted{};
  };

  void check_target(CpuId cpu, const Flush& flush, CpuId target, bool early) const;
  void check_kernel_target(CpuId cpu, CpuId target) const;

  Truth& truth_;
  std::array<Flush, kMaxCpus> flush_{};  // of each thread
};

/// What a flush of a kernel range has to say about what is left.
void report_kernel_translation(const Truth& truth, CpuId cpu, CpuId target,
                               const host::TlbEntry& entry, unsigned page,
                               const std::string& where);

/// Likewise a switch.
void report_kernel_switch(const Truth& truth, CpuId cpu, const host::TlbEntry& entry);

}  // namespace shootdown::fuzz
