// Verifies: no page is released while a CPU can use it, or with a store to it that left no trace
// (O6, O1); no frame is released twice; software uses frames as what they are, and its references
// keep pages alive (O6).
// Does not verify: tables (tables.h); devices (device.h); that a last use is visible to the CPU
// that releases, as the C++ memory model sees it (order.h).
#pragma once

#include <array>

#include "fuzz/oracles/hardware/truth.h"

namespace shootdown::fuzz {

class ReleaseChecker {
 public:
  explicit ReleaseChecker(const Truth& truth) : truth_(truth) {}

  void on_page_allocated(std::uint32_t frame) { store_recorded_[frame] = false; }
  void on_store_recorded(std::uint32_t frame) { store_recorded_[frame] = true; }
  /// True: the frame was in use until now.
  bool check_in_use(std::uint32_t frame) const;
  void on_page_release(std::uint32_t frame) const;
  void on_software_use(std::uint32_t frame, host::FrameKind kind, const char* verb) const;
  void on_missing_entry(unsigned index) const;
  void on_missing_part(unsigned part) const;
  void on_late_entry_store(CpuId cpu, std::uint32_t frame) const;
  void on_needless_record() const;
  void on_page_read(std::uint32_t frame) const;

 private:
  const Truth& truth_;
  std::array<bool, host::FramePool::kFrames> store_recorded_{};
};

}  // namespace shootdown::fuzz
