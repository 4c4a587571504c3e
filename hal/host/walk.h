// The page walker: four levels, accessed and dirty bits, and the paging-structure cache.
#pragma once

#include <cstdint>

#include "hal/host/frames.h"
#include "hal/host/machine.h"

namespace shootdown::host {

struct WalkResult {
  bool present{false};
  bool writable{false};
  bool global{false};
  bool dirty{false};
  std::uint8_t shift{kPageShift};
  std::uint32_t frame{0};
};

/// Walks from `cpu`'s root, or from a cached pointer to the page table. One atomic step. Sets the
/// accessed bit, and the dirty bit for a write that the entry permits (SDM vol. 3, 4.8). `observer`
/// may be null.
WalkResult walk_tables(Machine& machine, HostCpu& cpu, VirtAddr address, std::uint16_t pcid,
                       bool write, Observer* observer);

/// Index of `address` in a table of `level`; 4 is the root.
constexpr std::uint32_t table_index(VirtAddr address, unsigned level) {
  return static_cast<std::uint32_t>((address >> (kPageShift + (9 * (level - 1)))) & 511);
}

}  // namespace shootdown::host
