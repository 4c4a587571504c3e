// Verifies: no walk reads a page table that was released or is another mm's; no CPU keeps, where
// it could walk it, a pointer to a table that is released, or that a completed flush for freed
// tables has ruled out (O5, O4); no lockless walker is in a table that is released (O6).
// Does not verify: pointers under a PCID that is not loaded, which are `Leftovers`; the device's
// (device.h).
//
// A cached pointer names a life of a frame: a frame that was released and became a table again is
// another table, even where no content tells the difference (SDM vol. 3, 4.10.3).
#pragma once

#include <array>

#include "fuzz/oracles/hardware/truth.h"

namespace shootdown::fuzz {

class TableChecker {
 public:
  explicit TableChecker(Truth& truth) : truth_(truth) {}

  void start() { walker_table_.fill(host::FramePool::kNoFrame); }
  /// False: the run has failed, and the walk must not read.
  bool on_walk(CpuId walker, std::uint32_t frame, std::uint32_t life);
  /// A flush of [start, end) that frees tables, begun at step `begin`, returns on `cpu`.
  void on_flush_returned(CpuId cpu, unsigned mm, VirtAddr start, VirtAddr end,
                         std::uint64_t begin) const;
  /// The CPU goes on after a switch or a flush function.
  void on_loaded(CpuId cpu) const;
  /// The table is about to be released.
  void on_release(std::uint32_t frame) const;
  void on_walker_holds(std::uint32_t frame);
  void on_software_walk(const std::uint64_t* word) const;

 private:
  [[nodiscard]] bool is_dead(const host::PscEntry& pointer) const;
  void check_pointers_to(std::uint32_t table, CpuId target) const;

  Truth& truth_;
  std::array<std::uint32_t, kMaxCpus> walker_table_{};  // that a lockless walker is in
};

/// For reports.
[[nodiscard]] host::Event pointer_event(CpuId cpu, const host::PscEntry& pointer);

}  // namespace shootdown::fuzz
