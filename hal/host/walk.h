// The page walker: four levels or five, accessed and dirty bits, and the paging-structure caches.
#pragma once

#include <cstdint>

#include "hal/host/frames.h"
#include "hal/host/machine.h"

namespace shootdown::host {

struct WalkResult {
  bool present{false};
  Rights rights{};
  bool global{false};
  bool dirty{false};
  std::uint8_t shift{kPageShift};
  std::uint32_t frame{0};
  Provenance from;  // as of the moment at which the walker has read the entry
};

/// The walker: a CPU's or the device's.
struct Walker {
  CpuId id;  // for observers
  std::uint64_t cr3;
  std::uint16_t pcid;
  Tlb& tlb;
};

/// What a walk is for.
struct WalkPurpose {
  VirtAddr address;
  PageAccess access;
  /// Level of the last entry that is read. From 2 on the walk stops early, which is how walks in
  /// several steps are made: it caches pointers to tables, and no translation.
  unsigned stop;
  bool is_instruction{false};  // made for one that the running CPU executes
};

/// Walks from the lowest table that a cached pointer leads to, or from the root, and caches a
/// pointer to each table below. One atomic step, but for errata. Sets the accessed bit, and the
/// dirty bit for a write that the entry permits (SDM vol. 3, 4.8). `observer` may be null.
WalkResult walk_tables(Machine& machine, const Walker& walker, const WalkPurpose& purpose,
                       Observer* observer);

/// log2 of the size of the page that memory maps at the address now, by an entry of `lowest` or a
/// higher level, or 0: what a walk that no cached pointer shortens would find. Nothing is set and
/// cached.
std::uint8_t mapped_shift(Machine& machine, std::uint64_t cr3, VirtAddr address, unsigned lowest);

/// Index of `address` in a table of `level`.
constexpr std::uint32_t table_index(VirtAddr address, unsigned level) {
  return static_cast<std::uint32_t>((address >> (kPageShift + (9 * (level - 1)))) & 511);
}

}  // namespace shootdown::host
