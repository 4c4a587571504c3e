// Verifies: each access goes through a translation of the mm that CR3 holds, of memory that is
// in use, and none that a completed flush or operation has ruled out (O2, O13), also when a store
// through it leaves the store buffer later.
// Does not verify: what a CPU could use and does not, nor what the memory holds (contents.h).
#pragma once

#include "fuzz/oracles/hardware/truth.h"

namespace shootdown::fuzz {

class UseChecker {
 public:
  explicit UseChecker(const Truth& truth) : truth_(truth) {}
  /// False: the translation is none of this mm's memory.
  bool on_use(CpuId cpu, VirtAddr address, const host::TlbEntry& entry) const;
  /// A store through `entry` leaves the store buffer: the frame is used now, as what it was in its
  /// `life` then.
  void on_page_store(CpuId cpu, VirtAddr address, const host::TlbEntry& entry,
                     std::uint32_t life) const;

 private:
  /// The entry is one that a completed flush or operation has ruled out.
  template <class Use>
  void check_demand(CpuId cpu, const host::TlbEntry& entry, unsigned page, const char* title,
                    Use&& use) const;

  const Truth& truth_;
};

}  // namespace shootdown::fuzz
