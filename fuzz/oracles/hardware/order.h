// Verifies, by the clocks of the C++ memory model without what the hardware adds: what a call hands
// over is visible before the call runs (M7), what its targets did before a flush returns, and a
// page's last use before its release (M8).
// Does not verify: handovers of generations and global ASIDs (core_state/handovers.h). Only
// Memory::cxx keeps the clocks that tell.
#pragma once

#include <array>
#include <string>

#include "fuzz/oracles/hardware/truth.h"

namespace shootdown::fuzz {

class OrderChecker {
 public:
  explicit OrderChecker(const Truth& truth) : truth_(truth) {}

  void start();
  /// Something happens on the CPU that later events may be ordered behind.
  void on_event(CpuId cpu) { cpu_[cpu].last_event = now(cpu); }
  void on_table_write(CpuId cpu) { cpu_[cpu].last_event = cpu_[cpu].last_change = now(cpu); }
  /// What came before the push: the post, the request in it, the generation.
  void on_call_queued(CpuId cpu, CpuId target) { cpu_[cpu].queued[target] = cpu_[cpu].last_event; }
  void on_call_run(CpuId cpu, CpuId sender);
  /// `cpu` has done what the flush of `initiator` asks of it.
  void on_answer(CpuId cpu, CpuId initiator) { cpu_[initiator].answered[cpu] = now(cpu); }
  void on_flush_returned(CpuId cpu, CpuId sender);
  void on_use(CpuId cpu, std::uint32_t frame) { used_[frame][cpu] = now(cpu); }
  void on_release(std::uint32_t frame);

  /// When the CPU changed a page-table entry last, on its own clock.
  [[nodiscard]] std::uint32_t last_change(CpuId cpu) const { return cpu_[cpu].last_change; }
  [[nodiscard]] std::uint32_t now(CpuId cpu) const {
    return truth_.machine().memory().compiler_reordering().now(cpu);
  }
  /// Nothing orders what `first` did before what `second` does next.
  void report(const char* title, const std::string& detail, CpuId first, CpuId second) const;

 private:
  /// On this CPU's own clock.
  struct Cpu {
    std::uint32_t last_event{0};
    std::uint32_t last_change{0};
    std::array<std::uint32_t, kMaxCpus> queued{};    // before the push for each target
    std::array<std::uint32_t, kMaxCpus> answered{};  // of each target; 0: not asked
  };

  const Truth& truth_;
  std::array<Cpu, kMaxCpus> cpu_{};
  /// When each CPU has used each frame last, on its own clock; 0: never.
  std::array<std::array<std::uint32_t, kMaxCpus>, host::FramePool::kFrames> used_{};
};

}  // namespace shootdown::fuzz
