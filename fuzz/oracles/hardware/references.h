// Verifies: when every program has ended, each page has as many references as entries that map it,
// and each table is on the way to an entry of a living mm, or waits for lockless walkers (O35).
// Does not verify: counts while operations are on their way, which hold references of their own; an
// entry that maps a released page is judged at the release (contents.h). Kernel pages.
#pragma once

#include <array>

#include "fuzz/oracles/hardware/truth.h"
#include "hal/host/observer.h"

namespace shootdown::fuzz {

class ReferenceChecker {
 public:
  explicit ReferenceChecker(const Truth& truth) : truth_(truth) {}

  void start() { ended_ = {}; }
  /// The running thread's program has ended, and nothing of its operations is on its way.
  void on_program_end() { ended_.set(truth_.running_thread()); }
  /// The run is over. Nothing is judged if not every program has come to its end.
  void on_run_end() const;

 private:
  /// What leads to a frame from the roots of living mms.
  struct Found {
    std::array<std::uint32_t, host::FramePool::kFrames> entries{};  // that map it as a page
    std::array<bool, host::FramePool::kFrames> is_table{};
  };

  void find(unsigned mm, Found& found) const;
  void walk(std::uint32_t table, unsigned level, VirtAddr address, Found& found) const;
  [[nodiscard]] bool is_alive(unsigned mm) const;
  void check_page(std::uint32_t frame, std::uint32_t entries) const;
  void check_table(std::uint32_t frame, bool found) const;

  const Truth& truth_;
  host::HostCpuMask ended_;  // threads
};

}  // namespace shootdown::fuzz
